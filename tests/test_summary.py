"""What is printed of a run while it goes on and at its end, on consoles of several widths."""

import io
from dataclasses import fields, replace
from pathlib import Path

import pytest
from rich.console import Console
from sample_charts import scaling

from vitbench import progress, summary
from vitbench.conditions.record import Evidence, Validity
from vitbench.console import suitable_console
from vitbench.executor import Finished, Recorded, Started
from vitbench.limits.roofline import Ceilings, Copy, Product, roofline
from vitbench.measurement import record
from vitbench.plan import Cell
from vitbench.progress import result_text
from vitbench.records import Header, MeasurementRecord, Memory, Outcome, VerdictRecord
from vitbench.reference.cost import Work
from vitbench.requirement import Tally, Verdict
from vitbench.results import Run
from vitbench.traces.record import TraceRecord

JUDGING = Cell(suite="conformance", implementation="timm")
MEASURING = Cell(
    suite="throughput",
    implementation="timm",
    task="inference",
    model="Ti/16@64",
    dtype="float32",
    mode="eager",
    batch=8,
)
MEASURED = record(
    MEASURING,
    Outcome.MEASURED,
    throughput_images_per_s=456.7,
    latency_s=0.0175,
    latency_low_s=0.0173,
    latency_high_s=0.0179,
    converged=True,
)
CRASHED = record(
    replace(MEASURING, implementation="mine"), Outcome.CRASHED, reason="killed by SIGSEGV; last: [/red] oh"
)
VERDICT = VerdictRecord(
    cell=JUDGING.key,
    implementation="timm",
    version="1.0.31",
    verdict=Verdict.DOES_NOT_CONFORM,
    must=Tally(total=48, passed=42, failed=6, not_offered=0, errors=0),
    should=Tally(total=7, passed=6, failed=0, not_offered=1, errors=0),
    may=Tally(total=2, passed=2, failed=0, not_offered=0, errors=0),
    conventions={},
    reason="",
    duration_s=1.0,
)
BROKEN = replace(
    VERDICT, cell="other", implementation="mine", version="", verdict=Verdict.ADAPTER_BROKEN, reason="no build"
)


def run_of(verdicts: list[VerdictRecord], measurements: list[MeasurementRecord]) -> Run:
    header = Header(
        vitbench_version="0.1",
        started_at="",
        command=[],
        preset="quick",
        seed=0,
        environment={},
        planned=[VERDICT.cell, BROKEN.cell],
    )
    return Run(Path("r.jsonl"), header, [], verdicts, measurements, footer=None)


def shown(width: int, run: Run) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    summary.show(run, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_wide_console_gets_tables_in_the_order_of_the_plan() -> None:
    assert shown(100, run_of([BROKEN, VERDICT], [CRASHED, MEASURED])) == [
        "",
        "Conformance",
        "Implementation  Verdict           MUST                    SHOULD",
        "timm 1.0.31     DOES NOT CONFORM  42/48 passed, 6 failed  6/7 passed, 1 not offered",
        "mine            ADAPTER BROKEN    –                       –",
        "mine: no build",
        "",
        "Measurements",
        "inference, float32, eager",
        "Model     Batch  Implementation  images/s  Latency (95 % CI)      Note",
        "Ti/16@64      8  timm                 457  17.5 (17.3 – 17.9) ms",
        "Ti/16@64      8  mine                   –  –                      crashed",
        "mine: killed by SIGSEGV; last: [/red] oh",
    ]


def test_whose_speed_is_shown_without_a_verdict_is_told() -> None:
    told = "; the conformance suite tells whether what was timed computes a ViT"
    mine = replace(MEASURED, implementation="mine")
    twice = replace(MEASURED, batch=1)
    assert f"not judged in this run: timm, mine{told}" in shown(120, run_of([], [MEASURED, twice, mine]))
    assert f"not judged in this run: mine{told}" in shown(120, run_of([VERDICT], [MEASURED, mine]))
    assert not [line for line in shown(120, run_of([VERDICT], [MEASURED, CRASHED])) if "not judged" in line]


def test_figures_of_another_task_or_arithmetic_stand_apart() -> None:
    training = replace(MEASURED, task="training", throughput_images_per_s=50.0)
    halves = replace(MEASURED, dtype="bfloat16", throughput_images_per_s=900.0)
    lines = shown(100, run_of([], [MEASURED, training, halves, replace(MEASURED, model="B/16@224")]))
    assert [line.split("  ")[0] for line in lines[2:-1]] == [
        *["inference, float32, eager", "Model", "B/16@224", "Ti/16@64"],
        *["training, float32, eager", "Model", "Ti/16@64"],
        *["inference, bfloat16, eager", "Model", "Ti/16@64"],
    ]


@pytest.mark.parametrize("width", range(80, 121, 4))
@pytest.mark.parametrize("name", ["timm", "vision_transformer_pytorch"])
def test_no_table_breaks_a_word(width: int, name: str) -> None:
    long = replace(MEASURED, implementation=name, model="Ti/16@32,depth=2", converged=False)
    memory = Memory(**dict.fromkeys((field.name for field in fields(Memory)), 20_300_000))
    weighed = replace(long, memory=memory, task="training")
    one = replace(long, batch=1, samples_s=[0.0175] * 20)
    run = replace(run_of([VERDICT], [long, one]), memory=[weighed])
    words = set(" ".join(shown(width, run)).split())
    assert {name, "Ti/16@32,depth=2", "training"} <= {word.strip(":,") for word in words}
    assert max(map(len, shown(width, run))) <= width


@pytest.mark.parametrize("width", [20, 40, 79])
def test_a_narrow_console_gets_lines_that_fit(width: int) -> None:
    lines = shown(width, run_of([VERDICT, BROKEN], [MEASURED, CRASHED]))
    assert max(map(len, lines)) <= width
    assert "timm 1.0.31: DOES NOT CONFORM" in " ".join(lines).replace("  ", " ")


def test_a_slow_sampling_is_said_to_have_not_converged() -> None:
    assert "not converged" in "\n".join(shown(100, run_of([], [replace(MEASURED, converged=False)])))


def test_a_log_has_one_line_for_each_cell_that_is_finished() -> None:
    console = Console(file=io.StringIO(), width=40)
    with progress.display(console, cells=2) as display:
        for event in (Started(JUDGING), Recorded(JUDGING, VERDICT), Finished(JUDGING, VERDICT, 12.3)):
            display.show(event)
        display.show(Finished(MEASURING, CRASHED, 75.0))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "2 cells to run; a line follows for each",
        "[1/2] conformance timm: DOES NOT CONFORM, MUST 42/48 passed, 6 failed (12.3 s)",
        "[2/2] throughput inference timm Ti/16@64 batch 8: crashed: killed by SIGSEGV; last: [/red] oh (1 min 15 s)",
    ]


def test_a_cell_of_another_arithmetic_or_mode_says_so_while_it_runs() -> None:
    assert progress.title(MEASURING) == "throughput inference timm Ti/16@64 batch 8"
    half = replace(MEASURING, dtype="bfloat16", mode="compile")
    assert progress.title(half) == "throughput inference timm Ti/16@64 batch 8 bfloat16 compile"


def test_a_terminal_shows_what_runs_and_keeps_what_is_finished() -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False, force_terminal=True, _environ={"TERM": "xterm"})
    with progress.display(console, cells=1) as display:
        for event in (Started(JUDGING), Recorded(JUDGING, VERDICT), Finished(JUDGING, VERDICT, 12.3)):
            display.show(event)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "conformance timm: DOES NOT CONFORM, MUST 42/48 passed, 6 failed (12.3 s)" in text
    assert "1 of 1 cells" in text


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(progress.display(console, cells=1), progress.Lines)


def test_a_log_is_wide_and_obeys_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert suitable_console().width == 120
    monkeypatch.setenv("COLUMNS", "50")
    assert suitable_console().width == 50


def test_a_wide_console_shows_how_near_the_limit_each_figure_is() -> None:
    found = roofline(arithmetic="float32", work=Work(flops=2 * 10**9, least_bytes=10**7), seconds=0.0175, peak=None)
    run = run_of([], [replace(MEASURED, roofline=found), CRASHED])
    ceilings = Ceilings(
        products=[Product(arithmetic="float32", flops_per_s=2e11)],
        copy=Copy(bytes_per_s=1e10, buffer_bytes=2**28),
    )
    limits = record(Cell(suite="limits", implementation="torch"), Outcome.MEASURED, ceilings=ceilings)
    lines = shown(120, replace(run, limits=[limits]))
    assert lines[2:] == [
        "inference, float32, eager",
        "Model     Batch  Implementation  images/s  TFLOP/s  Of ceiling           Latency (95 % CI)      Note",
        "Ti/16@64      8  timm                 457    0.114  57 % matrix product  17.5 (17.3 – 17.9) ms",
        "Ti/16@64      8  mine                   –        –  –                    –                      crashed",
        "mine: killed by SIGSEGV; last: [/red] oh",
        "not judged in this run: timm; the conformance suite tells whether what was timed computes a ViT",
        "measured ceilings of cpu: float32 200 GFLOP/s, copy 10.0 GB/s",
    ]


def test_a_figure_that_cannot_be_believed_says_so_and_why() -> None:
    busy = Evidence(
        verdict=Validity.INVALID,
        reasons=["other processes used 25% of the cores' time"],
        notes=[],
        window_s=2.0,
        readings=4,
    )
    lines = shown(100, run_of([], [replace(MEASURED, converged=False, evidence=busy)]))
    assert lines[4].endswith("not converged, INVALID")
    assert lines[5] == "timm: inference Ti/16@64 batch 8 INVALID: other processes used 25% of the cores' time"
    believed = replace(busy, verdict=Validity.VALID, reasons=[])
    assert "VALID" not in "\n".join(shown(100, run_of([], [replace(MEASURED, evidence=believed)])))


def test_the_summary_says_how_to_open_traces_and_what_they_lack() -> None:
    traces = [
        TraceRecord(cell="1", path="traces/1/a.pt.trace.json.gz"),
        TraceRecord(cell="2", path="traces/2/a.pt.trace.json.gz", reason="no tables: [/red] is missing"),
        TraceRecord(cell="3", path="traces/3/a.pt.trace.json.gz", reason="no tables: [/red] is missing"),
        TraceRecord(cell="4", reason="no trace: disk full"),
    ]
    run = replace(run_of([], [MEASURED]), path=Path("a folder/run/results.jsonl"), traces=traces)
    said = shown(60, run)[-3:]
    assert said == [
        "3 traces, to be opened by: tensorboard --logdir 'a folder/run/traces'",
        "no tables: [/red] is missing",
        "no trace: disk full",
    ]


def test_a_run_without_traces_says_nothing_of_them() -> None:
    assert "trace" not in "\n".join(shown(100, run_of([], [MEASURED])))


def test_long_lines_hang_below_their_beginning() -> None:
    doubted = replace(CRASHED, reason="killed by SIGSEGV while it was warming up on a device of another kind")
    assert shown(60, run_of([], [doubted]))[-2:] == [
        "mine: killed by SIGSEGV while it was warming up on a device",
        "  of another kind",
    ]


def test_a_figure_that_did_not_converge_fits_a_line_of_80_characters() -> None:
    lines = shown(
        80, run_of([], [replace(MEASURED, model="Ti/16@224", implementation="transformers", converged=False)])
    )
    assert "Ti/16@224      8  transformers         457  17.5 (17.3 – 17.9) ms  not converged" in lines


def test_several_workers_are_shown_with_efficiency_and_communication() -> None:
    run = replace(run_of([], []), scaling=[scaling("timm")])
    table = "\n".join(shown(140, run))
    assert "Several workers" in table
    row = next(line for line in table.splitlines() if " 2 " in line and "timm" in line)
    assert "160  80 % (80.0 – 100 %)  10 % (10.0 – 10.0 %)" in row
    lines = "\n".join(shown(60, run))
    assert "workers 2: 160 images/s, efficiency 80 %" in " ".join(lines.split())


def test_one_line_tells_what_all_workers_reach() -> None:
    assert result_text(scaling("timm")) == "2 workers: 160 images/s, efficiency 80 %"
