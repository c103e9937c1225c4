"""The study of transfer: one cell for each implementation, which is pre-trained, fine-tuned and trained from scratch."""

from collections.abc import Iterator
from pathlib import Path

from vitbench.measurement import unstudied
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.results import append
from vitbench.suite import Suite

TIME_LIMIT_S = {"quick": 600.0, "standard": 1800.0, "full": 3600.0}


def plan(options: Options) -> Iterator[Cell]:
    """The implementations that are named, or the reference alone."""
    for implementation in options.studied:
        yield Cell.asked(
            options,
            suite="paper/transfer",
            implementation=implementation,
            dtype="float32",
            data=options.data,
            time_limit_s=options.time_limit_s or TIME_LIMIT_S[options.preset],
        )


def run(cell: Cell, results: Path) -> int:
    """Study one implementation."""
    from vitbench.suites.paper.transfer.measure import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell, results))
    return 0


SUITE = Suite(
    name="paper/transfer",
    summary="pre-training, a head of zeros, fine-tuning at a higher resolution; against training from scratch (section 3.2)",
    plan=plan,
    run=run,
    lost=unstudied,
    keeps=True,
)
