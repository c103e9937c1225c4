"""What is seen while a run goes on: live lines on a terminal, one line a finished cell anywhere else."""

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from vitbench import units
from vitbench.batch_search import BatchSearch
from vitbench.executor import Advanced, Event, Finished, Lost, Recorded, Started
from vitbench.limits.roofline import ceilings_text
from vitbench.plan import Cell
from vitbench.records import SELF, MeasurementRecord, Outcome, RequirementRecord, Result, StudyRecord, VerdictRecord
from vitbench.requirement import Verdict
from vitbench.scaling import Scaling
from vitbench.wording import plural

_PLAIN = ("", "float32", "eager")  # goes without saying


class Display(Protocol):
    """Shows events, in a context that cleans up after it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def show(self, event: Event) -> None:
        """Take notice of an event."""


def display(console: Console, cells: int) -> Display:
    """What suits the console."""
    return Live(console, cells) if _redraws(console) else Lines(console, cells)


def waiting(console: Console, text: str) -> AbstractContextManager[object]:
    """Says what is waited for, where that can be wiped out again."""
    return console.status(text) if _redraws(console) else nullcontext()


def _redraws(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


class Lines:
    """A line for each cell that is finished; for logs."""

    def __init__(self, console: Console, cells: int) -> None:
        self._console, self._cells, self._finished = console, cells, 0

    def __enter__(self) -> Self:
        self._console.print(
            f"{plural(self._cells, 'cell')} to run; a line follows for each", markup=False, soft_wrap=True
        )
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Print a cell that is finished."""
        if isinstance(event, Finished):
            self._finished += 1
            line = f"[{self._finished}/{self._cells}] {finished_line(event)}"
            self._console.print(line, markup=False, soft_wrap=True)
        elif isinstance(event, Lost):
            self._console.print(lost_line(event), markup=False, soft_wrap=True)


class Live:
    """A bar of all cells, below it the cells that run, above it a line for each that is finished."""

    def __init__(self, console: Console, cells: int) -> None:
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), _Bar(bar_width=20), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, refresh_per_second=2)
        self._total = self._progress.add_task(f"0 of {cells} cells", total=cells)
        self._cells = cells
        self._tasks: dict[str, TaskID] = {}
        self._judged: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Redraw what the event changes."""
        key = event.cell.key
        if isinstance(event, Started):
            self._tasks[key] = self._progress.add_task(escape(title(event.cell)), total=None)
        elif isinstance(event, Recorded) and isinstance(event.record, RequirementRecord):
            self._judged[key] += 1
            text = f"{title(event.cell)}: {self._judged[key]} requirements judged"
            self._progress.update(self._tasks[key], description=escape(text))
        elif isinstance(event, Advanced):
            text = f"{title(event.cell)}: {event.done} of {event.total} steps"
            self._progress.update(self._tasks[key], description=escape(text), completed=event.done, total=event.total)
        elif isinstance(event, Lost):
            self._progress.remove_task(self._tasks.pop(key))
            self._judged.pop(key, None)
            self._console.print(lost_line(event), markup=False)
        elif isinstance(event, Finished):
            self._progress.remove_task(self._tasks.pop(key))
            self._progress.advance(self._total)
            done = int(self._progress.tasks[0].completed)
            self._progress.update(self._total, description=f"{done} of {self._cells} cells")
            self._console.print(finished_line(event), markup=False)


class _Bar(BarColumn):
    """A bar for what can be counted, and nothing for the rest."""

    def render(self, task: Task) -> Any:
        """The bar, or an empty text."""
        return Text() if task.total is None else super().render(task)


def title(cell: Cell) -> str:
    """A cell in the words of a person: what is done, to whom, with what."""
    if cell.suite.startswith("paper/"):
        return " ".join(filter(None, (cell.suite, cell.task, cell.implementation, cell.model)))
    batch = f"batch {cell.batch}" if cell.batch else "search for a batch"
    detail = f" {cell.model} {batch}" if cell.model else ""
    if cell.suite == "attention":
        return f"{cell.suite} {cell.implementation}{detail} {cell.dtype} {cell.task}, {cell.mode}"
    if cell.suite == SELF:
        return f"{cell.suite} {cell.mode} by {cell.implementation}"
    task = f" {cell.task}" if cell.task else ""
    how = "".join(f" {word}" for word in (cell.dtype, cell.mode) if cell.model and word not in _PLAIN)
    return f"{cell.suite}{task} {cell.implementation}{detail}{how}"


def finished_line(event: Finished) -> str:
    """A cell and what came of it, on one line."""
    left = f"; child processes left running, and ended: {event.left_behind}" if event.left_behind else ""
    return f"{title(event.cell)}: {result_text(event.result)} ({units.duration(event.duration_s)}){left}"


def lost_line(event: Lost) -> str:
    """A cell that was not to blame, and what will become of it."""
    return f"{title(event.cell)}: {event.reason}; it is started once more"


def result_text(result: Result) -> str:
    """A verdict with its tally, a throughput, or the reason why there is neither."""
    if isinstance(result, VerdictRecord):
        reason = f": {result.reason}" if result.reason else ""
        judged = result.verdict != Verdict.ADAPTER_BROKEN
        return f"{result.said}{f', MUST {result.must}' if judged else ''}{reason}"
    if result.outcome != Outcome.MEASURED:
        return f"{result.outcome}: {result.reason}"
    return study_text(result) if isinstance(result, StudyRecord) else _figure_text(result)


def study_text(record: StudyRecord) -> str:
    """How much a study holds, on one line, and what it could not look at."""
    held = ((record.scalars, "figure"), (record.curves, "curve"), (record.arrays, "array"))
    found = ", ".join(plural(len(parts), word) for parts, word in held if parts)
    absent = ", ".join(part.what for part in record.missing)
    return f"{found or 'nothing'}{f'; not offered: {absent}' if absent else ''}"


def _figure_text(record: MeasurementRecord) -> str:
    """The figure that a cell was measured for."""
    if record.ceilings is not None:
        return ceilings_text(record.ceilings)
    if record.memory is not None or record.counts is not None or record.scaling is not None:
        return _of_its_suite(record)
    if record.batch_search is not None:
        return search_text(record, record.batch_search)
    if record.suite == SELF:
        check = record.timer_check
        off = "" if check is None or check.deviation is None else f", off by {units.percent(check.deviation)}"
        return f"{units.seconds(record.latency_s)}{off}"
    doubt = "" if record.converged else ", not converged"
    if record.kernel:
        wrong = "" if record.precision is None or record.precision.within else ", error beyond its bound"
        return f"{units.seconds(record.latency_s)}, {units.flops_per_s(record.flops_per_s)}{wrong}{doubt}"
    return f"{units.images_per_s(record.throughput_images_per_s)}{doubt}"


def search_text(record: MeasurementRecord, search: BatchSearch) -> str:
    """What a search for a batch found, on one line, and why it ended."""
    best = f"batch {search.best}, {units.images_per_s(record.throughput_images_per_s)}"
    return f"{best}; largest tried that fits: {search.largest_fitting}; {search.stopped}"


def scaling_text(record: MeasurementRecord, scaling: Scaling) -> str:
    """What all workers together reach, on one line."""
    doubt = "" if record.converged else ", not converged"
    reached = units.images_per_s(record.throughput_images_per_s)
    if not scaling.points:
        return f"{reached}{doubt}"
    most = scaling.points[-1]
    return f"{plural(most.workers, 'worker')}: {reached}, efficiency {units.percent(most.efficiency.value)}{doubt}"


def _of_its_suite(result: MeasurementRecord) -> str:
    """Bytes, operators, or workers."""
    if result.memory is not None:
        return f"{units.data_size(result.memory.allocated_bytes)} allocated"
    if result.scaling is not None:
        return scaling_text(result, result.scaling)
    return "" if result.counts is None else f"{units.count(sum(result.counts.operators.values()))} operators"
