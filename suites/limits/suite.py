"""The limits suite: one cell a run, which measures the device and no implementation.

Its record stands in the same file as the figures that are read against it, measured in the same run by the same clock
and threads. So a run that is resumed still has it, and a run without it is read against the datasheet alone.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from vitbench.measurement import record, unmeasured
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.records import LIMITS, Outcome
from vitbench.results import append
from vitbench.suite import Suite

_TIME_LIMIT_S = 120.0


def plan(options: Options) -> Iterator[Cell]:
    """One cell, of torch's own product and copy."""
    yield Cell.asked(
        options,
        suite=LIMITS,
        implementation="torch",
        timed=True,
        time_limit_s=options.time_limit_s or _TIME_LIMIT_S,
    )


def run(cell: Cell, results: Path) -> int:
    """Measure the device."""
    import torch  # noqa: PLC0415  # needed only now

    from vitbench.conditions.sampler import now_s  # noqa: PLC0415
    from vitbench.conditions.watch import watching  # noqa: PLC0415
    from vitbench.environment import device_name  # noqa: PLC0415
    from vitbench.limits.ceilings import measure_ceilings  # noqa: PLC0415
    from vitbench.timer import span_of_time  # noqa: PLC0415

    started = time.monotonic()
    torch.set_num_threads(cell.threads)
    with watching(cell.device) as watch:
        begun_s = now_s()
        ceilings = measure_ceilings(cell.device)
        watched = span_of_time(begun_s, now_s())
    found = record(
        cell,
        Outcome.MEASURED,
        version=str(torch.__version__),
        device_name=device_name(cell.device),
        ceilings=ceilings,
        evidence=watch.evidence(watched, images=0),
        duration_s=time.monotonic() - started,
    )
    append(results, found)
    return 0


SUITE = Suite(
    name=LIMITS,
    summary="the device itself: a large matrix product in each dtype, and a large copy",
    plan=plan,
    run=run,
    lost=unmeasured,
)
