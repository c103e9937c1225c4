"""Tasks in processes of their own: a candidate that crashes or hangs costs its own cell, and no other."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from vitbench.calibration.matrix import Cell
from vitbench.calibration.plan import Task
from vitbench.requirement import Status

Judge = Callable[[Task], Cell]

# A fresh interpreter each: forked ones inherit locks of torch's threads, and a CUDA context that they cannot use.
_PROCESSES = multiprocessing.get_context("spawn")
_START_S = 300.0  # for the first task of a process: importing torch and the packages, on a busy machine

_GRACE_S = 10.0  # for what an idle process has to tidy up


def judged(
    tasks: Sequence[Task], prepare: Callable[[], Judge], *, jobs: int, time_limit_s: float
) -> Generator[tuple[Task, Cell], None, None]:
    """Each task with what came of it, as they end. Closing the iterator ends every process.

    Args:
        prepare: called once in each process, for what judges there; a function of a module, so that it travels.
    """
    waiting, workers = deque(tasks), [_Worker(prepare) for _ in range(min(jobs, len(tasks)))]
    try:
        for worker in workers:
            worker.give(waiting.popleft(), time_limit_s)
        while any(worker.task for worker in workers):
            _until_something_ends(workers)
            for place, worker in enumerate(workers):
                ended = worker.ended(time_limit_s)
                if ended is None:
                    continue
                yield ended
                if not worker.alive:
                    workers[place] = _Worker(prepare) if waiting else worker
                if waiting:
                    workers[place].give(waiting.popleft(), time_limit_s)
    finally:
        for worker in workers:
            worker.end()


def _until_something_ends(workers: Sequence["_Worker"]) -> None:
    busy = [worker for worker in workers if worker.task is not None]
    remaining_s = min(worker.deadline for worker in busy) - time.monotonic()
    wait([item for worker in busy for item in (worker.pipe, worker.process.sentinel)], max(0.0, remaining_s))


class _Worker:
    """A process and the task that it has."""

    def __init__(self, prepare: Callable[[], Judge]) -> None:
        self.pipe, other = _PROCESSES.Pipe()
        self.process = _PROCESSES.Process(target=_serve, args=(prepare, other), daemon=True)
        self.process.start()
        other.close()
        self.task: Task | None = None
        self.alive, self.deadline, self._started = True, 0.0, False

    def give(self, task: Task, time_limit_s: float) -> None:
        """Have a task done."""
        self.task = task
        self.deadline = time.monotonic() + time_limit_s + (0 if self._started else _START_S)
        with suppress(BrokenPipeError):  # it died between two tasks; its end is noticed next
            self.pipe.send(task)

    def ended(self, time_limit_s: float) -> tuple[Task, Cell] | None:
        """The task that it had with its cell, once that came to an end of any kind."""
        if self.task is None:
            return None
        cell = self._answer()
        if cell is None and time.monotonic() < self.deadline and self.process.is_alive():
            return None
        task, self.task = self.task, None
        if cell is None:
            hung = self.process.is_alive()
            self.process.kill()
            self.end()
            how = f"no end after {time_limit_s:g} s" if hung else f"its process ended with {self.process.exitcode}"
            cell = Cell(statuses={Status.ERROR: 1}, reason=how)
        self._started = True
        return task, cell

    def end(self) -> None:
        """Let it go, or kill it: what it is doing is not worth waiting for."""
        self.alive = False
        self.pipe.close()  # which an idle one takes for its end
        if self.task is None:
            self.process.join(_GRACE_S)
        self.process.kill()
        self.process.join()

    def _answer(self) -> Cell | None:
        try:
            cell: Cell | None = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None
        return cell


def _serve(prepare: Callable[[], Judge], pipe: "Connection[Any, Any]") -> None:
    """The process: one task after the other, until the pipe closes or Ctrl-C."""
    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        judge = prepare()
        while True:
            pipe.send(judge(pipe.recv()))
