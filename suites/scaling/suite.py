"""The scaling suite: training on 1 to n devices by torchrun, one cell for each implementation, model and strategy."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from vitbench.measurement import unmeasured
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.records import SCALING
from vitbench.results import append
from vitbench.scaling import DDP, FSDP2
from vitbench.suite import Suite


@dataclass(frozen=True)
class Axes:
    """What a preset measures, and how long one cell may take."""

    models: tuple[str, ...]
    batches: tuple[int, ...]  # of each worker
    dtypes: tuple[str, ...]
    time_limit_s: float


ON_CPU = {
    "quick": Axes(("Ti/16@64",), (8,), ("float32",), 180),
    "standard": Axes(("Ti/16@224", "L/16@224,depth=2"), (8,), ("float32",), 600),
    "full": Axes(("Ti/16@224", "S/16@224", "L/16@224,depth=4"), (4, 16), ("float32",), 1800),
}
ON_CUDA = {
    "quick": Axes(("Ti/16@224",), (32,), ("float32",), 180),
    "standard": Axes(("B/16@224", "L/16@224"), (32,), ("autocast-bfloat16",), 600),
    "full": Axes(("B/16@224", "L/16@224", "H/14@224"), (8, 64), ("bfloat16", "autocast-bfloat16"), 1800),
}
_SHARDED = ("L", "H")  # variants whose weights, gradients and optimizer state are worth to be divided


def plan(options: Options) -> Iterator[Cell]:
    """Every model at every batch by DDP, large ones by FSDP2 too; each by all implementations in turn."""
    axes = (ON_CPU if options.device == "cpu" else ON_CUDA)[options.preset]
    models, batches = options.models or axes.models, options.batches or axes.batches
    for model, dtype, batch in product(models, options.dtypes or axes.dtypes, batches):
        for strategy, implementation in product(strategies(model), options.implementations):
            yield Cell.asked(
                options,
                suite=SCALING,
                implementation=implementation,
                task="training",
                model=model,
                dtype=dtype,
                batch=batch,
                mode=strategy,
                timed=True,
                time_limit_s=options.time_limit_s or axes.time_limit_s,
            )


def strategies(model: str) -> tuple[str, ...]:
    """How the work of a model is divided."""
    return (DDP, FSDP2) if model.partition("/")[0] in _SHARDED else (DDP,)


def run(cell: Cell, results: Path) -> int:
    """Measure one cell."""
    from vitbench.suites.scaling.measure import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell))
    return 0


SUITE = Suite(
    name=SCALING,
    summary="training on 1 to n devices by torchrun, DDP and FSDP2: images a second, efficiency, communication share",
    plan=plan,
    run=run,
    lost=unmeasured,
    whole=True,
)
