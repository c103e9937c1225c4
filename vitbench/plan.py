"""What a run will do: its cells, each a point of suite, implementation, task, model, dtype, mode, batch and device."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from vitbench.errors import HarnessError
from vitbench.options import Options
from vitbench.suite import Suite, load


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the plan; it runs in a process of its own and gives one verdict or one measurement."""

    suite: str
    implementation: str  # as --impl takes it
    name: str = ""  # what it calls itself, where that is known before it runs
    task: str = ""  # inference, …; empty where the suite has only one
    model: str = ""  # variant and image size; empty where the suite draws its own configurations
    dtype: str = ""
    batch: int = 0
    mode: str = ""  # eager, …
    device: str = "cpu"
    threads: int = 1
    preset: str = "quick"
    seed: int = 0
    data: str = ""  # folder of images to train on; empty: those that come with the suite
    timed: bool = False  # runs alone: nothing else of this run beside it
    time_limit_s: float = 600.0
    keep: str = ""  # folder for the state of what it trains, to go on from where it was stopped; empty: none is kept
    trace: str = ""  # folder for a trace of it, made once it was timed; empty: none is asked for

    @classmethod
    def asked(cls, options: Options, **point: Any) -> Self:
        """A point on the device, with the threads, preset and seed, that the options ask for."""
        everywhere = {name: getattr(options, name) for name in ("device", "threads", "preset", "seed")}
        return cls(**everywhere, **point)

    @property
    def key(self) -> str:
        """A name that no other cell of the plan has; the same cell of another run has the same."""
        points = (self.suite, self.task, self.implementation, self.model, self.dtype, self.mode)
        counted = (
            f"batch={self.batch}" if self.batch else "",
            self.device,
            f"threads={self.threads}",
            self.preset,
            f"seed={self.seed}",
            f"data={Path(self.data).name}" if self.data else "",
        )
        return " ".join(filter(None, points + counted))

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The cell that ``to_json`` wrote."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


def plan(options: Options) -> list[Cell]:
    """Every cell that the options ask for, in the order in which they are shown.

    Raises:
        HarnessError: a suite planned one cell twice.
    """
    cells = [cell for suite in _chosen(options) for cell in suite.plan(options)]
    keys = [cell.key for cell in cells]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise HarnessError(f"the plan has two cells of one key, {twice[0]!r}; a suite's axes must tell its cells apart")
    return cells


def widest_first(cells: Sequence[Cell]) -> list[Cell]:
    """The order in which to run as much as time allows: each next cell shows the most of what none before it has shown.

    Of two that show as much, the one that is planned first; at the end what shows nothing new, as planned.
    """
    waiting, shown, ordered = list(cells), set[tuple[str, object]](), list[Cell]()
    while waiting:
        best = max(waiting, key=lambda cell: len(_shows(cell) - shown))
        new = _shows(best) - shown
        if not new:
            break
        waiting.remove(best)
        ordered.append(best)
        shown |= new
    return ordered + waiting


def _shows(cell: Cell) -> set[tuple[str, object]]:
    """A cell's values on each axis, each of them within its suite."""
    axes = ("implementation", "task", "model", "dtype", "batch", "mode")
    return {(f"{cell.suite} {name}", getattr(cell, name)) for name in axes}


def _chosen(options: Options) -> Iterator[Suite]:
    names: Sequence[str] = options.suites
    return (load(name) for name in names)
