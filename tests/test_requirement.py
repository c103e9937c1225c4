"""What a requirement is, how outcomes are counted, and which word and exit code come of them."""

from typing import Any

import pytest

from vitbench.errors import HarnessError
from vitbench.requirement import AREAS, Level, Requirement, Status, Tally, Tier, Verdict, tally, verdict

DECLARATION: dict[str, Any] = {
    "id": "VIT-PATCH-COUNT",
    "level": Level.MUST,
    "statement": "An image must become N patches.",
    "rationale": "Counting by a square root breaks on rectangles.",
    "source": "Section 3.1",
}


def declared(**changes: Any) -> Requirement:
    return Requirement(**DECLARATION | changes)


def refusal(**changes: Any) -> str:
    with pytest.raises(HarnessError) as caught:
        declared(**changes)
    return str(caught.value)


def test_a_requirement_needs_no_hooks_and_is_judged_by_semantics_unless_it_says_so() -> None:
    requirement = declared()
    assert (requirement.area, requirement.hooks, requirement.tier, requirement.since) == (
        "PATCH",
        (),
        Tier.SEMANTICS,
        "0.1",
    )


@pytest.mark.parametrize("id_", ["VIT-ATTN-ROWS", "VIT-POS-EQUAL-COUNT", "VIT-NUM-FP16", "VIT-PATH-2"])
def test_an_id_names_its_area_and_one_or_more_words(id_: str) -> None:
    area = id_.split("-")[1]
    if area in AREAS:
        assert declared(id=id_).area == area
    else:
        assert refusal(id=id_) == f"requirement id {id_!r} is no VIT-AREA-NAME of the areas {', '.join(AREAS)}"


@pytest.mark.parametrize(
    "id_",
    [
        "", "VIT", "VIT-PATCH", "VIT-PATCH-", "VIT-PATCH--COUNT", "vit-patch-count", "VIT-PATCHES-COUNT",
        "VIT-PATCH-Count", "VIT-PATCH-COUNT ", " VIT-PATCH-COUNT", "VIT-PATCH-COUNT\n", "VIT_PATCH_COUNT",
        "PATCH-COUNT", "VIT-OTHER-COUNT",
    ],
)  # fmt: skip
def test_an_id_that_is_no_slug_of_a_known_area_is_refused(id_: str) -> None:
    assert refusal(id=id_) == f"requirement id {id_!r} is no VIT-AREA-NAME of the areas {', '.join(AREAS)}"


@pytest.mark.parametrize(
    ("level", "statement"),
    [
        (Level.MUST, "An image should become N patches."),
        (Level.SHOULD, "An image must become N patches."),
        (Level.MAY, "An image must become N patches."),
        (Level.MUST, "An image MUST become N patches."),
        (Level.MUST, "An image becomes N mustard patches."),
    ],
)
def test_a_statement_says_its_level_in_lower_case(level: Level, statement: str) -> None:
    told = refusal(level=level, statement=statement)
    assert told == f"VIT-PATCH-COUNT: the statement must say {level.value.lower()!r}: {statement!r}"


@pytest.mark.parametrize("level", Level)
def test_each_level_has_its_word(level: Level) -> None:
    assert declared(level=level, statement=f"An image {level.lower()} become N patches.").level == level


# --- counting ---

OUTCOMES = [
    (Level.MUST, Status.PASSED),
    (Level.MUST, Status.PASSED),
    (Level.MUST, Status.FAILED),
    (Level.MUST, Status.KNOWN_FAILURE),
    (Level.MUST, Status.NOT_OFFERED),
    (Level.MUST, Status.ERROR),
    (Level.SHOULD, Status.PASSED),
    (Level.SHOULD, Status.NOT_OFFERED),
]


def test_counts_one_level_by_status_and_a_known_failure_as_a_failure() -> None:
    assert tally(OUTCOMES, Level.MUST, 10) == Tally(total=10, passed=2, failed=2, not_offered=1, errors=1)
    assert tally(OUTCOMES, Level.SHOULD, 2) == Tally(total=2, passed=1, failed=0, not_offered=1, errors=0)
    assert tally(OUTCOMES, Level.MAY, 3) == Tally(total=3, passed=0, failed=0, not_offered=0, errors=0)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((4, 4, 0, 0, 0), "4/4 passed"),
        ((4, 1, 2, 1, 0), "1/4 passed, 2 failed, 1 not offered"),
        ((9, 1, 2, 1, 2), "1/9 passed, 2 failed, 1 not offered, 2 harness errors, 3 not judged"),
        ((4, 0, 0, 0, 0), "0/4 passed, 4 not judged"),
    ],
)
def test_a_tally_reads_as_a_sentence(counts: tuple[int, ...], text: str) -> None:
    names = ("total", "passed", "failed", "not_offered", "errors")
    assert str(Tally(**dict(zip(names, counts, strict=True)))) == text


# --- the verdict ---


def must(passed: int, failed: int = 0, not_offered: int = 0, errors: int = 0) -> Tally:
    """Of ten in all."""
    return Tally(total=10, passed=passed, failed=failed, not_offered=not_offered, errors=errors)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (must(10), Verdict.CONFORMS),
        (must(9, failed=1), Verdict.DOES_NOT_CONFORM),
        (must(9, not_offered=1), Verdict.INCOMPLETE),
        (must(9), Verdict.INCOMPLETE),  # one was not judged
        (must(0), Verdict.INCOMPLETE),
        (must(8, failed=1, not_offered=1), Verdict.DOES_NOT_CONFORM),
        (must(9, errors=1), Verdict.HARNESS_ERROR),
        (must(8, failed=1, errors=1), Verdict.HARNESS_ERROR),
    ],
)
def test_every_must_has_to_pass_and_not_only_those_that_ran(counts: Tally, expected: Verdict) -> None:
    assert verdict(counts) == expected


@pytest.mark.parametrize(
    ("optional", "expected"),
    [
        (Tally(total=3, passed=0, failed=0, not_offered=3, errors=0), Verdict.CONFORMS),
        (Tally(total=3, passed=1, failed=0, not_offered=0, errors=0), Verdict.CONFORMS),  # two were not judged
        (Tally(total=3, passed=2, failed=1, not_offered=0, errors=0), Verdict.DOES_NOT_CONFORM),
        (Tally(total=3, passed=2, failed=0, not_offered=0, errors=1), Verdict.HARNESS_ERROR),
    ],
)
def test_what_may_be_left_out_has_to_be_right_where_it_is_there(optional: Tally, expected: Verdict) -> None:
    assert verdict(must(10), Tally(total=1, passed=1, failed=0, not_offered=0, errors=0), optional) == expected


def test_exit_codes_keep_pytests_meaning() -> None:
    assert {word: word.exit_code for word in Verdict} == {
        Verdict.CONFORMS: 0,
        Verdict.DOES_NOT_CONFORM: 1,
        Verdict.INCOMPLETE: 1,
        Verdict.HARNESS_ERROR: 3,
        Verdict.ADAPTER_BROKEN: 4,
    }
