"""Training by several workers: what follows from rounds, what is planned, and how a cell ends that goes wrong."""

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitbench.errors import NotSupported
from vitbench.options import parse
from vitbench.plan import Cell
from vitbench.records import Outcome
from vitbench.scaling import Agreement, Figure, disagreement, figure, images_per_s, point
from vitbench.suites.scaling import ways, words
from vitbench.suites.scaling.launch import LOST
from vitbench.suites.scaling.measure import WorkersFailed, available, measure
from vitbench.suites.scaling.suite import plan, strategies
from vitbench.suites.scaling.team import Team

SMALL = "Ti/16@32,depth=2,width=48,num_heads=2,mlp_dim=96,num_classes=10"


def scaling_cell(**changes: Any) -> Cell:
    fixed = {"task": "training", "model": SMALL, "dtype": "float32", "batch": 4, "mode": "ddp", "time_limit_s": 60.0}
    return Cell(suite="scaling", **{"implementation": "reference", **fixed, **changes})


# --- what follows from the rounds ---


def test_efficiency_and_communication_are_ratios_within_a_round() -> None:
    """Round two was slow for all alike: the ratios are those of round one."""
    found = point(2, 8, alone_s=[1.0, 3.0, 1.0], together_s=[1.25, 3.75, 1.25], silent_s=[1.0, 3.0, 1.0])
    assert found.efficiency == Figure(value=pytest.approx(0.8), low=None, high=None)
    assert found.communication_share is not None
    assert found.communication_share.value == pytest.approx(0.2)
    assert found.images_per_s.value == pytest.approx(16 / 1.25)


def test_intervals_are_those_of_the_median_from_six_rounds_on() -> None:
    """Of six, the smallest and the largest hold the median with 96.9 %."""
    assert figure([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == Figure(value=3.5, low=1.0, high=6.0)
    assert figure([1.0, 2.0, 3.0, 4.0, 5.0]) == Figure(value=3.0, low=None, high=None)
    assert images_per_s([1.0, 2.0, 2.0, 2.0, 2.0, 4.0], 8) == Figure(value=4.0, low=2.0, high=8.0)


def test_one_worker_has_nobody_to_communicate_with() -> None:
    assert point(1, 8, alone_s=[1.0], together_s=[1.1], silent_s=[]).communication_share is None


@pytest.mark.parametrize(
    ("together", "wrong"),
    [
        (3.2, ""),
        (3.201, ""),  # a tenth of a per cent of the way
        (
            2.8,
            "2 workers are not one: after 3 steps their loss is 2.8, that of one worker on the same images 3.2, from 3.7",
        ),
        (3.7, "2 workers are not one"),  # never moved
        (None, "the loss is no finite number"),
        (float("nan"), "the loss is no finite number"),
    ],
)
def test_losses_are_held_against_how_far_the_steps_went(together: float | None, wrong: str) -> None:
    told = disagreement(
        Agreement(workers=2, steps=3, loss_before=3.7, loss_alone=3.2, loss_together=together), tolerance=0.02
    )
    assert told.startswith(wrong) if wrong else told == ""


# --- the plan ---


def test_large_variants_are_sharded_too() -> None:
    assert strategies("B/16@224") == ("ddp",)
    assert strategies("L/16@224,depth=2") == strategies("H/14@224") == ("ddp", "fsdp2")


def test_the_plan_has_a_cell_for_each_model_batch_strategy_and_implementation() -> None:
    given = [
        "--suite",
        "scaling",
        "--impl",
        "reference",
        "--impl",
        "timm",
        "--model",
        "L/16@32",
        "--batch",
        "2",
        "--batch",
        "4",
    ]
    cells = list(plan(parse(given)))
    assert [(one.batch, one.mode, one.implementation) for one in cells] == [
        (batch, mode, name) for batch in (2, 4) for mode in ("ddp", "fsdp2") for name in ("reference", "timm")
    ]
    assert all(one.timed and one.task == "training" for one in cells)


@pytest.mark.parametrize(("workers", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_numbers_of_workers_are_powers_of_two_and_all_there_are(workers: int, sizes: list[int]) -> None:
    assert Team(0, workers, torch.device("cpu"), "gloo", None, Path()).sizes == sizes


def test_workers_are_as_many_as_cores_for_their_threads_and_two_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads, workers in ((1, 1, 1), (2, 1, 2), (16, 1, 2), (16, 16, 1)):
        monkeypatch.setattr("vitbench.suites.scaling.measure.usable_cores", lambda cores=cores: cores)
        assert available(scaling_cell(threads=threads)) == ["cpu"] * workers


def test_workers_are_on_the_devices_from_the_one_asked_for_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert available(scaling_cell(device="cuda:1")) == ["cuda:1", "cuda:2", "cuda:3"]


# --- what FSDP2 gathers ---


class Doubling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.linear(x)


def test_blocks_that_are_called_are_gathered_as_they_are_and_mere_lists_by_their_parts() -> None:
    called = nn.Sequential(Doubling(), Doubling())
    assert ways.units_of(called, 2, lambda: called(torch.zeros(1, 3))) == list(called)
    lists = nn.ModuleList([nn.ModuleList([Doubling(), nn.ReLU()]), nn.ModuleList([Doubling(), nn.ReLU()])])
    run = lambda: [part(torch.zeros(1, 3)) for pair in lists for part in pair]  # noqa: E731
    assert ways.units_of(lists, 2, run) == [lists[0][0], lists[1][0]]


def test_blocks_whose_weights_are_only_read_are_not_gathered_one_by_one() -> None:
    read = nn.ModuleList([Doubling(), Doubling()])
    assert ways.units_of(read, 2, lambda: [block.linear.weight.sum() for block in read]) == []


# --- what ended the workers ---


def spoken(folder: Path, worker: int, at_s: float, text: str) -> None:
    said = {"worker": worker, "at_s": at_s, "kind": words.FAILED, "text": text}
    (folder / f"worker-{worker}.json").write_text(json.dumps(said))


def test_who_spoke_first_is_the_one(tmp_path: Path) -> None:
    spoken(tmp_path, 0, 2.0, "connection closed by peer")
    spoken(tmp_path, 1, 1.0, "no such luck")
    (tmp_path / LOST).write_text(json.dumps({"0": 1, "1": 1}))
    ended = words.why(tmp_path)
    assert ended is not None
    assert (ended.worker, ended.text) == (1, "no such luck")


def test_a_worker_that_was_lost_without_a_word_is_the_one_whatever_the_others_say(tmp_path: Path) -> None:
    spoken(tmp_path, 0, 2.0, "connection closed by peer")
    (tmp_path / LOST).write_text(json.dumps({"0": 1, "1": -signal.SIGKILL}))
    ended = words.why(tmp_path)
    assert ended is not None
    assert ended.worker == 1
    assert ended.text.startswith("its process was killed by SIGKILL (often the system's answer to a lack of memory)")


def test_a_worker_that_torchrun_ended_is_not_the_one(tmp_path: Path) -> None:
    spoken(tmp_path, 1, 1.0, "no such luck")
    (tmp_path / LOST).write_text(json.dumps({"0": -signal.SIGTERM, "1": 1}))
    ended = words.why(tmp_path)
    assert ended is not None
    assert (ended.worker, ended.text) == (1, "no such luck")


def test_of_workers_that_left_nothing_nothing_is_known(tmp_path: Path) -> None:
    assert words.why(tmp_path) is None
    assert words.places(tmp_path) == "no worker had begun"


def fake(code: str) -> Callable[[int, Cell, Path], Sequence[str]]:
    """In torchrun's place, Python that knows its folder."""
    return lambda workers, cell, folder: [sys.executable, "-c", f"folder = {str(folder)!r}\n{code}"]


def test_workers_that_hang_end_with_their_cell_which_says_where_each_was(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))\n"
        "pathlib.Path(folder, 'worker-0.at').write_text('building its model')\n"
        "pathlib.Path(folder, 'worker-1.at').write_text('3 steps of 2 in a group by ddp')\n"
        "time.sleep(600)"
    )
    found = measure(scaling_cell(time_limit_s=12.0), fake(code))
    assert found.outcome == Outcome.TIMED_OUT
    assert found.reason == (
        "no result within its limit of 12 s; worker 0: building its model; worker 1: 3 steps of 2 in a group by ddp"
    )
    assert gone(int(pid.read_text()))


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits for whom it is left to."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        (words.FAILED, WorkersFailed, "worker 1: no such luck"),
        (words.OUT_OF_MEMORY, MemoryError, "worker 1: no such luck"),
        (words.NOT_SUPPORTED, NotSupported, "no such luck"),
    ],
)
def test_what_a_worker_says_becomes_the_cells_own_error(kind: str, error: type[Exception], text: str) -> None:
    said = json.dumps({"worker": 1, "at_s": 1.0, "kind": kind, "text": "no such luck"})
    code = f"import pathlib\npathlib.Path(folder, 'worker-1.json').write_text({said!r})\nraise SystemExit(1)"
    with pytest.raises(error, match=f"^{text}$"):
        measure(scaling_cell(), fake(code))


def test_a_torchrun_that_cannot_start_says_why() -> None:
    found = measure(scaling_cell(), fake("print('no route to nowhere')\nraise SystemExit(3)"))
    assert found.outcome == Outcome.CRASHED
    assert found.reason == "torchrun ended with code 3; its last output: no route to nowhere"


@pytest.mark.skipif(sys.platform != "linux", reason="gloo on the loopback interface, by its name on Linux")
def test_a_worker_that_is_killed_ends_its_cell_and_no_process_stays(tmp_path: Path) -> None:
    """By torchrun itself: worker 1 kills itself while the other waits for it."""
    adapter = tmp_path / "adapter.py"
    adapter.write_text(
        "import os, pathlib, signal\n"
        "from vitbench.adapters.reference import ReferenceAdapter\n"
        f"pathlib.Path({str(tmp_path)!r}, 'pid' + os.environ.get('RANK', '')).write_text(str(os.getpid()))\n"
        "if os.environ.get('RANK') == '1':\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "adapter = ReferenceAdapter()\n"
    )
    found = measure(scaling_cell(implementation=f"{adapter}:adapter", time_limit_s=120.0))
    assert found.outcome == Outcome.CRASHED
    assert found.reason.startswith("worker 1: its process was killed by SIGKILL")
    assert gone(int((tmp_path / "pid0").read_text()))
