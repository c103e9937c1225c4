"""Statistics of timings, from order alone: no shape of the distribution is assumed, and no sample is dropped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

__all__ = ["Interval", "median", "median_interval"]


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
        below += _binomial_half(n, r)
        if 1 - 2 * below < confidence:
            return r or None
    return None


def _binomial_half(n: int, k: int) -> float:
    """P(Bin(n, 1/2) = k), by logarithms so that large n does not overflow."""
    return math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
