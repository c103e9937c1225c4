"""What charts show, as data: ``charts.js`` draws it, and a table with the same figures stands beside each."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench import units
from vitbench.reports.throughput import Comparison, Measurement
from vitbench.wording import abridged

LABEL_CHARACTERS = 28
MOST_CHARTS = 12  # more conditions than that are in the table only


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One figure with its interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str  # the value with its unit
    note: str  # what a reader must know beside it
    sure: bool  # False: it did not converge, or its evidence is not VALID


@dataclass(frozen=True, kw_only=True)
class IntervalChart:
    """Figures under the same conditions, on an axis that starts at zero."""

    id: str
    title: str
    axis: str
    bars: tuple[Bar, ...]
    left_out: tuple[str, ...]  # implementations without a figure, with the reason


def throughput_charts(groups: Sequence[Comparison], *, several_runs: bool) -> tuple[IntervalChart, ...]:
    """One chart per set of conditions under which anything was measured."""
    with_figures = [group for group in groups if any(row.measured for row in group.rows)]
    return tuple(
        IntervalChart(
            id=f"throughput-{number}",
            title=group.short_title or group.title,
            axis="images/s",
            bars=_bars([row for row in group.rows if row.measured], several_runs=several_runs),
            left_out=tuple(_absence(row) for row in group.rows if not row.measured),
        )
        for number, group in enumerate(with_figures[:MOST_CHARTS], 1)
    )


def _bars(rows: Sequence[Measurement], *, several_runs: bool) -> tuple[Bar, ...]:
    names = [
        abridged(f"{row.implementation}, {row.run}" if several_runs else row.implementation, LABEL_CHARACTERS)
        for row in rows
    ]
    return tuple(
        _bar(row, name if names.count(name) == 1 else f"{name} ({index + 1})")
        for index, (row, name) in enumerate(zip(rows, names, strict=True))
    )


def _bar(row: Measurement, label: str) -> Bar:
    figure = row.throughput
    return Bar(
        label=label,
        value=figure.median or 0.0,
        low=figure.low,
        high=figure.high,
        text=units.number(figure.median),
        note=", ".join(row.doubts),
        sure=not row.doubts,
    )


def _absence(row: Measurement) -> str:
    return f"{abridged(row.implementation, LABEL_CHARACTERS)}: {abridged(row.absence, LABEL_CHARACTERS)}"
