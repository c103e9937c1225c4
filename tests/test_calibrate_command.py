"""``python -m vitbench.calibrate``: what it runs, what it makes of that, and how it says so."""

import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from fake_calibration import FAILED, PASSED, as_named
from rich.console import Console

from vitbench.calibrate import Options, _Log, calibrate, main, parse
from vitbench.calibration.document import document
from vitbench.calibration.matrix import Cell, Matrix, Row
from vitbench.calibration.plan import OTHERS_EXAMPLES, Extent, Task, plan
from vitbench.calibration.record import Header, Recorder, unfinished
from vitbench.calibration.specimens import Kind, Specimen, specimens
from vitbench.errors import ResultsUnreadable
from vitbench.requirement import Status

COUNT, RASTER = "VIT-PATCH-COUNT", "VIT-PATCH-RASTER"
FULL = Extent(quick=False, seed=0, mutant_seeds=1, benign_seeds=200)
MUTANT = Specimen(kind=Kind.MUTANT, id="wrong", summary="a patch lost", breaks=COUNT, known_from="somebody #1")
SAME = Specimen(kind=Kind.EQUIVALENT, id="same", summary="another order", proof="Sums commute.")
RIGHT = Specimen(kind=Kind.BENIGN, id="right", summary="rewritten")
HEADER = Header(
    started_at="2026-11-22T10:00:00+00:00",
    extent=FULL,
    vitbench="0.1.0",
    environment={"torch": "2.14", "cores": 2, "packages": {"timm": "1.0"}},
)
BOTH_JUDGE = [
    Row(specimen=MUTANT, cells={COUNT: FAILED, RASTER: FAILED}),
    Row(specimen=SAME, cells={COUNT: PASSED, RASTER: PASSED}),
    Row(specimen=RIGHT, cells={COUNT: PASSED, RASTER: PASSED}),
]


def matrix(*rows: Row, requirements: Sequence[str] = (COUNT, RASTER)) -> Matrix:
    return Matrix(rows=rows, requirements=requirements)


def test_a_bank_that_is_killed_and_a_pool_that_is_not_is_no_fault() -> None:
    assert matrix(*BOTH_JUDGE).faults() == []


def test_a_mutant_that_its_own_requirement_passes_is_a_fault() -> None:
    survivor = Row(specimen=MUTANT, cells={COUNT: PASSED, RASTER: FAILED})
    caught = Row(specimen=replace(MUTANT, id="other"), cells={COUNT: FAILED, RASTER: FAILED})
    assert matrix(caught, survivor).faults() == [f"mutant wrong: {COUNT}, which is about it, does not fail it"]


def test_a_mutant_that_is_killed_at_some_seeds_only_is_a_fault() -> None:
    sometimes = Cell(statuses={Status.FAILED: 1, Status.PASSED: 1}, examples=21)
    row = Row(specimen=MUTANT, cells={COUNT: sometimes, RASTER: FAILED})
    assert matrix(row).faults() == [f"mutant wrong: {COUNT}, which is about it, does not fail it at every seed"]


def test_a_mutant_about_nothing_that_was_judged_has_to_be_killed_by_something() -> None:
    row = Row(specimen=replace(MUTANT, breaks="VIT-PATCH-LINEAR"), cells={COUNT: PASSED})
    assert matrix(row, requirements=[]).faults() == [
        "mutant wrong: survives every check; prove it equivalent, or write the check that it needs"
    ]


def test_a_check_that_kills_nothing_is_a_fault() -> None:
    row = Row(specimen=MUTANT, cells={COUNT: FAILED, RASTER: PASSED})
    assert matrix(row).faults() == [f"{RASTER}: its check kills no mutant, so nothing shows that it can fail"]


def test_a_check_that_passes_nothing_is_a_fault() -> None:
    out_of_reach = Row(specimen=RIGHT, cells={COUNT: Cell(statuses={Status.NOT_OFFERED: 1}), RASTER: PASSED})
    assert matrix(BOTH_JUDGE[0], out_of_reach).faults() == [
        f"{COUNT}: its check passes no candidate that is right, so nothing shows that it can"
    ]


def test_an_equivalent_mutant_that_is_killed_is_a_fault() -> None:
    killed = Row(specimen=SAME, cells={COUNT: FAILED, RASTER: PASSED})
    assert matrix(BOTH_JUDGE[0], killed).faults() == [
        f"equivalent same is proven to be the paper's model, and {COUNT} fails it: wrong"
    ]


def test_a_benign_candidate_that_fails_is_a_fault_unless_that_was_looked_up() -> None:
    accused = Row(specimen=RIGHT, cells={COUNT: FAILED, RASTER: PASSED})
    looked_up = Row(specimen=replace(RIGHT, recorded=frozenset({COUNT})), cells=accused.cells)
    others = (BOTH_JUDGE[0], BOTH_JUDGE[2])
    assert matrix(*others, accused).faults() == [f"benign right is right, and {COUNT} fails it: wrong"]
    assert matrix(*others, looked_up).faults() == []


def test_what_could_not_be_judged_is_a_fault() -> None:
    broken = Cell(statuses={Status.ERROR: 1}, reason="its process ended with 7")
    row = Row(specimen=RIGHT, cells={COUNT: broken, RASTER: PASSED})
    assert matrix(BOTH_JUDGE[0], BOTH_JUDGE[2], row).faults() == [
        f"benign right: {COUNT} could not judge it: its process ended with 7"
    ]


def test_a_mutant_runs_as_a_user_runs_where_it_matters_and_what_is_right_on_a_seed_for_each_example() -> None:
    tasks = plan([MUTANT, RIGHT], [COUNT, RASTER], replace(FULL, seed=5, mutant_seeds=2))
    assert tasks[0] == Task(specimen="mutant wrong", requirement=COUNT, seed=5, runs=2)
    assert [task.examples for task in tasks] == [None, 2 * OTHERS_EXAMPLES, 200, 200]


def test_a_quick_plan_tries_a_mutant_on_its_own_requirement_and_leaves_slow_candidates_out() -> None:
    slow = replace(RIGHT, id="slow", quick=False)
    tasks = plan([MUTANT, SAME, RIGHT, slow], [COUNT, RASTER], replace(FULL, quick=True, benign_seeds=4))
    assert [(task.specimen, task.requirement) for task in tasks] == [
        ("mutant wrong", COUNT),
        *[("equivalent same", id_) for id_ in (COUNT, RASTER)],
        *[("benign right", id_) for id_ in (COUNT, RASTER)],
    ]


def test_a_slow_candidate_has_fewer_seeds() -> None:
    (task,) = plan([replace(RIGHT, most_seeds=2)], [COUNT], FULL)
    assert task.examples == 2


def test_checks_that_compile_a_model_meet_the_mutants_of_their_own_area_only() -> None:
    of_a_path = replace(MUTANT, id="never-checkpointed", breaks="VIT-PATH-CHECKPOINT")
    tasks = plan([MUTANT, of_a_path, RIGHT], [COUNT, "VIT-PATH-COMPILE"], FULL)
    assert [t.specimen for t in tasks if t.requirement == "VIT-PATH-COMPILE"] == [of_a_path.key, RIGHT.key]
    asked_for = plan([MUTANT], ["VIT-PATH-COMPILE"], replace(FULL, mutants=(MUTANT.id,)))
    assert len(asked_for) == 1


def test_bank_and_pool_are_as_large_as_they_are_said_to_be() -> None:
    kinds = [specimen.kind for specimen in specimens().values()]
    assert (kinds.count(Kind.MUTANT) >= 100, kinds.count(Kind.BENIGN) >= 30, kinds.count(Kind.EQUIVALENT)) == (
        True,
        True,
        4,
    )


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "calibration.jsonl"
    with Recorder(path, HEADER) as recorder:
        recorder.add(BOTH_JUDGE[0])
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind":"row","specimen":"benign ri')  # cut in mid-line
    known = {specimen.key: specimen for specimen in (MUTANT, SAME, RIGHT)}
    (row,) = unfinished(path, HEADER, known)
    assert (row.specimen, row.killed_by, row.cells[COUNT].reason) == (MUTANT, [COUNT, RASTER], "wrong")
    assert unfinished(path, replace(HEADER, extent=replace(FULL, seed=1)), known) == []
    assert unfinished(tmp_path / "none", HEADER, known) == []


def test_a_file_that_is_no_calibration_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "calibration.jsonl"
    path.write_text("notes}\n")
    with pytest.raises(ResultsUnreadable, match="is no results file of a calibration"):
        unfinished(path, HEADER, {})


def test_the_document_reads_as_its_readers_need_it() -> None:
    text = document(matrix(*BOTH_JUDGE), HEADER, 125.0)
    assert "**Calibrated.**" in text
    assert "| mutants killed | 1 of 1, and none of 1 equivalent ones |" in text
    assert "| checks that kill a mutant | 2 of 2 |" in text
    assert "| false alarms | 0 in 12 judged examples of 2 candidates that are right |" in text
    assert "| … at most, with 95 % confidence | 1 in 5 |" in text  # 1 - 0.05^(1/12) = 0.22
    assert "| `VIT-PATCH-COUNT` | 1 | – | 6 |" in text
    assert "| `wrong` | a patch lost (somebody #1) | PATCH-COUNT | 2 | 2 |" in text
    assert "| `same` | another order | Sums commute. | 6 | 0 | 1 in 3 |" in text
    assert "| `right` | rewritten | 2 of 2 | 3 | 6 | 0 | 1 in 3 |" in text


def test_the_document_says_first_what_is_wrong() -> None:
    text = document(matrix(Row(specimen=MUTANT, cells={COUNT: PASSED, RASTER: FAILED})), HEADER, 1.0)
    assert "**Not calibrated.**" in text
    assert f"- mutant wrong: {COUNT}, which is about it, does not fail it\n" in text
    assert "| PATCH-COUNT **survives** |" in text


def test_a_quick_document_says_what_it_leaves_out() -> None:
    text = document(matrix(*BOTH_JUDGE), replace(HEADER, extent=replace(FULL, quick=True)), 1.0)
    assert "each mutant met only the check that is about it" in text
    assert "each mutant met only" not in document(matrix(*BOTH_JUDGE), HEADER, 1.0)


def options(tmp_path: Path | None = None) -> Options:
    return Options(extent=replace(FULL, only=(COUNT,)), jobs=2, output=tmp_path, resume=False, time_limit_s=600.0)


def test_processes_judge_and_the_matrix_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(options(tmp_path), [MUTANT, SAME, RIGHT], as_named) == 0
    assert (
        "NO FAULT in the part that was run: 1 of 1 mutants killed; 0 false alarms in 6 examples of 2"
        in capsys.readouterr().out
    )
    assert (tmp_path / "calibration.md").read_text().startswith("# Whether the checks can tell")
    lines = (tmp_path / "calibration.jsonl").read_text().splitlines()
    assert [re.match(r'\{"kind":"(\w+)"', line)[1] for line in lines] == ["calibration", "row", "row", "row", "footer"]  # type: ignore[index]


def test_a_candidate_that_crashes_or_hangs_costs_its_own_cell_only(capsys: pytest.CaptureFixture[str]) -> None:
    from vitbench.calibration import workers

    crashes, hangs = replace(RIGHT, id="crashes"), replace(RIGHT, id="hangs")
    tasks = plan([crashes, RIGHT, MUTANT], [COUNT], FULL)
    cells = {task.specimen: cell for task, cell in workers.judged(tasks, as_named, jobs=1, time_limit_s=60.0)}
    assert cells["benign crashes"] == Cell(statuses={Status.ERROR: 1}, reason="its process ended with 7")
    assert (cells["benign right"], cells["mutant wrong"]) == (PASSED, FAILED)
    tasks = plan([RIGHT, hangs, MUTANT], [COUNT], FULL)  # the first takes the start of its process upon itself
    cells = {task.specimen: cell for task, cell in workers.judged(tasks, as_named, jobs=1, time_limit_s=2.0)}
    assert cells["benign hangs"] == Cell(statuses={Status.ERROR: 1}, reason="no end after 2 s")
    assert cells["mutant wrong"] == FAILED


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--only", "VIT-PATCH-CONT"], "there is no requirement 'VIT-PATCH-CONT'; did you mean VIT-PATCH-COUNT"),
        (["--mutants", "norm-rns"], "there is no mutant 'norm-rns'; did you mean norm-rms"),
        (["--benign", "tim"], "there is no benign candidate 'tim'; did you mean timm"),
    ],
)
def test_an_unknown_name_is_a_usage_error_that_knows_better(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


def test_only_a_whole_calibration_is_written_unless_a_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    outputs = [
        parse(arguments).output for arguments in ([], ["--quick"], ["--only", COUNT], ["--output", "x", "--quick"])
    ]
    assert outputs == [Path("docs"), None, None, Path("x")]


def test_the_quick_one_takes_fewer_seeds() -> None:
    assert [parse(a).extent.benign_seeds for a in ([], ["--quick"], ["--quick", "--seeds", "9"])] == [200, 4, 9]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("--quick", "--resume", "exit codes", "mutants", "docs/calibration.md"))


def test_a_log_is_told_now_and_then_how_long_it_takes_yet() -> None:
    file, now = StringIO(), [0.0]
    log = _Log(Console(file=file, width=120), clock=lambda: now[0])
    for now[0], done in ((10.0, 5), (100.0, 50), (110.0, 55), (200.0, 100), (300.0, 150)):
        log.tell(done, 150)
    assert file.getvalue().splitlines() == [
        "50 of 150 examples judged, some 3 min 20 s left",
        "100 of 150 examples judged, some 1 min 40 s left",
    ]
