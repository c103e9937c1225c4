"""What a later run can be held to of an earlier one: its verdicts, its counts and its times, and what these depend on."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitbench.conditions.record import Validity
from vitbench.machine_key import key
from vitbench.records import MeasurementRecord, Outcome
from vitbench.requirement import Status, Verdict
from vitbench.results import Run, to_line
from vitbench.wording import plural

OF_THE_MODEL = ("parameters", "multiply-accumulates")
"""Counts that do not depend on the version of torch; every other one does."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One requirement of one implementation."""

    implementation: str
    status: Status
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One cell."""

    outcome: Outcome
    reason: str = ""  # why nothing was measured
    counts: Mapping[str, float | str] = field(default_factory=dict)  # by name; the same on every run of the same code
    times_s: Sequence[
        float
    ] = ()  # median latency of a launch, one for each run whose conditions allow it to be believed
    doubt: str = ""  # why there is no such time, where the cell was timed


@dataclass(frozen=True, kw_only=True)
class Source:
    """One run that facts are from."""

    digest: str  # of its header: no other run has the same
    began: str  # ISO 8601, UTC
    commit: str  # of the repository that it ran in, with a + where files were changed; empty where there was none


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of a run, or of several runs of the same code on the same machine."""

    name: str  # where they are from
    key: Mapping[str, str]
    runs: Sequence[Source]
    versions: Mapping[str, str]  # by implementation
    judged: Mapping[tuple[str, str], Judged]  # by cell and requirement
    measured: Mapping[str, Measured]  # by cell
    broken: Mapping[str, str] = field(default_factory=dict)  # by cell: why nothing of it was judged
    notes: Sequence[str] = ()  # what a reader has to know before believing them


def facts(run: Run) -> Facts:
    """Those of one run."""
    cells = run.of_implementations
    return Facts(
        name=str(run.path),
        key=key(_environment(run)),
        runs=[_source(run)],
        versions={one.implementation: one.version for one in run.verdicts} | _versions(cells) | _sources(run),
        judged={
            (one.cell, one.id): Judged(implementation=one.implementation, status=one.status, reason=one.reason)
            for one in run.requirements
        },
        measured={record.cell: _measured(record) for record in cells},
        broken={one.cell: one.reason for one in run.verdicts if one.verdict == Verdict.ADAPTER_BROKEN},
        notes=list(_notes(run)),
    )


def _versions(cells: Sequence[MeasurementRecord]) -> dict[str, str]:
    """Of those that were measured; others may not have come so far as to tell."""
    return {cell.implementation: cell.version for cell in cells if cell.version}


def _sources(run: Run) -> dict[str, str]:
    """Of each candidate's code, where it is known: the run's own commit is that of the folder it ran in."""
    candidates = _environment(run).get("candidates")
    told = candidates.items() if isinstance(candidates, Mapping) else ()
    return {
        f"source of {name}": ", ".join(
            [
                *([f"commit {_commit(of)}"] if _commit(of) else []),
                *([f"file {str(of['file_sha256'])[:12]}"] if of.get("file_sha256") else []),
            ]
        )
        for name, of in told
        if isinstance(of, Mapping)
    }


def _environment(run: Run) -> Mapping[str, Any]:
    """As it was written, which may be anything in a file that was edited."""
    environment: Any = run.header.environment
    return environment if isinstance(environment, Mapping) else {}


def _commit(environment: Mapping[str, Any]) -> str:
    """Of a repository, with a + where its files were changed."""
    commit = environment.get("git_commit")
    return f"{commit}{'' if environment.get('git_clean') in (True, None) else '+'}" if commit else ""


def _source(run: Run) -> Source:
    return Source(
        digest=hashlib.sha256(to_line(run.header).encode(errors="replace")).hexdigest()[:12],
        began=run.header.started_at,
        commit=_commit(_environment(run)),
    )


def _notes(run: Run) -> Iterator[str]:
    if not run.complete:
        yield "its run did not come to its end"
    if run.damaged_lines:
        yield f"{plural(run.damaged_lines, 'line')} of its run could not be read"


def _measured(record: MeasurementRecord) -> Measured:
    latency_s, doubt = record.latency_s, _doubt(record)
    believed = latency_s is not None and not doubt
    return Measured(
        outcome=record.outcome,
        reason=record.reason,
        counts=counts(record),
        times_s=[latency_s] if believed and latency_s is not None else [],
        doubt=doubt,
    )


def _doubt(record: MeasurementRecord) -> str:
    """Why a cell's time is not to be compared by; empty where it may be, or where there is none."""
    if record.latency_s is None:
        return ""
    if not math.isfinite(record.latency_s) or record.latency_s <= 0:
        return f"a median of {record.latency_s} s is no duration"
    if record.evidence is not None and record.evidence.verdict == Validity.INVALID:
        return "INVALID: " + "; ".join(record.evidence.reasons)
    return ""


def counts(record: MeasurementRecord) -> dict[str, float | str]:
    """What is the same on every run of the same code: numbers, of which less is better, and words that have to stay."""
    found: dict[str, float | str | None] = {
        "parameters": record.parameters,
        "multiply-accumulates": record.multiply_accumulates,
        "kernels that ran": ", ".join(record.kernels_ran) or None,
    }
    if record.memory is not None and record.device == "cpu":  # by torch's own count; a process's peak is the system's
        found |= {
            "bytes allocated at the peak": record.memory.allocated_bytes,
            "bytes of activations": record.memory.activations_bytes,
            "bytes of temporaries": record.memory.temporaries_bytes,
        }
    if record.counts is not None:
        found |= {
            "operators": _total(record.counts.operators),
            "FLOPs by torch's counter": record.counts.flops,
            "graph breaks": record.counts.graph_breaks,
            "attention by": ", ".join(record.counts.attention) or "products and softmax",
        }
    return {name: value for name, value in found.items() if value is not None}


def _total(operators: object) -> int | None:
    """Of all operators; None where a file that was edited has no numbers there."""
    found = list(operators.values()) if isinstance(operators, Mapping) else [None]
    numbers = [number for number in found if isinstance(number, int)]
    return sum(numbers) if len(numbers) == len(found) else None
