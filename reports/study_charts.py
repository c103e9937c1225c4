"""Curves of the studies as charts: a chart for each name and time, a line for each series of each implementation."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import TypeGuard

from vitbench import units
from vitbench.records import StudyRecord
from vitbench.reports.series import (
    LABEL_CHARACTERS,
    MOST_SERIES,
    Axis,
    Guide,
    Point,
    Series,
    SeriesChart,
    distinct_labels,
    drawable,
    linear_axis,
    linear_ticks,
    log_axis,
    thinned,
    ticks,
    told,
)
from vitbench.reports.study_texts import READING
from vitbench.study import Curve, NamedArray
from vitbench.wording import abridged

TIMES = ("at the start", "trained")
DISTANCE = "attention distance"
_GROWTH = 2  # of the last step between places over the first, from which on an axis is logarithmic
_FEW = 12  # points
_LONGEST = 60  # characters of an axis's label
_MOST_POINTS = 2_000  # of a chart
_MOST_CHARTS = 12  # of a study
_LINES_OF_ITS_OWN = 3  # of an implementation, that make a chart
_LABEL = 40  # characters of a series' name
COMPARED = "ResNet"
"""The implementation that all others are compared with."""

Label = Callable[[StudyRecord], str]
Lines = list[tuple[str, Curve]]
"""Curves with what they are called in a chart."""
Groups = dict[str, dict[str, Lines]]
"""By the chart's name, then by when it was looked at, or by the implementation that has a chart of its own."""


def study_charts(
    identity: str, records: Sequence[StudyRecord], label: Label
) -> tuple[tuple[SeriesChart, ...], tuple[str, ...]]:
    """Every chart of one study, and what is not drawn; curves in the order of the records, two times side by side."""
    several, apart = len({label(record) for record in records}) > 1, _apart(records, label)
    groups: Groups = {}
    for record in records:
        for curve in record.curves:
            when, rest = _time(curve)
            if curve.name in apart:
                when, rest = ", ".join(filter(None, (label(record), when))), rest or curve.series
            name = ", ".join(filter(None, (label(record) if several and curve.name not in apart else "", rest)))
            lines = groups.setdefault(curve.name, {}).setdefault(when, [])
            lines.append((name or curve.series or label(record), curve))
    drawn: list[SeriesChart] = []
    empty: list[str] = []
    for number, (name, by_time) in enumerate(_joined(groups).items(), 1):
        both = [curve for lines in by_time.values() for _, curve in lines]
        for when, lines in by_time.items():
            place = f"{identity}-{number}-{len(drawn) + len(empty)}"
            chart = _chart(place, name, when, lines, both, read=when == next(iter(by_time)))
            if chart is None:
                empty.append(f"{abridged(name, _LONGEST)}: no usable figure")
            else:
                drawn.append(chart)
    distances = _distances(f"{identity}-heads", records, label)
    charts = (*([distances] if distances else []), *drawn)
    further = tuple(f"{abridged(chart.title, _LONGEST)}: in the results" for chart in charts[_MOST_CHARTS:])
    return charts[:_MOST_CHARTS], (*empty, *further)


def _apart(records: Sequence[StudyRecord], label: Label) -> Collection[str]:
    """Charts that would have too many lines, and of each implementation enough for one of its own."""
    lines: dict[str, Counter[str]] = {}
    for record in records:
        for curve in record.curves:
            lines.setdefault(curve.name, Counter())[label(record)] += 1
    return {
        name
        for name, by_label in lines.items()
        if by_label.total() > MOST_SERIES and len(by_label) > 1 and min(by_label.values()) >= _LINES_OF_ITS_OWN
    }


def _joined(groups: Groups) -> Groups:
    """Where each time has a single line, the times are lines of one chart."""
    joined: Groups = {}
    for name, by_time in groups.items():
        alone = len(by_time) > 1 and all(len(lines) == 1 for lines in by_time.values())
        lines = [(_of_time(label, when), curve) for when, each in by_time.items() for label, curve in each]
        joined[name] = {"": lines} if alone else by_time
    return joined


def _of_time(label: str, when: str) -> str:
    return label if label == when else f"{label}, {when}"


def _time(curve: Curve) -> tuple[str, str]:
    """When it was looked at, where the series' name ends with that and the chart has several; and the rest of the name."""
    for when in TIMES:
        if curve.series == when or curve.series.endswith(f", {when}"):
            return (
                (when, curve.series.removesuffix(when).removesuffix(", "))
                if curve.name in READING
                else ("", curve.series)
            )
    return "", curve.series


def _chart(
    identity: str, name: str, when: str, lines: Sequence[tuple[str, Curve]], both: Sequence[Curve], *, read: bool
) -> SeriesChart | None:
    """The axes are those of the other times too, so that they can be compared; how to read them is said once."""
    labels = distinct_labels([label for label, _ in lines], _LABEL)
    every = [Series(label=one, points=_points(curve)) for one, (_, curve) in zip(labels, lines, strict=True)]
    series, others = _shown([one for one in every if one.points])
    if not series:
        return None
    first, points = lines[0][1], [point for curve in both for point in _points(curve)]
    interval = next((curve.interval for _, curve in lines if curve.interval), "")
    intervals = f"Intervals: {interval}, of {first.seeds} seeds." if interval and read else ""
    return SeriesChart(
        id=identity,
        title=", ".join(filter(None, (_capital(name), when))),
        x=_axis(first.x_axis, [point.x for point in points], from_zero=False),
        y=_axis(first.y_axis, [v for p in points for v in (p.y, p.low, p.high) if v is not None], from_zero=True),
        series=tuple(series),
        joined=True,
        dotted=max(len(one.points) for one in series) <= _FEW,
        remarks=tuple(filter(None, (READING.get(name, "") if read else "", intervals))),
        left_out=told(
            [
                *(f"{one.label}: in the results" for one in others),
                *(f"{one.label}: no usable figure" for one in every if not one.points),
            ]
        ),
    )


def _shown(series: Sequence[Series]) -> tuple[list[Series], list[Series]]:
    """As many as can be told apart, with those that all are compared with, which stand last; and the others."""
    compared = [one for one in series if one.label.startswith(COMPARED)]
    own = [one for one in series if one not in compared]
    room = max(MOST_SERIES - len(compared), 0)
    return [*own[:room], *compared[: MOST_SERIES - len(own[:room])]], own[room:]


def _points(curve: Curve) -> tuple[Point, ...]:
    """Those that an axis can have; an interval where there is one for each."""
    ends = [list(end) if len(end) == len(curve.y) else [None] * len(curve.y) for end in (curve.low, curve.high)]
    found = []
    for x, y, low, high in zip(curve.x, curve.y, *ends, strict=False):
        if not _placeable(x) or not _placeable(y):
            continue
        whole = _placeable(low) and _placeable(high)
        spread = f" ({units.interval(low, high)})" if whole else ""
        said = f"{abridged(curve.x_axis, LABEL_CHARACTERS)} {units.number(x)}: {units.number(y)}{spread}"
        found.append(Point(x=x, y=y, low=low if whole else None, high=high if whole else None, text=said))
    return thinned(sorted(found, key=lambda point: point.x), _MOST_POINTS)


def _placeable(value: float | None) -> TypeGuard[float]:
    """Whether a linear axis can have it: finite, and of a size that something can have."""
    return value is not None and (value == 0 or drawable(abs(value)))


def _axis(label: str, values: Sequence[float], *, from_zero: bool) -> Axis:
    """From zero where that is asked for; logarithmic along few points that lie far apart, as sizes of data sets do."""
    label, places = abridged(label, _LONGEST), sorted(set(values))
    if not from_zero and _grow_apart(places):
        return log_axis(label, places, units.number, at=places)
    low, high = places[0], places[-1]
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or max(1.0, 0.05 * abs(high))
    low, high = (low - room if low < 0 or not from_zero else low), high + room
    return Axis(label=label, low=low, high=high, log=False, ticks=ticks(linear_ticks(low, high), _plainly))


def _grow_apart(places: Sequence[float]) -> bool:
    """Whether a few places lie further apart the further out they are, as sizes of data sets do."""
    few = 2 < len(places) <= _FEW and places[0] > 0  # noqa: PLR2004  # two steps to compare
    return few and places[-1] - places[-2] > _GROWTH * (places[1] - places[0])


def _distances(identity: str, records: Sequence[StudyRecord], label: Label) -> SeriesChart | None:
    """Attention distance by block, a mark for each head: Figure 7, right."""
    seen = [(r, a) for r in records for a in r.arrays if a.name == DISTANCE and a.series == TIMES[-1]]
    every = [Series(label=abridged(label(record), LABEL_CHARACTERS), points=_heads(array)) for record, array in seen]
    series = [one for one in every if one.points][:MOST_SERIES]
    if not series:
        return None
    points = [point for one in series for point in one.points]
    blocks = max(int(point.x) for point in points)
    evens = [s.value for r in records for s in r.scalars if s.series == "of even attention" and _placeable(s.value)]
    even = evens[0] if evens else None
    most = max([0.0, *(point.y for point in points), even or 0.0])
    guides = () if even is None else (Guide(label="even attention", points=((0.5, even), (blocks + 0.5, even))),)
    at = range(1, blocks + 1, max(1, blocks // 12))
    return SeriesChart(
        id=identity,
        title="Attention distance of every head",
        x=Axis(label="block", low=0.5, high=blocks + 0.5, log=False, ticks=ticks(at, units.count)),
        y=linear_axis("pixels", most, _plainly),
        series=tuple(series),
        joined=False,
        guides=guides,
        remarks=(READING[DISTANCE],),
    )


def _heads(array: NamedArray) -> tuple[Point, ...]:
    """Of the first seed; what is damaged has none."""
    try:
        numbers = array.numbers
    except ValueError:
        return ()
    if len(array.shape) != 3:  # noqa: PLR2004  # seed, block, head
        return ()
    _, blocks, heads = array.shape
    places = ((block, head) for block in range(blocks) for head in range(heads))  # damaged shapes are of any size
    return tuple(
        Point(x=block + 1, y=value, text=f"block {block + 1}, head {head + 1}: {units.number(value)} pixels")
        for value, (block, head) in zip(numbers, places, strict=False)
        if _placeable(value)
    )[:_MOST_POINTS]


def _plainly(value: float) -> str:
    return units.number(0.0 if abs(value) < 1e-12 else value)  # noqa: PLR2004  # what steps of 0.1 leave of zero


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
