"""Latency at batch 1 as a whole: what share of the calls takes how long at most."""

from collections.abc import Sequence

from vitbench import units
from vitbench.reports.series import (
    MOST_SERIES,
    Axis,
    Point,
    Series,
    SeriesChart,
    distinct_labels,
    drawable,
    log_axis,
    ticks,
)
from vitbench.reports.throughput import Comparison, Measurement
from vitbench.statistics import quantile

MOST_DISTRIBUTIONS = 4  # charts; others are in the table only
MOST_POINTS = 101  # of a curve: the least, every percentile, and the largest

_SHARES = (0, 25, 50, 75, 90, 99)


def latency_charts(groups: Sequence[Comparison], *, several_runs: bool) -> tuple[SeriesChart, ...]:
    """A chart for each set of conditions at batch 1 under which there are samples."""
    sampled = [(group, [row for row in group.rows if _usable(row)]) for group in groups]
    return tuple(
        _chart(f"latency-{number}", f"Latency: {group.short_title or group.title}", rows, several_runs=several_runs)
        for number, (group, rows) in enumerate([one for one in sampled if one[1]][:MOST_DISTRIBUTIONS], 1)
    )


def quantiles(samples_s: Sequence[float]) -> list[tuple[float, float]]:
    """Shares of the samples, in even steps from 0 to 1, with the value that each share does not exceed."""
    ordered = sorted(samples_s)
    steps = min(len(ordered), MOST_POINTS) - 1
    return [(k / steps, quantile(ordered, k / steps)) for k in range(steps + 1)]


def _usable(row: Measurement) -> bool:
    record = row.record
    return record.batch == 1 and record.task == "inference" and len(_samples(row)) > 1


def _samples(row: Measurement) -> list[float]:
    return [sample for sample in row.record.samples_s if drawable(sample)]


def _chart(identity: str, title: str, rows: Sequence[Measurement], *, several_runs: bool) -> SeriesChart:
    labels = distinct_labels(
        [f"{row.implementation}, {row.run}" if several_runs else row.implementation for row in rows]
    )
    pairs = list(zip(rows, labels, strict=True))
    series = tuple(
        Series(
            label=label,
            points=_points(_samples(row)),
            note=", ".join(row.doubts),
            subject=row.implementation,
            row=row.anchor,
        )
        for row, label in pairs[:MOST_SERIES]
    )
    return SeriesChart(
        id=identity,
        title=title,
        x=Axis(
            label="share of calls in %",
            low=0.0,
            high=100.0,
            log=False,
            ticks=ticks(_SHARES, lambda share: f"{share:g}"),
        ),
        y=log_axis("latency at most", [point.y for one in series for point in one.points], units.seconds),
        series=series,
        joined=True,
        dotted=False,
        left_out=tuple(f"{label}: in the table" for _, label in pairs[MOST_SERIES:]),
    )


def _points(samples_s: Sequence[float]) -> tuple[Point, ...]:
    """With four digits: a page holds many of them."""
    return tuple(
        Point(
            x=round(share * 100, 2),
            y=float(f"{value:.4g}"),
            text=f"{share * 100:.3g} %: {units.seconds(value)}",
        )
        for share, value in quantiles(samples_s)
    )
