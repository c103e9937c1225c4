"""The usual rules, to stand beside the gate: each calls two runs' samples a regression, or does not.

None of them knows that the samples of one process share its bias.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from scipy.stats import mannwhitneyu

from vitbench.statistics import median_interval

Rule = Callable[[Sequence[float], Sequence[float]], bool]  # base's and head's samples, in seconds


def median_above(threshold: float) -> Rule:
    """pytest-benchmark's ``--benchmark-compare-fail=median:…%``: the head's median is larger by more than a percentage."""
    return lambda base_s, head_s: median(head_s) > median(base_s) * (1 + threshold)


def rank_test(alpha: float) -> Rule:
    """A one-sided U test on the samples, as Go's benchstat and many scripts have it."""

    def rule(base_s: Sequence[float], head_s: Sequence[float]) -> bool:
        return bool(mannwhitneyu(head_s, base_s, alternative="greater").pvalue < alpha)

    return rule


def factor_and_intervals(factor: float, confidence: float) -> Rule:
    """asv's: the medians differ by more than a factor, and their intervals do not overlap."""

    def rule(base_s: Sequence[float], head_s: Sequence[float]) -> bool:
        base, head = median_interval(base_s, confidence), median_interval(head_s, confidence)
        apart = base is not None and head is not None and head.low > base.high
        return apart and median(head_s) > factor * median(base_s)

    return rule


RULES: Mapping[str, Rule] = {
    "pytest-benchmark, median:5%": median_above(0.05),
    "U test, p < 0.01": rank_test(0.01),
    "asv, factor 1.1": factor_and_intervals(1.1, 0.99),
}
