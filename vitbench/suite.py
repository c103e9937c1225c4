"""What a suite is. Each folder of ``vitbench.suites`` with a module ``suite`` declares one, as its ``SUITE``.

A folder without one is a group of suites: ``paper`` holds ``paper/transfer``, and its name stands for all of them.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.errors import HarnessError, UsageError
from vitbench.records import Outcome, Record, Result

if TYPE_CHECKING:
    from vitbench.options import Options
    from vitbench.plan import Cell

_HOME = "vitbench.suites"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a cell ended that gave no result of its own."""

    outcome: Outcome
    reason: str
    duration_s: float
    exit_code: int | None = None  # of the cell's process; None where vitbench ended it
    records: Sequence[Record] = field(default_factory=tuple)  # what it wrote before


@dataclass(frozen=True, kw_only=True)
class Suite:
    """How a suite plans its cells, how one of them runs, and what is recorded of one that gives nothing.

    ``plan`` imports nothing heavy. ``run`` works in the cell's own process: it appends its records to the file
    and returns the process's exit code; ``NotSupported``, a lack of memory and any other error it just lets rise.
    """

    name: str
    summary: str  # one line, for --help
    plan: Callable[["Options"], Iterable["Cell"]]
    run: Callable[["Cell", Path], int]
    lost: Callable[["Cell", Ending], Result]
    keeps: bool = False  # whether its cells keep the state of what they train, and go on from there
    whole: bool = False  # whether its cells use every device of their machine at once
    traces: bool = False  # whether its cells can be profiled: each appends a TraceRecord behind its result


def names() -> list[str]:
    """Every suite there is; found without importing any."""
    return [name for folder in _home() for name in _below(Path(folder))]


def _home() -> Sequence[str]:
    return list(importlib.import_module(_HOME).__path__)


def _below(folder: Path, group: str = "") -> Iterator[str]:
    for module in pkgutil.iter_modules([str(folder)]):
        home = folder / module.name
        if module.ispkg and (home / "suite.py").is_file():
            yield f"{group}{module.name}"
        elif module.ispkg and not group:
            yield from _below(home, f"{module.name}/")


def groups() -> dict[str, list[str]]:
    """The names that stand for several suites, and for which."""
    found: dict[str, list[str]] = {}
    for name in names():
        group, slash, _ = name.partition("/")
        if slash:
            found.setdefault(group, []).append(name)
    return found


def expanded(asked: Iterable[str]) -> list[str]:
    """The suites that these names of suites and groups stand for."""
    known = groups()
    return [name for one in asked for name in known.get(one, [one])]


def load(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UsageError: there is none; the text lists those there are.
        HarnessError: its module declares no ``SUITE``.
    """
    if name not in names():
        raise UsageError(f"no suite {name!r}; there are {', '.join(names())}")
    declared = getattr(importlib.import_module(f"{_HOME}.{name.replace('/', '.')}.suite"), "SUITE", None)
    if not isinstance(declared, Suite):
        raise HarnessError(f"{_HOME}.{name}.suite must declare SUITE = vitbench.suite.Suite(...), got {declared!r}")
    return declared
