"""Figures over several seeds: the mean, how far they scatter, and where the mean lies."""

from collections.abc import Sequence
from math import inf, isfinite, nan, sqrt
from statistics import fmean, stdev

from vitbench.study import Scalar

Bounds = tuple[float, float]
ANYWHERE: Bounds = (-inf, inf)
SHARE: Bounds = (0.0, 1.0)
POSITIVE: Bounds = (0.0, inf)
BY_T = "95 % of the mean, by Student's t"
_CONFIDENCE = 0.95


def mean_interval(values: Sequence[float], within: Bounds = ANYWHERE) -> tuple[float, float] | None:
    """The interval that holds the mean with 95 % confidence, by Student's t; None of fewer than two values.

    It is cut off at the least and the most that the quantity can be.
    Source: Student (1908); it takes the values to be independent and about normal.
    """
    if len(values) < 2 or not all(map(isfinite, values)):  # noqa: PLR2004
        return None
    from scipy.stats import t  # noqa: PLC0415  # a second to import; only cells that train need it

    half = float(t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return max(fmean(values) - half, within[0]), min(fmean(values) + half, within[1])


def over_seeds(
    name: str,
    values: Sequence[float],
    *,
    series: str = "",
    unit: str = "",
    note: str = "",
    within: Bounds = ANYWHERE,
) -> Scalar:
    """One figure of as many training runs: their mean, with spread and interval where there are two or more."""
    mean = fmean(values) if values else nan
    interval = mean_interval(values, within)
    return Scalar(
        name=name,
        value=mean if isfinite(mean) else None,
        series=series,
        unit=unit,
        spread=None if interval is None else stdev(values),
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        interval="" if interval is None else BY_T,
        seeds=len(values),
        note=note,
    )
