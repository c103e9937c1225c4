"""The study of inner views: one cell for each implementation, which trains a small model and looks inside it."""

from collections.abc import Iterator
from pathlib import Path

from vitbench.measurement import unstudied
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.results import append
from vitbench.suite import Suite

TIME_LIMIT_S = {"quick": 600.0, "standard": 3600.0, "full": 7200.0}


def plan(options: Options) -> Iterator[Cell]:
    """The implementations that are named, or the reference alone."""
    for implementation in options.studied:
        yield Cell.asked(
            options,
            suite="paper/inner_views",
            implementation=implementation,
            dtype="float32",
            time_limit_s=options.time_limit_s or TIME_LIMIT_S[options.preset],
        )


def run(cell: Cell, results: Path) -> int:
    """Study one implementation."""
    from vitbench.suites.paper.inner_views.measure import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell))
    return 0


SUITE = Suite(
    name="paper/inner_views",
    summary="what a small trained model holds: filters, positions, attention distance, rollout (section 4.5)",
    plan=plan,
    run=run,
    lost=unstudied,
)
