"""Two runs by what is the same every time: what counts as worse, and what cannot be compared."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import sample_runs

from vitbench import gate
from vitbench.gating import exact
from vitbench.gating.decision import Decision
from vitbench.gating.facts import counts, facts
from vitbench.gating.outcome import Outcome as Gated
from vitbench.records import Counts, MeasurementRecord, Memory, Outcome
from vitbench.requirement import Status, Verdict
from vitbench.results import Run

COUNTS = Counts(operators={"aten::mm": 40, "aten::add": 60}, flops=1000, graph_breaks=0, attention=["aten::sdpa"])
CELL = MeasurementRecord(
    cell="counts inference mine",
    implementation="mine",
    version="1.0",
    suite="counts",
    task="inference",
    model="Ti/16@64",
    device="cpu",
    device_name="a processor",
    dtype="float32",
    batch=2,
    mode="eager",
    threads=1,
    outcome=Outcome.MEASURED,
    parameters=100,
    multiply_accumulates=1000,
    counts=COUNTS,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = sample_runs.run_of(sample_runs.records(), tmp_path_factory.mktemp("base"))
    return replace(run, measurements=[], attention=[], memory=[], counts=[CELL])


def compare(base: Run, head: Run) -> Gated:
    return exact.compare(facts(base), facts(head))


def later(base: Run, **changes: Any) -> Run:
    return replace(base, header=replace(base.header, started_at="2026-11-23T00:00:00+00:00"), **changes)


def counted(base: Run, **changes: Any) -> Run:
    return later(base, counts=[replace(CELL, counts=replace(COUNTS, **changes))])


def judged(base: Run, id_: str, status: Status) -> Run:
    changed = [replace(r, status=status, reason="now") if r.id == id_ else r for r in base.requirements]
    return later(base, requirements=changed)


def texts(base: Run, head: Run, decision: Decision) -> Sequence[str]:
    return [f"{f.name}: {f.text}" for f in compare(base, head).findings if f.decision is decision]


def test_what_stayed_the_same_passes(base: Run) -> None:
    outcome = compare(base, later(base))
    assert (outcome.decision, outcome.exit_code) == (Decision.PASS, 0)
    assert {finding.text for finding in outcome.findings} >= {"6 counts the same"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"operators": {"aten::mm": 41, "aten::add": 60}}, "operators: 100 before, now 101 (+1.0 %)"),
        ({"graph_breaks": 1}, "graph breaks: 0 before, now 1"),
        ({"attention": []}, "attention by: aten::sdpa before, now products and softmax"),
    ],
)
def test_more_work_is_a_regression(base: Run, changes: dict[str, Any], text: str) -> None:
    head = counted(base, **changes)
    assert [f"{CELL.cell}: {text}"] == texts(base, head, Decision.REGRESSION)
    assert compare(base, head).exit_code == 1


@pytest.mark.parametrize(("device", "counted"), [("cpu", True), ("cuda:0", False)])
def test_bytes_are_exact_where_torch_counts_them_and_not_where_a_system_does(device: str, counted: bool) -> None:
    whole = Memory(**{field.name: 1 for field in fields(Memory)})
    found = counts(replace(CELL, device=device, memory=whole))
    assert ("bytes allocated at the peak" in found) == counted


def test_less_work_passes(base: Run) -> None:
    head = counted(base, operators={"aten::mm": 39})
    assert compare(base, head).decision is Decision.PASS
    assert "100 before, now 39 (−61.0 %)" in str(texts(base, head, Decision.PASS))


def test_a_requirement_that_fails_now_is_incorrect_and_outweighs_everything(base: Run) -> None:
    passing = next(r.id for r in base.requirements if r.status is Status.PASSED)
    outcome = compare(base, judged(counted(base, graph_breaks=3), passing, Status.FAILED))
    assert (outcome.decision, outcome.exit_code) == (Decision.INCORRECT, 6)
    assert passing in outcome.sentence
    assert "passed before, now failed: now" in outcome.sentence


def test_a_requirement_that_failed_before_may_fail_still(base: Run) -> None:
    assert any(r.status is Status.FAILED for r in base.requirements)
    assert compare(base, later(base)).decision is Decision.PASS


def test_what_is_no_longer_measured_is_no_pass(base: Run) -> None:
    assert compare(base, later(base, counts=[])).exit_code == 5
    assert compare(base, later(base, requirements=[])).exit_code == 5


def test_a_cell_that_fails_now_is_incorrect_and_one_that_failed_before_no_baseline(base: Run) -> None:
    failed = [replace(CELL, outcome=Outcome.FAILED, reason="it broke", counts=None)]
    assert compare(base, later(base, counts=failed)).exit_code == 6
    assert compare(replace(base, counts=failed), later(base)).exit_code == 4


def test_another_torch_counts_otherwise_while_parameters_are_compared(base: Run) -> None:
    environment = {**base.header.environment, "torch": "9.9"}
    head = replace(counted(base, graph_breaks=5), header=replace(base.header, environment=environment))
    assert compare(base, head).exit_code == 4
    assert "now by 9.9, which counts otherwise" in str(texts(base, head, Decision.NO_BASELINE))
    larger = replace(head, counts=[replace(CELL, parameters=101)])
    assert texts(base, larger, Decision.REGRESSION) == [f"{CELL.cell}: parameters: 100 before, now 101 (+1.0 %)"]


def test_a_requirement_that_the_base_never_judged_and_the_head_fails_has_no_baseline(base: Run) -> None:
    """A newer vitbench judges more; the base may have failed it too."""
    failing = next(r.id for r in base.requirements if r.status is Status.FAILED)
    older = replace(base, requirements=[r for r in base.requirements if r.id != failing])
    outcome = compare(older, later(base))
    assert outcome.exit_code == 4
    assert "the base has no verdict on it" in outcome.sentence


def test_an_adapter_that_is_broken_now_is_incorrect(base: Run) -> None:
    cell = base.requirements[0].cell
    broken = [
        replace(v, verdict=Verdict.ADAPTER_BROKEN, reason="no module named x") if v.cell == cell else v
        for v in base.verdicts
    ]
    head = later(base, verdicts=broken, requirements=[r for r in base.requirements if r.cell != cell])
    outcome = compare(base, head)
    assert outcome.exit_code == 6
    assert "its adapter is broken now: no module named x" in outcome.sentence
    assert len([f for f in outcome.findings if f.decision is not Decision.PASS]) == 1


def test_what_neither_side_supports_stops_nothing_and_passes_nothing(base: Run) -> None:
    without = [replace(CELL, outcome=Outcome.NOT_SUPPORTED, reason="square images only", counts=None)]
    both = compare(replace(base, counts=[CELL, *without]), later(base, counts=[CELL, *without]))
    alone = compare(replace(base, counts=without, requirements=[]), later(base, counts=without, requirements=[]))
    assert alone.exit_code == 5
    assert any("neither side supports it" in note for note in alone.notes)
    assert compare(replace(base, counts=without), later(base)).exit_code == 4
    assert compare(base, later(base, counts=without)).exit_code == 6
    assert both.decision is not Decision.REGRESSION


def test_a_word_of_a_newer_vitbench_is_neither_better_nor_worse(base: Run) -> None:
    known = base.requirements[0]
    head = later(base, requirements=[replace(known, status="WAIVED"), *base.requirements[1:]])
    assert compare(base, head).exit_code == 5
    assert "not both are words that this vitbench knows" in compare(base, head).sentence


def test_a_results_file_that_was_edited_is_compared_as_far_as_it_goes(base: Run) -> None:
    for operators in ({"aten::mm": "forty"}, ["aten::mm"], None):
        assert compare(base, counted(base, operators=operators)).exit_code == 5
    assert compare(base, replace(base, header=replace(base.header, environment="a machine"))).exit_code == 0
    large = compare(base, later(base, counts=[replace(CELL, parameters=10**400)]))
    assert large.exit_code == 1


def test_one_run_against_itself_compares_nothing(base: Run) -> None:
    outcome = compare(base, base)
    assert outcome.exit_code == 5
    assert "one and the same run" in outcome.notes[0]


# --- the command ---


def test_the_command_says_why_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sample_runs.run_of(sample_runs.records(), tmp_path / "base")
    code = gate.main(
        ["exact", str(run.path), str(run.path), "-o", str(tmp_path / "o.json"), "--markdown", str(tmp_path / "o.md")]
    )
    assert code == 5
    assert "NOTHING MEASURED" in capsys.readouterr().out
    assert '"exit_code": 5' in (tmp_path / "o.json").read_text()
    assert "### vitbench gate: NOTHING MEASURED" in (tmp_path / "o.md").read_text()


@pytest.mark.parametrize(("which", "code"), [("base", 4), ("head", 5)])
def test_a_file_that_cannot_be_read_has_the_exit_code_of_its_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str, code: int
) -> None:
    run = sample_runs.run_of(sample_runs.records(), tmp_path / "good")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"kind": "header", "schema_version": 99}\n')
    arguments = {"base": [broken, run.path], "head": [run.path, broken]}[which]
    assert gate.main(["exact", *map(str, arguments)]) == code
    assert str(broken) in capsys.readouterr().err


def test_an_option_that_cannot_be_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["paired", "--head", "reference"]) == 2
    assert "nothing to compare with: give --base NAME" in capsys.readouterr().err
    assert gate.main(["paired", "--head", "reference", "--base", "timm", "--min-change", "0"]) == 2
    assert gate.main(["sideways"]) == 2


def test_a_side_that_is_plainly_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["paired", "--head", "nosuchpkg", "--base", "timm"]) == 2
    assert "registered names: reference" in capsys.readouterr().err
    assert gate.main(["paired", "--head", "reference", "--base", "nowhere.py"]) == 2
