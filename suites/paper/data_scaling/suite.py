"""The study of data sizes: one cell for each implementation, which has three sizes of ViT beside two ResNets."""

from collections.abc import Iterator
from pathlib import Path

from vitbench.measurement import unstudied
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.results import append
from vitbench.suite import Suite

TIME_LIMIT_S = {"quick": 1800.0, "standard": 7200.0, "full": 7200.0}


def plan(options: Options) -> Iterator[Cell]:
    """The implementations that are named, or the reference alone."""
    for implementation in options.studied:
        yield Cell.asked(
            options,
            suite="paper/data_scaling",
            implementation=implementation,
            dtype="float32",
            data=options.data,
            time_limit_s=options.time_limit_s or TIME_LIMIT_S[options.preset],
        )


def run(cell: Cell, results: Path) -> int:
    """Study one implementation."""
    from vitbench.suites.paper.data_scaling.measure import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell, results))
    return 0


SUITE = Suite(
    name="paper/data_scaling",
    summary="three ViTs and two ResNets pre-trained on more and more images: where they cross (section 4.3)",
    plan=plan,
    run=run,
    lost=unstudied,
    keeps=True,
)
