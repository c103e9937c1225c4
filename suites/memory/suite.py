"""The memory suite: peaks and what they are made of, one cell for each implementation, model, task and batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from vitbench.measurement import unmeasured
from vitbench.options import TASKS, Options
from vitbench.plan import Cell
from vitbench.results import append
from vitbench.suite import Suite


@dataclass(frozen=True)
class Axes:
    """What a preset measures, and how long one cell may take."""

    models: tuple[str, ...]
    batches: tuple[int, ...]  # three or more show whether memory is a straight line over them
    time_limit_s: float


ON_CPU = {
    "quick": Axes(("Ti/16@64",), (1, 8), 120),
    "standard": Axes(("Ti/16@224",), (1, 4, 8), 300),
    "full": Axes(("Ti/16@224", "S/16@224", "B/16@224"), (1, 2, 4, 8), 1800),
}
ON_CUDA = {
    "quick": Axes(("Ti/16@224",), (1, 8), 120),
    "standard": Axes(("S/16@224", "B/16@224"), (1, 16, 64), 300),
    "full": Axes(("S/16@224", "B/16@224", "B/16@384", "L/16@224", "H/14@224"), (1, 8, 32, 64), 900),
}


def plan(options: Options) -> Iterator[Cell]:
    """Both tasks, eager, of every model at every batch; each by all implementations in turn."""
    axes = (ON_CPU if options.device == "cpu" else ON_CUDA)[options.preset]
    models, tasks = options.models or axes.models, options.tasks or TASKS
    dtypes, batches = options.dtypes or ("float32",), options.batches or axes.batches
    points = product(models, tasks, dtypes, batches, options.implementations)
    for model, task, dtype, batch, implementation in points:
        yield Cell.asked(
            options,
            suite="memory",
            implementation=implementation,
            task=task,
            model=model,
            dtype=dtype,
            batch=batch,
            mode="eager",
            timed=options.device != "cpu",  # memory of a device is shared, that of a process is its own
            time_limit_s=options.time_limit_s or axes.time_limit_s,
        )


def run(cell: Cell, results: Path) -> int:
    """Measure one cell."""
    from vitbench.suites.memory.measure import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell))
    return 0


SUITE = Suite(
    name="memory",
    summary="peaks of inference and training, what they are made of, and how they grow with the batch",
    plan=plan,
    run=run,
    lost=unmeasured,
)
