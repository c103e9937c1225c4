"""What charts show, as data: the scripts beside the templates draw it, and a table with the same figures stands by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vitbench import units
from vitbench.reports.attention import KernelComparison
from vitbench.reports.curves import throughput_curves
from vitbench.reports.differences import Differences
from vitbench.reports.distributions import latency_charts
from vitbench.reports.memory import MemorySection
from vitbench.reports.pareto import attention_charts
from vitbench.reports.ratios import RatioChart, ratio_charts
from vitbench.reports.rooflines import rooflines
from vitbench.reports.series import LABEL_CHARACTERS, SeriesChart, distinct_labels, drawable, told
from vitbench.reports.stacks import StackChart, memory_charts
from vitbench.reports.throughput import Comparison, Measurement
from vitbench.results import Run
from vitbench.wording import abridged, plural

MOST_CHARTS = 12  # more conditions than that are in the table only
MOST_BARS = 40  # of a chart; others are in the table only


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
    told: str  # what hovering says: the value with its unit and its interval
    subject: str  # the implementation by its whole name
    row: str  # the id of its row in the table


@dataclass(frozen=True, kw_only=True)
class IntervalChart:
    """Figures under the same conditions, on an axis that starts at zero."""

    id: str
    title: str
    axis: str
    bars: tuple[Bar, ...]
    left_out: tuple[str, ...]  # implementations without a figure, with the reason
    remarks: tuple[str, ...] = ()
    kind: Literal["bars"] = "bars"


Chart = IntervalChart | SeriesChart | StackChart | RatioChart


@dataclass(frozen=True, kw_only=True)
class Charts:
    """All charts of a report, by what they are about."""

    ratios: tuple[RatioChart, ...]  # of several runs
    bars: tuple[IntervalChart, ...]
    curves: tuple[SeriesChart, ...]
    rooflines: tuple[SeriesChart, ...]
    latencies: tuple[SeriesChart, ...]
    attention: tuple[SeriesChart, ...]
    memory: tuple[StackChart, ...]

    @property
    def all(self) -> tuple[Chart, ...]:
        """In the order of the page."""
        return (*self.ratios, *self.curves, *self.bars, *self.rooflines, *self.latencies, *self.attention, *self.memory)


def charts(
    runs: Sequence[Run],
    labels: Sequence[str],
    groups: Sequence[Comparison],
    kernels: Sequence[KernelComparison],
    memory: MemorySection,
    found: Differences | None,
) -> Charts:
    """Draw what was measured."""
    several_runs = len(runs) > 1
    return Charts(
        ratios=ratio_charts(runs, labels, found),
        bars=throughput_charts(groups, several_runs=several_runs),
        curves=throughput_curves(groups, several_runs=several_runs),
        rooflines=rooflines(runs, labels, groups),
        latencies=latency_charts(groups, several_runs=several_runs),
        attention=attention_charts(kernels, several_runs=several_runs),
        memory=memory_charts(memory, several_runs=several_runs),
    )


def throughput_charts(groups: Sequence[Comparison], *, several_runs: bool) -> tuple[IntervalChart, ...]:
    """One chart per set of conditions under which anything was measured."""
    with_figures = [group for group in groups if any(drawable(row.throughput.median) for row in group.rows)]
    return tuple(
        IntervalChart(
            id=f"throughput-{number}",
            title=f"Throughput: {group.short_title or group.title}",
            axis="images/s",
            bars=_bars(_drawn(group)[:MOST_BARS], several_runs=several_runs),
            left_out=_left_out(group),
        )
        for number, group in enumerate(with_figures[:MOST_CHARTS], 1)
    )


def _drawn(group: Comparison) -> list[Measurement]:
    return [row for row in group.rows if drawable(row.throughput.median)]


def _left_out(group: Comparison) -> tuple[str, ...]:
    """What has no figure, by name and reason; beyond a few, and beyond the bars that are drawn, how many more."""
    absences = [_absence(row) for row in group.rows if not drawable(row.throughput.median)]
    undrawn = len(_drawn(group)) - MOST_BARS
    return (*told(absences), *((f"{plural(undrawn, 'bar')} more: in the table",) if undrawn > 0 else ()))


def _bars(rows: Sequence[Measurement], *, several_runs: bool) -> tuple[Bar, ...]:
    labels = distinct_labels(
        [f"{row.implementation}, {row.run}" if several_runs else row.implementation for row in rows]
    )
    return tuple(_bar(row, label) for row, label in zip(rows, labels, strict=True))


def _bar(row: Measurement, label: str) -> Bar:
    figure = row.throughput
    whole = drawable(figure.low) and drawable(figure.high)
    spread = f" ({units.interval(figure.low, figure.high)})" if whole else ""
    return Bar(
        label=label,
        value=figure.median or 0.0,
        low=figure.low if whole else None,
        high=figure.high if whole else None,
        text=units.number(figure.median),
        note=", ".join(row.doubts),
        sure=not row.doubts,
        told=f"{units.images_per_s(figure.median)}{spread}",
        subject=row.implementation,
        row=row.anchor,
    )


def _absence(row: Measurement) -> str:
    return f"{abridged(row.implementation, LABEL_CHARACTERS)}: {abridged(row.absence, LABEL_CHARACTERS)}"
