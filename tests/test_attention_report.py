"""Attention kernels on the terminal and in the report: time beside error, refusals with their reason."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vitbench import report, summary
from vitbench.executor import Finished
from vitbench.plan import Cell
from vitbench.progress import finished_line
from vitbench.records import Footer, Header, MeasurementRecord, Outcome, Precision, Shape
from vitbench.reports.attention import kernel_comparisons
from vitbench.results import ResultsWriter, Run, read

CELL = Cell(
    suite="attention",
    implementation="flash",
    task="forward",
    model="B/16@224",
    dtype="bfloat16",
    batch=64,
    mode="L2 cold",
    device="cuda:0",
)
FLASH = MeasurementRecord(
    cell="a",
    implementation="torch",
    version="2.14",
    suite="attention",
    task="forward",
    model="B/16@224",
    device="cuda:0",
    device_name="a GPU",
    dtype="bfloat16",
    batch=64,
    mode="L2 cold",
    threads=1,
    outcome=Outcome.MEASURED,
    latency_s=50e-6,
    latency_low_s=49e-6,
    latency_high_s=51e-6,
    converged=True,
    kernel="flash",
    direction="forward",
    shape=Shape(batch=64, heads=12, tokens=197, head_dim=64),
    precision=Precision(output_error=0.004, output_bound=0.05, within=True, images=64),
    kernels_ran=["flash_fwd_kernel"],
    flops=7_630_159_872,
    flops_per_s=152.6e12,
)
WRONG = replace(
    FLASH,
    cell="b",
    kernel="mypkg:attend",
    implementation="mypkg",
    latency_s=25e-6,
    precision=Precision(
        output_error=0.001, output_bound=0.05, gradient_error=0.3, gradient_bound=0.1, gradient_of="key",
        within=False, images=64,
    ),
)  # fmt: skip
REFUSED = replace(
    FLASH, cell="c", kernel="cudnn", outcome=Outcome.NOT_SUPPORTED, reason="cudnn was forced, but math ran in its place",
    latency_s=None, latency_low_s=None, latency_high_s=None, converged=None, precision=None, flops_per_s=None,
    kernels_ran=[],
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    header = Header(
        vitbench_version="1", started_at="2026-01-01T00:00:00+00:00", command=["run"], preset="quick", seed=0,
        environment={}, planned=["a", "b", "c"],
    )  # fmt: skip
    with ResultsWriter(tmp_path / "results.jsonl") as writer:
        for record in (header, FLASH, WRONG, REFUSED):
            writer.write(record)
        writer.write(Footer(finished_at="2026-01-01T00:01:00+00:00", status="complete", duration_s=60.0))
    return read(writer.path)


def shown(run: Run, width: int) -> str:
    console = Console(width=width, record=True, file=None, quiet=True)
    console.quiet = False
    with console.capture() as captured:
        summary.show(run, console)
    return captured.get()


def test_kernels_are_no_implementations_that_could_be_compared_by_throughput(run: Run) -> None:
    assert run.measurements == []
    assert [record.kernel for record in run.attention] == ["flash", "mypkg:attend", "cudnn"]


def test_the_terminal_shows_time_speed_and_error_beside_its_bound(run: Run) -> None:
    lines = [" ".join(line.split()) for line in shown(run, 130).splitlines()]
    assert "flash bfloat16 64×12×197×64 forward, L2 cold 50.0 µs 153 0.0040 / 0.050" in lines
    assert "mypkg:attend bfloat16 64×12×197×64 forward, L2 cold 25.0 µs 153 0.30 / 0.10 not attention" in lines
    assert "cudnn: cudnn was forced, but math ran in its place" in lines


def test_a_narrow_terminal_has_lines(run: Run) -> None:
    assert "flash bfloat16 64×12×197×64 forward, L2 cold: 50.0 µs, 153 TFLOP/s" in " ".join(shown(run, 60).split())


def test_progress_says_what_was_found() -> None:
    line = "attention flash B/16@224 batch 64 bfloat16 forward, L2 cold: "
    assert finished_line(Finished(CELL, FLASH, 3.0)) == f"{line}50.0 µs, 153 TFLOP/s (3.00 s)"
    assert finished_line(Finished(CELL, WRONG, 3.0)) == f"{line}25.0 µs, 153 TFLOP/s, error beyond its bound (3.00 s)"


def test_the_report_groups_what_may_be_compared_the_fastest_first(run: Run) -> None:
    (group,) = kernel_comparisons([run], ["run"])
    assert group.title == "forward, B/16@224, 64×12×197×64, L2 cold, cuda:0 (a GPU), 1 thread"
    assert [row.record.kernel for row in group.rows] == ["mypkg:attend", "flash", "cudnn"]
    assert [row.outcome for row in group.rows] == [
        "error beyond its bound",
        "",
        "not supported: cudnn was forced, but math ran in its place",
    ]
    assert [(row.error, row.bound) for row in group.rows] == [(0.3, 0.1), (0.004, 0.05), (None, None)]


def test_the_page_has_a_table_of_them_and_says_that_no_throughput_was_measured(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report.write_report([run.path], page)
    text = page.read_text(encoding="utf-8")
    assert "3 attention kernels measured" in text
    assert "No throughput was measured." in text
    for told in ("flash_fwd_kernel", ">153<", "error beyond its bound", "cudnn was forced, but math ran in its place"):
        assert told in text


def test_a_page_without_attention_has_no_such_section(tmp_path: Path) -> None:
    import sample_runs

    with ResultsWriter(tmp_path / "results.jsonl") as writer:
        for record in sample_runs.records():
            writer.write(record)
    report.write_report([writer.path], tmp_path / "report.html")
    assert 'id="attention"' not in (tmp_path / "report.html").read_text(encoding="utf-8")
