"""A run against a stored one: what is exact of them, and their times, as far as runs of the same code agree here.

Two runs are two sets of processes, at two times, on a machine that is not the same twice. How much their medians differ
without any change is what the stored runs tell among themselves: a new run of the same code differs from the mean of n
stored ones by a t variable of n - 1 degrees of freedom times s·sqrt(1 + 1/n). The smallest slowdown that so much noise
lets be found is the noise floor; smaller ones are not looked for, and the outcome says so.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit

from vitbench.gating import exact
from vitbench.gating.decision import Decision
from vitbench.gating.facts import Facts
from vitbench.gating.outcome import Finding, Outcome, as_relative, percent
from vitbench.machine_key import differences
from vitbench.records import Outcome as Came
from vitbench.statistics import rejected_by_holm
from vitbench.wording import plural

LEAST_RUNS = 3
"""Stored runs that tell how much runs differ; of fewer, it is assumed."""
ASSUMED_SD = 0.11
"""Of the log of a median from one process to the next: measured of one 35 ms forward pass on two cores that others used."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What matters, and how certain a decision has to be."""

    delta: float = math.log1p(0.05)  # as a log ratio; where the noise floor is higher, that counts
    alpha: float = 0.01
    power: float = 0.95  # at which the noise floor is taken


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A cell's new time from its stored ones, as log ratios: above 0, the new run is slower."""

    mean: float
    reach: float  # half of the interval that a run of the same code stays in, but at the rate alpha on either side
    floor: float  # the smallest slowdown that is found with the policy's power
    p_value: float  # of no slowdown
    runs: int
    assumed: bool  # the noise; too few stored runs tell of it


def difference(stored_s: Sequence[float], now_s: float, policy: Policy) -> Difference:
    """Of one run from those stored, of which there is one at least."""
    logs, runs = [math.log(seconds) for seconds in stored_s], len(stored_s)
    assumed = runs < LEAST_RUNS
    sd, freedom = (ASSUMED_SD, math.inf) if assumed else (stdev(logs), runs - 1)
    mean, error = math.log(now_s) - fmean(logs), sd * math.sqrt(1 + 1 / runs)
    reach = float(stdtrit(freedom, 1 - policy.alpha)) * error
    return Difference(
        mean=mean,
        reach=reach,
        floor=reach + float(stdtrit(freedom, policy.power)) * error,
        p_value=float(stdtr(freedom, -mean / error)) if error else float(mean <= 0),
        runs=runs,
        assumed=assumed,
    )


def compare(base: Facts, head: Facts, policy: Policy) -> Outcome:
    """Verdicts, counts and times of a run against those of the stored ones."""
    return Outcome(
        tier="stored",
        title=f"{head.name} against {base.name} ({plural(len(base.runs), 'run')})",
        findings=[*exact.findings(base, head), *_times(base, head, policy)],
        notes=exact.notes(base, head),
    )


def _times(base: Facts, head: Facts, policy: Policy) -> list[Finding]:
    timed = {cell: known.times_s for cell, known in base.measured.items() if known.times_s}
    other = differences(base.key, head.key)
    if timed and other:
        return [Finding(name="times", decision=Decision.NO_BASELINE, text="; ".join(other))]
    now_s = {cell: now.times_s[-1] for cell, now in head.measured.items() if now.times_s}
    found = {cell: difference(timed[cell], now_s[cell], policy) for cell in timed if cell in now_s}
    slower = rejected_by_holm({cell: one.p_value for cell, one in found.items()}, policy.alpha)
    judged = [_finding(cell, one, policy, slower=cell in slower) for cell, one in found.items()]
    return [*judged, *_undecided(timed, base, head)]


def _undecided(timed: Collection[str], base: Facts, head: Facts) -> Iterator[Finding]:
    """Cells with a time which is not to be compared by, or on one side only; where nothing was measured, ``exact`` says so."""
    for cell, now in head.measured.items():
        name = f"{cell}: time"
        if cell not in base.measured:
            continue  # told in a note
        if now.doubt:
            yield Finding(name=name, decision=Decision.INCONCLUSIVE, text=f"not judged: {now.doubt}")
        elif now.times_s and cell not in timed:
            text = "no stored run has a time of it that can be believed"
            yield Finding(name=name, decision=Decision.NO_BASELINE, text=text)
        elif cell in timed and not now.times_s and now.outcome == Came.MEASURED:
            yield Finding(name=name, decision=Decision.NOTHING_MEASURED, text="timed before, and has no time now")


def _finding(cell: str, found: Difference, policy: Policy, *, slower: bool) -> Finding:
    delta = max(policy.delta, found.floor)
    change, low, high = (
        as_relative(ratio) for ratio in (found.mean, found.mean - found.reach, found.mean + found.reach)
    )
    matters = percent(as_relative(delta), signed=False)
    of_noise = plural(found.runs, "stored run")
    if found.mean + found.reach < delta and not found.assumed:
        decision, text = Decision.PASS, f"no slowdown of {matters} or more: {percent(change)} ({of_noise})"
    elif slower:
        decision = Decision.REGRESSION
        text = f"slower by {percent(change, signed=False)}, at least by {percent(low, signed=False)} ({of_noise})"
    else:
        decision = Decision.INCONCLUSIVE
        text = (
            f"{percent(change)}, between {percent(low)} and {percent(high)} ({of_noise}): neither a slowdown of {matters} nor "
            "its absence is certain; vitbench gate paired tells, on this machine"
        )
    if found.assumed:
        text += f"; how much runs differ here takes {LEAST_RUNS} stored ones to tell, and {ASSUMED_SD:.0%} is assumed"
    return Finding(
        name=f"{cell}: time",
        decision=decision,
        text=text,
        change=change,
        low=low,
        high=high,
        least_detectable=as_relative(found.floor),
    )
