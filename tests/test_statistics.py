"""Intervals from order statistics: computed by hand, and their coverage by simulation."""

from math import comb, exp, sqrt
from random import Random

import pytest

from vitbench.statistics import (
    Interval,
    binomial_p_value,
    binomial_probability,
    median,
    median_interval,
    quantile,
    quantile_interval,
    upper_rate,
)


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [
        (6, 1, 6),  # 1 - 2·(1/64) = 0.969
        (9, 2, 8),  # 1 - 2·(1 + 9)/512 = 0.961; one rank further in it is 0.820
        (10, 2, 9),  # 1 - 2·(1 + 10)/1024 = 0.979
        (20, 6, 15),  # tables: 0.959
        (100, 40, 61),  # tables: 0.965
    ],
)
def test_the_interval_is_made_of_the_ranks_that_tables_give(n: int, low: int, high: int) -> None:
    samples = [float(rank) for rank in range(1, n + 1)]
    Random(n).shuffle(samples)
    assert median_interval(samples) == Interval(low, high)


@pytest.mark.parametrize("n", range(6))
def test_five_samples_give_no_interval(n: int) -> None:
    assert median_interval([1.0] * n) is None


def test_five_samples_give_one_at_a_lower_confidence() -> None:
    assert median_interval([3.0, 1.0, 2.0, 5.0, 4.0], confidence=0.9) == Interval(1.0, 5.0)


def test_many_samples_agree_with_the_normal_approximation() -> None:
    n = 10_000
    interval = median_interval([float(rank) for rank in range(1, n + 1)])
    assert interval is not None
    assert interval.low == pytest.approx((n - 1.96 * sqrt(n)) / 2, abs=1.5)
    assert interval.high == n + 1 - interval.low


def test_it_covers_the_median_of_skewed_data_as_often_as_it_says() -> None:
    random, runs, n = Random(0), 4000, 25  # ranks 8 and 18: exactly 0.957
    covered = 0
    for _ in range(runs):
        interval = median_interval([exp(random.gauss(0, 1)) for _ in range(n)])
        assert interval is not None
        covered += interval.low <= 1.0 <= interval.high
    assert covered / runs == pytest.approx(0.957, abs=0.012)


def test_an_outlier_does_not_move_it() -> None:
    quiet = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9]
    assert median_interval([*quiet[:-1], 1000.0]) == median_interval(quiet)
    assert median([*quiet[:-1], 1000.0]) == median(quiet)


def test_the_relative_width_compares_with_a_centre() -> None:
    assert Interval(9.0, 11.0).relative_width(10.0) == pytest.approx(0.2)
    assert Interval(0.0, 0.0).relative_width(0.0) == float("inf")


@pytest.mark.parametrize(
    ("count", "trials", "rate"), [(0, 10, 0.3), (3, 10, 0.3), (9, 10, 0.3), (1234, 3000, 0.4), (999, 3000, 0.3)]
)
def test_the_binomial_test_doubles_the_smaller_tail(count: int, trials: int, rate: float) -> None:
    from scipy.stats import binom

    tail = min(binom.cdf(count, trials, rate), binom.sf(count - 1, trials, rate))
    assert binomial_p_value(count, trials, rate) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert binomial_probability(count, trials, rate) == pytest.approx(binom.pmf(count, trials, rate), rel=1e-9)


@pytest.mark.parametrize(("count", "rate", "p"), [(0, 0.0, 1.0), (1, 0.0, 0.0), (5, 1.0, 1.0), (4, 1.0, 0.0)])
def test_a_certain_rate_leaves_nothing_to_chance(count: int, rate: float, p: float) -> None:
    assert binomial_p_value(count, 5, rate) == p


def test_the_binomial_test_cries_wolf_no_more_often_than_it_says() -> None:
    """Exactly, by summing over all counts: at every level, the counts below it are no likelier than the level."""
    for level in (0.05, 0.01, 1e-4, 1e-9):
        rejected = [k for k in range(201) if binomial_p_value(k, 200, 0.3) < level]
        assert 0 < sum(binomial_probability(k, 200, 0.3) for k in rejected) <= level


def test_no_event_in_n_trials_bounds_the_rate_by_the_rule_of_three() -> None:
    assert upper_rate(0, 300) == pytest.approx(3 / 300, rel=0.01)
    assert upper_rate(0, 10) == pytest.approx(1 - 0.05**0.1)


def test_the_bound_of_a_rate_is_that_of_clopper_and_pearson() -> None:
    assert upper_rate(1, 10) == pytest.approx(
        0.394163, abs=1e-6
    )  # tables: one-sided 95 %, the 90 % interval's upper end
    assert upper_rate(2, 20) == pytest.approx(0.282619, abs=1e-6)
    assert upper_rate(5, 5) == 1.0


# --- quantiles ---


def test_a_quantile_is_the_first_sample_that_enough_do_not_exceed() -> None:
    hundred = [float(i) for i in range(100, 0, -1)]
    assert [quantile(hundred, share) for share in (0.0, 0.5, 0.9, 0.99, 1.0)] == [1.0, 50.0, 90.0, 99.0, 100.0]
    assert quantile([7.0], 0.99) == 7.0


def test_a_quantiles_interval_is_that_of_the_median_in_the_middle() -> None:
    for n in (5, 6, 7, 20, 101):
        samples = [float(i) for i in range(n)]
        assert quantile_interval(samples, 0.5) == median_interval(samples)


def test_the_interval_of_p99_takes_368_samples() -> None:
    """0.99^368 = 0.0248: that often all lie below it, and no sample bounds it from above."""
    samples = [float(i) for i in range(1, 369)]
    assert quantile_interval(samples[:-1], 0.99) is None
    found = quantile_interval(samples, 0.99)
    assert found is not None
    assert found.high == 368.0
    below = sum(comb(368, k) * 0.99**k * 0.01 ** (368 - k) for k in range(int(found.low)))
    assert below <= 0.025


def test_a_quantiles_interval_holds_it_as_often_as_it_says() -> None:
    random = Random(0)
    held = 0
    for _ in range(400):
        found = quantile_interval([random.random() for _ in range(100)], 0.9)
        assert found is not None
        held += found.low <= 0.9 <= found.high
    assert held >= 0.95 * 400 - 3 * (400 * 0.95 * 0.05) ** 0.5
