"""The exact tier: what is the same on every run of the same code, so that any change is one. Works on any CI.

Verdicts of requirements, and counts: parameters, multiply-accumulates, operators, graph breaks, bytes. No time is
looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vitbench.gating.decision import Decision
from vitbench.gating.outcome import Finding, Outcome, percent
from vitbench.requirement import Status
from vitbench.results import MeasurementRecord, RequirementRecord, Run
from vitbench.results import Outcome as Measured
from vitbench.wording import plural

_WORSE = {Status.PASSED: 0, Status.NOT_OFFERED: 1, Status.KNOWN_FAILURE: 2, Status.FAILED: 3, Status.ERROR: 4}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A count of a cell, and whether more of it is worse."""

    name: str
    value: float | str
    of_torch: bool = True  # depends on torch's version, and on nothing of the machine


def compare(base: Run, head: Run) -> Outcome:
    """Every verdict and every count of the head's run against the base's."""
    same = base.header == head.header
    return Outcome(
        tier="exact",
        title=f"{head.path} against {base.path}",
        findings=[] if same else [*_verdicts(base, head), *_counts(base, head)],
        notes=[
            *(["base and head are one and the same run; make one of each revision"] if same else []),
            *_notes(base, "base"),
            *_notes(head, "head"),
        ],
    )


def _notes(run: Run, side: str) -> Iterator[str]:
    if not run.complete:
        yield f"the {side}'s run did not come to its end"
    if run.damaged_lines:
        yield f"{plural(run.damaged_lines, 'line')} of the {side}'s run could not be read"


def _verdicts(base: Run, head: Run) -> Iterator[Finding]:
    """Each requirement of each implementation; one finding for all that are as good as before."""
    before, now = _by_requirement(base), _by_requirement(head)
    alike = 0
    for key, found in now.items():
        name = f"{found.implementation} {found.id}"
        known = before.get(key)
        if known is None:
            if found.status in {Status.FAILED, Status.ERROR}:
                text = f"{_word(found)}, and the base has no verdict on it: {found.reason}"
                yield Finding(name=name, decision=Decision.INCORRECT, text=text)
            continue
        if _WORSE[found.status] > _WORSE[known.status]:
            text = f"{_word(known)} before, now {_word(found)}: {found.reason}"
            yield Finding(name=name, decision=Decision.INCORRECT, text=text)
        else:
            alike += 1
    for key, known in before.items():
        if key not in now:
            text = f"{_word(known)} before, and not judged now"
            yield Finding(name=f"{known.implementation} {known.id}", decision=Decision.NOTHING_MEASURED, text=text)
    if alike:
        yield Finding(name="conformance", decision=Decision.PASS, text=f"{plural(alike, 'requirement')} no worse")


def _by_requirement(run: Run) -> Mapping[tuple[str, str], RequirementRecord]:
    return {(record.cell, record.id): record for record in run.requirements}


def _word(record: RequirementRecord) -> str:
    return str(record.status).replace("_", " ").lower()


def _counts(base: Run, head: Run) -> Iterator[Finding]:
    before, now = _by_cell(base), _by_cell(head)
    torches = [str(run.header.environment.get("torch")) for run in (base, head)]
    same_torch = torches[0] == torches[1]
    for key, known in before.items():
        found = now.get(key)
        if found is None:
            yield Finding(
                name=key, decision=Decision.NOTHING_MEASURED, text="measured before, and not in the head's run"
            )
        elif found.outcome != Measured.MEASURED and known.outcome == Measured.MEASURED:
            text = f"measured before, now {found.outcome}: {found.reason}"
            yield Finding(name=key, decision=Decision.INCORRECT, text=text)
        elif known.outcome != Measured.MEASURED:
            text = f"nothing was measured of the base ({known.outcome}: {known.reason})"
            yield Finding(name=key, decision=Decision.NO_BASELINE, text=text)
        else:
            comparable = [metric for metric in metrics(known) if same_torch or not metric.of_torch]
            yield from _cell(key, comparable, metrics(found))
    if before and not same_torch:
        text = f"by torch {torches[0]} before, now by {torches[1]}, which counts otherwise; make a base with the same torch"
        yield Finding(name="counts of torch's work", decision=Decision.NO_BASELINE, text=text)


def _by_cell(run: Run) -> Mapping[str, MeasurementRecord]:
    return {record.cell: record for record in run.of_implementations}


def _cell(key: str, before: Sequence[Metric], now: Sequence[Metric]) -> Iterator[Finding]:
    found = {metric.name: metric for metric in now}
    alike = 0
    for known in before:
        name, metric = f"{key}: {known.name}", found.get(known.name)
        if metric is None:
            yield Finding(
                name=name, decision=Decision.NOTHING_MEASURED, text=f"{_shown(known.value)} before, and not counted now"
            )
        elif metric.value == known.value:
            alike += 1
        else:
            yield _changed(name, known, metric)
    if alike:
        yield Finding(name=key, decision=Decision.PASS, text=f"{plural(alike, 'count')} the same")


def _changed(name: str, before: Metric, now: Metric) -> Finding:
    if isinstance(before.value, str) or isinstance(now.value, str):
        text = f"{_shown(before.value)} before, now {_shown(now.value)}"
        return Finding(name=name, decision=Decision.REGRESSION, text=text)
    change = now.value / before.value - 1 if before.value else float("inf")
    worse = now.value > before.value
    shown = f" ({percent(change)})" if before.value else ""
    return Finding(
        name=name,
        decision=Decision.REGRESSION if worse else Decision.PASS,
        text=f"{_shown(before.value)} before, now {_shown(now.value)}{shown}",
        change=change,
    )


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.15g}"


def metrics(record: MeasurementRecord) -> list[Metric]:
    """What is exact of a cell, less being better, and words that have to stay the same."""
    of_the_model = {"parameters": record.parameters, "multiply-accumulates": record.multiply_accumulates}
    of_torch: dict[str, float | str | None] = {"kernels that ran": ", ".join(record.kernels_ran) or None}
    if record.memory is not None and record.device == "cpu":  # by torch's own count; a process's peak is the system's
        of_torch |= {
            "bytes allocated at the peak": record.memory.allocated_bytes,
            "bytes of activations": record.memory.activations_bytes,
            "bytes of temporaries": record.memory.temporaries_bytes,
        }
    if record.counts is not None:
        of_torch |= {
            "operators": sum(record.counts.operators.values()),
            "FLOPs by torch's counter": record.counts.flops,
            "graph breaks": record.counts.graph_breaks,
            "attention by": ", ".join(record.counts.attention) or "products and softmax",
        }
    return [
        *(Metric(name=name, value=value, of_torch=False) for name, value in of_the_model.items() if value is not None),
        *(Metric(name=name, value=value) for name, value in of_torch.items() if value is not None),
    ]
