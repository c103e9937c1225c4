"""A part of what runs hold: the results of some implementations or kernels, as if the others had not been asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from vitbench.errors import UsageError
from vitbench.records import MeasurementRecord, RequirementRecord, StudyRecord, VerdictRecord
from vitbench.results import Run
from vitbench.wording import plain

Named = VerdictRecord | RequirementRecord | MeasurementRecord | StudyRecord
N = TypeVar("N", bound=Named)


def named_in(runs: Sequence[Run]) -> tuple[str, ...]:
    """The implementations and kernels that have results, in the order of the runs."""
    return tuple(dict.fromkeys(name_of(record) for run in runs for record in _records(run)))


def name_of(record: Named) -> str:
    """Of a kernel where it is one, else of the implementation."""
    kernel = record.kernel if isinstance(record, MeasurementRecord) else ""
    return str(kernel or record.implementation)


def part(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs with what they hold of these names, and of the device; all of it where none is named.

    Raises:
        UsageError: a name that none of the runs has.
    """
    present = named_in(runs)
    for name in names:
        if name not in present:
            known = ", ".join(map(plain, present)) or "none"
            raise UsageError(f"nothing of {plain(name)!r} in these runs; there are: {known}")
    return [_part(run, set(names)) for run in runs] if names else list(runs)


def _part(run: Run, names: set[str]) -> Run:
    def of(records: Iterable[N]) -> list[N]:
        return [record for record in records if name_of(record) in names]

    others = {record.cell for record in _records(run) if name_of(record) not in names}
    kept = {record.cell for record in of(_records(run))}
    return replace(
        run,
        header=replace(run.header, planned=[cell for cell in run.header.planned if cell in kept or cell not in others]),
        requirements=of(run.requirements),
        verdicts=of(run.verdicts),
        measurements=of(run.measurements),
        attention=of(run.attention),
        memory=of(run.memory),
        counts=of(run.counts),
        scaling=of(run.scaling),
        searches=of(run.searches),
        studies=of(run.studies),
        traces=[trace for trace in run.traces if trace.cell in kept],
        ran=[one for one in run.ran if one.cell in kept],
        timers=[],
    )


def _records(run: Run) -> list[Named]:
    return [*run.verdicts, *run.requirements, *run.of_implementations, *run.studies]
