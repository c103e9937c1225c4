"""The self suite: timers on loads of known duration, by a clock that is told; and what a reader sees of them."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vitbench import report, summary
from vitbench.executor import Finished
from vitbench.measurement import record
from vitbench.options import parse
from vitbench.plan import Cell, plan
from vitbench.progress import finished_line
from vitbench.records import Footer, Header, MeasurementRecord, Outcome
from vitbench.results import ResultsWriter, Run, read
from vitbench.suites.self.loads import busy_wait, cycles_per_s, spin
from vitbench.suites.self.timers import Readings, by_torch_adaptive, by_torch_blocked, by_vitbench
from vitbench.timer import CpuClock, Effort
from vitbench.timer_check import TimerCheck, check_of

EFFORT = Effort(relative_width=0.01, least_samples=10, least_s=0.01, most_s=0.05, most_warmup_s=0.001)
STEP_NS = 1000


class Ticking:
    """A counter that moves on by a step whenever it is looked at."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        self.ns += STEP_NS
        return self.ns


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


# --- loads ---


def test_a_busy_wait_ends_at_the_first_look_past_its_deadline(ticking: Ticking) -> None:
    busy_wait(20e-6, ticking)()
    assert ticking.ns == 21 * STEP_NS  # the first look sets the deadline


def test_a_load_of_no_time_looks_at_no_clock(ticking: Ticking) -> None:
    busy_wait(0.0, ticking)()
    assert ticking.ns == 0


class FakeCuda:
    """A device of 1.5 GHz; a launch and a wait cost the host 7 µs."""

    def __init__(self) -> None:
        self.now_s, self.spins = 0.0, list[int]()

    def device(self, device: str) -> Any:
        return nullcontext()

    def synchronize(self, device: str) -> None:
        self.now_s += 7e-6

    def _sleep(self, cycles: int) -> None:
        self.spins.append(cycles)
        self.now_s += cycles / 1.5e9


def test_a_devices_cycles_are_calibrated_without_what_launching_and_waiting_cost() -> None:
    cuda = FakeCuda()
    assert cycles_per_s("cuda:0", cuda, lambda: cuda.now_s) == pytest.approx(1.5e9)


def test_a_device_spins_for_the_time_asked() -> None:
    cuda = FakeCuda()
    spin(2e-3, "cuda:0", cuda, lambda: cuda.now_s)()
    assert cuda.spins[-1] == pytest.approx(3e6)
    spin(0.0, "cuda:0", cuda, lambda: cuda.now_s)()
    assert cuda.spins[-1] == 0


# --- timers ---


def test_the_deviation_is_that_of_the_median() -> None:
    """Blocks of two loads of 10 s, in 70 s: three means, and 1 s beside each load but for what was read too long."""
    check = check_of(10.0, [10.0, 10.5, 11.0], elapsed_s=70.0, loads=6)
    assert check == TimerCheck(known_s=10.0, deviation=pytest.approx(0.05), beside_s=pytest.approx(7 / 6))
    assert check_of(0.0, [1e-7], elapsed_s=None, loads=1) == TimerCheck(known_s=0.0, deviation=None, beside_s=None)


def test_vitbench_reads_a_load_as_long_as_it_is_and_two_looks(ticking: Ticking) -> None:
    readings = by_vitbench(busy_wait(20e-6, ticking), CpuClock(ticking), EFFORT)
    assert set(readings.samples_s) == {22 * STEP_NS / 1e9}
    check = check_of(20e-6, readings.samples_s, readings.elapsed_s, readings.loads)
    assert check.deviation == pytest.approx(0.1)
    assert check.beside_s == pytest.approx(3 * STEP_NS * 1e-9, rel=0.1)  # looks at the clock around each round


@pytest.mark.parametrize("timer", [by_torch_blocked, by_torch_adaptive])
def test_torchs_timers_read_means_of_blocks(ticking: Ticking, timer: Callable[..., Readings]) -> None:
    readings = timer(busy_wait(20e-6, ticking), CpuClock(ticking), EFFORT)
    assert readings.samples_s[0] == pytest.approx(21 * STEP_NS * 1e-9, rel=0.01)  # blocks share the two looks
    assert readings.loads > 10 * len(readings.samples_s)
    assert readings.elapsed_s is None


def test_pytest_benchmark_reads_a_real_load_as_never_shorter_than_it_is(tmp_path: Path) -> None:
    cell = next(
        c for c in plan(parse(["--suite", "self"])) if (c.implementation, c.mode) == ("pytest-benchmark", "2 ms")
    )
    out = tmp_path / "r.jsonl"
    command = [sys.executable, "-m", "vitbench.cell", json.dumps(cell.to_json()), str(out)]
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    written = json.loads(out.read_text())
    assert (written["outcome"], written["implementation"], written["mode"]) == ("measured", "pytest-benchmark", "2 ms")
    assert min(written["samples_s"]) >= 2e-3
    assert written["timer_check"]["known_s"] == 2e-3
    assert written["timer_check"]["deviation"] >= 0
    assert written["throughput_images_per_s"] is None


# --- the plan ---


def test_each_timer_has_each_load_and_the_commands_come_last() -> None:
    cells = plan(parse(["--suite", "self"]))
    loads = [cell.mode for cell in cells if cell.implementation == "torch blocked_autorange"]
    assert loads == ["nothing", "20 µs", "2 ms", "50 ms"]
    assert [cell.implementation for cell in cells[:3]] == ["vitbench", "torch blocked_autorange", "pytest-benchmark"]
    assert [cell.mode for cell in cells[-4:]] == [
        "python alone",
        "import vitbench.run",
        "run --help",
        "run --dry-run",
    ]
    assert all(cell.timed for cell in cells)


def test_on_a_gpu_tritons_timer_stands_beside_and_no_command() -> None:
    cells = plan(parse(["--suite", "self", "--gpu", "0", "--preset", "standard"]))
    assert {cell.implementation for cell in cells} == {
        "vitbench",
        "torch blocked_autorange",
        "torch adaptive_autorange",
        "triton do_bench",
    }
    assert {cell.task for cell in cells} == {"known load"}


# --- what is seen ---

CELL = Cell(suite="self", implementation="vitbench", task="known load", mode="20 µs")
GOOD = record(
    CELL,
    Outcome.MEASURED,
    version="0.1.0",
    latency_s=20.2e-6,
    latency_low_s=20.1e-6,
    latency_high_s=20.3e-6,
    converged=True,
    samples_s=(20.2e-6,) * 1200,
    timer_check=TimerCheck(known_s=20e-6, deviation=0.0112, beside_s=34e-6),
)
OTHER = replace(
    GOOD,
    cell="other",
    implementation="torch blocked_autorange",
    timer_check=TimerCheck(known_s=20e-6, deviation=0.54, beside_s=None),
)
ABSENT = record(
    replace(CELL, implementation="triton do_bench"), Outcome.NOT_SUPPORTED, reason="triton is not installed"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return a_run(tmp_path / "results.jsonl", GOOD, OTHER, ABSENT)


def a_run(path: Path, *records: MeasurementRecord) -> Run:
    header = Header(
        vitbench_version="1", started_at="2026-11-23T02:00:00+00:00", command=["x"], preset="quick", seed=0,
        environment={}, planned=[one.cell for one in records],
    )  # fmt: skip
    with ResultsWriter(path) as writer:
        for one in (
            header,
            *records,
            Footer(finished_at="2026-11-23T02:01:00+00:00", status="complete", duration_s=9.0),
        ):
            writer.write(one)
    return read(path)


def test_the_terminal_sets_timers_beside_each_other(run: Run) -> None:
    console = Console(file=io.StringIO(), width=100)
    summary.show(run, console)
    assert [line.split() for line in console.file.getvalue().splitlines() if "µs" in line] == [  # type: ignore[attr-defined]
        ["20", "µs", "vitbench", "20.2", "µs", "1.1", "%", "34.0", "µs", "1,200"],
        ["20", "µs", "torch", "blocked_autorange", "20.2", "µs", "54", "%", "–", "1,200"],
        ["20", "µs", "triton", "do_bench", "–", "–", "–", "0", "not", "supported"],
    ]


def test_a_log_says_which_load_by_which_timer() -> None:
    assert finished_line(Finished(CELL, GOOD, 2.0)) == "self 20 µs by vitbench: 20.2 µs, off by 1.1 % (2.00 s)"


def test_the_report_has_a_table_of_them_and_no_throughput(run: Run, tmp_path: Path) -> None:
    assert not run.measurements
    report.write_report([run.path], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "vitbench, measured by itself" in page
    assert 'id="timers"' in page
    assert "54 %" in page
    assert "triton is not installed" in page
