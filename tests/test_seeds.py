"""Figures over several seeds: means and intervals worked out by hand, from a table of Student's t."""

from math import inf, nan, sqrt

import pytest

from vitbench.seeds import BY_T, SHARE, curve_over_seeds, mean_interval, over_seeds

pytest.importorskip("scipy")


def test_the_interval_is_students_of_the_mean() -> None:
    """Of 1, 2, 3: mean 2, standard deviation 1, and t of 2 degrees of freedom at 97.5 % is 4.3027."""
    assert mean_interval([1, 2, 3]) == pytest.approx((2 - 4.30265 / sqrt(3), 2 + 4.30265 / sqrt(3)), abs=1e-4)
    assert mean_interval([1, 1, 3, 3, 2]) == pytest.approx((2 - 2.77645 * 1 / sqrt(5), 2 + 2.77645 / sqrt(5)), abs=1e-4)


def test_an_interval_ends_where_the_quantity_does() -> None:
    assert mean_interval([0.9, 1.0], SHARE) == (pytest.approx(0.95 - 12.7062 * 0.05, abs=1e-4), 1.0)
    assert mean_interval([0.0, 0.1], SHARE) == (0.0, pytest.approx(0.05 + 12.7062 * 0.05, abs=1e-4))


def test_one_value_and_what_is_not_finite_have_no_interval() -> None:
    assert [mean_interval(values) for values in ([], [1.0], [1.0, nan], [1.0, inf])] == [None] * 4


def test_a_figure_has_mean_spread_and_interval_and_none_where_a_value_is_no_number() -> None:
    found = over_seeds("accuracy", [0.25, 0.75], within=SHARE)
    assert (found.value, found.low, found.high, found.seeds, found.interval) == (0.5, 0.0, 1.0, 2, BY_T)
    assert found.spread == pytest.approx(sqrt(0.125))
    alone = over_seeds("accuracy", [0.9])
    assert (alone.value, alone.spread, alone.low, alone.interval) == (0.9, None, None, "")
    for values in ([], [nan, 1.0]):
        found = over_seeds("accuracy", values)
        assert (found.value, found.spread, found.low, found.high, found.interval) == (None, None, None, None, "")


def test_a_curve_has_a_gap_where_no_run_has_a_figure_and_the_mean_of_those_that_have() -> None:
    found = curve_over_seeds("loss", "ViT", ("step", "nats"), [1, 2, 3], [[1.0, nan, 3.0], [3.0, nan, nan]])
    assert (found.y, found.seeds) == ([2.0, None, 3.0], 2)
    assert [low is None for low in found.low] == [high is None for high in found.high] == [False, True, True]
    alone = curve_over_seeds("loss", "ViT", ("step", "nats"), [1, 2], [[1.0, 3.0]])
    assert (alone.y, alone.low, alone.high, alone.interval) == ([1.0, 3.0], (), (), "")
