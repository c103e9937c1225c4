"""What was seen of cells that were profiled beside: each with its measurement, and shares of the time profiled."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.records import MeasurementRecord
from vitbench.results import Run
from vitbench.traces.record import OperatorRow, StepPart, TraceRecord


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One profiled cell."""

    run: str
    record: TraceRecord
    measurement: MeasurementRecord | None  # of the same cell; None where the results lack it

    @property
    def on_device(self) -> bool:
        """Whether there are times of a device."""
        return self.record.tables is not None and bool(self.record.tables.kernels)

    @property
    def parts(self) -> tuple[StepPart, ...]:
        """What a mean iteration consisted of, without what took no time."""
        return () if self.record.tables is None else tuple(part for part in self.record.tables.parts if part.seconds)

    def own_s(self, row: OperatorRow) -> float:
        """An operator's own time: of its kernels where there is a device."""
        return row.host_self_s if row.device_self_s is None else row.device_self_s

    def share(self, seconds: float | None) -> float | None:
        """A row's time as a part of all profiled iterations."""
        if seconds is None or self.record.tables is None or not self.record.tables.step_s:
            return None
        return seconds / (self.record.tables.step_s * max(1, self.record.iterations))


def traces(runs: Sequence[Run], labels: Sequence[str]) -> tuple[Trace, ...]:
    """All of several runs, in the order in which they were made; of a cell that ran again, the last."""
    found = {}
    for run, label in zip(runs, labels, strict=True):
        measured = {record.cell: record for record in run.measurements}
        for record in run.traces:
            found[label, record.cell] = Trace(run=label, record=record, measurement=measured.get(record.cell))
    return tuple(found.values())
