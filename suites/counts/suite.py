"""The counts suite: operators, FLOPs, graph breaks and attention kernels, one cell for each implementation and task."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from vitbench.measurement import unmeasured
from vitbench.options import TASKS, Options
from vitbench.plan import Cell
from vitbench.results import append
from vitbench.suite import Suite

MODELS = {"quick": ("Ti/16@64",), "standard": ("Ti/16@64", "S/16@224"), "full": ("Ti/16@64", "S/16@224", "B/16@224")}
TIME_LIMIT_S = 300


def plan(options: Options) -> Iterator[Cell]:
    """Both tasks of every model; each by all implementations in turn."""
    models, tasks = options.models or MODELS[options.preset], options.tasks or TASKS
    for model, task, dtype, batch in product(models, tasks, options.dtypes or ("float32",), options.batches or (2,)):
        for implementation in options.implementations:
            yield Cell.asked(
                options,
                suite="counts",
                implementation=implementation,
                task=task,
                model=model,
                dtype=dtype,
                batch=batch,
                mode="eager",
                time_limit_s=options.time_limit_s or TIME_LIMIT_S,
            )


def run(cell: Cell, results: Path) -> int:
    """Count one cell."""
    from vitbench.suites.counts.measure import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell))
    return 0


SUITE = Suite(
    name="counts",
    summary="operators, FLOPs, graph breaks and attention kernels: the same on every run, for the gate's exact tier",
    plan=plan,
    run=run,
    lost=unmeasured,
)
