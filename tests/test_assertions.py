"""The assertions that checks are made of: what they let pass, what they refuse, and when they refuse to judge."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from vitbench.assertions import (
    NUMERICS_FACTOR,
    NUMERICS_GRADIENT_FACTOR,
    NUMERICS_ULPS,
    SEMANTICS_RELATIVE,
    accept,
    assert_bernoulli,
    assert_changed,
    assert_consistent,
    assert_equal,
    assert_holds,
    assert_numerics,
    assert_same_bits,
    assert_semantics,
    assert_tensor,
    margin_text,
    moved,
)
from vitbench.errors import HarnessError, RequirementFailed
from vitbench.evidence import Evidence, collecting, current_evidence

EXPECTED = torch.tensor([[1.0, -2.0, 4.0], [0.5, 0.0, 3.0]], dtype=torch.float64)  # the largest is 4
BOUND = 4e-10
COMPARISONS = [assert_semantics, assert_consistent]
NAN, INFINITY = float("nan"), float("inf")

Comparison = Callable[..., None]


@pytest.fixture
def evidence() -> Iterator[Evidence]:
    with collecting() as collected:
        yield collected


def off_by(error: float, place: tuple[int, int] = (1, 1)) -> Tensor:
    """The expected values with an error in one element; (1, 1) is zero, so that nothing is lost to rounding."""
    actual = EXPECTED.clone()
    actual[place] += error
    return actual


def refusal(kind: type[Exception], call: Callable[..., None], *arguments: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    return str(caught.value)


# --- tier S ---


def test_a_row_has_moved_when_more_than_rounding_has_changed_it() -> None:
    assert moved(off_by(1e-9), EXPECTED).tolist() == [False, True]
    assert moved(off_by(1e-10), EXPECTED).tolist() == [False, False]


def test_what_float32_inside_rounds_has_not_moved(evidence: Evidence) -> None:
    evidence.float32_inside = True
    assert moved(off_by(1e-5), EXPECTED).tolist() == [False, False]
    assert moved(off_by(1e-3), EXPECTED).tolist() == [False, True]


def test_float32_inside_is_allowed_for_where_positions_were_resized_in_float32_too(evidence: Evidence) -> None:
    evidence.float32_inside = True
    assert_consistent(off_by(1e-5), EXPECTED, "x", float32_error=1e-9, witness=EXPECTED)


def test_the_bound_of_tier_s_is_the_documented_one() -> None:
    assert SEMANTICS_RELATIVE == 1e-10


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("error", [0.0, 0.99 * BOUND, -0.99 * BOUND])
def test_an_error_just_within_the_bound_passes(compare: Comparison, error: float, evidence: Evidence) -> None:
    compare(off_by(error), EXPECTED, "logits")
    assert evidence.worst_margin == pytest.approx(abs(error) / BOUND)
    assert evidence.assertions > 0


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("error", [1.01 * BOUND, -1.01 * BOUND, 1.0, 1e300])
def test_an_error_just_beyond_the_bound_fails(compare: Comparison, error: float, evidence: Evidence) -> None:
    refusal(RequirementFailed, compare, off_by(error), EXPECTED, "logits")
    assert evidence.worst_margin == pytest.approx(abs(error) / BOUND)


@pytest.mark.parametrize("place", [(r, c) for r in range(2) for c in range(3)])
def test_every_element_counts(place: tuple[int, int]) -> None:
    refusal(RequirementFailed, assert_semantics, off_by(1e-3, place), EXPECTED, "logits")


def test_the_bound_follows_the_largest_expected_value() -> None:
    assert_semantics(1e6 * off_by(0.99 * BOUND), 1e6 * EXPECTED, "logits")
    refusal(RequirementFailed, assert_semantics, 1e-6 * off_by(1.01 * BOUND), 1e-6 * EXPECTED, "logits")


def test_a_failure_says_what_came_what_is_right_where_and_how_much_is_allowed() -> None:
    actual = off_by(0.25, (0, 2))
    actual[1, 0] += 0.125
    assert refusal(RequirementFailed, assert_semantics, actual, EXPECTED, "logits") == (
        "logits: 4.25 where 4 is right, at index (0, 2) of shape (2, 3); largest error 0.25, allowed 4e-10 "
        "(1e-10 of the largest expected value); 2 of 6 elements are wrong"
    )


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (EXPECTED.T, "logits: shape (3, 2), expected (2, 3)"),
        (EXPECTED[:1], "logits: shape (1, 3), expected (2, 3)"),
        (EXPECTED[None], "logits: shape (1, 2, 3), expected (2, 3)"),
        (torch.tensor(1.0).double(), "logits: shape (), expected (2, 3)"),
        (EXPECTED.float(), "logits: dtype float32, expected float64"),
        (EXPECTED.to(torch.complex128), "logits: dtype complex128, expected float64"),
        (off_by(NAN), "logits: 1 of 6 elements are NaN or infinite"),
        (off_by(INFINITY), "logits: 1 of 6 elements are NaN or infinite"),
        (EXPECTED * NAN, "logits: 6 of 6 elements are NaN or infinite"),
    ],
)
def test_another_shape_dtype_or_nan_fails_before_any_comparison(compare: Comparison, actual: Tensor, told: str) -> None:
    assert refusal(RequirementFailed, compare, actual, EXPECTED, "logits") == told


@pytest.mark.parametrize("impostor", [torch.zeros_like, torch.ones_like, lambda t: t * NAN, lambda t: t.mean() + 0 * t])
def test_nothing_vacuous_passes_for_a_right_answer(impostor: Callable[[Tensor], Tensor]) -> None:
    for compare in COMPARISONS:
        refusal(RequirementFailed, compare, impostor(EXPECTED), EXPECTED, "logits")


VACUOUS = [
    (torch.zeros(2, 3), "zero"),
    (torch.full((2, 3), 5.0), "constant"),
    (torch.full((2, 3), -5.0), "constant"),
    (5 + 1e-11 * torch.arange(6.0).double(), "constant"),
    (torch.tensor([1.0, NAN]), "empty or not finite"),
    (torch.tensor([1.0, INFINITY]), "empty or not finite"),
    (torch.zeros(0, 3), "empty or not finite"),
]


@pytest.mark.parametrize(("expected", "flaw"), VACUOUS)
def test_a_vacuous_reference_is_the_harnesss_error(expected: Tensor, flaw: str) -> None:
    expected = expected.double()
    told = refusal(HarnessError, assert_semantics, expected, expected, "logits")
    assert told == f"logits: the reference is {flaw}; nothing can be compared with it"


@pytest.mark.parametrize(("expected", "flaw"), VACUOUS)
@pytest.mark.parametrize("compare", [assert_consistent, assert_changed])
def test_vacuous_answers_of_the_candidate_are_its_failure(compare: Comparison, expected: Tensor, flaw: str) -> None:
    expected = expected.double()
    told = refusal(RequirementFailed, compare, expected, expected, "logits")
    assert told == f"logits: the candidate's own answers are {flaw}, whatever the images and weights"


def test_a_reference_may_be_constant_where_that_is_what_is_right() -> None:
    ones = torch.ones(2, 3, dtype=torch.float64)
    assert_semantics(ones, ones, "sums", varied=False)
    refusal(RequirementFailed, assert_semantics, ones + 1e-9, ones, "sums", varied=False)
    refusal(HarnessError, assert_semantics, 0 * ones, 0 * ones, "sums", varied=False)


def test_a_single_number_is_no_constant() -> None:
    one = torch.tensor([[2.0]], dtype=torch.float64)
    assert_semantics(one, one, "logits")
    refusal(RequirementFailed, assert_semantics, one + 1e-9, one, "logits")


def test_the_worst_margin_of_several_comparisons_is_kept(evidence: Evidence) -> None:
    for share in (0.2, 0.7, 0.4):
        assert_semantics(off_by(share * BOUND), EXPECTED, "logits")
    assert evidence.worst_margin == pytest.approx(0.7)


# --- the float32 rule ---

SINGLE_ERROR = 1e-7
FLOAT32_BOUND = 4 * SINGLE_ERROR + 2 * 2**-23 * 4  # four times the reference's own error, and two ulp of the largest
STEP = 2.0**-40  # (1, 1) is zero, so that any power of two lies on the float32 grid


@pytest.mark.parametrize("compare", COMPARISONS)
def test_a_result_on_the_float32_grid_is_judged_by_what_float32_costs(compare: Comparison, evidence: Evidence) -> None:
    error = math.floor(0.99 * FLOAT32_BOUND / STEP) * STEP
    compare(off_by(error), EXPECTED, "attention", float32_error=SINGLE_ERROR)
    assert evidence.worst_margin == pytest.approx(error / FLOAT32_BOUND)
    assert evidence.notes == ["attention: computed in float32 for float64 input; judged by float32's error"]


@pytest.mark.parametrize("compare", COMPARISONS)
def test_the_float32_rule_has_a_bound_of_its_own(compare: Comparison) -> None:
    error = math.ceil(1.01 * FLOAT32_BOUND / STEP) * STEP
    told = refusal(RequirementFailed, compare, off_by(error), EXPECTED, "attention", float32_error=SINGLE_ERROR)
    assert "(4 times the reference's own error in float32)" in told
    assert f"allowed {FLOAT32_BOUND:.3g} " in told


def test_a_result_off_the_float32_grid_is_judged_as_float64(evidence: Evidence) -> None:
    actual = off_by(1e-8)  # less than float32 costs
    actual[0, 0] += 1e-12  # and no float32 number
    told = refusal(RequirementFailed, assert_semantics, actual, EXPECTED, "attention", float32_error=SINGLE_ERROR)
    assert "(1e-10 of the largest expected value)" in told
    assert evidence.notes == []


def test_without_a_float32_error_the_grid_is_no_excuse() -> None:
    refusal(RequirementFailed, assert_semantics, off_by(2.0**-30), EXPECTED, "logits")


def test_a_witness_tells_in_the_results_stead_whether_float32_was_used(evidence: Evidence) -> None:
    actual = off_by(1e-8)
    actual[0, 0] += 1e-12
    options: Any = {"float32_error": SINGLE_ERROR}
    assert_semantics(actual, EXPECTED, "sums", witness=torch.tensor([0.5], dtype=torch.float64), **options)
    assert len(evidence.notes) == 1
    finer = torch.tensor([0.1], dtype=torch.float64)
    refusal(RequirementFailed, assert_semantics, off_by(2.0**-30), EXPECTED, "sums", witness=finer, **options)


def test_a_witness_in_float32_is_no_witness_for_float64() -> None:
    """It would lie on its own grid whatever was computed."""
    witness = torch.tensor([0.1])
    refusal(
        RequirementFailed, assert_semantics, off_by(1e-8), EXPECTED, "sums", float32_error=SINGLE_ERROR, witness=witness
    )


# --- tier N ---

ULP = 2.0**-7  # bfloat16's at 1; the largest of EXPECTED is 4
NEAR = EXPECTED.bfloat16()  # exact
ROUGH = off_by(0.125).bfloat16()  # an order of evaluation that costs an eighth
NUMERICS_BOUND = 2 * 0.125 + 2 * ULP * 4


def test_the_constants_of_tier_n_are_the_documented_ones() -> None:
    assert (NUMERICS_FACTOR, NUMERICS_GRADIENT_FACTOR, NUMERICS_ULPS) == (2, 3, 2)


@pytest.mark.parametrize("share", [0.0, 0.99, -0.99])
def test_an_error_twice_the_worst_order_and_two_ulp_passes(share: float, evidence: Evidence) -> None:
    assert_numerics(off_by(share * NUMERICS_BOUND).float(), EXPECTED, [NEAR, ROUGH, NEAR], "logits")
    assert evidence.worst_margin == pytest.approx(abs(share), abs=1e-6)
    assert evidence.assertions > 0


@pytest.mark.parametrize("place", [(r, c) for r in range(2) for c in range(3)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_error_beyond_it_fails_in_whichever_element(place: tuple[int, int], sign: float) -> None:
    actual = off_by(sign * 1.01 * NUMERICS_BOUND, place)
    told = refusal(RequirementFailed, assert_numerics, actual.float(), EXPECTED, [ROUGH], "logits")
    assert "(2 times the reference's own error in bfloat16, plus 2 ulp)" in told
    assert "allowed 0.312 " in told
    assert "1 of 6 elements are wrong" in told


def test_two_ulp_are_allowed_where_the_reference_is_exact_by_chance() -> None:
    assert_numerics(off_by(0.99 * 2 * ULP * 4).float(), EXPECTED, [NEAR], "logits")
    refusal(RequirementFailed, assert_numerics, off_by(1.01 * 2 * ULP * 4).float(), EXPECTED, [NEAR], "logits")


def test_gradients_have_a_factor_of_their_own() -> None:
    bound = 3 * 0.125 + 2 * ULP * 4
    assert_numerics(off_by(0.99 * bound).float(), EXPECTED, [ROUGH], "gradient", factor=NUMERICS_GRADIENT_FACTOR)
    actual = off_by(1.01 * bound).float()
    refusal(RequirementFailed, assert_numerics, actual, EXPECTED, [ROUGH], "gradient", factor=NUMERICS_GRADIENT_FACTOR)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_dtype_of_the_answer_is_not_tier_ns_matter(dtype: torch.dtype) -> None:
    assert_numerics(EXPECTED.to(dtype), EXPECTED, [NEAR], "logits")


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (NEAR.T, "logits: shape (3, 2), expected (2, 3)"),
        (off_by(NAN).bfloat16(), "logits: 1 of 6 elements are NaN or infinite"),
        (off_by(1e39).bfloat16(), "logits: 1 of 6 elements are NaN or infinite"),
        (EXPECTED.int(), "logits: dtype int32, expected a floating one"),
        (EXPECTED.to(torch.complex64), "logits: dtype complex64, expected a floating one"),
    ],
)
def test_no_answer_of_another_kind_comes_to_a_comparison_in_tier_n(actual: Tensor, told: str) -> None:
    assert refusal(RequirementFailed, assert_numerics, actual, EXPECTED, [NEAR], "logits") == told


@pytest.mark.parametrize(("expected", "flaw"), VACUOUS)
def test_a_vacuous_reference_is_no_reference_in_tier_n_either(expected: Tensor, flaw: str) -> None:
    told = refusal(HarnessError, assert_numerics, expected, expected.double(), [expected.bfloat16()], "logits")
    assert told == f"logits: the reference is {flaw}; nothing can be compared with it"


@pytest.mark.parametrize("error", [1.5, 4.0, NAN, INFINITY])  # zeros are off by 4, the best constant, 1, by 3
def test_an_error_so_large_that_a_constant_would_pass_is_the_harnesss_error(error: float) -> None:
    told = refusal(HarnessError, assert_numerics, NEAR, EXPECTED, [off_by(error).bfloat16(), NEAR], "logits")
    assert "the reference is too near zeros or a constant for the error allowed" in told


def test_just_below_it_a_constant_and_zeros_fail() -> None:
    rough = off_by(1.375).bfloat16()
    assert_numerics(NEAR, EXPECTED, [rough], "logits")
    for impostor in (torch.zeros(2, 3), torch.ones(2, 3), EXPECTED.mean().float().expand(2, 3)):
        refusal(RequirementFailed, assert_numerics, impostor, EXPECTED, [rough], "logits")


def test_where_a_constant_is_right_zeros_still_fail() -> None:
    ones = torch.ones(2, 3, dtype=torch.float64)
    assert_numerics(ones.bfloat16(), ones, [ones.bfloat16()], "sums", varied=False)
    refusal(HarnessError, assert_numerics, ones.bfloat16(), ones, [0.5 * ones.bfloat16()], "sums", varied=False)
    refusal(RequirementFailed, assert_numerics, 0 * ones, ones, [0.75 * ones.bfloat16()], "sums", varied=False)


@pytest.mark.parametrize(
    ("expected", "in_dtype"),
    [
        (EXPECTED, []),
        (EXPECTED.float(), [NEAR]),
        (EXPECTED, [EXPECTED]),
        (EXPECTED, [NEAR, EXPECTED.half()]),
        (EXPECTED, [NEAR[:1]]),
        (EXPECTED, [NEAR, NEAR[:1]]),
    ],
)
def test_tier_n_refuses_references_that_say_nothing_of_one_dtype(expected: Tensor, in_dtype: list[Tensor]) -> None:
    refusal(HarnessError, assert_numerics, NEAR, expected, in_dtype, "logits")


# --- tier E ---


def test_a_tensor_of_the_right_shape_and_dtype_passes(evidence: Evidence) -> None:
    assert_tensor(EXPECTED, (2, 3), torch.float64, "tokens")
    assert (evidence.assertions, evidence.worst_margin) == (1, None)


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (EXPECTED.T, "tokens: shape (3, 2), expected (2, 3)"),
        (EXPECTED.bfloat16(), "tokens: dtype bfloat16, expected float64"),
        (off_by(-INFINITY), "tokens: 1 of 6 elements are NaN or infinite"),
    ],
)
def test_a_tensor_of_another_kind_says_which(actual: Tensor, told: str) -> None:
    assert refusal(RequirementFailed, assert_tensor, actual, (2, 3), torch.float64, "tokens") == told


def test_plain_values_are_equal_or_told(evidence: Evidence) -> None:
    assert_equal([1, "a"], [1, "a"], "names")
    assert refusal(RequirementFailed, assert_equal, ["b"], [], "names") == "names: ['b'], expected []"
    assert evidence.assertions == 2


def test_the_same_bits_are_exact() -> None:
    assert_same_bits(EXPECTED.clone(), EXPECTED, "class row")
    told = refusal(RequirementFailed, assert_same_bits, off_by(2.0**-52, (0, 0)), EXPECTED, "class row")
    assert told == "class row: not the same bits; largest difference 2.22e-16"


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (EXPECTED[:, :2], "class row: shape (2, 2), expected (2, 3)"),
        (EXPECTED.float(), "class row: dtype float32, expected float64"),
        (EXPECTED * NAN, "class row: 6 of 6 elements are NaN or infinite"),
    ],
)
def test_the_same_bits_have_the_same_shape_and_dtype(actual: Tensor, told: str) -> None:
    assert refusal(RequirementFailed, assert_same_bits, actual, EXPECTED, "class row") == told


@pytest.mark.parametrize("error", [1.01 * BOUND, -1.0, 100.0])
def test_a_change_beyond_rounding_is_a_change(error: float) -> None:
    assert_changed(off_by(error), EXPECTED, "logits")


@pytest.mark.parametrize("error", [0.0, 0.99 * BOUND, -0.99 * BOUND])
def test_rounding_is_no_change(error: float) -> None:
    told = refusal(RequirementFailed, assert_changed, off_by(error), EXPECTED, "logits")
    assert told == "logits: the result does not change (by less than 4e-10)"


def test_a_change_to_nan_is_no_change() -> None:
    refusal(RequirementFailed, assert_changed, EXPECTED * NAN, EXPECTED, "logits")


def test_a_fact_holds_or_is_told(evidence: Evidence) -> None:
    assert_holds(condition=True, failure="patch 3 changes 2 tokens")
    told = refusal(RequirementFailed, assert_holds, condition=False, failure="patch 3 changes 2 tokens")
    assert told == "patch 3 changes 2 tokens"
    assert evidence.assertions == 2


def test_an_allowed_outcome_counts_as_an_assertion(evidence: Evidence) -> None:
    accept("refused, as it must be")
    assert (evidence.assertions, evidence.worst_margin) == (1, None)


# --- evidence ---


def test_evidence_belongs_to_the_check_that_runs() -> None:
    with collecting() as outer:
        assert_equal(1, 1, "outer")
        with collecting() as inner:
            assert current_evidence() is inner
            assert_equal(1, 1, "inner")
            assert_equal(1, 1, "inner")
        assert current_evidence() is outer
    assert (outer.assertions, inner.assertions) == (1, 2)


def test_outside_of_any_check_evidence_goes_nowhere() -> None:
    assert_equal(1, 1, "nobody reads this")
    assert current_evidence().assertions == 0


def test_a_note_is_made_once() -> None:
    evidence = Evidence()
    for text in ("one", "two", "one"):
        evidence.note(text)
    assert evidence.notes == ["one", "two"]


@pytest.mark.parametrize(
    ("margin", "text"),
    [
        (None, "exact"),
        (0.0, "0 times the allowed error"),
        (0.123, "0.12 times the allowed error"),
        (2.5e9, "2.5e+09 times the allowed error"),
        (NAN, "not finite"),
        (INFINITY, "not finite"),
    ],
)
def test_a_margin_is_told_as_a_share_of_the_allowed_error(margin: float | None, text: str) -> None:
    assert margin_text(margin) == text


# --- random masks ---


def draw(shape: tuple[int, ...], rate: float) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3)) < rate


@pytest.mark.parametrize("shape", [(3000,), (2, 50, 30), (60, 5, 1, 10)])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_mask_drawn_with_the_rate_passes(shape: tuple[int, ...], rate: float) -> None:
    assert_bernoulli(draw(shape, rate), rate, "mask")


@pytest.mark.parametrize("wrong", [0.2, 0.4, 0.7])
def test_a_mask_of_another_rate_fails(wrong: float) -> None:
    with pytest.raises(RequirementFailed, match=r"mask: \d+ of 3000, a rate of 0\.\d+ where 0\.300 is right"):
        assert_bernoulli(draw((3000,), wrong), 0.3, "mask")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mask_shared_along_an_axis_fails(axis: int) -> None:
    shape = [20, 20, 20]
    drawn = draw(tuple(1 if i == axis else n for i, n in enumerate(shape)), 0.3).expand(shape)
    with pytest.raises(RequirementFailed, match=r"neighbours along axis \d that differ: \d+ of 4000"):
        assert_bernoulli(drawn, drawn.double().mean().item(), "mask")


def test_a_mask_too_small_to_fail_is_the_harness_error() -> None:
    with pytest.raises(HarnessError, match="20 trials are too few to tell a rate"):
        assert_bernoulli(draw((20,), 0.3), 0.3, "mask")
