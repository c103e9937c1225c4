"""What a run asks of an engine, and which engine the options name. None is imported unless it is asked for."""

import importlib.util
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from vitbench.engine_options import RAY
from vitbench.engines.local import LocalEngine
from vitbench.errors import UsageError
from vitbench.executor import Event
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.preflight import Preflight


class Engine(Protocol):
    """Looks at what is there, and runs cells on it."""

    def check(self, options: Options) -> Preflight:
        """What must hold before any cell runs, where they will run.

        Raises:
            VitbenchError: it does not hold; the text says what to do.
        """
        ...

    def execute(self, cells: Sequence[Cell], *, until_s: float) -> Generator[Event]:
        """Run every cell and tell what happens as it happens; close the generator to end what still runs.

        At ``until_s`` of ``time.monotonic`` what runs is ended, without a result.
        """
        ...


def chosen(options: Options) -> AbstractContextManager[Engine]:
    """The engine of these options; leaving its context ends all that it has started.

    Raises:
        UsageError: it needs a package that is not installed.
    """
    if options.engine != RAY:
        return LocalEngine()
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray needs ray, which is not installed; pip install 'vitbench[ray]'")
    from vitbench.engines.cluster import on_ray  # noqa: PLC0415  # of no other engine

    return on_ray(options)
