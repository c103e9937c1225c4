"""The record of a benchmark's or a study's cell: its axes from the cell, its figures, or the reason for none."""

from collections.abc import Mapping
from typing import Any

from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome, StudyRecord
from vitbench.suite import Ending
from vitbench.timer import Timing


def record(cell: Cell, outcome: Outcome, **found: Any) -> MeasurementRecord:
    """A record of this cell with what was found."""
    axes = _axes(cell) | {"batch": cell.batch, "mode": cell.mode}
    return MeasurementRecord(**(axes | found), outcome=outcome)


def unmeasured(cell: Cell, ending: Ending) -> MeasurementRecord:
    """The record of a cell that measured nothing: what every benchmark suite has for ``lost``."""
    return record(cell, ending.outcome, reason=ending.reason, duration_s=ending.duration_s)


def study(cell: Cell, outcome: Outcome, **found: Any) -> StudyRecord:
    """The record of a study's cell with what was found."""
    return StudyRecord(**(_axes(cell) | found), outcome=outcome)


def unstudied(cell: Cell, ending: Ending) -> StudyRecord:
    """The record of a study's cell that found nothing: what every suite of the paper's has for ``lost``."""
    return study(cell, ending.outcome, reason=ending.reason, duration_s=ending.duration_s)


def _axes(cell: Cell) -> dict[str, Any]:
    return {
        "cell": cell.key,
        "implementation": cell.name or cell.implementation,
        "version": "",
        "suite": cell.suite,
        "task": cell.task,
        "model": cell.model,
        "device": cell.device,
        "device_name": "",
        "dtype": cell.dtype,
        "threads": cell.threads,
    }


def figures(timing: Timing, images: int) -> Mapping[str, Any]:
    """What a timing says of work on so many images, as fields of the record."""
    return {
        "throughput_images_per_s": images / timing.median_s,
        "latency_s": timing.median_s,
        "latency_low_s": None if timing.interval is None else timing.interval.low,
        "latency_high_s": None if timing.interval is None else timing.interval.high,
        "converged": timing.converged,
        "wall_clock_ratio": timing.wall_clock_ratio,
        "warmup_iterations": timing.warmup_iterations,
        "samples_s": timing.samples_s,
    }
