"""What a suite is. Each folder of ``vitbench.suites`` with a module ``suite`` declares one, as its ``SUITE``."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
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
    traces: bool = False  # whether its cells can be profiled: each appends a TraceRecord behind its result


def names() -> list[str]:
    """Every suite there is; found without importing any."""
    home = importlib.import_module(_HOME)
    return [
        module.name
        for module in pkgutil.iter_modules(home.__path__)
        if module.ispkg and any((Path(folder) / module.name / "suite.py").is_file() for folder in home.__path__)
    ]


def load(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UsageError: there is none; the text lists those there are.
        HarnessError: its module declares no ``SUITE``.
    """
    if name not in names():
        raise UsageError(f"no suite {name!r}; there are {', '.join(names())}")
    declared = getattr(importlib.import_module(f"{_HOME}.{name}.suite"), "SUITE", None)
    if not isinstance(declared, Suite):
        raise HarnessError(f"{_HOME}.{name}.suite must declare SUITE = vitbench.suite.Suite(...), got {declared!r}")
    return declared
