"""The throughput suite: images a second, one cell for each implementation, model and batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vitbench.measurement import unmeasured
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.results import append
from vitbench.suite import Suite


@dataclass(frozen=True)
class Axes:
    """What a preset measures, and how long one cell may take."""

    models: tuple[str, ...]
    batches: tuple[int, ...]
    time_limit_s: float


ON_CPU = {
    "quick": Axes(("Ti/16@64",), (8,), 120),
    "standard": Axes(("Ti/16@224", "S/16@224"), (1, 8), 300),
    "full": Axes(("Ti/16@224", "S/16@224", "B/16@224", "B/16@384"), (1, 8), 1800),
}
ON_CUDA = {
    "quick": Axes(("Ti/16@224",), (8,), 120),
    "standard": Axes(("Ti/16@224", "S/16@224", "B/16@224"), (1, 64), 300),
    "full": Axes(("Ti/16@224", "S/16@224", "B/16@224", "B/16@384", "L/16@224", "H/14@224"), (1, 8, 64, 256), 900),
}


def plan(options: Options) -> Iterator[Cell]:
    """Float32, eager inference of every model at every batch; each model by all implementations in turn."""
    axes = (ON_CPU if options.device == "cpu" else ON_CUDA)[options.preset]
    for model in options.models or axes.models:
        for batch in options.batches or axes.batches:
            for implementation in options.implementations:
                yield Cell(
                    suite="throughput",
                    implementation=implementation,
                    task="inference",
                    model=model,
                    dtype="float32",
                    batch=batch,
                    mode="eager",
                    device=options.device,
                    threads=options.threads,
                    preset=options.preset,
                    seed=options.seed,
                    timed=True,
                    time_limit_s=options.time_limit_s or axes.time_limit_s,
                )


def run(cell: Cell, results: Path) -> int:
    """Measure one cell."""
    from vitbench.suites.throughput.inference import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell))
    return 0


SUITE = Suite(
    name="throughput",
    summary="inference in images a second, float32, eager",
    plan=plan,
    run=run,
    lost=unmeasured,
)
