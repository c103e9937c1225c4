"""A run's times against those of a stored run on the same machine: one process a side, so only what is large is certain.

Between two runs lie two processes and two moments of the machine, whose effect neither run can tell by itself: identical
code differed by 5 to 7 % there (docs/gating.md). So a change below ``NOISE_FLOOR`` is never a regression here. The paired
tier finds what is smaller.
"""

import math
from collections.abc import Iterator, Mapping

from vitbench.gating.decision import Decision
from vitbench.gating.exact import compare as compare_exactly
from vitbench.gating.key import differences
from vitbench.gating.outcome import Finding, Outcome, percent
from vitbench.results import MeasurementRecord, Run
from vitbench.results import Outcome as Measured

NOISE_FLOOR = 0.10  # relative


def compare(base: Run, head: Run, *, min_change: float = NOISE_FLOOR) -> Outcome:
    """Verdicts and counts exactly, and times beyond the noise between runs; no times of another machine."""
    exact = compare_exactly(base, head)
    floor = max(min_change, NOISE_FLOOR)
    times = list(_times(base, head, floor)) if exact.findings else []  # else they are one run
    return Outcome(
        tier="stored",
        title=exact.title,
        findings=[*exact.findings, *times],
        notes=[
            *exact.notes,
            (
                f"times of two runs differ by noise alone; a slowdown below {percent(floor, signed=False)} is not seen here, and "
                "vitbench gate paired sees it"
            ),
        ],
        details={"noise_floor": floor},
    )


def _times(base: Run, head: Run, floor: float) -> Iterator[Finding]:
    other = differences(base, head)
    before, now = _timed(base), _timed(head)
    if not before:
        return
    if other:
        text = f"the base is of another machine or environment, whose times are not comparable: {'; '.join(other)}"
        yield Finding(name="times", decision=Decision.NO_BASELINE, text=text)
        return
    for key, known in before.items():
        if key in now:
            yield _compared(key, known, now[key], floor)


def _timed(run: Run) -> Mapping[str, MeasurementRecord]:
    return {
        record.cell: record
        for record in run.of_implementations
        if record.outcome == Measured.MEASURED and record.latency_s is not None
    }


def _compared(name: str, base: MeasurementRecord, head: MeasurementRecord, floor: float) -> Finding:
    """By the intervals of both medians, as far apart as they may be, against the floor."""
    for side, record in (("base", base), ("head", head)):
        if not record.samples_s or not _is_time(record.latency_s):
            text = f"the {side} has no times that can be compared: a median of {record.latency_s} s from {len(record.samples_s)} samples"
            decision = Decision.NO_BASELINE if side == "base" else Decision.NOTHING_MEASURED
            return Finding(name=name, decision=decision, text=text)
    assert base.latency_s is not None and head.latency_s is not None  # noqa: S101, PT018  # as was just seen
    change = head.latency_s / base.latency_s - 1
    low = (head.latency_low_s or head.latency_s) / (base.latency_high_s or base.latency_s) - 1
    high = (head.latency_high_s or head.latency_s) / (base.latency_low_s or base.latency_s) - 1
    found = Finding(name=name, decision=Decision.INCONCLUSIVE, text="", change=change, low=low, high=high)
    between = f"{percent(change)}, between {percent(low)} and {percent(high)}"
    if low > floor:
        return _with(
            found,
            Decision.REGRESSION,
            f"slower by {percent(change, signed=False)}, at least by {percent(low, signed=False)}",
        )
    if high < floor:
        return _with(found, Decision.PASS, f"no slowdown of {percent(floor, signed=False)} or more: {between}")
    text = f"{between}: more or less than {percent(floor, signed=False)} is not certain; vitbench gate paired tells"
    return _with(found, Decision.INCONCLUSIVE, text)


def _with(finding: Finding, decision: Decision, text: str) -> Finding:
    return Finding(
        name=finding.name, decision=decision, text=text, change=finding.change, low=finding.low, high=finding.high
    )


def _is_time(seconds: float | None) -> bool:
    return seconds is not None and math.isfinite(seconds) and seconds > 0
