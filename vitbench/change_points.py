"""Where a series of figures changed its level, and whether that can be believed yet.

A series is cut into the levels that leave the least distances from their medians. Each cut has to be confirmed by a
permutation test on both levels around it: the same figures in any order would hardly be described so well by two medians.
One run that is off moves no median, and the last runs make no level before two more have come: a detector without that
rule takes a single outlier in last place for a change 99 times of a hundred.

Source: optimal partitioning, Jackson et al., IEEE Signal Processing Letters 12 (2005); permutation test as Matteson and
James, Journal of the American Statistical Association 109 (2014).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

LEAST_BEFORE, LEAST_SINCE = 3, 3  # runs of a level: the first and two later ones
_PERMUTATIONS = 499  # or as many as it takes for a p-value of alpha
LEAST_ALPHA = 1e-4  # below it the permutations would take minutes


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
