"""One timed cell at a time on a device."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vitbench import cell as cell_process
from vitbench import exclusive, lock_file
from vitbench.exclusive import exclusively, identity
from vitbench.plan import Cell

pytestmark = pytest.mark.skipif(not lock_file.AVAILABLE, reason="no POSIX locks here")


def held_elsewhere(folder: Path, seconds: float = 60.0) -> subprocess.Popen[str]:
    """Another process that holds the processor."""
    code = (
        "import sys, time; from pathlib import Path; from vitbench.exclusive import exclusively\n"
        f"with exclusively('cpu', 'cell of another run', Path({str(folder)!r})):\n"
        f"    print('held', flush=True); time.sleep({seconds})"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other.stdout as output:
        assert output.readline() == "held\n"
    return other


def test_a_second_cell_waits_for_the_first_and_says_who_it_is(tmp_path: Path) -> None:
    other = held_elsewhere(tmp_path)
    told: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with exclusively("cpu", "mine", tmp_path, told.append):
            entered.set()

    waiting = threading.Thread(target=second)
    before_s = exclusive.waited_s()
    waiting.start()
    try:
        assert not entered.wait(0.5)
        assert told == [
            f"waiting for cpu, on which another cell is being timed: process {other.pid}, cell of another run"
        ]
    finally:
        other.kill()  # however it ends, the lock goes with it
        other.wait()
        waiting.join(10)
    assert entered.is_set()
    assert exclusive.waited_s() - before_s >= 0.5


def test_a_device_that_is_free_is_had_at_once_and_again(tmp_path: Path) -> None:
    before_s = exclusive.waited_s()
    for who in ("first", "second"):
        with exclusively("cpu", who, tmp_path, pytest.fail):
            assert (tmp_path / "vitbench-cpu.lock").read_text() == f"process {os.getpid()}, {who}\n"
    assert exclusive.waited_s() == before_s


def test_devices_do_not_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "identity", lambda device: device.replace(":", "-"))
    with exclusively("cpu", "a", tmp_path, pytest.fail), exclusively("cuda:0", "b", tmp_path, pytest.fail):
        pass


def test_a_folder_that_cannot_be_written_locks_nothing(tmp_path: Path) -> None:
    with exclusively("cpu", "mine", tmp_path / "nowhere", pytest.fail):
        pass


def test_a_failure_inside_lets_the_device_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="oh"), exclusively("cpu", "mine", tmp_path):
        raise ValueError("oh")
    with exclusively("cpu", "mine", tmp_path, pytest.fail):
        pass


def test_the_processor_is_one_device() -> None:
    assert identity("cpu") == "cpu"


@pytest.mark.parametrize("timed", [True, False])
def test_only_timed_cells_hold_their_device(timed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    held = exclusive.exclusively
    monkeypatch.setattr(
        cell_process, "exclusively", lambda device, who: asked.append(device) or held(device, who, tmp_path)
    )
    monkeypatch.setattr("vitbench.limits.ceilings.measure_ceilings", lambda device: None)
    cell_process.run(Cell(suite="limits", implementation="torch", timed=timed), tmp_path / "results.jsonl")
    assert asked == (["cpu"] if timed else [])


def test_a_wait_polls_and_does_not_spin(tmp_path: Path) -> None:
    other = held_elsewhere(tmp_path, seconds=0.8)
    before = time.process_time()
    with exclusively("cpu", "mine", tmp_path, lambda text: None):
        pass
    assert time.process_time() - before < 0.2
    other.wait()
