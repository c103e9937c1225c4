"""When a gate decides: simulated pairs of which the truth is known, and cases that can be computed by hand."""

import math
import random
from collections import Counter

import pytest
from scipy import stats

from vitbench.errors import HarnessError
from vitbench.gating.decision import EXIT_CODES, GRAVEST_FIRST, Decision, gravest
from vitbench.gating.sequential import CellDecision, Design, estimate, look
from vitbench.statistics import upper_rate

NOISE = 0.012  # of a pair, as measured with the memory layout drawn anew
TRIALS = 2000


def decided(true: list[float], rng: random.Random, design: Design, noise: float = NOISE) -> dict[str, CellDecision]:
    """One gate over cells of these true log ratios, as ``duets`` goes about it."""
    pairs: dict[str, list[float]] = {str(i): [] for i in range(len(true))}
    state: dict[str, CellDecision] = {}
    for needed in design.looks:
        for key, mean in zip(pairs, true, strict=True):
            while len(pairs[key]) < needed:
                pairs[key].append(rng.gauss(mean, noise))
        state = look(pairs, state, design)
        if all(cell.decision is not Decision.INCONCLUSIVE for cell in state.values()):
            break
    return state


def outcomes(true: list[float], design: Design, seed: int, trials: int = TRIALS) -> Counter[Decision]:
    rng = random.Random(seed)
    return Counter(gravest(cell.decision for cell in decided(true, rng, design).values()) for _ in range(trials))


def test_identical_code_is_stopped_in_less_than_one_gate_of_a_hundred() -> None:
    found = outcomes([0.0], Design(), seed=1)
    assert upper_rate(found[Decision.REGRESSION], TRIALS) < Design().alpha
    assert found[Decision.PASS] > 0.95 * TRIALS


def test_a_slowdown_that_matters_is_stopped() -> None:
    found = outcomes([Design().delta], Design(), seed=2)
    assert found[Decision.REGRESSION] > 0.95 * TRIALS
    assert upper_rate(found[Decision.PASS], TRIALS) < 2 * Design().alpha


def test_a_large_slowdown_takes_few_pairs() -> None:
    rng = random.Random(3)
    pairs = [decided([0.05], rng, Design())["0"].estimate.pairs for _ in range(200)]
    assert sum(pairs) / len(pairs) < 8


def test_the_error_rate_is_that_of_all_cells_together() -> None:
    found = outcomes([0.0] * 8, Design(alpha=0.05), seed=4, trials=500)
    assert upper_rate(found[Decision.REGRESSION], 500) < 0.05


def test_without_correction_the_same_cells_would_be_accused_more_often() -> None:
    design, rng = Design(alpha=0.05), random.Random(4)
    raw = sum(
        any(
            stats.ttest_1samp([rng.gauss(0.0, NOISE) for _ in range(8)], 0.0, alternative="greater").pvalue
            < design.alpha
            for _ in range(8)
        )
        for _ in range(500)
    )
    assert raw > 3 * 0.05 * 500  # what the test above would show if it could not fail


def test_one_slow_cell_among_many_is_the_one_that_is_named() -> None:
    state = decided([0.0, 0.0, 0.05, 0.0], random.Random(5), Design())
    assert {key for key, cell in state.items() if cell.decision is Decision.REGRESSION} == {"2"}


def test_a_certain_slowdown_that_is_certainly_too_small_to_matter_passes() -> None:
    state = look({"a": [0.005 + 0.0001 * (-1) ** i for i in range(8)]}, {}, Design())
    assert state["a"].decision is Decision.PASS
    assert state["a"].estimate.low > 0


def test_what_was_decided_stays_so() -> None:
    early = look({"a": [0.05, 0.051, 0.049, 0.05]}, {}, Design())
    assert early["a"].decision is Decision.REGRESSION
    later = look({"a": [0.05, 0.051, 0.049, 0.05, -0.3]}, early, Design())
    assert later["a"].decision is Decision.REGRESSION


def test_noise_that_hides_everything_is_inconclusive() -> None:
    state = decided([0.01], random.Random(6), Design(), noise=0.2)
    assert state["0"].decision is Decision.INCONCLUSIVE
    assert state["0"].estimate.least_detectable > 0.1


def test_bounds_are_those_of_the_t_test() -> None:
    ratios, design = [0.01, 0.03, 0.02, 0.05, -0.01], Design(looks=(5,), alpha=0.01)
    found = estimate(ratios, design)
    expected = stats.ttest_1samp(ratios, 0.0, alternative="greater")
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.low == pytest.approx(expected.confidence_interval(0.99).low)
    assert found.high == pytest.approx(2 * found.mean - found.low)
    quantiles = stats.t.ppf(0.99, 4) + stats.t.ppf(design.power, 4)
    assert found.least_detectable == pytest.approx(quantiles * found.sd / math.sqrt(5))


def test_a_cell_that_passed_still_counts_among_those_that_share_the_error_rate() -> None:
    """One that is certainly slower, by too little to matter, makes it no easier to accuse the next."""
    design, passed = Design(looks=(4,), alpha=0.01), [0.005 + 0.0001 * (-1) ** i for i in range(4)]
    doubtful = [0.02, 0.045, 0.03, 0.048]
    assert design.share / 2 < estimate(doubtful, design).p_value < design.share
    before = look({"a": passed}, {}, design)
    assert before["a"].decision is Decision.PASS
    assert look({"b": doubtful}, {}, design)["b"].decision is Decision.REGRESSION
    assert look({"a": passed, "b": doubtful}, before, design)["b"].decision is Decision.INCONCLUSIVE


def test_pairs_that_are_all_the_same_decide_at_once() -> None:
    assert look({"a": [0.03] * 4}, {}, Design())["a"].decision is Decision.REGRESSION
    assert look({"a": [0.0] * 4}, {}, Design())["a"].decision is Decision.PASS


@pytest.mark.parametrize("ratios", [[0.01], [0.01, math.nan], [0.01, math.inf]])
def test_no_estimate_from_too_little_or_from_no_number(ratios: list[float]) -> None:
    with pytest.raises(HarnessError, match="2 finite log ratios or more"):
        estimate(ratios, Design())


@pytest.mark.parametrize("looks", [(), (1, 2), (4, 4), (6, 4)])
def test_looks_have_to_rise(looks: tuple[int, ...]) -> None:
    with pytest.raises(HarnessError, match="looks"):
        Design(looks=looks)


def test_every_decision_has_an_exit_code_of_its_own() -> None:
    assert set(EXIT_CODES) == set(GRAVEST_FIRST) == set(Decision)
    assert sorted(EXIT_CODES.values()) == [0, 1, 3, 4, 5, 6]


def test_what_is_worse_for_certain_outweighs_what_could_not_be_told() -> None:
    order = [Decision.INCORRECT, Decision.REGRESSION, Decision.NO_BASELINE, Decision.NOTHING_MEASURED]
    order += [Decision.INCONCLUSIVE, Decision.PASS]
    assert [gravest(order[i:]) for i in range(len(order))] == order


def test_nothing_measured_is_no_pass() -> None:
    assert gravest([]) is Decision.NOTHING_MEASURED
    assert gravest([Decision.PASS, Decision.NOTHING_MEASURED]) is Decision.NOTHING_MEASURED
