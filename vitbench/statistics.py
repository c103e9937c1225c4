"""Statistics of timings, from order alone: no shape of the distribution is assumed, and no sample is dropped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

__all__ = [
    "Interval",
    "binomial_p_value",
    "binomial_probability",
    "median",
    "median_interval",
    "quantile",
    "quantile_interval",
    "rejected_by_holm",
    "upper_rate",
]


@dataclass(frozen=True)
class Interval:
    """Where a quantity lies, with some confidence."""

    low: float
    high: float

    def relative_width(self, centre: float) -> float:
        """(high - low) / centre."""
        return (self.high - self.low) / centre if centre else math.inf


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """The narrowest symmetric pair of order statistics that holds the median with at least this confidence.

    None where so few samples cannot give it: at 95 % it takes six. The samples have to be independent.
    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2 (quantile intervals by the binomial).
    """
    rank = _lower_rank(len(samples), confidence)
    if rank is None:
        return None
    ordered = sorted(samples)
    return Interval(ordered[rank - 1], ordered[-rank])


@cache
def _lower_rank(n: int, confidence: float) -> int | None:
    """The largest r, from one, with P(x_(r) <= median <= x_(n+1-r)) = 1 - 2·P(Bin(n, 1/2) < r) >= confidence."""
    below = 0.0  # P(Bin(n, 1/2) < r + 1)
    for r in range(n // 2 + 1):
        below += binomial_probability(r, n, 0.5)
        if 1 - 2 * below < confidence:
            return r or None
    return None


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of the samples does not exceed.

    Source: Hyndman and Fan, The American Statistician 50 (1996), definition 1: the inverse of the empirical distribution.
    """
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]


def quantile_interval(samples: Sequence[float], share: float, confidence: float = 0.95) -> Interval | None:
    """Order statistics between which a quantile lies with at least this confidence, each tail with half of the rest.

    None where the samples do not reach so far: for p99 at 95 % it takes 368. Source: as ``median_interval``.
    """
    ranks = _ranks_around(len(samples), share, confidence)
    if ranks is None:
        return None
    ordered = sorted(samples)
    return Interval(ordered[ranks[0] - 1], ordered[ranks[1] - 1])


@cache
def _ranks_around(n: int, share: float, confidence: float) -> tuple[int, int] | None:
    """The largest r with P(Bin(n, share) < r) <= (1 - confidence) / 2, and the smallest s with P(Bin >= s) as small."""
    tail, below, low, high = (1 - confidence) / 2, 0.0, 0, None
    for k in range(n):
        below += binomial_probability(k, n, share)  # P(Bin <= k)
        if below <= tail:
            low = k + 1
        if 1 - below <= tail:
            high = k + 1
            break
    return (low, high) if low and high else None


@cache
def binomial_p_value(successes: int, trials: int, rate: float) -> float:
    """How likely a count at least as far in its tail is, by chance alone: the exact two-sided test, tails doubled.

    Source: Clopper and Pearson, Biometrika 26 (1934); the doubled tail is never below the exact level.
    """
    if rate in {0.0, 1.0}:
        return float(successes == trials * rate)
    if successes > trials * rate:  # as many hits are as few misses
        successes, rate = trials - successes, 1 - rate
    term = total = binomial_probability(successes, trials, rate)
    for k in range(successes, 0, -1):  # each farther count from the one before, until none matters
        term *= k * (1 - rate) / ((trials - k + 1) * rate)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, 2 * total)


_NEGLIGIBLE = 1e-17


def binomial_probability(k: int, n: int, rate: float) -> float:
    """P(Bin(n, rate) = k), by logarithms so that large n does not overflow."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(rate) + (n - k) * math.log1p(-rate))


def upper_rate(events: int, trials: int, confidence: float = 0.95) -> float:
    """The largest rate at which so few events are no surprise: the one-sided bound of Clopper and Pearson (1934).

    With no event at all it is near 3 / trials at 95 %, the rule of three.
    """
    if events >= trials:
        return 1.0
    if events == 0:
        return -math.expm1(math.log1p(-confidence) / trials)
    low, high = events / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_most = sum(binomial_probability(k, trials, middle) for k in range(events + 1))
        low, high = (middle, high) if at_most > 1 - confidence else (low, middle)
    return high


_HALVINGS = 50  # of an interval that is at most 1, down to float64's own steps


def rejected_by_holm(p_values: Mapping[str, float], level: float) -> set[str]:
    """The hypotheses that are rejected, such that a true one is among them at most at this rate, however they depend.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    rejected: set[str] = set()
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if p_values[name] > level / (len(p_values) - place):
            break
        rejected.add(name)
    return rejected
