"""Runs against the first of them: the ratio of the times of each cell, with its interval, on an axis around one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vitbench import units
from vitbench.records import MeasurementRecord
from vitbench.reports.anchors import cell_anchor
from vitbench.reports.differences import CellTimes, Differences, Ratio
from vitbench.reports.series import LABEL_CHARACTERS, Axis, distinct_labels, drawable, log_axis
from vitbench.reports.throughput import conditions
from vitbench.results import Run
from vitbench.wording import abridged, plural

MOST_RATIOS = 40  # those that are the furthest from one; the others are in the table only
_NAME_CHARACTERS = 64
_READ = (
    "Right of the line: slower. An interval that holds 1 tells no difference; it is of these processes alone, "
    "and other runs of the same code may lie outside of it."
)


@dataclass(frozen=True, kw_only=True)
class RatioPoint:
    """One cell in a later run, over the first."""

    label: str
    value: float
    low: float | None
    high: float | None
    word: str  # slower, faster, alike, no interval
    text: str  # stands beside it
    told: str  # what hovering says
    note: str
    subject: str
    about: Literal["implementation", "kernel"]
    row: str


@dataclass(frozen=True, kw_only=True)
class RatioChart:
    """Ratios above one are slower."""

    id: str
    title: str
    axis: Axis
    points: tuple[RatioPoint, ...]
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    kind: Literal["ratios"] = "ratios"


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """One cell in a later run, held against the first."""

    cell: str
    place: int  # of the later run
    ratio: Ratio
    record: MeasurementRecord
    first: MeasurementRecord


def ratio_charts(runs: Sequence[Run], labels: Sequence[str], found: Differences | None) -> tuple[RatioChart, ...]:
    """One chart of all cells that the first run and a later one have timed; none where there is no such cell."""
    compared = _compared(runs, found.cells if found else ())
    if not compared:
        return ()
    furthest = sorted(range(len(compared)), key=lambda i: -abs(math.log(compared[i].ratio.value)))[:MOST_RATIOS]
    shown = [compared[i] for i in sorted(furthest)]
    points = tuple(_point(one, name, labels[one.place]) for one, name in zip(shown, _names(shown, labels), strict=True))
    ends = [end for point in points for end in (point.value, point.low, point.high) if drawable(end)]
    further = len(compared) - len(shown)
    return (
        RatioChart(
            id="ratios",
            title=f"Times against those of {abridged(labels[0], LABEL_CHARACTERS)}",
            axis=log_axis("time / time", [*ends, 1.0], units.ratio),
            points=points,
            remarks=(_READ,),
            left_out=(f"{plural(further, 'cell')} nearer to 1: in the table",) if further else (),
        ),
    )


def _compared(runs: Sequence[Run], cells: Sequence[CellTimes]) -> list[_Compared]:
    records = [{record.cell: record for record in run.of_implementations} for run in runs]
    return [
        _Compared(
            cell=cell.title, place=place, ratio=ratio, record=records[place][cell.title], first=records[0][cell.title]
        )
        for cell in cells
        for place, ratio in enumerate(cell.ratios)
        if place and ratio is not None and drawable(ratio.value)
    ]


def _names(compared: Sequence[_Compared], labels: Sequence[str]) -> list[str]:
    """Whose cell, then the conditions that not all of its suite share, then the run where there are several later ones."""
    several = len({one.place for one in compared}) > 1
    suites: dict[str, list[set[str]]] = {}
    for one in compared:
        suites.setdefault(one.record.suite, []).append(set(_words(one.record)))
    named = []
    for one in compared:
        shared = set.intersection(*suites[one.record.suite]) - ({one.record.suite} if len(suites) > 1 else set())
        whose = str(one.record.kernel or one.record.implementation)
        told = [whose, *(word for word in _words(one.record) if word not in shared)]
        named.append(", ".join([*told, *([labels[one.place]] if several else [])]))
    return distinct_labels(named, _NAME_CHARACTERS)


def _words(record: MeasurementRecord) -> tuple[str, ...]:
    shape = (str(record.shape),) if record.shape else ()
    return (*conditions(record), *((record.direction,) if record.direction else ()), *shape)


def _point(one: _Compared, name: str, run: str) -> RatioPoint:
    ratio = one.ratio
    whole = drawable(ratio.low) and drawable(ratio.high)
    spread = f" ({units.interval(ratio.low, ratio.high)})" if whole else ""
    before, now = units.seconds(one.first.latency_s), units.seconds(one.record.latency_s)
    return RatioPoint(
        label=name,
        value=ratio.value,
        low=ratio.low if whole else None,
        high=ratio.high if whole else None,
        word=ratio.word,
        text=units.ratio(ratio.value),
        told=f"{units.ratio(ratio.value)}{spread}: {ratio.word}\n{before} before, {now} now",
        note=", ".join(ratio.doubts),
        subject=one.record.kernel or one.record.implementation,
        about="kernel" if one.record.kernel else "implementation",
        row=cell_anchor(TABLES.get(one.record.suite, "cell"), run, one.cell),
    )


TABLES = {
    "attention": "kernel",
    "memory": "memory",
    "scaling": "scaling",
}  # of the suites whose rows are elsewhere than under throughput
