"""Stored runs as series: the figure of each cell over time, runs of another machine or set of packages apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitbench.machine_key import key
from vitbench.records import MeasurementRecord, Outcome
from vitbench.results import Run


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run's figure."""

    at: str  # when the run began, ISO 8601
    run: int  # its place among those given
    record: MeasurementRecord
    seconds: float  # median latency


def series(runs: Sequence[Run]) -> Mapping[str, Sequence[Point]]:
    """Points by cell, the oldest first; where runs differ in their key, by what tells it apart too."""
    keys = [key(run.header.environment) for run in runs]
    apart = [name for name in (keys[0] if keys else ()) if len({one[name] for one in keys}) > 1]
    found: dict[str, list[Point]] = {}
    for place, (run, of_run) in enumerate(zip(runs, keys, strict=True)):
        machine = "".join(f" [{name} {of_run[name]}]" for name in apart)
        for record in run.of_implementations:
            seconds = record.latency_s
            if record.outcome == Outcome.MEASURED and seconds and math.isfinite(seconds) and seconds > 0:
                point = Point(at=run.header.started_at, run=place, record=record, seconds=seconds)
                found.setdefault(f"{record.cell}{machine}", []).append(point)
    return {name: sorted(points, key=lambda point: point.at) for name, points in sorted(found.items())}
