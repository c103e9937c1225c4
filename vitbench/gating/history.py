"""The history tier: where a series of stored runs changed its level, and whether that can be believed yet.

A series is cut into the levels that leave the least distances from their medians. Each cut has to be confirmed by a
permutation test on both levels around it: the same figures in any order would hardly be described so well by two medians.
One run that is off moves no median, and the last runs make no level before two more have come: a detector without that
rule takes a single outlier in last place for a change 99 times of a hundred.

Source: optimal partitioning, Jackson et al., IEEE Signal Processing Letters 12 (2005); permutation test as Matteson and
James, Journal of the American Statistical Association 109 (2014).
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from vitbench.gating.decision import Decision
from vitbench.gating.facts import Facts, facts
from vitbench.gating.outcome import Finding, Outcome, as_relative, percent
from vitbench.results import Run
from vitbench.wording import plural

LEAST_BEFORE, LEAST_SINCE = 3, 3  # runs of a level: the first and two later ones
_PERMUTATIONS = 499  # or as many as it takes for a p-value of alpha
LEAST_ALPHA = 1e-4  # below it the permutations would take minutes


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run's figure."""

    at: str  # when the run began, ISO 8601
    log_s: float  # logarithm of the median latency in seconds


@dataclass(frozen=True, kw_only=True)
class Change:
    """A new level, from a point on."""

    first: int  # index of the first point of the new level
    log_ratio: float  # of the medians after and before
    p_value: float


def least_runs(alpha: float) -> int:
    """In fewer, no change however large is certain: too many of their orders separate two levels as well.

    Of n different values, so many of either level, two orders of C(n, n/2) are as good as the best.
    """
    runs = LEAST_BEFORE + LEAST_SINCE
    while 2 / math.comb(runs, runs // 2) > alpha:
        runs += 1
    return runs


def changes(values: Sequence[float], *, alpha: float, seed: int = 0) -> list[Change]:
    """Every change of level, in order: those of the best description by medians that a permutation test confirms."""
    rng = random.Random(seed)  # noqa: S311  # of a permutation test
    bounds = [0, *_partition(values), len(values)]
    while len(bounds) > 2:  # noqa: PLR2004  # begin and end
        p_values = [_p_value(values[start:end], rng, alpha) for start, end in zip(bounds, bounds[2:], strict=False)]
        doubtful = max(range(len(p_values)), key=p_values.__getitem__)
        if p_values[doubtful] <= alpha:
            levels = [median(values[start:end]) for start, end in pairwise(bounds)]
            steps = [after - before for before, after in pairwise(levels)]
            return [
                Change(first=at, log_ratio=step, p_value=p)
                for at, step, p in zip(bounds[1:-1], steps, p_values, strict=True)
            ]
        del bounds[doubtful + 1]  # and its neighbours are tested again, on the longer levels
    return []


def _partition(values: Sequence[float]) -> list[int]:
    """Where the levels begin that leave the least distances from their medians, each level costing ``_PENALTY`` noises."""
    noise = median(abs(after - before) for before, after in pairwise(values)) if len(values) > 1 else 0.0
    best: list[tuple[float, list[int]]] = [(0.0, [])]  # of the first n values: what is left, and where levels begin
    for end in range(1, len(values) + 1):
        shortest = range(end - LEAST_SINCE, -1, -1)
        options = [
            (best[start][0] + _spread(values[start:end]) + _PENALTY * noise, [*best[start][1], start])
            for start in shortest
            if start == 0 or start >= LEAST_BEFORE
        ]
        best.append(min(options, default=(math.inf, [])))
    return [start for start in best[-1][1] if start]


_PENALTY = 3.0  # low: the permutation test has the last word


def _p_value(values: Sequence[float], rng: random.Random, alpha: float) -> float:
    """How likely two levels describe the same values in any order as well as in this one."""
    left, shuffled, as_good = _best_split(values)[1], list(values), 0
    permutations = max(_PERMUTATIONS, math.ceil(1 / alpha) - 1)
    for _ in range(permutations):
        rng.shuffle(shuffled)
        as_good += _best_split(shuffled)[1] <= left
    return (1 + as_good) / (1 + permutations)


def _best_split(values: Sequence[float]) -> tuple[int | None, float]:
    """The split that leaves the least: distances from the median of each side; and how much that is."""
    splits = range(LEAST_BEFORE, len(values) - LEAST_SINCE + 1)
    left = {place: _spread(values[:place]) + _spread(values[place:]) for place in splits}
    place = min(left, key=left.__getitem__, default=None)
    return place, math.inf if place is None else left[place]


def _spread(values: Sequence[float]) -> float:
    """Sum of the distances from the median, which one value that is off adds to, wherever the split is."""
    centre = median(values)
    return sum(abs(value - centre) for value in values)


def history(runs: Sequence[Run], *, delta: float, alpha: float) -> Outcome:
    """Every cell's series, of runs under one key each, and the last change of its level."""
    found = {one.runs[-1].digest: one for one in map(facts, runs)}  # a run that is given twice counts once
    findings = [_finding(name, points, delta, alpha) for name, points in sorted(_series(list(found.values())).items())]
    title = f"the history of {plural(len(found), 'run')}"
    return Outcome(tier="history", title=title, findings=findings, notes=list(_left_out(list(found.values()))))


def _series(runs: Sequence[Facts]) -> Mapping[str, Sequence[Point]]:
    """By cell; runs of another machine make another series, named by what tells it apart."""
    apart = [name for name in (runs[0].key if runs else ()) if len({run.key.get(name) for run in runs}) > 1]
    series: dict[str, list[Point]] = {}
    for run in runs:
        machine = "".join(f" [{name} {run.key.get(name)}]" for name in apart)
        for cell, one in run.measured.items():
            for seconds in one.times_s:
                point = Point(at=run.runs[-1].began, log_s=math.log(seconds))
                series.setdefault(f"{cell}{machine}", []).append(point)
    return {name: sorted(points, key=lambda point: point.at) for name, points in series.items()}


def _left_out(runs: Sequence[Facts]) -> Iterator[str]:
    """Of each cell, in how many runs its time cannot be believed."""
    doubts = Counter(cell for run in runs for cell, one in run.measured.items() if one.doubt)
    for cell, number in sorted(doubts.items()):
        yield f"{cell}: left out of {plural(number, 'run')} whose conditions were INVALID, or whose time is no duration"


def _finding(name: str, points: Sequence[Point], delta: float, alpha: float) -> Finding:
    least = least_runs(alpha)
    if len(points) < least:
        text = f"{plural(len(points), 'run')} of it; {least} are the least that a change can be certain in (--alpha {alpha:g})"
        return Finding(name=name, decision=Decision.NOTHING_MEASURED, text=text)
    found = changes([point.log_s for point in points], alpha=alpha)
    last = found[-1] if found else None
    if last is None:
        return Finding(name=name, decision=Decision.PASS, text=f"no change of level in {len(points)} runs")
    change = as_relative(last.log_ratio)
    text = f"{percent(change)} since {points[last.first].at}, in {len(points) - last.first} of {len(points)} runs (p = {last.p_value:.3f})"
    decision = Decision.REGRESSION if last.log_ratio >= delta else Decision.PASS
    return Finding(name=name, decision=decision, text=text, change=change)
