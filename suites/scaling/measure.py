"""One cell of scaling: the devices, the workers that torchrun starts on them, and what became of these."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
import torch.distributed as dist

from vitbench.environment import usable_cores, without_places
from vitbench.errors import NotSupported, VitbenchError
from vitbench.exclusive import exclusively
from vitbench.measurement import record
from vitbench.plan import Cell
from vitbench.process import Child, module_command
from vitbench.records import MeasurementRecord, Outcome
from vitbench.results import Follower
from vitbench.suites.scaling import words
from vitbench.suites.scaling.worker import FOUND

ON_CPU = 2  # workers: more of them share caches and memory so that each is slowed, whatever they send
_RECORDING_S = 10.0  # of a cell's time, for its own start and for telling what it found


class WorkersFailed(VitbenchError):
    """A worker raised what is no lack of support or memory."""


def command(workers: int, cell: Cell, folder: Path) -> Sequence[str]:
    """What starts the workers."""
    return module_command("vitbench.suites.scaling.launch", str(workers), json.dumps(cell.to_json()), str(folder))


def measure(cell: Cell, command: Callable[[int, Cell, Path], Sequence[str]] = command) -> MeasurementRecord:
    """Throughput of 1, 2, 4, … workers up to the devices there are, in one group of processes, each timed in each round.

    Raises:
        NotSupported: the implementation cannot be trained by torch, or this torch has no torch.distributed.
        MemoryError: a worker had too little.
        WorkersFailed: a worker raised anything else; the text says which and what.
    """
    started = time.monotonic()
    if not dist.is_available():
        raise NotSupported(f"torch {torch.__version__} was built without torch.distributed")
    devices = available(cell)
    with ExitStack() as held, tempfile.TemporaryDirectory(prefix="vitbench-") as folder:
        for device in devices[1:]:  # in this order, as every cell: else two could wait for each other
            if device != cell.device:
                held.enter_context(exclusively(device, f"cell {cell.key}"))
        left_s = max(1.0, cell.time_limit_s - _RECORDING_S - (time.monotonic() - started))
        child = Child(command(len(devices), cell, Path(folder)), threads=cell.threads)
        try:
            exit_code = child.wait(left_s)
        finally:
            child.end()
        found = [one for one in Follower(Path(folder, FOUND)).new() if isinstance(one, MeasurementRecord)]
        if found and exit_code == 0:
            return found[0]
        return _unfinished(cell, exit_code, Path(folder), child.last_words(), time.monotonic() - started)


def available(cell: Cell) -> list[str]:
    """The devices of the workers: from the cell's own to the last there is; on the CPU so many times the CPU."""
    if cell.device == "cpu":
        return ["cpu"] * max(1, min(ON_CPU, usable_cores() // cell.threads))
    first = torch.device(cell.device).index or 0
    return [f"cuda:{index}" for index in range(first, torch.cuda.device_count())]


def _unfinished(cell: Cell, exit_code: int | None, folder: Path, output: str, duration_s: float) -> MeasurementRecord:
    """The record of a cell whose workers did not come to their end."""
    if exit_code is None:
        text = f"no result within its limit of {cell.time_limit_s:g} s; {words.places(folder)}"
        return record(cell, Outcome.TIMED_OUT, reason=without_places(text), duration_s=duration_s)
    ended = words.why(folder)
    if ended is None:
        text = f"torchrun ended with code {exit_code}{'; its last output: ' * bool(output)}{output}"
        return record(cell, Outcome.CRASHED, reason=without_places(text), duration_s=duration_s)
    text = without_places(f"worker {ended.worker}: {ended.text}")
    if ended.kind == words.NOT_SUPPORTED:
        raise NotSupported(ended.text)
    if ended.kind == words.OUT_OF_MEMORY:
        raise MemoryError(text)
    if ended.kind == words.FAILED:
        raise WorkersFailed(text)
    return record(cell, Outcome.CRASHED, reason=text, duration_s=duration_s)
