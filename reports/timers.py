"""vitbench measured by itself: what each timer read of loads of known duration."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.records import MeasurementRecord
from vitbench.results import Run


@dataclass(frozen=True, kw_only=True)
class TimerRow:
    """A timer on a load, or a command from its start to its end."""

    run: str
    record: MeasurementRecord

    @property
    def measured(self) -> bool:
        """Whether there is a figure."""
        return self.record.latency_s is not None


def timer_rows(runs: Sequence[Run], labels: Sequence[str]) -> tuple[TimerRow, ...]:
    """The cells of the suite self, as planned; a resumed cell's last word counts."""
    latest = {
        (label, record.cell): TimerRow(run=label, record=record)
        for run, label in zip(runs, labels, strict=True)
        for record in run.timers
    }
    return tuple(latest.values())
