"""Runs that were stopped, that share a folder, or whose disk is full: nothing measured is lost, and nothing is mixed."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vitbench import executor, lock_file, preflight, resume, run
from vitbench.engines import local
from vitbench.errors import OutputCut, OutputUnwritable
from vitbench.folders import LOCK, RESULTS, holding
from vitbench.measurement import record
from vitbench.plan import Cell
from vitbench.preflight import Preflight
from vitbench.records import Outcome
from vitbench.results import ResultsWriter, read, to_line

ASKED = ("--impl", "reference", "--suite", "throughput", "--task", "inference", "--model", "Ti/16@32")
BATCHES = ("--batch", "1", "--batch", "2", "--batch", "3")
WRITES = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"


@dataclass
class Machine:
    """A machine on which cells take no time: each writes its figure and ends."""

    folder: Path
    environment: dict[str, Any] = field(default_factory=lambda: {"torch": "2.9", "candidates": {}})
    ran: list[int] = field(default_factory=list)  # batches of the cells that were started

    def command(self, cell: Cell, results: Path) -> Sequence[str]:
        self.ran.append(cell.batch)
        line = to_line(record(cell, Outcome.MEASURED, throughput_images_per_s=5.0, converged=True)) + "\n"
        return [sys.executable, "-S", "-c", WRITES, str(results), line]

    def run(self, *arguments: str) -> int:
        return run.main([*ASKED, *(arguments or BATCHES), "--output", str(self.folder)])

    @property
    def results(self) -> Path:
        return self.folder / RESULTS

    def stop_after(self, cells: int) -> None:
        """What a run leaves that is killed after so many cells, each a result and when it ran."""
        lines = self.results.read_text().splitlines(keepends=True)
        self.results.write_text("".join(lines[: 1 + 2 * cells]))
        self.ran.clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path / "out")
    monkeypatch.setattr(preflight, "check", lambda options: Preflight(environment=found.environment, names={}))
    monkeypatch.setattr(local, "execute", partial(executor.execute, command=found.command))
    monkeypatch.setattr(executor, "_POLL_S", 0.005)
    return found


# --- a run that was stopped


def test_a_killed_run_goes_on_where_it_stopped(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run() == 0
    machine.stop_after(2)
    assert machine.run() == 0
    assert machine.ran == [3]
    assert "resumed: 2 of 3 cells have their result\n" in capsys.readouterr().out
    found = read(machine.results)
    assert found.complete
    assert [one.batch for one in found.measurements] == [1, 2, 3]
    assert len(found.header.resumed_at) == 1
    assert found.header.started_at <= found.header.resumed_at[0]
    assert "<dt>Resumed</dt>" in (machine.folder / "report.html").read_text()
    assert sorted(path.name for path in machine.folder.iterdir()) == ["report.html", RESULTS]


def test_a_run_that_was_stopped_twice_says_so_twice(machine: Machine) -> None:
    machine.run()
    for cells in (1, 2):
        machine.stop_after(cells)
        assert machine.run() == 0
    assert len(read(machine.results).header.resumed_at) == 2


def test_a_run_that_lacks_its_footer_only_runs_no_cell_again(machine: Machine) -> None:
    machine.run()
    machine.stop_after(3)
    assert machine.run() == 0
    assert machine.ran == []
    assert read(machine.results).complete


def test_an_interrupted_run_says_how_to_go_on(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupts(cells: Sequence[Cell], **how: Any) -> Iterator[executor.Event]:
        for event in executor.execute(cells, command=machine.command, **how):
            yield event
            if isinstance(event, executor.Finished):
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "execute", interrupts)
        assert machine.run() == run.INTERRUPTED
    told = capsys.readouterr().out
    assert f"to go on: python -m vitbench.run {' '.join(ASKED)} --batch 1 --batch 2 --batch 3 --output" in told
    machine.ran.clear()
    assert machine.run() == 0
    assert machine.ran == [2, 3]
    assert sorted(path.name for path in machine.folder.iterdir()) == ["report.html", RESULTS]


def test_records_of_an_unfinished_cell_are_put_aside_and_made_anew(machine: Machine) -> None:
    """A verdict that never came: its requirements are judged once more, and count once."""
    from test_executor import REQUIREMENT

    machine.run()
    machine.stop_after(2)
    with ResultsWriter(machine.results, go_on=True) as writer:
        writer.write(REQUIREMENT)
    assert machine.run() == 0
    assert read(machine.results).requirements == []
    assert (machine.folder / resume.SET_ASIDE).read_text() == to_line(REQUIREMENT) + "\n"


def test_a_file_cut_anywhere_loses_no_whole_record_and_its_cut_part_is_kept_aside(machine: Machine) -> None:
    machine.run()
    whole = machine.results.read_bytes()
    lines = whole.splitlines(keepends=True)
    ends = [sum(map(len, lines[: n + 1])) for n in range(len(lines))]
    now = read(machine.results).header
    for cut in [*range(ends[0] + 1, ends[4], 97), *(end + by for end in ends[1:4] for by in (-1, 0, 1)), ends[4] - 1]:
        machine.results.write_bytes(whole[:cut])
        found = resume.earlier(machine.results)
        assert found is not None
        resume.require_same(found, now, machine.folder)
        resume.go_on(machine.results, found, "2026-11-22T15:38:02+00:00")
        mended, kept = read(machine.results), sum(end - 1 <= cut for end in ends) - 1
        cells = (kept + 1) // 2  # a result, and then when it ran
        assert (len(mended.measurements), mended.damaged_lines) == (cells, 0)
        assert len(found.finished) == cells
        aside = machine.folder / resume.SET_ASIDE
        rest = whole[:cut].splitlines()[1 + kept :]
        assert (aside.read_bytes().splitlines() if aside.exists() else []) == rest
        aside.unlink(missing_ok=True)


@pytest.mark.parametrize("left", ["", '{"kind": "hea', '{"kind": "header", "vitbench_version": "0.1'])
def test_a_run_that_was_stopped_in_its_header_begins_anew(left: str, machine: Machine) -> None:
    machine.folder.mkdir()
    machine.results.write_text(left)
    assert machine.run() == 0
    assert machine.ran == [1, 2, 3]
    assert read(machine.results).complete


def refused(machine: Machine, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a run that changes nothing."""
    before = machine.results.read_bytes()
    capsys.readouterr()
    machine.ran.clear()
    assert machine.run(*arguments) == 2
    assert machine.results.read_bytes() == before
    assert machine.ran == []
    line = capsys.readouterr().err.replace(str(machine.folder), "out")
    assert line.count("\n") == 1
    assert line.startswith("vitbench run: ")
    return line.removeprefix("vitbench run: ")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"torch": "2.10"},
            "torch was 2.9 and is 2.10; choose another folder with --output, or begin anew with --fresh",
        ),
        ({"gpu": {"driver": "580"}}, "gpu driver was not known and is 580;"),
        ({"candidates": {"mine": {"file_sha256": "f00"}}}, "candidates mine file_sha256 was not known and is f00;"),
        ({str(n): n for n in range(6)}, "3 was not known and is 3 and 2 more;"),
    ],
)
def test_another_environment_or_candidate_is_not_mixed_in(
    changed: dict[str, Any], said: str, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.run()
    machine.stop_after(2)
    machine.environment |= changed
    told = refused(machine, capsys)
    assert told.startswith("out holds an unfinished run that differs from this one: ")
    assert said in told


def test_another_plan_is_not_mixed_in(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.run()
    machine.stop_after(2)
    told = refused(machine, capsys, "--batch", "2", "--batch", "9")
    assert "2 cells were planned then and are not now, such as 'throughput inference reference Ti/16@32 float32" in told
    assert "batch=1 cpu threads=1 quick seed=0'; 1 cells are planned now and were not then, such as" in told


def test_a_finished_run_is_not_written_over(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.run()
    told = refused(machine, capsys)
    assert told == (
        "out already holds a finished run; choose another folder with --output, or begin anew with --fresh, which keeps "
        "the old results beside the new\n"
    )


def test_fresh_begins_anew_and_keeps_the_old_results_under_another_name(machine: Machine) -> None:
    machine.run()
    first = machine.results.read_bytes()
    machine.environment["torch"] = "2.10"
    for _ in range(2):
        machine.ran.clear()
        assert machine.run(*BATCHES, "--fresh") == 0
        assert machine.ran == [1, 2, 3]
    assert (machine.folder / "results.1.jsonl").read_bytes() == first
    assert read(machine.folder / "results.2.jsonl").complete
    assert read(machine.results).header.resumed_at == []


def test_a_file_of_someone_else_is_left_as_it_is(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.folder.mkdir()
    machine.results.write_text("kept")
    told = refused(machine, capsys)
    assert told.startswith(f"out/{RESULTS} is no results file that a run can go on from; choose another folder")


def test_a_file_of_a_newer_vitbench_is_left_as_it_is(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.run()
    header = replace(read(machine.results).header, schema_version=99, vitbench_version="9.0")
    machine.results.write_text(to_line(header) + "\n")
    assert "was written by a newer vitbench (9.0)" in refused(machine, capsys)


# --- two runs in one folder


@contextmanager
def another_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes to the folder."""
    code = (
        "import sys, time; from pathlib import Path; from vitbench.folders import holding\n"
        f"with holding(Path({str(folder)!r})):\n    print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other.stdout as output:
        assert output.readline() == "held\n"
    try:
        yield other
    finally:
        other.kill()
        other.wait()


@pytest.mark.skipif(not lock_file.AVAILABLE, reason="no POSIX locks here")
def test_a_second_run_in_a_folder_is_refused_with_who_is_there(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.run()
    machine.stop_after(1)
    with another_run(machine.folder) as other:
        told = refused(machine, capsys)
        assert told.startswith(f"another run writes to out (process {other.pid}, begun 20")
        with pytest.raises(OutputUnwritable, match="another run writes to"), holding(machine.folder):
            pass
    assert (machine.folder / LOCK).exists()  # it was killed
    assert machine.run() == 0
    assert not (machine.folder / LOCK).exists()


@pytest.mark.skipif(not lock_file.AVAILABLE, reason="no POSIX locks here")
def test_a_lock_that_its_holder_removed_meanwhile_is_not_taken_for_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of the file and the lock on it."""
    acquire, gone = lock_file.LockFile.acquire, []

    def late(self: lock_file.LockFile) -> bool:
        if not gone:
            gone.append((tmp_path / LOCK).unlink())
        return acquire(self)

    monkeypatch.setattr(lock_file.LockFile, "acquire", late)
    with holding(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()}, ")


# --- a full disk


@contextmanager
def disk_with(room_bytes: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: the system refuses the rest, in the middle of a line if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_ends_the_run_with_what_was_saved_and_the_run_can_go_on(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.run()
    lines = machine.results.read_bytes().splitlines(keepends=True)
    room = sum(map(len, lines[:5])) + 50  # two cells with their times, and a part of the third's result
    machine.results.unlink()
    machine.ran.clear()
    capsys.readouterr()
    with disk_with(room):
        assert machine.run() == OutputCut.exit_code == 74
    told = capsys.readouterr().err.replace(str(machine.folder), "out")
    assert told.startswith(f"vitbench run: cannot go on writing out/{RESULTS}: File too large; 2 of 3 cells are saved")
    assert "make room, then: python -m vitbench.run" in told
    left = read(machine.results)
    assert (len(left.measurements), left.damaged_lines, left.footer) == (2, 0, None)
    machine.ran.clear()
    assert machine.run() == 0
    assert machine.ran == [3]


def test_a_disk_too_full_to_go_on_leaves_the_file_as_it_was(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.run()
    machine.stop_after(2)
    with machine.results.open("a") as file:
        file.write('{"kind": "measurement", "cel')
    before = machine.results.read_bytes()
    with disk_with(len(before) // 2):
        assert machine.run() == 74
    assert "cannot go on in" in capsys.readouterr().err
    assert machine.results.read_bytes() == before
    assert not list(machine.folder.glob("*.part"))


def test_a_disk_too_full_for_the_report_keeps_the_results_and_says_how_to_make_it(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    with disk_with(100_000):
        assert machine.run() == 74
    told = capsys.readouterr().err
    assert "File too large" in told
    assert "all results are saved; for the report: python -m vitbench.report" in told
    assert read(machine.results).complete


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_output_to_a_full_disk_ends_in_one_line() -> None:
    command = [sys.executable, "-m", "vitbench.run", "--dry-run"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (74, "vitbench run: No space left on device: standard output\n")


def test_a_record_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path) -> None:
    cell = Cell(suite="throughput", implementation="mine")
    file = tmp_path / RESULTS
    with ResultsWriter(file) as writer:
        writer.write(record(cell, Outcome.FAILED, reason="short"))
        before = file.read_bytes()
        with disk_with(len(before) + 100), pytest.raises(OutputCut, match="File too large"):
            writer.write(record(cell, Outcome.FAILED, reason="long" * 1000))
        assert file.read_bytes() == before
        writer.write(record(cell, Outcome.FAILED, reason="short again"))
    assert [json.loads(line)["reason"] for line in file.read_text().splitlines()] == ["short", "short again"]


# --- the whole of it, with real processes


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an orphan ends by its alarm")
def test_a_run_that_is_killed_outright_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, time; from pathlib import Path; from vitbench.adapters.reference import ReferenceAdapter\n"
        "class Mine(ReferenceAdapter):\n"
        "    name = 'mine'\n"
        "    def build(self, config):\n"
        "        Path('pids').open('a').write(f'{os.getpid()}\\n')\n"
        "        while Path('wait').exists(): time.sleep(0.05)\n"
        "        return super().build(config)\n"
    )
    (tmp_path / "wait").touch()
    small = ("--suite", "memory", "--model", "Ti/16@32,depth=1,width=48", "--batch", "1", "--task", "inference")
    command = [sys.executable, "-m", "vitbench.run", "--impl", "reference", "--impl", "mine.py", *small]
    command += ["--output", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    pids, results, deadline = tmp_path / "pids", tmp_path / "out" / RESULTS, time.monotonic() + 120
    while not (pids.exists() and pids.read_text().endswith("\n") and len(results.read_text().splitlines()) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while Path(f"/proc/{pids.read_text().strip()}").exists():
        assert time.monotonic() < deadline, "the cell's process outlived the run"
        time.sleep(0.05)
    (tmp_path / "wait").unlink()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    resumed, to_run, done = again.stdout.splitlines()[:3]
    assert resumed == "resumed: 1 of 2 cells have their result"
    assert to_run == "1 cell to run; a line follows for each"
    assert done.startswith("[1/1] memory inference mine.py")
    found = read(results)
    assert [one.outcome for one in found.memory] == [Outcome.MEASURED] * 2
    assert len(found.header.resumed_at) == 1


# --- a run of so many seconds


def test_a_run_of_so_many_seconds_runs_what_fits_and_can_go_on(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import time; time.sleep(2); " + WRITES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "WRITES", slow)
        assert machine.run(*BATCHES, "--max-seconds", "4") == 0
    assert machine.ran == [1]
    told = capsys.readouterr().out
    assert "out of time: 1 of 3 cells are finished and kept in" in told
    assert "to go on: python -m vitbench.run" in told
    found = read(machine.results)
    assert found.footer is not None
    assert found.footer.status == "out of time"
    assert not found.complete
    assert (machine.folder / "report.html").exists()
    machine.ran.clear()
    assert machine.run() == 0
    assert machine.ran == [2, 3]


def test_what_still_runs_when_the_time_is_over_is_ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "WRITES", "import time; time.sleep(60)")
    started = time.monotonic()
    assert machine.run(*BATCHES, "--max-seconds", "0.4") == 0
    assert time.monotonic() - started < 30
    assert read(machine.results).measurements == []
