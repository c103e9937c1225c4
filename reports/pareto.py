"""Attention kernels by time and error, with the Pareto front: those that no other betters in both."""

from collections.abc import Sequence
from dataclasses import replace

from vitbench import units
from vitbench.records import Outcome
from vitbench.reports.attention import KernelComparison, KernelRow
from vitbench.reports.doubts import doubts
from vitbench.reports.series import (
    DOUBTFUL,
    MOST_SERIES,
    Guide,
    Point,
    Series,
    SeriesChart,
    distinct_labels,
    drawable,
    log_axis,
    thinned,
    told,
)
from vitbench.reports.throughput import figure
from vitbench.wording import abridged

MOST_CHARTS = 12  # other comparisons are in the tables only
_DTYPE_CHARACTERS = 20
_SHORT = {
    "float64": "f64",
    "float32": "f32",
    "bfloat16": "bf16",
    "float16": "f16",
}  # beside a point; hovering says it in full
_FRONT = "Ringed, on the dashed line: the Pareto front, where nothing is both faster and more precise."
_WRONG = "A cross: the error is beyond its bound, so it stands outside the front."


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other is below in one coordinate without being above in the other, by rising x."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def attention_charts(groups: Sequence[KernelComparison], *, several_runs: bool) -> tuple[SeriesChart, ...]:
    """A chart for each comparison in which two kernels at least have both figures."""
    # A kernel keeps its place, and so its colour, from chart to chart.
    order = list(dict.fromkeys(row.record.kernel for group in groups for row in group.rows))
    ordered = [
        replace(group, rows=tuple(sorted(group.rows, key=lambda row: order.index(row.record.kernel))))
        for group in groups
    ]
    charts = (
        _chart(f"attention-{number}", group, several_runs=several_runs) for number, group in enumerate(ordered, 1)
    )
    return tuple(chart for chart in charts if chart is not None)[:MOST_CHARTS]


def _chart(identity: str, group: KernelComparison, *, several_runs: bool) -> SeriesChart | None:
    series, left_out = _series(group.rows, several_runs=several_runs)
    points = [point for one in series for point in one.points]
    if len(points) < 2:  # noqa: PLR2004  # one point compares nothing
        return None
    front = pareto_front([(point.x, point.y) for point in points if not point.beyond])
    marked = tuple(replace(one, points=tuple(_judged(point, front) for point in one.points)) for one in series)
    return SeriesChart(
        id=identity,
        title=f"Attention: {group.title}",
        x=log_axis("time", [end for p in points for end in (p.x, p.low, p.high) if drawable(end)], units.seconds),
        y=log_axis("error", [point.y for point in points], units.number),
        series=marked,
        joined=False,
        interval="x",
        about="kernel",
        guides=(Guide(label="", points=tuple(front), steps=True),) if len(front) > 1 else (),
        remarks=(
            *((_FRONT,) if front else ()),
            *((_WRONG,) if any(point.beyond for point in points) else ()),
            *((DOUBTFUL,) if any(point.note and not point.beyond for point in points) else ()),
        ),
        left_out=told(left_out),
    )


def _series(rows: Sequence[KernelRow], *, several_runs: bool) -> tuple[list[Series], tuple[str, ...]]:
    """A series for each kernel, over its dtypes; and what has no place, with the reason."""
    several = len({row.record.dtype for row in rows}) > 1
    kernels: dict[tuple[str, str, str, str], list[KernelRow]] = {}
    for row in rows:
        record = row.record
        kernels.setdefault((record.kernel, row.run, record.implementation, record.version), []).append(row)
    labels = distinct_labels([f"{kernel}, {run}" if several_runs else kernel for kernel, run, _, _ in kernels])
    named = list(zip(labels, kernels.values(), strict=True))
    series = [
        Series(
            label=label,
            points=thinned([point for row in group if (point := _point(row, several_dtypes=several))]),
            subject=group[0].record.kernel,
        )
        for label, group in named
    ]
    absences = [f"{label}, {_dtype(row)}: {why}" for label, group in named for row in group if (why := _absence(row))]
    drawn = [one for one in series if one.points]
    return drawn[:MOST_SERIES], (*(f"{one.label}: in the table" for one in drawn[MOST_SERIES:]), *absences)


def _point(row: KernelRow, *, several_dtypes: bool) -> Point | None:
    record, time_s, error = row.record, row.time_s, row.error
    if _absence(row) or time_s is None or error is None:
        return None
    low, high = figure(record.latency_low_s), figure(record.latency_high_s)
    spread = "" if low is None or high is None else f" ({units.seconds_interval(low, high)})"
    said = f"{units.seconds(time_s)}{spread}\nerror {units.number(error)}, bound {units.number(row.bound)}"
    return Point(
        x=time_s,
        y=error,
        low=low if drawable(low) and drawable(high) else None,
        high=high if drawable(low) and drawable(high) else None,
        text=f"{_dtype(row)}: {said}",
        note=", ".join(_doubts(row)),
        mark=_SHORT.get(_dtype(row), _dtype(row)) if several_dtypes else "",
        beyond=row.beyond,
        row=row.anchor,
    )


def _dtype(row: KernelRow) -> str:
    return abridged(row.record.dtype, _DTYPE_CHARACTERS)


def _judged(point: Point, front: Sequence[tuple[float, float]]) -> Point:
    return replace(point, best=not point.beyond and (point.x, point.y) in front)


def _doubts(row: KernelRow) -> list[str]:
    return [*(["error beyond its bound"] if row.beyond else []), *doubts(row.record)]


def _absence(row: KernelRow) -> str:
    """Why it has no place on two logarithmic axes; empty where it has one."""
    if not drawable(row.time_s):
        return "no usable time" if row.record.outcome == Outcome.MEASURED else str(row.record.outcome)
    if row.error is None:
        return "no finite error"
    if row.error == 0:
        return "no error at all, which a logarithmic axis cannot show"
    return "" if drawable(row.error) else "no usable error"
