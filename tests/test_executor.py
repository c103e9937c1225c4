"""Faults injected into cells: what becomes of one is recorded, and the others run as if nothing had been."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from vitbench import cell as cell_process
from vitbench import executor
from vitbench.cell import main as cell_main
from vitbench.errors import AdapterBroken, NotSupported
from vitbench.executor import Event, Finished, Recorded, Started, execute
from vitbench.measurement import record, unmeasured
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome, RequirementRecord, Result, VerdictRecord
from vitbench.requirement import Level, Status, Verdict
from vitbench.results import append, to_line
from vitbench.suite import Suite

MEASURING = Cell(
    suite="throughput", implementation="mine", task="inference", model="Ti/16@64", timed=True, time_limit_s=60
)
JUDGING = Cell(suite="conformance", implementation="mine", time_limit_s=60)


def figure(cell: Cell) -> str:
    return to_line(record(cell, Outcome.MEASURED, throughput_images_per_s=5.0, converged=True))


FIGURE = figure(MEASURING)
REQUIREMENT = RequirementRecord(
    cell=JUDGING.key,
    implementation="mine",
    id="VIT-PATCH-COUNT",
    area="PATCH",
    level=Level.MUST,
    statement="An image must …",
    status=Status.PASSED,
    examples=8,
    unsupported=0,
    worst_margin=None,
    reason="",
    example="",
    reproduce="",
    duration_s=0.1,
)


def script(code: str) -> Callable[[Cell, Path], Sequence[str]]:
    """A cell's process that runs this code, with the file in ``results`` and one record ready as ``FIGURE``."""
    prelude = "import os, signal, sys, time\nresults, FIGURE = sys.argv[1], sys.argv[2] + chr(10)\n"
    return lambda cell, results: [sys.executable, "-c", prelude + code, str(results), figure(cell)]


def events_of(cells: Sequence[Cell], code: str) -> list[Event]:
    return list(execute(cells, command=script(code)))


def result_of(cell: Cell, code: str) -> Result:
    """What one cell comes to when its process runs this code."""
    results = [event.result for event in events_of([cell], code) if isinstance(event, Finished)]
    assert len(results) == 1
    return results[0]


def measurement_of(code: str, cell: Cell = MEASURING) -> MeasurementRecord:
    result = result_of(cell, code)
    assert isinstance(result, MeasurementRecord)
    return result


def is_running(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(happened: Callable[[], bool], most_s: float = 30.0) -> None:
    deadline = time.monotonic() + most_s
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_a_cell_that_records_its_result_is_finished_with_it() -> None:
    events = events_of([MEASURING], "open(results, 'w').write(FIGURE)")
    assert [type(event) for event in events] == [Started, Recorded, Finished]
    assert isinstance(events[1], Recorded)
    assert to_line(events[1].record) == FIGURE


def test_a_cell_that_segfaults_is_recorded_as_crashed_with_the_place() -> None:
    result = measurement_of("import faulthandler, ctypes\nfaulthandler.enable()\nctypes.string_at(0)")
    assert result.outcome == Outcome.CRASHED
    assert "killed by SIGSEGV" in result.reason
    assert 'Fatal Python error: Segmentation fault | File "…/__init__.py", line' in result.reason
    assert "0x" not in result.reason


def test_a_cell_that_hangs_is_ended_at_its_time_limit() -> None:
    result = measurement_of("print('thinking', flush=True)\ntime.sleep(600)", replace(MEASURING, time_limit_s=1.0))
    assert result.outcome == Outcome.TIMED_OUT
    assert result.reason == "no result within its limit of 1 s; its last output: thinking"
    assert 1.0 <= result.duration_s < 60


def test_a_cell_that_ignores_termination_is_ended_all_the_same() -> None:
    code = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)"
    )
    assert measurement_of(code, replace(MEASURING, time_limit_s=1.0)).outcome == Outcome.TIMED_OUT


@pytest.mark.parametrize("code", ["sys.exit(7)", "os._exit(7)"])
def test_a_cell_that_exits_without_a_result_is_recorded_as_crashed(code: str) -> None:
    result = measurement_of(code)
    assert (result.outcome, result.reason) == (Outcome.CRASHED, "its process exited with code 7 without a result")


def test_a_cell_that_ends_well_without_a_result_is_recorded_as_crashed() -> None:
    assert measurement_of("pass").reason == "its process exited with code 0 without a result"


def test_a_cell_that_is_killed_says_what_that_often_means() -> None:
    result = measurement_of("os.kill(os.getpid(), signal.SIGKILL)")
    assert result.outcome == Outcome.CRASHED
    assert "killed by SIGKILL (often the system's answer to a lack of memory)" in result.reason


def test_a_cell_that_prints_without_end_fills_neither_memory_nor_pipe() -> None:
    result = measurement_of("print('x' * 1_000_000)\nprint('y' * 1_000_000, file=sys.stderr)\nsys.exit(3)")
    assert result.outcome == Outcome.CRASHED
    assert result.reason.endswith("y")
    assert len(result.reason) < 600


def test_the_last_lines_of_a_traceback_are_the_reason() -> None:
    reason = measurement_of("def f():\n    raise KeyError('gone')\nf()").reason
    assert reason.startswith("its process exited with code 1 without a result; its last output: ")
    assert reason.endswith("KeyError: 'gone'")


def test_output_that_is_no_text_is_shown_as_far_as_it_goes() -> None:
    assert measurement_of(r"os.write(1, b'\xff\xfe bytes\n'); sys.exit(1)").reason.endswith("�� bytes")


def test_a_result_cut_in_mid_line_is_no_result() -> None:
    result = measurement_of("open(results, 'w').write(FIGURE[:50]); os.kill(os.getpid(), signal.SIGKILL)")
    assert result.outcome == Outcome.CRASHED


def test_lines_that_are_no_records_are_passed_over() -> None:
    result = measurement_of("open(results, 'w').write('{}\\nnonsense\\n\\xff\\n' + FIGURE)")
    assert result.outcome == Outcome.MEASURED


def test_the_record_of_a_cells_try_is_not_its_result() -> None:
    tried = figure(replace(MEASURING, batch=77))
    events = events_of([MEASURING], f"open(results, 'w').write({tried!r} + chr(10) + FIGURE)")
    assert [type(event) for event in events] == [Started, Recorded, Recorded, Finished]
    assert isinstance(events[-1], Finished)
    assert to_line(events[-1].result) == FIGURE


def test_a_result_stands_though_its_process_crashes_afterwards() -> None:
    result = measurement_of("open(results, 'w').write(FIGURE); os.abort()")
    assert (result.outcome, result.throughput_images_per_s) == (Outcome.MEASURED, 5.0)


def test_a_result_stands_though_its_process_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_EXIT_GRACE_S", 0.2)
    assert measurement_of("open(results, 'w').write(FIGURE)\ntime.sleep(600)").outcome == Outcome.MEASURED


def test_what_a_cell_has_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "sys.exit(1)"
    )
    assert measurement_of(code).outcome == Outcome.CRASHED
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_crash_ends_that_cell_alone() -> None:
    cells = [replace(MEASURING, batch=n) for n in (1, 2, 3)]
    codes = {1: "os.abort()", 2: "open(results, 'w').write(FIGURE)", 3: "sys.exit(1)"}
    events = execute(cells, command=lambda cell, results: script(codes[cell.batch])(cell, results))
    outcomes = [event.result.outcome for event in events if isinstance(event, Finished)]  # type: ignore[union-attr]
    assert outcomes == [Outcome.CRASHED, Outcome.MEASURED, Outcome.CRASHED]


def test_a_conformance_cell_that_dies_is_incomplete_and_keeps_what_was_judged() -> None:
    code = f"open(results, 'w').write({to_line(REQUIREMENT)!r} + chr(10)); os.abort()"
    events = events_of([JUDGING], code)
    recorded = [event.record for event in events if isinstance(event, Recorded)]
    assert recorded[0] == REQUIREMENT
    verdict = recorded[1]
    assert isinstance(verdict, VerdictRecord)
    assert (verdict.verdict, verdict.must.passed) == (Verdict.INCOMPLETE, 1)
    assert verdict.must.total > 40
    assert verdict.reason.startswith("crashed: its process was killed by SIGABRT")


def test_a_conformance_cell_that_hangs_is_incomplete() -> None:
    verdict = result_of(replace(JUDGING, time_limit_s=0.5), "time.sleep(600)")
    assert isinstance(verdict, VerdictRecord)
    assert verdict.verdict == Verdict.INCOMPLETE
    assert verdict.reason.startswith("timed out: no result within its limit of 0.5 s")


@pytest.mark.parametrize(("code", "expected"), [(3, Verdict.HARNESS_ERROR), (4, Verdict.ADAPTER_BROKEN)])
def test_pytests_own_exit_code_decides_where_it_gave_no_verdict(code: int, expected: Verdict) -> None:
    verdict = result_of(JUDGING, f"print('ERROR: adapter fails to import'); sys.exit({code})")
    assert isinstance(verdict, VerdictRecord)
    assert verdict.verdict == expected
    assert "ERROR: adapter fails to import" in verdict.reason


def test_untimed_cells_run_two_at_a_time_and_timed_ones_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    code = (
        f"log = os.open({str(log)!r}, os.O_WRONLY | os.O_APPEND)\n"
        "os.write(log, f'+ {time.monotonic_ns()}\\n'.encode())\n"
        "time.sleep(0.4)\n"
        "os.write(log, f'- {time.monotonic_ns()}\\n'.encode())\n"
    )
    untimed = [replace(JUDGING, seed=seed) for seed in range(3)]
    timed = [replace(MEASURING, seed=seed) for seed in range(2)]
    finished = [event.cell for event in events_of([*timed, *untimed], code) if isinstance(event, Finished)]
    assert [cell.timed for cell in finished] == [False] * 3 + [True] * 2
    order = [line[0] for line in sorted(log.read_text().splitlines(), key=lambda line: int(line[2:]))]
    assert order[:3] in (["+", "+", "-"], ["+", "-", "+"])
    assert order[-4:] == ["+", "-", "+", "-"]


def test_threads_are_limited_from_the_start_of_a_cell() -> None:
    code = "print(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS']); sys.exit(1)"
    assert measurement_of(code, replace(MEASURING, threads=3)).reason.endswith("3 3")


def test_ending_the_execution_ends_its_processes(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        f"open({str(note)!r} + '.part', 'w').write(str(os.getpid())); os.rename({str(note)!r} + '.part', {str(note)!r})"
    )
    with closing(execute([MEASURING], command=script(code + "\ntime.sleep(600)"))) as events:
        assert isinstance(next(events), Started)
        wait_until(note.exists)
        assert is_running(int(note.read_text()))
    assert not is_running(int(note.read_text()))


def raising(error: BaseException) -> Callable[[Cell, Path], int]:
    def run(cell: Cell, results: Path) -> int:
        raise error

    return run


def result_of_raising(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeasurementRecord:
    """What a cell's own process records when its suite raises."""
    faulty = Suite(name="faulty", summary="", plan=lambda options: [], run=raising(error), lost=unmeasured)
    monkeypatch.setattr(cell_process, "load", lambda name: faulty)
    file = tmp_path / "results.jsonl"
    assert cell_process.run(MEASURING, file) == 0
    (line,) = file.read_text().splitlines()
    data = json.loads(line)
    assert data["duration_s"] >= 0
    return record(MEASURING, Outcome(data["outcome"]), reason=data["reason"])


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        caused_by(AdapterBroken("build() raised MemoryError"), MemoryError()),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert result_of_raising(error, tmp_path, monkeypatch).outcome == Outcome.OUT_OF_MEMORY


def test_what_is_not_supported_keeps_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of_raising(NotSupported("square images only"), tmp_path, monkeypatch)
    assert (result.outcome, result.reason) == (Outcome.NOT_SUPPORTED, "square images only")


def test_an_error_of_ours_is_recorded_by_its_own_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of_raising(AdapterBroken("logits() returned shape ()"), tmp_path, monkeypatch)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "logits() returned shape ()")


def test_any_other_error_is_recorded_with_kind_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = result_of_raising(ValueError("two\nlines"), tmp_path, monkeypatch)
    assert result.outcome == Outcome.FAILED
    assert result.reason.startswith("ValueError: two lines (test_executor.py:")
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        result_of_raising(KeyboardInterrupt(), tmp_path, monkeypatch)


def test_a_text_that_is_no_utf8_can_be_recorded(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    append(file, record(MEASURING, Outcome.FAILED, reason="half a pair: \udc80, a separator: \u2028"))
    assert json.loads(file.read_text())["reason"] == "half a pair: \udc80, a separator: \u2028"


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="no alarm on this system")
def test_a_cell_whose_executor_is_gone_ends_itself(tmp_path: Path) -> None:
    code = (
        "import vitbench.cell as c, sys, time\n"
        "c._GRACE_S, c.run = 0, lambda *cell: time.sleep(600)\n"
        "c.main(sys.argv[1:])"
    )
    cell = json.dumps(replace(MEASURING, time_limit_s=1.0).to_json())
    ended = subprocess.run([sys.executable, "-c", code, cell, str(tmp_path / "results")], timeout=60, check=False)
    assert ended.returncode == -signal.SIGALRM


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="no alarm on this system")
def test_a_time_limit_beyond_the_systems_alarm_is_no_fault_of_the_cell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vitbench.cell.run", lambda *cell: signal.alarm(0))  # how long there was to go
    monkeypatch.setattr("vitbench.cell.die_with_parent", lambda: None)
    monkeypatch.setattr("faulthandler.enable", lambda: None)
    cell = json.dumps(replace(MEASURING, time_limit_s=1e12).to_json())
    assert cell_main([cell, str(tmp_path / "results")]) > 10**9
