"""What memory each cell took: rows of the table, and the line over the batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.memory_fit import Growth, growths
from vitbench.records import MeasurementRecord
from vitbench.reports.anchors import cell_anchor
from vitbench.results import Run


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """One cell."""

    run: str
    record: MeasurementRecord

    @property
    def anchor(self) -> str:
        """The id of its row."""
        return cell_anchor("memory", self.run, self.record.cell)


@dataclass(frozen=True, kw_only=True)
class MemorySection:
    """All cells of the memory suite."""

    rows: tuple[MemoryRow, ...]
    growths: tuple[Growth, ...]

    @property
    def on_device(self) -> bool:
        """Whether any cell was on a device with a memory, and an allocator, of its own."""
        return any(row.record.device != "cpu" for row in self.rows)


def memory_section(runs: Sequence[Run], labels: Sequence[str]) -> MemorySection:
    """The cells of several runs; a resumed cell's last word counts."""
    latest = {
        (label, record.cell): MemoryRow(run=label, record=record)
        for run, label in zip(runs, labels, strict=True)
        for record in run.memory
    }
    rows = sorted(latest.values(), key=lambda row: (row.record.model, row.record.task, row.record.batch))
    return MemorySection(
        rows=tuple(rows),
        growths=tuple(growth for label in labels for growth in growths(row.record for row in rows if row.run == label)),
    )
