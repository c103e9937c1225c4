"""The exact tier: what is the same on every run of the same code, so that any change is one. Works on any CI.

Verdicts of requirements, and counts: parameters, multiply-accumulates, operators, graph breaks, bytes. No time is
looked at.
"""

from collections.abc import Iterator, Sequence

from vitbench.gating.decision import Decision
from vitbench.gating.facts import OF_THE_MODEL, Facts, Judged, Measured
from vitbench.gating.outcome import Finding, Outcome, percent
from vitbench.records import Outcome as Came
from vitbench.requirement import Status
from vitbench.wording import plural

_SHOWN = 5  # cells in a note
_WORSE = {Status.PASSED: 0, Status.NOT_OFFERED: 1, Status.KNOWN_FAILURE: 2, Status.FAILED: 3, Status.ERROR: 4}


def compare(base: Facts, head: Facts) -> Outcome:
    """Every verdict and every count of the head against the base's."""
    return Outcome(
        tier="exact", title=f"{head.name} against {base.name}", findings=findings(base, head), notes=notes(base, head)
    )


def findings(base: Facts, head: Facts) -> list[Finding]:
    """None where both are one and the same run: that compares nothing."""
    return [] if _one_run(base, head) else [*_verdicts(base, head), *_counts(base, head)]


def notes(base: Facts, head: Facts) -> list[str]:
    """What is to be known of the two before what was found is believed."""
    same = ["base and head are one and the same run; make one of each revision"] if _one_run(base, head) else []
    new = [cell for cell in head.measured if cell not in base.measured]
    if new:
        same.append(f"not compared, since the base has no such cell: {_some(new)}")
    lacking = [
        cell
        for cell, known in base.measured.items()
        if cell in head.measured and known.outcome == head.measured[cell].outcome == Came.NOT_SUPPORTED
    ]
    if lacking:
        same.append(f"not compared, since neither side supports it: {_some(lacking)}")
    return [*same, *(f"{side}: {note}" for side, of in (("base", base), ("head", head)) for note in of.notes)]


def _some(cells: Sequence[str]) -> str:
    return f"{', '.join(cells[:_SHOWN])}{' …' if cells[_SHOWN:] else ''}"


def _one_run(base: Facts, head: Facts) -> bool:
    return bool({run.digest for run in base.runs} & {run.digest for run in head.runs})


def _verdicts(base: Facts, head: Facts) -> Iterator[Finding]:
    """Each requirement of each implementation; one finding for all that are as good as before."""
    alike = 0
    for (cell, requirement), found in head.judged.items():
        name, known = f"{found.implementation} {requirement}", base.judged.get((cell, requirement))
        if known is None:
            if found.status in {Status.FAILED, Status.ERROR}:  # as it may have before
                text = f"{_word(found)}, and the base has no verdict on it: {found.reason}"
                yield Finding(name=name, decision=Decision.NO_BASELINE, text=text)
        elif not {found.status, known.status} <= set(_WORSE):
            text = f"{_word(known)} before, now {_word(found)}: not both are words that this vitbench knows; upgrade it"
            yield Finding(name=name, decision=Decision.NOTHING_MEASURED, text=text)
        elif _WORSE[found.status] > _WORSE[known.status]:
            text = f"{_word(known)} before, now {_word(found)}: {found.reason}"
            yield Finding(name=name, decision=Decision.INCORRECT, text=text)
        else:
            alike += 1
    for place, known in base.judged.items():
        if place not in head.judged and place[0] not in head.broken:
            text = f"{_word(known)} before, and not judged now"
            yield Finding(name=f"{known.implementation} {place[1]}", decision=Decision.NOTHING_MEASURED, text=text)
    yield from _broken(base, head)
    if alike:
        yield Finding(name="conformance", decision=Decision.PASS, text=f"{plural(alike, 'requirement')} no worse")


def _broken(base: Facts, head: Facts) -> Iterator[Finding]:
    """Adapters of which nothing can be judged any more."""
    for cell, reason in head.broken.items():
        lost = [known.implementation for (of_cell, _), known in base.judged.items() if of_cell == cell]
        if lost:
            text = f"{plural(len(lost), 'requirement')} judged before, and its adapter is broken now: {reason}"
            yield Finding(name=f"{lost[0]} conformance", decision=Decision.INCORRECT, text=text)


def _word(judged: Judged) -> str:
    return str(judged.status).replace("_", " ").lower()


def _counts(base: Facts, head: Facts) -> Iterator[Finding]:
    before, now = (of.key.get("torch") for of in (base, head))
    for cell, known in base.measured.items():
        found = head.measured.get(cell)
        if found is None:
            text = "measured before, and not in the head's run"
            yield Finding(name=cell, decision=Decision.NOTHING_MEASURED, text=text)
        elif found.outcome != Came.MEASURED and known.outcome == Came.MEASURED:
            text = f"measured before, now {found.outcome}: {found.reason}"
            yield Finding(name=cell, decision=Decision.INCORRECT, text=text)
        elif known.outcome == found.outcome == Came.NOT_SUPPORTED:
            continue  # told in a note
        elif known.outcome != Came.MEASURED:
            text = f"nothing was measured of the base ({known.outcome}: {known.reason})"
            yield Finding(name=cell, decision=Decision.NO_BASELINE, text=text)
        else:
            yield from _cell(cell, known, found, same_torch=before == now)
    if base.measured and before != now:
        text = f"by torch {before} before, now by {now}, which counts otherwise; make a base with the same torch"
        yield Finding(name="counts of torch's work", decision=Decision.NO_BASELINE, text=text)


def _cell(cell: str, known: Measured, found: Measured, *, same_torch: bool) -> Iterator[Finding]:
    alike = 0
    for count, before in known.counts.items():
        if not same_torch and count not in OF_THE_MODEL:
            continue
        name, now = f"{cell}: {count}", found.counts.get(count)
        if now is None:
            text = f"{_shown(before)} before, and not counted now"
            yield Finding(name=name, decision=Decision.NOTHING_MEASURED, text=text)
        elif now == before:
            alike += 1
        else:
            yield _changed(name, before, now)
    if alike:
        yield Finding(name=cell, decision=Decision.PASS, text=f"{plural(alike, 'count')} the same")


def _changed(name: str, before: float | str, now: float | str) -> Finding:
    if isinstance(before, str) or isinstance(now, str):
        text = f"{_shown(before)} before, now {_shown(now)}"
        return Finding(name=name, decision=Decision.REGRESSION, text=text)
    change = _relative(before, now)
    shown = f" ({percent(change)})" if change is not None else ""
    return Finding(
        name=name,
        decision=Decision.REGRESSION if now > before else Decision.PASS,
        text=f"{_shown(before)} before, now {_shown(now)}{shown}",
        change=change,
    )


def _relative(before: float, now: float) -> float | None:
    try:
        return now / before - 1
    except (ZeroDivisionError, OverflowError):  # none, or an integer beyond any float
        return None


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.15g}"
