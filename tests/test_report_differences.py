"""Several runs in one report: what differs, the environment first, and ratios with known answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_runs

from vitbench.reports import model, render
from vitbench.reports.differences import differences
from vitbench.requirement import Status
from vitbench.results import Run


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sample_runs.run_of(sample_runs.records(), tmp_path_factory.mktemp("first"))


def timed(run: Run, **changes: Any) -> Run:
    """The run with one cell, whose median is 100 ms with an interval of 2 % if nothing else is said."""
    figures = {"latency_s": 0.1, "latency_low_s": 0.099, "latency_high_s": 0.101, "converged": True, "evidence": None}
    cell = replace(run.measurements[0], **(figures | changes))
    return replace(run, measurements=[cell], attention=[], memory=[], counts=[], searches=[])


def test_one_run_differs_from_nothing(first: Run) -> None:
    assert differences([first]) is None


@pytest.mark.parametrize(
    ("latency_s", "word"),
    [(0.1, "alike"), (0.102, "alike"), (0.11, "slower"), (0.09, "faster")],
)
def test_a_ratio_is_told_by_both_intervals(first: Run, latency_s: float, word: str) -> None:
    now = timed(first, latency_s=latency_s, latency_low_s=0.99 * latency_s, latency_high_s=1.01 * latency_s)
    found = differences([timed(first), now])
    assert found is not None
    (cell,) = found.cells
    same, ratio = cell.ratios
    assert same is not None
    assert same.value == 1
    assert ratio is not None
    assert ratio.value == pytest.approx(latency_s / 0.1)
    assert (ratio.low, ratio.high) == (
        pytest.approx(0.99 * latency_s / 0.101),
        pytest.approx(1.01 * latency_s / 0.099),
    )
    assert ratio.word == word


@pytest.mark.parametrize("latency_s", [None, float("nan"), 0.0])
def test_a_cell_without_a_time_has_no_ratio(first: Run, latency_s: float | None) -> None:
    found = differences([timed(first), timed(first), timed(first, latency_s=latency_s)])
    assert found is not None
    assert found.cells[0].seconds[2] is None
    assert found.cells[0].ratios[2] is None


def test_a_ratio_of_what_is_doubted_says_so(first: Run) -> None:
    found = differences([timed(first, converged=False), timed(first, latency_low_s=None)])
    assert found is not None
    ratio = found.cells[0].ratios[1]
    assert ratio is not None
    assert ratio.doubts == ("not converged",)
    assert ratio.word == "no interval"


def test_only_what_differs_in_the_environment_is_listed(first: Run) -> None:
    environment = {**first.header.environment, "torch": "9.9"}
    found = differences([first, replace(first, header=replace(first.header, environment=environment))])
    assert found is not None
    assert [(fact.name, fact.values[1]) for fact in found.environment] == [("torch", "9.9")]


def test_code_of_implementations_that_some_runs_have_is_one_row(first: Run) -> None:
    def of(torch: str, **commits: str) -> Run:
        candidates = {name: {"git_commit": commit, "git_clean": True} for name, commit in commits.items()}
        header = replace(first.header, environment={"torch": torch, "candidates": candidates})
        return replace(first, header=header)

    found = differences(
        [of("1", both="a", mine="c", two="e"), of("2", both="b", two="e"), of("2", both="b", other="d")]
    )
    assert found is not None
    assert [(fact.name, fact.values) for fact in found.environment] == [
        ("torch", ("1", "2", "2")),
        ("candidates.both.git_commit", ("a", "b", "b")),
        ("implementations that only some runs have", ("mine, two", "two", "other")),
    ]
    same = differences([of("1", mine="c"), of("1")])
    assert same is not None
    assert same.environment == ()  # other implementations are no other conditions


def test_code_of_an_implementation_that_ran_in_both_still_differs_where_one_run_does_not_know_it(first: Run) -> None:
    known = replace(first.header, environment={"candidates": {"timm": {"git_commit": "c0ffee"}}})
    found = differences([replace(first, header=known), replace(first, header=replace(known, environment={}))])
    assert found is not None
    assert [fact.values for fact in found.environment] == [("c0ffee", None)]


def test_a_requirement_that_comes_out_differently_is_listed_and_one_that_was_not_judged_is_none(first: Run) -> None:
    place = next(i for i, one in enumerate(first.requirements) if one.status is Status.PASSED)
    changed = [*first.requirements]
    changed[place] = replace(changed[place], status=Status.FAILED)
    found = differences([first, replace(first, requirements=changed), replace(first, requirements=[])])
    assert found is not None
    (row,) = found.judged
    assert (row.id, row.statuses) == (first.requirements[place].id, ("passed", "failed", "–"))


def test_the_page_names_the_environment_before_the_ratios(first: Run, tmp_path: Path) -> None:
    environment = {**first.header.environment, "torch": "9.9"}
    second = replace(first, header=replace(first.header, environment=environment))
    page = render.render(model.build([first, second]))
    assert page.index("What differs comes first") < page.index("Times against those of")
    assert "alike" in page
    assert "What differs comes first" not in render.render(model.build([first]))
