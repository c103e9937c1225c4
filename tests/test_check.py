"""From a test function to a verdict: which examples it is run on, what counts as what, and when the harness is at fault."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from vitbench import check as check_module
from vitbench.assertions import assert_equal, assert_holds
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import (
    EQUAL_COUNT_GRIDS,
    Case,
    ResizeCase,
    equal_count_cases,
    random_images,
    resize_cases,
    vit_cases,
)
from vitbench.check import EXAMPLES, Judgement, classify, configured, given, judge, requirement, requirement_of, sampled
from vitbench.errors import HarnessError, NotSupported, RequirementFailed
from vitbench.evidence import Evidence, current_evidence
from vitbench.reference.config import ViTConfig
from vitbench.requirement import Status
from vitbench.specification import REQUIREMENTS

ID = "VIT-HEAD-LOGITS"
NOBODY: Any = None  # the checks here look at no candidate


def judged(body: Callable[..., None], *, seed: int = 0, preset: str = "quick", **strategies: Any) -> Judgement:
    """A check of this body, judged."""
    return judge(configured(requirement(ID)(given(**strategies)(body)), preset, seed), NOBODY)


def whole_numbers() -> st.SearchStrategy[int]:
    return st.integers(0, 1000)


def drawn(seed: int, preset: str = "quick") -> list[int]:
    """The examples that a seed draws."""
    seen: list[int] = []

    def body(impl: Candidate, case: int) -> None:
        seen.append(case)
        assert_equal(case, case, "case")

    judged(body, seed=seed, preset=preset, case=whole_numbers())
    return seen


# --- examples ---


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_a_preset_has_its_number_of_examples(preset: str) -> None:
    def body(impl: Candidate, case: int) -> None:
        assert_equal(case, case, "case")

    judgement = judged(body, preset=preset, case=whole_numbers())
    assert (judgement.status, judgement.evidence.examples) == (Status.PASSED, EXAMPLES[preset])


def test_a_check_may_have_a_number_of_examples_of_its_own() -> None:
    @requirement(ID)
    @given(case=whole_numbers(), examples={"quick": 3, "standard": 7})
    def check(impl: Candidate, case: int) -> None:
        assert_equal(case, case, "case")

    counts = {p: judge(configured(check, p, 0), NOBODY).evidence.examples for p in EXAMPLES}
    assert counts == {"quick": 3, "standard": 7, "full": EXAMPLES["full"]}


LARGE = 10**6
QUICK = EXAMPLES["quick"]


def checked_beyond(fails: Callable[[int], bool], seen: list[int]) -> Callable[..., None]:
    """A check of whole numbers, and of one that is too large to be drawn."""

    @requirement(ID)
    @given(case=whole_numbers(), beyond=({"case": LARGE},))
    def check(impl: Candidate, case: int) -> None:
        seen.append(case)
        assert_holds(not fails(case), f"{case} fails")

    return check


def test_a_larger_example_is_tried_once_after_those_that_are_drawn() -> None:
    seen: list[int] = []
    judgement = judge(configured(checked_beyond(lambda _case: False, seen), "quick", 0), NOBODY)
    assert (judgement.status, judgement.evidence.examples) == (Status.PASSED, EXAMPLES["quick"] + 1)
    assert (seen.count(LARGE), seen[-1]) == (1, LARGE)


def test_a_larger_example_can_fail() -> None:
    judgement = judge(configured(checked_beyond(lambda case: case == LARGE, []), "quick", 0), NOBODY)
    assert (judgement.status, judgement.reason) == (Status.FAILED, f"{LARGE} fails")


def test_no_larger_example_is_tried_where_a_small_one_fails() -> None:
    seen: list[int] = []
    judgement = judge(configured(checked_beyond(lambda _case: True, seen), "quick", 0), NOBODY)
    assert (judgement.reason, LARGE in seen) == ("0 fails", False)


def test_a_sample_has_the_larger_example_too() -> None:
    seen: list[int] = []
    judge(sampled(checked_beyond(lambda _case: False, seen), 3, 0), NOBODY)
    assert (len(seen), seen[-1]) == (4, LARGE)


def test_an_argument_may_be_drawn_in_another_way_for_each_preset() -> None:
    seen: list[str] = []

    @requirement(ID)
    @given(way={"quick": st.just("short"), "standard": st.just("usual"), "full": st.just("long")}, examples={"full": 1})
    def check(impl: Candidate, way: str) -> None:
        seen.append(way)
        assert_equal(way, way, "way")

    for preset in EXAMPLES:
        judge(configured(check, preset, 0), NOBODY)
    assert dict.fromkeys(seen) == dict.fromkeys(["short", "usual", "long"])


def test_presets_grow() -> None:
    assert EXAMPLES == {"quick": 8, "standard": 45, "full": 500}


def test_the_same_seed_draws_the_same_examples_and_another_seed_others() -> None:
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_examples_depend_on_the_seed_alone_and_not_on_global_random_state() -> None:
    random.seed(1)
    torch.manual_seed(1)
    first = drawn(3)
    random.seed(2)
    torch.manual_seed(2)
    assert drawn(3) == first


def test_a_check_can_be_configured_again() -> None:
    seen: list[int] = []

    @requirement(ID)
    @given(case=whole_numbers())
    def check(impl: Candidate, case: int) -> None:
        seen.append(case)
        assert_equal(case, case, "case")

    for seed in (5, 5, 6):
        judge(configured(check, "quick", seed), NOBODY)
    assert seen[:QUICK] == seen[QUICK : 2 * QUICK] == drawn(5)
    assert seen[2 * QUICK :] == drawn(6)


def test_a_check_without_examples_runs_once() -> None:
    @requirement(ID)
    def check(impl: Candidate) -> None:
        assert_equal(1, 1, "one")

    judgement = judge(configured(check, "full", 0), NOBODY)
    assert (judgement.status, judgement.evidence.examples, judgement.evidence.example) == (Status.PASSED, 1, "")


def test_each_example_starts_from_the_same_global_seed_and_leaves_the_state_as_it_was() -> None:
    first: set[float] = set()

    def body(impl: Candidate, case: int) -> None:
        first.add(torch.rand(()).item())
        assert_equal(case, case, "case")

    for outer in (77, 78):
        torch.manual_seed(outer)
        before = torch.get_rng_state()
        judged(body, case=whole_numbers())
        assert torch.equal(torch.get_rng_state(), before)
    assert len(first) == 1


# --- outcomes ---


def test_a_failure_is_shrunk_to_the_smallest_example_and_tells_its_reason() -> None:
    def body(impl: Candidate, case: int) -> None:
        assert_holds(condition=case < 137, failure=f"{case} is too many")

    judgement = judged(body, case=whole_numbers())
    assert (judgement.status, judgement.reason) == (Status.FAILED, "137 is too many")
    assert judgement.evidence.example == "137"


@pytest.mark.parametrize("most", [0, 10, 40])
def test_the_search_for_a_smaller_example_is_bounded(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In runs since the first failure, but for examples that failed before: hypothesis asks for those again."""

    def searched(bound: int) -> int:
        monkeypatch.setattr(check_module, "_MOST_SHRINKING_RUNS", bound)
        runs: list[str] = []

        def body(impl: Candidate, case: list[int]) -> None:
            runs.append(str(case))
            assert_holds(condition=sum(n % 7 for n in case) < 12, failure="too much")  # jagged: much to try

        judgement = judged(body, case=st.lists(st.integers(0, 1000), min_size=6, max_size=6))
        assert judgement.status == Status.FAILED
        first = next(i for i, run in enumerate(runs) if sum(n % 7 for n in json.loads(run)) >= 12)
        return len(set(runs[first:]) - {runs[first]})

    assert searched(most) <= most < searched(10_000)


def test_a_verdicts_search_is_bounded_by_some_tens_of_examples() -> None:
    assert check_module._MOST_SHRINKING_RUNS == 40


def test_what_is_out_of_reach_is_counted_and_is_no_pass() -> None:
    def body(impl: Candidate, case: int) -> None:
        raise NotSupported("square images only")

    judgement = judged(body, case=whole_numbers())
    assert (judgement.status, judgement.reason) == (Status.NOT_OFFERED, "square images only")
    assert (judgement.evidence.examples, judgement.evidence.unsupported) == (0, QUICK)


def test_examples_out_of_reach_are_counted_beside_those_within() -> None:
    seen: list[int] = []

    def body(impl: Candidate, case: int) -> None:
        seen.append(case)
        if case % 2:
            raise NotSupported("even numbers only")
        assert_equal(case, case, "case")

    judgement = judged(body, case=whole_numbers())
    odd = sum(case % 2 for case in seen)
    assert 0 < odd < QUICK
    assert judgement.status == Status.PASSED
    assert (judgement.evidence.examples, judgement.evidence.unsupported) == (QUICK - odd, odd)


def test_not_supported_without_any_example_is_not_offered() -> None:
    @requirement(ID)
    def check(impl: Candidate) -> None:
        raise NotSupported("no such head")

    assert judge(configured(check, "quick", 0), NOBODY).status == Status.NOT_OFFERED


def test_a_check_that_asserts_nothing_is_an_error_of_the_harness() -> None:
    judgement = judged(lambda impl, case: None, case=whole_numbers())
    assert judgement.status == Status.ERROR
    assert judgement.reason == ("HarnessError: the check asserted nothing for 0; it could not have failed")


def test_asserting_something_for_one_example_does_not_excuse_the_next() -> None:
    def body(impl: Candidate, case: bool) -> None:
        if not case:
            assert_equal(1, 1, "one")

    judgement = judged(body, case=st.booleans())
    assert judgement.status == Status.ERROR
    assert "the check asserted nothing for True" in judgement.reason


def test_an_unexpected_exception_is_an_error_of_the_harness() -> None:
    def body(impl: Candidate, case: int) -> None:
        raise IndexError("list index out of range")

    judgement = judged(body, case=whole_numbers())
    assert (judgement.status, judgement.reason) == (Status.ERROR, "IndexError: list index out of range")


def test_what_the_candidate_raises_is_its_failure() -> None:
    def body(impl: Candidate, case: int) -> None:
        raise CandidateRaised("logits() raised KeyError: 'z' (mine.py:3)")

    judgement = judged(body, case=whole_numbers())
    assert (judgement.status, judgement.reason) == (Status.FAILED, "logits() raised KeyError: 'z' (mine.py:3)")


def test_an_answer_that_differs_between_two_runs_is_a_failure_with_its_cause() -> None:
    seen: list[int] = []

    def body(impl: Candidate, case: int) -> None:
        seen.append(case)
        assert_holds(condition=len(seen) > 1, failure="noise beyond the bound")

    judgement = judged(body, case=whole_numbers())
    assert judgement.status == Status.FAILED
    assert judgement.reason.startswith("fails in one run of an example and passes in another: ")
    assert "RequirementFailed: noise beyond the bound" in judgement.reason


def test_an_interrupt_is_passed_on() -> None:
    def body(impl: Candidate, case: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(body, case=whole_numbers())


@pytest.mark.parametrize(
    ("error", "evidence", "status", "reason"),
    [
        (None, Evidence(examples=3), Status.PASSED, ""),
        (None, Evidence(examples=3, notes=["a", "b"]), Status.PASSED, "a; b"),
        (None, Evidence(unsupported=2, unsupported_reason="squares"), Status.NOT_OFFERED, "squares"),
        (None, Evidence(), Status.ERROR, "the check ran no example"),
        (NotSupported("no hook"), Evidence(examples=3), Status.NOT_OFFERED, "no hook"),
        (RequirementFailed("wrong"), Evidence(), Status.FAILED, "wrong"),
        (HarnessError("vacuous"), Evidence(examples=3), Status.ERROR, "HarnessError: vacuous"),
        (AssertionError("bare"), Evidence(), Status.ERROR, "AssertionError: bare"),
    ],
)
def test_classifies_what_a_check_raised(
    error: Exception | None, evidence: Evidence, status: Status, reason: str
) -> None:
    assert classify(error, evidence) == (status, reason)


def test_the_time_is_taken_from_the_clock_given() -> None:
    def body(impl: Candidate) -> None:
        assert_equal(1, 1, "one")

    ticks: Iterator[float] = iter([10.0, 12.5])
    judgement = judge(configured(requirement(ID)(body), "quick", 0), NOBODY, clock=lambda: next(ticks))
    assert judgement.duration_s == 2.5


def test_evidence_of_one_check_does_not_reach_the_next() -> None:
    def body(impl: Candidate, case: int) -> None:
        assert_equal(case, case, "case")
        current_evidence().note("once")

    first, second = (judged(body, case=whole_numbers()) for _ in range(2))
    assert (first.evidence.examples, second.evidence.examples) == (QUICK, QUICK)
    assert first.evidence is not second.evidence


# --- declarations ---


def test_a_check_of_an_undeclared_requirement_is_refused() -> None:
    with pytest.raises(HarnessError) as caught:
        requirement("VIT-HEAD-FAR")
    assert str(caught.value) == (
        "check of an undeclared requirement 'VIT-HEAD-FAR'; declare it in vitbench/specification/"
    )


def test_a_check_knows_its_requirement_and_other_functions_have_none() -> None:
    @requirement(ID)
    def check(impl: Candidate) -> None: ...

    assert requirement_of(check) is REQUIREMENTS[ID]
    assert requirement_of(configured(check, "quick", 0)) is REQUIREMENTS[ID]
    assert requirement_of(test_presets_grow) is None
    check.requirement = "VIT-HEAD-LOGITS"  # type: ignore[attr-defined]
    assert requirement_of(check) is None


def test_only_a_check_can_be_judged() -> None:
    with pytest.raises(HarnessError, match="is no check: it carries no @requirement"):
        judge(lambda impl: None, NOBODY)


# --- what checks draw ---


def examples_of(strategy: st.SearchStrategy[Any], preset: str = "standard") -> list[Any]:
    seen: list[Any] = []

    def body(impl: Candidate, case: Any) -> None:
        seen.append(case)
        assert_equal(1, 1, "one")

    judged(body, preset=preset, case=strategy)
    return seen


def distinct(values: Sequence[Any]) -> int:
    return len(set(values))


def test_cases_vary_in_everything_that_a_vision_transformer_has() -> None:
    cases = examples_of(vit_cases())
    configs = [case.config for case in cases]
    assert min(
        distinct([c.grid for c in configs]),
        distinct([c.patch_size for c in configs]),
        distinct([c.channels for c in configs]),
        distinct([c.num_heads for c in configs]),
        distinct([c.head_dim for c in configs]),
        distinct([c.mlp_dim for c in configs]),
        distinct([c.depth for c in configs]),
        distinct([c.num_classes for c in configs]),
        distinct([case.batch for case in cases]),
    ) >= 3  # fmt: skip
    assert all(1 <= case.batch <= 4 and case.config.num_tokens <= 16 for case in cases)


def test_a_failing_case_shrinks_to_one_that_is_not_degenerate() -> None:
    """A rectangular grid and rectangular patches, two of each: what is found there is found for a reason."""

    def body(impl: Candidate, case: Case) -> None:
        assert_holds(condition=False, failure="always")

    assert judged(body, case=vit_cases()).evidence.example == (
        "image 4×9, patch 2×3, channels 2, width 8, depth 2, heads 2, mlp 7, classes 3; batch 2, seed 0"
    )


def test_resize_cases_never_keep_the_count_and_equal_count_cases_always_do() -> None:
    changing: list[ResizeCase] = examples_of(resize_cases())
    keeping: list[ResizeCase] = examples_of(equal_count_cases())
    assert all(c.grid[0] * c.grid[1] != c.new_grid[0] * c.new_grid[1] for c in changing)
    assert all(c.grid[0] * c.grid[1] == c.new_grid[0] * c.new_grid[1] and c.grid != c.new_grid for c in keeping)
    assert {(c.grid, c.new_grid) for c in keeping} == set(EQUAL_COUNT_GRIDS)


def test_the_smallest_side_of_a_new_grid_is_kept_to() -> None:
    assert min(min(case.new_grid) for case in examples_of(resize_cases(smallest_side=2))) == 2


@pytest.mark.parametrize(
    ("case", "grid", "new_grid"),
    [
        (ResizeCase((2, 3), (3, 5), 4, 0), (3, 3), (5, 5)),
        (ResizeCase((7, 1), (3, 5), 4, 0), (7, 7), (5, 5)),
        (ResizeCase((2, 5), (5, 1), 4, 0), (5, 5), (6, 6)),
    ],
)
def test_a_squared_resize_case_still_changes_the_grid(
    case: ResizeCase, grid: tuple[int, int], new_grid: tuple[int, int]
) -> None:
    squared = case.squared()
    assert (squared.grid, squared.new_grid, squared.width, squared.seed) == (grid, new_grid, 4, 0)


def test_cases_read_as_a_person_would_write_them() -> None:
    config = ViTConfig(
        image_size=(4, 9), patch_size=(2, 3), channels=1, width=8, depth=1, num_heads=2, mlp_dim=7, num_classes=3,
        head="mlp", pool="mean",
    )  # fmt: skip
    assert str(Case(config, 4, 11)) == (
        "image 4×9, patch 2×3, channels 1, width 8, depth 1, heads 2, mlp 7, classes 3, head mlp, pool mean; "
        "batch 4, seed 11"
    )
    assert str(ResizeCase((2, 3), (4, 5), 8, 11)) == "grid 2×3 to 4×5, width 8, seed 11"


def test_images_of_a_seed_are_the_same_in_any_dtype_up_to_its_rounding() -> None:
    exact, single = random_images((2, 3, 4, 5), 6), random_images((2, 3, 4, 5), 6, torch.float32)
    assert torch.equal(single, exact.float())
    assert not torch.equal(exact, random_images((2, 3, 4, 5), 7))
    assert abs(exact.mean().item()) < 0.5 < exact.std().item() < 1.5
