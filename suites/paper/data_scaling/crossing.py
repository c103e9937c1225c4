"""Where one model overtakes another as data grow: read off the means, with an interval by resampling the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean, quantiles

import torch

RESAMPLES = 1000
BY_BOOTSTRAP = "95 % by bootstrap over the seeds"
_ENOUGH = 0.95  # of the resamples must cross for an interval to be told

Runs = Sequence[Sequence[float]]
"""Accuracies: for each size of data, one of each seed, in the seeds' order."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """From how much data on the first model is no worse than the second."""

    size: float | None  # images; None: they do not cross
    low: float | None = None
    high: float | None = None
    resamples: float = 0.0  # the share of resamples in which they cross
    ahead: str = ""  # where they do not cross: "first" or "second", at the largest size


def crossing(sizes: Sequence[int], first: Runs, second: Runs, seed: int = 0) -> Crossing:
    """Compare two models seed by seed; the size is interpolated between two measured ones on a logarithmic scale."""
    differences = [[a - b for a, b in zip(*column, strict=True)] for column in zip(first, second, strict=True)]
    point = overtaken(sizes, [fmean(column) for column in differences])
    generator, count = torch.Generator().manual_seed(seed), len(differences[0])
    resamples = torch.randint(count, (RESAMPLES, count), generator=generator).tolist()
    found = [overtaken(sizes, [fmean(column[i] for i in drawn) for column in differences]) for drawn in resamples]
    crossed = [size for size in found if size is not None]
    share = len(crossed) / RESAMPLES
    if point is None:
        ahead = "first" if fmean(differences[-1]) >= 0 else "second"
        return Crossing(size=None, resamples=share, ahead=ahead)
    if share < _ENOUGH or count == 1:
        return Crossing(size=point, resamples=share)
    cuts = quantiles(crossed, n=40)  # 2.5 % apart
    return Crossing(size=point, low=cuts[0], high=cuts[-1], resamples=share)


def overtaken(sizes: Sequence[int], differences: Sequence[float]) -> float | None:
    """The size from which on no difference is below zero; None where the last one is, or none is."""
    behind = [i for i, difference in enumerate(differences) if difference < 0]
    if not behind or behind[-1] == len(sizes) - 1:
        return None
    last = behind[-1]
    below, above = differences[last], differences[last + 1]
    way = below / (below - above)
    return exp(log(sizes[last]) + way * (log(sizes[last + 1]) - log(sizes[last])))
