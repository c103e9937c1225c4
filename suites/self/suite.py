"""The self suite: vitbench's timer, and others beside it, on loads of known duration; and how long vitbench takes to start."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from vitbench.measurement import unmeasured
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.records import SELF
from vitbench.results import append
from vitbench.suite import Suite
from vitbench.suites.self.loads import LOADS_S
from vitbench.suites.self.timers import ON_CPU, ON_CUDA

TIMING, START = "known load", "start"
COMMANDS = {
    "python alone": ("-c", "pass"),
    "import vitbench.run": ("-c", "import vitbench.run"),
    "run --help": ("-m", "vitbench.run", "--help"),
    "run --dry-run": ("-m", "vitbench.run", "--dry-run"),
}
"""By name, what Python is started with."""

_QUICK_LOADS = ("nothing", "20 µs", "2 ms", "50 ms")
_NOT_QUICK = ("torch adaptive_autorange",)  # to import torch takes longer than to measure
_TIME_LIMIT_S = {"quick": 60.0, "standard": 120.0, "full": 300.0}


def plan(options: Options) -> Iterator[Cell]:
    """Every timer in turn on each load, so that what is compared lies near in time; the commands last."""
    on_cpu = options.device == "cpu"
    quick, all_timers = options.preset == "quick", ON_CPU if on_cpu else ON_CUDA
    loads = _QUICK_LOADS if quick else tuple(LOADS_S)
    timers = [timer for timer in all_timers if not (quick and timer in _NOT_QUICK)]
    points = [(TIMING, timer, load) for load, timer in product(loads, timers)]
    points += [(START, "vitbench", command) for command in COMMANDS if on_cpu]
    for task, timer, what in points:
        yield Cell.asked(
            options,
            suite=SELF,
            implementation=timer,
            task=task,
            mode=what,
            timed=True,
            time_limit_s=options.time_limit_s or _TIME_LIMIT_S[options.preset],
        )


def run(cell: Cell, results: Path) -> int:
    """Measure one cell."""
    from vitbench.suites.self.measure import measure  # noqa: PLC0415  # torch, where a timer needs it

    append(results, measure(cell))
    return 0


SUITE = Suite(
    name=SELF,
    summary="vitbench's own timer on loads of known duration, beside torch's, pytest-benchmark's and triton's",
    plan=plan,
    run=run,
    lost=unmeasured,
)
