"""This machine as an engine: untimed cells side by side, timed ones alone."""

from collections.abc import Generator, Sequence
from typing import Self

from vitbench import preflight
from vitbench.environment import usable_cores
from vitbench.executor import Event, execute
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.preflight import Preflight

_BESIDE = 2  # untimed cells at once, where there are cores for them


class LocalEngine:
    """Each cell in a child process of this one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def check(self, options: Options) -> Preflight:
        """Look at this machine."""
        return preflight.check(options)

    def execute(self, cells: Sequence[Cell], *, until_s: float) -> Generator[Event]:
        """Run the cells here."""
        return execute(cells, beside=min(_BESIDE, usable_cores()), until_s=until_s)
