"""Throughput against the batch and against the image's size: a line for each implementation."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vitbench import units
from vitbench.records import MeasurementRecord
from vitbench.reports.series import (
    DOUBTFUL,
    MOST_POINTS,
    MOST_SERIES,
    Axis,
    Point,
    Series,
    SeriesChart,
    distinct_labels,
    drawable,
    linear_axis,
    log_axis,
    thinned,
    told,
)
from vitbench.reports.throughput import Comparison, Measurement, conditions, shared_conditions

MOST_CURVES = 8  # charts; more conditions than that are in the table only
_FAR_APART = 20  # a larger ratio than that has no room on an axis from zero
_SIZED = re.compile(r"(?P<family>.+)@(?P<side>[1-9]\d{0,4})(?P<changed>,.*)?")  # Ti/16@64,depth=2


@dataclass(frozen=True, kw_only=True)
class Against:
    """What varies along a chart while all else is equal."""

    name: str
    label: str
    of: Callable[[MeasurementRecord], int | None]
    others: Callable[[MeasurementRecord], tuple[str, ...]]  # the conditions that stay


def throughput_curves(groups: Sequence[Comparison], *, several_runs: bool) -> tuple[SeriesChart, ...]:
    """A chart for each set of conditions under which some implementation was measured at two batches, or two sizes."""
    everywhere = shared_conditions([group.conditions for group in groups])
    rows = [row for group in groups for row in group.rows]
    return tuple(
        chart
        for against in (BATCH, SIZE)
        for chart in _charts(rows, against, everywhere, several_runs=several_runs)[:MOST_CURVES]
    )


def _charts(
    rows: Sequence[Measurement], against: Against, everywhere: Sequence[str], *, several_runs: bool
) -> list[SeriesChart]:
    alike: dict[tuple[str, ...], list[Measurement]] = {}
    for row in rows:
        if against.of(row.record) is not None:
            alike.setdefault(against.others(row.record), []).append(row)
    charts: list[SeriesChart] = []
    for words, group in alike.items():
        lines = _lines(group, against, several_runs=several_runs)
        if any(len({point.x for point in line.points}) > 1 for line in lines):
            where = ", ".join(word for word in words if word not in everywhere)
            title = f"Throughput against the {against.name}{': ' if where else ''}{where}"
            absences = [_absence(row, against) for row in group if not drawable(row.throughput.median)]
            charts.append(_chart(f"{against.name}-{len(charts) + 1}", title, against, lines, absences))
    return charts


def _lines(rows: Sequence[Measurement], against: Against, *, several_runs: bool) -> list[Series]:
    """In the order measured, as in every chart, so that an implementation keeps its colour."""
    groups: dict[tuple[str, str, str], list[Point]] = {}
    for row in rows:
        point = _point(row, against)
        if point is not None:
            groups.setdefault((row.implementation, row.run, str(row.record.version)), []).append(point)
    labels = distinct_labels([f"{name}, {run}" if several_runs else name for name, run, _ in groups])
    return [
        Series(label=label, points=tuple(sorted(points, key=lambda point: point.x)), subject=name)
        for label, ((name, _, _), points) in zip(labels, groups.items(), strict=True)
    ]


def _point(row: Measurement, against: Against) -> Point | None:
    figure, x = row.throughput, against.of(row.record)
    if x is None or not drawable(figure.median):
        return None
    spread = "" if figure.low is None else f" ({units.interval(figure.low, figure.high)})"
    return Point(
        x=x,
        y=figure.median,
        low=figure.low if drawable(figure.low) and drawable(figure.high) else None,
        high=figure.high if drawable(figure.low) and drawable(figure.high) else None,
        text=f"{against.name} {x}: {units.images_per_s(figure.median)}{spread}",
        note=", ".join(row.doubts),
        row=row.anchor,
    )


def _chart(
    identity: str, title: str, against: Against, lines: Sequence[Series], absences: Sequence[str]
) -> SeriesChart:
    thin = [
        f"{line.label}: {len(line.points):,} points, of which {MOST_POINTS} are"
        for line in lines[:MOST_SERIES]
        if len(line.points) > MOST_POINTS
    ]
    shown = [replace(line, points=thinned(line.points)) for line in lines[:MOST_SERIES]]
    others = [f"{line.label}: in the table" for line in lines[MOST_SERIES:]]
    points = [point for line in shown for point in line.points]
    xs = sorted({point.x for point in points})
    return SeriesChart(
        id=f"against-{identity}",
        title=title,
        x=log_axis(against.label, xs, units.count, at=xs),
        y=_throughput_axis(points),
        series=tuple(shown),
        joined=True,
        remarks=(DOUBTFUL,) if any(point.note for point in points) else (),
        left_out=told((*others, *thin, *absences)),
    )


def _throughput_axis(points: Sequence[Point]) -> Axis:
    """From zero, unless the small figures could not be told from it."""
    ends = [end for point in points for end in (point.y, point.low, point.high) if end is not None and end > 0]
    if max(ends) > _FAR_APART * min(ends):
        return log_axis("images/s", ends, units.number)
    return linear_axis("images/s", max(ends), units.number)


def _absence(row: Measurement, against: Against) -> str:
    (label,) = distinct_labels([row.implementation])
    return f"{label} at {against.name} {against.of(row.record)}: {row.absence}"


def _batch(record: MeasurementRecord) -> int | None:
    return record.batch if record.batch > 0 else None


def _side(record: MeasurementRecord) -> int | None:
    found = _SIZED.fullmatch(record.model)
    return int(found["side"]) if found else None


def _family(record: MeasurementRecord) -> str:
    found = _SIZED.fullmatch(record.model)
    return f"{found['family']}{found['changed'] or ''}" if found else record.model


BATCH = Against(name="batch", label="batch", of=_batch, others=lambda record: conditions(record, batch=False))
SIZE = Against(
    name="size",
    label="image side in pixels",
    of=_side,
    others=lambda record: conditions(record, model=_family(record)),
)
