"""What was measured, as JUnit's suites: one for each implementation of a run, a test case for each cell.

A figure that is not one to compare by is skipped with the reason, so that a server shows it as neither good nor bad.
"""

from collections.abc import Iterator, Sequence

from vitbench import units
from vitbench.conditions.record import Validity
from vitbench.matrix import run_labels
from vitbench.records import MeasurementRecord, Outcome, StudyRecord
from vitbench.results import Run
from vitbench.wording import plain

Said = tuple[str, str]
"""The element of a case, none where it passed; and why."""

_BY_OUTCOME = {
    Outcome.NOT_SUPPORTED: "skipped",
    Outcome.FAILED: "failure",
    Outcome.OUT_OF_MEMORY: "error",
    Outcome.TIMED_OUT: "error",
    Outcome.CRASHED: "error",
}

Measured = MeasurementRecord | StudyRecord


def measured(runs: Sequence[Run]) -> Iterator[tuple[Run, str, list[Measured]]]:
    """Each implementation of each run with its cells, the last word on each, under a name that tells it from others."""
    for label, run in zip(run_labels(runs), runs, strict=True):
        found: dict[str, dict[str, Measured]] = {}
        records: list[Measured] = [*run.of_implementations, *run.studies]
        for record in records:
            found.setdefault(plain(record.implementation), {})[record.cell] = record
        for name, cells in found.items():
            yield run, f"{name}, {label}" if len(runs) > 1 else name, list(cells.values())


def without_result(run: Run) -> list[str]:
    """Planned cells that have none: the run stopped before."""
    measured_cells = {record.cell for record in (*run.of_implementations, *run.limits, *run.timers)}
    judged_cells = {record.cell for record in run.verdicts} | {record.cell for record in run.requirements}
    known = measured_cells | judged_cells | {record.cell for record in run.studies}
    return [cell for cell in run.header.planned if cell not in known]


def judged(record: Measured) -> Said:
    """How a case of this cell ends."""
    if record.outcome != Outcome.MEASURED:
        return _BY_OUTCOME.get(record.outcome, "error"), f"{record.outcome}: {record.reason}"
    if isinstance(record, StudyRecord):
        return "", ""
    if record.precision is not None and not record.precision.within:
        error, bound = record.precision.worst
        return "failure", f"the error is beyond its bound: {units.number(error)}, allowed {units.number(bound)}"
    doubts = _doubts(record)
    return ("skipped", f"measured, but not to compare by: {'; '.join(doubts)}") if doubts else ("", "")


def figure(record: Measured) -> str:
    """The figure with its spread and its unit; empty where there is none."""
    if isinstance(record, StudyRecord) or record.outcome != Outcome.MEASURED:
        return ""
    if record.memory is not None:
        return f"{units.data_size(record.memory.allocated_bytes)} allocated"
    if record.latency_s is None:
        return ""
    spread = units.seconds_interval(record.latency_low_s, record.latency_high_s)
    rate = record.throughput_images_per_s
    images = f"{units.images_per_s(rate)}, " if rate is not None else ""
    return f"{images}{units.seconds(record.latency_s)} ({spread})"


def _doubts(record: MeasurementRecord) -> list[str]:
    doubts = ["not converged"] if record.converged is False else []
    if record.evidence is not None and record.evidence.verdict != Validity.VALID:
        doubts.append(": ".join(map(plain, (record.evidence.verdict, "; ".join(record.evidence.reasons)))))
    return doubts
