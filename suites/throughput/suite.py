"""The throughput suite: images a second, one cell for each implementation and point of its sweeps."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from vitbench.measurement import unmeasured
from vitbench.options import CHANNELS_LAST, COMPILED, Options
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord
from vitbench.results import append
from vitbench.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every combination of what it lists."""

    models: tuple[str, ...]
    batches: tuple[int, ...] = (8,)
    tasks: tuple[str, ...] = ("inference",)
    dtypes: tuple[str, ...] = ("float32",)
    modes: tuple[str, ...] = ("eager",)

    def asked(self, options: Options) -> "Sweep":
        """What was asked for instead, where anything was."""
        given = {name: getattr(options, name) for name in ("models", "batches", "tasks", "dtypes", "modes")}
        return replace(self, **{name: values for name, values in given.items() if values})


BOTH = ("inference", "training")
HALF_ON_CPU, HALVES = ("bfloat16", "autocast-bfloat16"), ("bfloat16", "float16", "autocast-bfloat16")
SIZES = ("S/16@224", "S/16@288", "S/16@384", "S/16@512")

ON_CPU = {
    "quick": [Sweep(models=("Ti/16@64",), tasks=BOTH)],
    "standard": [Sweep(models=("Ti/16@224",), batches=(1, 8)), Sweep(models=("Ti/16@224",), tasks=("training",))],
    "full": [
        Sweep(models=("Ti/16@224", "S/16@224", "B/16@224"), batches=(1, 2, 4, 8, 16)),
        Sweep(models=SIZES, batches=(4,)),
        Sweep(models=("Ti/16@224", "S/16@224"), tasks=("training",)),
        Sweep(models=("S/16@224",), tasks=BOTH, dtypes=HALF_ON_CPU),
        Sweep(models=("S/16@224",), modes=(CHANNELS_LAST, "compile", "compile-max-autotune")),
    ],
}
ON_CUDA = {
    "quick": [Sweep(models=("Ti/16@224",), tasks=BOTH)],
    "standard": [
        Sweep(models=("S/16@224", "B/16@224"), batches=(1, 64), dtypes=("float32", "bfloat16")),
        Sweep(
            models=("B/16@224",), batches=(64,), tasks=BOTH, dtypes=("autocast-bfloat16",), modes=("eager", "compile")
        ),
    ],
    "full": [
        Sweep(models=("S/16@224", "B/16@224", "L/16@224"), batches=(1, 8, 32, 128, 512), dtypes=("bfloat16",)),
        Sweep(models=SIZES, batches=(64,), dtypes=("bfloat16",)),
        Sweep(models=("B/16@224",), batches=(128,), tasks=BOTH, dtypes=("float32", "tf32", *HALVES)),
        Sweep(
            models=("B/16@224",),
            batches=(128,),
            tasks=BOTH,
            dtypes=("autocast-bfloat16",),
            modes=(CHANNELS_LAST, *COMPILED),
        ),
        Sweep(models=("L/16@224", "H/14@224"), batches=(64,), tasks=BOTH, dtypes=("autocast-bfloat16",)),
    ],
}
TIME_LIMIT_S = {"quick": 120, "standard": 300, "full": 1800}
SEARCH_LIMIT_S = {"quick": 600, "standard": 1800, "full": 7200}
SEARCHED = 0  # in place of a batch: the cell searches for one


def plan(options: Options) -> Iterator[Cell]:
    """The preset's sweeps, each point by all implementations in turn, and no point twice."""
    limits_s = SEARCH_LIMIT_S if options.find_batch else TIME_LIMIT_S
    sweeps = (ON_CPU if options.device == "cpu" else ON_CUDA)[options.preset]
    asked = [sweep.asked(options) for sweep in sweeps]
    if options.find_batch:
        asked = [replace(sweep, batches=(SEARCHED,)) for sweep in asked]
    points = [point for sweep in asked for point in _points(sweep)]
    for task, model, dtype, mode, batch in dict.fromkeys(points):
        for implementation in options.implementations:
            yield Cell.asked(
                options,
                suite="throughput",
                implementation=implementation,
                task=task,
                model=model,
                dtype=dtype,
                batch=batch,
                mode=mode,
                timed=True,
                time_limit_s=options.time_limit_s or limits_s[options.preset],
            )


def _points(sweep: Sweep) -> Iterator[tuple[str, str, str, str, int]]:
    return product(sweep.tasks, sweep.models, sweep.dtypes, sweep.modes, sweep.batches)


def run(cell: Cell, results: Path) -> int:
    """Measure one cell; keep its figures before it is profiled, which may go wrong."""
    from vitbench.suites.throughput.measure import Prepared, measure  # noqa: PLC0415  # torch, needed only now
    from vitbench.traces.profiler import traced  # noqa: PLC0415

    if cell.batch == SEARCHED:
        from vitbench.suites.throughput.find_batch import find_batch  # noqa: PLC0415

        find_batch(cell, results)
        return 0

    def keep(found: MeasurementRecord, ready: Prepared) -> None:
        append(results, found)
        if cell.trace:
            with suppress(OSError):  # a full disk: the executor tells that there is no trace
                append(results, traced(cell, ready.launch))

    measure(cell, keep)
    return 0


SUITE = Suite(
    name="throughput",
    summary="inference and training in images a second: batches, sizes, arithmetics, eager and compiled",
    plan=plan,
    run=run,
    lost=unmeasured,
    traces=True,
)
