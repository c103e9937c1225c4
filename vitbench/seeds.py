"""Figures over several seeds: the mean, how far they scatter, and where the mean lies."""

from collections.abc import Sequence
from math import inf, isfinite, nan, sqrt
from statistics import fmean, stdev

from vitbench.study import Curve, Scalar

Bounds = tuple[float, float]
ANYWHERE: Bounds = (-inf, inf)
SHARE: Bounds = (0.0, 1.0)
COSINE: Bounds = (-1.0, 1.0)
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


def curve_over_seeds(
    name: str,
    series: str,
    axes: tuple[str, str],
    x: Sequence[float],
    runs: Sequence[Sequence[float]],
    *,
    note: str = "",
    within: Bounds = ANYWHERE,
) -> Curve:
    """One line of as many training runs: at each place their mean, with its interval where there are two or more.

    A run that has no figure there (NaN) does not count there.
    """
    finite = [[one for one in column if isfinite(one)] for column in zip(*runs, strict=True)]
    columns = [over_seeds("", column, within=within) for column in finite]
    known = any(column.low is not None for column in columns)
    return Curve(
        name=name,
        series=series,
        x_axis=axes[0],
        y_axis=axes[1],
        x=list(x),
        y=[column.value for column in columns],
        low=[column.low for column in columns] if known else (),
        high=[column.high for column in columns] if known else (),
        interval=BY_T if known else "",
        seeds=len(runs),
        note=note,
    )
