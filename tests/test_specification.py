"""The specification as data: each declaration is well-formed, and can be asked for by its id alone."""

import re

import pytest

from vitbench import specification
from vitbench.adapter import OPTIONAL_HOOKS
from vitbench.errors import HarnessError
from vitbench.requirement import AREAS, Level, Requirement, Subject, Tier
from vitbench.specification import REQUIREMENTS, requirements, total

SUBJECTS: tuple[Subject, ...] = ("model", "kernel")

EVERY = pytest.mark.parametrize("declared", REQUIREMENTS.values(), ids=REQUIREMENTS)


def test_no_id_is_part_of_another_so_that_k_selects_one() -> None:
    """``pytest -k ID`` looks for the id within names, whatever their case."""
    pairs = [(a, b) for a in REQUIREMENTS for b in REQUIREMENTS if a != b and a.lower() in b.lower()]
    assert pairs == []


@EVERY
def test_an_id_is_a_slug_of_its_area(declared: Requirement) -> None:
    assert re.fullmatch(r"VIT(-[A-Z0-9]+){2,}", declared.id)
    assert declared.area in AREAS
    assert REQUIREMENTS[declared.id] is declared


@EVERY
def test_every_hook_named_is_an_optional_one_and_named_once(declared: Requirement) -> None:
    assert set(declared.hooks) <= set(OPTIONAL_HOOKS)
    assert len(set(declared.hooks)) == len(declared.hooks)
    assert not isinstance(declared.hooks, str)


@EVERY
def test_a_statement_is_one_sentence_with_one_level_word(declared: Requirement) -> None:
    text = declared.statement
    assert text[0].isupper()
    assert text.endswith(".")
    assert text == " ".join(text.split())
    assert not re.search(r"[.!?] [A-Z]", text)
    assert re.findall(r"\b(must|should|may)\b", text)[0] == declared.level.lower()


@EVERY
def test_a_rationale_is_there_and_ends_with_a_full_stop(declared: Requirement) -> None:
    assert len(declared.rationale.split()) > 3
    assert declared.rationale.endswith(".")
    assert declared.rationale != declared.statement


@EVERY
def test_a_source_is_there_and_is_no_sentence(declared: Requirement) -> None:
    assert declared.source.strip() == declared.source != ""
    assert not declared.source.endswith(".")


@EVERY
def test_the_version_that_introduced_it_is_a_version(declared: Requirement) -> None:
    assert re.fullmatch(r"\d+\.\d+", declared.since)
    assert declared.tier in Tier


def test_no_two_requirements_say_the_same() -> None:
    statements = [declared.statement for declared in REQUIREMENTS.values()]
    assert len(set(statements)) == len(statements)


def test_totals_add_up_and_are_mostly_musts() -> None:
    assert sum(total(level, subject) for level in Level for subject in SUBJECTS) == len(REQUIREMENTS)
    assert total(Level.MUST) > len(requirements("model")) / 2
    for subject in SUBJECTS:
        declared = list(requirements(subject).values())
        assert {level: total(level, subject) for level in Level} == {
            level: len([r for r in declared if r.level is level]) for level in Level
        }


def test_a_model_is_asked_what_a_kernel_is_not_and_the_other_way_round() -> None:
    model, kernel = requirements("model"), requirements("kernel")
    assert {**model, **kernel} == REQUIREMENTS
    assert {declared.area for declared in kernel.values()} == {"KERNEL"}
    assert "KERNEL" not in {declared.area for declared in model.values()}
    assert total(Level.MUST) == total(Level.MUST, "model")


def test_every_area_has_a_requirement_in_the_order_of_the_areas() -> None:
    seen = list(dict.fromkeys(declared.area for declared in REQUIREMENTS.values()))
    assert sorted(seen) == sorted(AREAS)


def test_a_hook_that_nothing_needs_is_not_asked_for() -> None:
    """Each optional hook unlocks something; else adapters would be written in vain."""
    assert {hook for declared in REQUIREMENTS.values() for hook in declared.hooks} == set(OPTIONAL_HOOKS)


def test_a_requirement_declared_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specification, "_AREAS", (specification.patch, specification.patch))
    with pytest.raises(HarnessError, match=r"^requirement VIT-PATCH-COUNT is declared twice$"):
        specification._by_id()
