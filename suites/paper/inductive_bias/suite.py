"""The study of inductive bias: one cell for each implementation, and one for the ResNet that the paper compares with."""

from collections.abc import Iterator
from pathlib import Path

from vitbench.measurement import unstudied
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.results import append
from vitbench.suite import Suite

_RESNET = "ResNet"
TIME_LIMIT_S = {"quick": 600.0, "standard": 3600.0, "full": 7200.0}


def plan(options: Options) -> Iterator[Cell]:
    """The ResNet, then the implementations that are named, or the reference alone."""
    for implementation in (_RESNET, *options.studied):
        yield Cell.asked(
            options,
            suite="paper/inductive_bias",
            implementation=implementation,
            dtype="float32",
            time_limit_s=options.time_limit_s or TIME_LIMIT_S[options.preset],
        )


def run(cell: Cell, results: Path) -> int:
    """Study one model."""
    from vitbench.suites.paper.inductive_bias.measure import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell))
    return 0


SUITE = Suite(
    name="paper/inductive_bias",
    summary="how far translation, locality and reach are built in, beside a ResNet (section 3.1)",
    plan=plan,
    run=run,
    lost=unstudied,
)
