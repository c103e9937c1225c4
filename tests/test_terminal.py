"""What a conformance run says at its end, line by line."""

import re
from dataclasses import replace

import pytest
from sample_runs import records, requirement

from vitbench import terminal
from vitbench.records import RequirementRecord, VerdictRecord
from vitbench.requirement import Status, Tally, failed_besides
from vitbench.wrapping import hung

REQUIREMENT = next(record for record in records() if isinstance(record, RequirementRecord))
VERDICT = next(record for record in records() if isinstance(record, VerdictRecord))
NONE = Tally(total=2, passed=2, failed=0, not_offered=0, errors=0)
ONE = Tally(total=2, passed=1, failed=1, not_offered=0, errors=0)


def note(id_: str, reason: str, status: Status = Status.PASSED) -> RequirementRecord:
    return replace(REQUIREMENT, id=id_, reason=reason, status=status)


def test_one_note_is_told_once_with_all_that_it_is_about() -> None:
    told = terminal._notes(
        [
            note("VIT-POS-CONSTANT", "constant table: computed in float32"),
            note("VIT-POS-RESIZE", "table resized: computed in float32"),
            note("VIT-POS-SIZE", ""),
            note("VIT-POS-RAMP", "ramp: computed in float32", Status.FAILED),
            note("VIT-PATH-COMPILE", "judged with aot_eager"),
        ]
    )
    assert list(told) == [
        "note         computed in float32: VIT-POS-CONSTANT, VIT-POS-RESIZE",
        "note         judged with aot_eager: VIT-PATH-COMPILE",
    ]


@pytest.mark.parametrize(
    ("should", "may", "text"),
    [(NONE, NONE, ""), (ONE, NONE, "; 1 SHOULD failed"), (ONE, ONE, "; 1 SHOULD failed; 1 MAY failed")],
)
def test_what_decides_beside_the_musts_stands_with_the_verdict(should: Tally, may: Tally, text: str) -> None:
    assert failed_besides(should, may) == text


@pytest.mark.parametrize(
    ("margin", "text"), [(None, "exact"), (0.0, "exact"), (0.9, "exact"), (25.0, "25 times the allowed error")]
)
def test_a_margin_within_its_bound_is_not_why_something_failed(margin: float | None, text: str) -> None:
    failed = replace(REQUIREMENT, status=Status.FAILED, worst_margin=margin)
    assert f"  margin:    {text}\n" in terminal.failure_text(failed, "Eq. 1")


LONG = "a number of words that tell what was found " * 4


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_failure_hangs_its_long_lines_below_their_beginning(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    failed = replace(requirement("timm", 1), reason=LONG, reproduce=f"pytest {'x' * 100}")
    lines = terminal.failure_text(failed, "Eq. 1").split("\n")
    assert all(len(line) <= int(columns) for line in lines if "pytest" not in line)
    start = lines.index(next(line for line in lines if line.startswith("  found:     ")))
    assert re.match(" {13}[^ ]", lines[start + 1])
    assert f"  reproduce: pytest {'x' * 100}" in lines


def test_a_log_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    failed = replace(requirement("timm", 1), reason=LONG)
    assert f"  found:     {LONG}\n" in terminal.failure_text(failed, "Eq. 1")


def test_a_word_longer_than_a_line_is_kept_whole() -> None:
    assert hung(f"found: {'x' * 60} end", 7, 40) == f"found: {'x' * 60}\n       end"


def test_the_lines_of_a_text_hang_each() -> None:
    assert hung("ab  one two three four five six seven\nxy  short", 4, 28) == (
        "ab  one two three four five\n    six seven\nxy  short"
    )
