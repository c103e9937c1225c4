"""Percentiles of latency at batch 1: a row for each cell that has them."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.percentiles import Latency, latencies
from vitbench.reports.anchors import cell_anchor
from vitbench.reports.throughput import Comparison


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One cell, and the run that it is from."""

    run: str
    latency: Latency

    @property
    def anchor(self) -> str:
        """The id of its row among all measurements, which has its conditions."""
        return cell_anchor("cell", self.run, self.latency.record.cell)


def latency_rows(groups: Sequence[Comparison]) -> tuple[LatencyRow, ...]:
    """The cells of batch 1, grouped as throughput is."""
    return tuple(
        LatencyRow(run=row.run, latency=latency)
        for group in groups
        for row in group.rows
        for latency in latencies([row.record])
    )
