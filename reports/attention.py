"""Attention kernels side by side: what may be compared, and each kernel's time beside its error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.records import MeasurementRecord, Outcome
from vitbench.reports.anchors import cell_anchor
from vitbench.reports.throughput import CONDITION_CHARACTERS, figure, nodes
from vitbench.results import Run
from vitbench.wording import abridged, plural


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """One kernel in one dtype."""

    run: str
    record: MeasurementRecord

    @property
    def anchor(self) -> str:
        """The id of its row."""
        return cell_anchor("kernel", self.run, self.record.cell)

    @property
    def measured(self) -> bool:
        """Whether there is a figure."""
        return self.time_s is not None

    @property
    def time_s(self) -> float | None:
        """Of one call: the median."""
        return figure(self.record.latency_s)

    @property
    def error(self) -> float | None:
        """The error that is the nearest to its bound, as a part of the largest value of the float64 answer."""
        return None if self.record.precision is None else figure(self.record.precision.worst[0])

    @property
    def bound(self) -> float | None:
        """What tier N allows of it."""
        return None if self.record.precision is None else figure(self.record.precision.worst[1])

    @property
    def beyond(self) -> bool:
        """Whether an error is beyond its bound, so that the time is one of something else than attention."""
        return self.record.precision is not None and not self.record.precision.within

    @property
    def ran(self) -> str:
        """The kernel that took the longest."""
        return str(next(iter(self.record.kernels_ran), ""))

    @property
    def outcome(self) -> str:
        """Why there is no figure, or what is wrong with it."""
        if self.record.outcome != Outcome.MEASURED:
            return f"{self.record.outcome}: {self.record.reason}" if self.record.reason else str(self.record.outcome)
        if not self.measured:
            return "no usable figure"
        return "error beyond its bound" if self.beyond else "" if self.record.converged else "not converged"


@dataclass(frozen=True, kw_only=True)
class KernelComparison:
    """Kernels measured under the same conditions."""

    title: str
    rows: tuple[KernelRow, ...]  # a dtype after the other, the fastest first


def kernel_comparisons(runs: Sequence[Run], labels: Sequence[str]) -> tuple[KernelComparison, ...]:
    """All measurements of attention kernels, grouped by what must be equal for a comparison."""
    groups: dict[str, list[KernelRow]] = {}
    for run, label in zip(runs, labels, strict=True):
        for record in {record.cell: record for record in run.attention}.values():  # a resumed cell: its last word
            groups.setdefault(_title(record), []).append(KernelRow(run=label, record=record))
    return tuple(KernelComparison(title=title, rows=_ordered(rows)) for title, rows in groups.items())


def _ordered(rows: Sequence[KernelRow]) -> tuple[KernelRow, ...]:
    dtypes = list(dict.fromkeys(row.record.dtype for row in rows))
    return tuple(sorted(rows, key=lambda row: (dtypes.index(row.record.dtype), row.time_s or math.inf)))


def _title(record: MeasurementRecord) -> str:
    device = record.device if record.device == record.device_name else f"{record.device} ({record.device_name})"
    place = device if record.device_name else record.device
    words = (record.direction, record.model, str(record.shape or "no shape"), record.mode, place)
    return ", ".join(
        abridged(word, CONDITION_CHARACTERS) for word in (*words, plural(record.threads, "thread"), *nodes(record))
    )
