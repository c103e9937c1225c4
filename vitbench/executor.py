"""Runs the cells, each in a process of its own: what becomes of one never reaches another."""

import json
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitbench.environment import without_places
from vitbench.plan import Cell
from vitbench.process import Child, how_it_ended, module_command
from vitbench.records import MeasurementRecord, Outcome, Record, Result, StudyRecord
from vitbench.results import Follower
from vitbench.statistics import median
from vitbench.steps import steps_of
from vitbench.suite import Ending, load
from vitbench.traces.record import TraceRecord

_POLL_S = 0.05
_EXIT_GRACE_S = 10.0  # between a cell's result and the end of its process


@dataclass(frozen=True)
class Started:
    """A cell's process was started."""

    cell: Cell


@dataclass(frozen=True)
class Recorded:
    """A cell made a record."""

    cell: Cell
    record: Record


@dataclass(frozen=True)
class Finished:
    """A cell is over; its result was recorded."""

    cell: Cell
    result: Result
    duration_s: float
    left_behind: int = 0  # processes that it left running, and that were ended


@dataclass(frozen=True)
class Advanced:
    """A cell that counts its steps has come further."""

    cell: Cell
    done: int
    total: int


@dataclass(frozen=True)
class Lost:
    """What a cell ran on was lost, not the cell's own process; it will be started once more."""

    cell: Cell
    reason: str


Event = Started | Recorded | Advanced | Finished | Lost
Command = Callable[[Cell, Path], Sequence[str]]


def command(cell: Cell, results: Path) -> Sequence[str]:
    """The command line of a cell's process."""
    return module_command("vitbench.cell", json.dumps(cell.to_json()), str(results))


def execute(
    cells: Sequence[Cell], *, beside: int = 2, command: Command = command, until_s: float = math.inf
) -> Generator[Event]:
    """Run every cell and tell what happens as it happens; close the iterator to end what still runs.

    Untimed cells come first, at most ``beside`` of them at once. Timed ones follow one by one, with nothing of
    this run beside them. At ``until_s`` of ``time.monotonic`` what runs is ended, without a result; and no cell is started
    that would be, if it lasted as long as most before it.
    """
    untimed, timed = [c for c in cells if not c.timed], [c for c in cells if c.timed]
    with tempfile.TemporaryDirectory(prefix="vitbench-") as folder:
        files = {cell.key: Path(folder, f"{i}.jsonl") for i, cell in enumerate(cells)}
        for group, at_once in ((untimed, beside), (timed, 1)):
            yield from _execute(group, at_once, until_s, lambda cell: _Running(cell, files[cell.key], command))


def _execute(
    cells: Sequence[Cell], at_once: int, until_s: float, start: Callable[[Cell], "_Running"]
) -> Iterator[Event]:
    waiting, running, lasted_s = deque(cells), list["_Running"](), list[float]()
    try:
        while (waiting or running) and time.monotonic() < until_s:
            if lasted_s and time.monotonic() + median(lasted_s) >= until_s:
                waiting.clear()
            while waiting and len(running) < at_once:
                running.append(start(waiting.popleft()))
                yield Started(running[-1].cell)
            for one in list(running):
                yield from one.news()
                if one.finished:
                    running.remove(one)
                    lasted_s.append(one.child.elapsed_s)
            time.sleep(_POLL_S)
    finally:
        for one in running:
            one.child.end()


class _Running:
    """A cell, its process and the file that it writes."""

    def __init__(self, cell: Cell, file: Path, command: Command) -> None:
        self.cell = cell
        self.finished = False
        self.child = Child(command(cell, file), threads=cell.threads)
        self._file, self._follower = file, Follower(file)
        self._steps: tuple[int, int] | None = None
        self._records: list[Record] = []
        self._result: Result | None = None
        self._result_at_s = 0.0
        self._trace_due = False  # it has its result, and is being profiled

    def news(self) -> Iterator[Event]:
        """What happened since the last call; the last event is ``Finished``."""
        exit_code, overdue = self.child.exit_code(), self._overdue()
        for record in self._follower.new():  # after the look at the exit code, so that nothing is missed
            self._keep(record)
            yield Recorded(self.cell, record)
        if exit_code is None and not overdue:
            yield from self._advance()
            return
        duration_s = self.child.elapsed_s
        self.child.end()
        self.finished = True
        left, recorded = self.child.left_behind, self._result
        result = recorded or load(self.cell.suite).lost(self.cell, self._ending(exit_code))
        told = _with_left_behind(result, left) if left else result
        if told != recorded:
            yield Recorded(self.cell, told)
        if recorded is not None and self._trace_due:
            yield Recorded(self.cell, TraceRecord(cell=self.cell.key, reason=self._no_trace(exit_code)))
        yield Finished(self.cell, told, duration_s, left)

    def _advance(self) -> Iterator[Event]:
        steps = steps_of(self._file)
        if steps is not None and steps != self._steps:
            self._steps = steps
            yield Advanced(self.cell, *steps)

    def _keep(self, record: Record) -> None:
        self._records.append(record)
        if not isinstance(record, Result) or record.cell != self.cell.key:
            pass  # such as a try of a search, which is a cell of its own
        elif self._result is None:
            self._result, self._result_at_s = record, self.child.elapsed_s
            self._trace_due = bool(self.cell.trace) and _was_measured(record)
        if isinstance(record, TraceRecord):
            self._trace_due, self._result_at_s = False, self.child.elapsed_s

    def _overdue(self) -> bool:
        limit_s = self.cell.time_limit_s if self._result is None or self._trace_due else _EXIT_GRACE_S
        return self.child.elapsed_s - self._result_at_s > limit_s

    def _no_trace(self, exit_code: int | None) -> str:
        how = f"not done within {self.cell.time_limit_s:g} s" if exit_code is None else how_it_ended(exit_code)
        return without_places(f"no trace: {how}")

    def _ending(self, exit_code: int | None) -> Ending:
        words = self.child.last_words()
        if exit_code is None:
            outcome, how = Outcome.TIMED_OUT, f"no result within its limit of {self.cell.time_limit_s:g} s"
        else:
            outcome, how = Outcome.CRASHED, how_it_ended(exit_code)
        return Ending(
            outcome=outcome,
            reason=without_places(f"{how}; its last output: {words}" if words else how),
            duration_s=self.child.elapsed_s,
            exit_code=exit_code,
            records=tuple(self._records),
        )


def _was_measured(result: Result) -> bool:
    return isinstance(result, MeasurementRecord) and result.outcome == Outcome.MEASURED


def _with_left_behind(result: Result, left: int) -> Result:
    """The result, recorded once more, that tells of processes which outlived the cell's own."""
    return with_note(result, f"child processes that it left running, and that were ended: {left}")


def with_note(result: Result, note: str) -> Result:
    """The result with a sentence that a reader must know, where it has a place for one."""
    if result.reason:
        return replace(result, reason=f"{result.reason}; {note}")
    if isinstance(result, StudyRecord):
        return replace(result, notes=[*result.notes, note])
    if isinstance(result, MeasurementRecord) and result.evidence is not None:
        return replace(result, evidence=replace(result.evidence, notes=[*result.evidence.notes, note]))
    return result
