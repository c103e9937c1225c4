"""Measurements side by side: what may be compared, and what the first screen shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from vitbench.conditions.record import Validity
from vitbench.limits.roofline import Standing, ceilings_text
from vitbench.records import MeasurementRecord, Outcome, StudyRecord, kind_of_node
from vitbench.reports.anchors import cell_anchor
from vitbench.reports.doubts import doubts
from vitbench.results import Run
from vitbench.wording import abridged, plural

CONDITION_CHARACTERS = 80


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Images per second with the 95 % confidence interval of the median; all None where nothing was measured."""

    median: float | None
    low: float | None
    high: float | None
    converged: bool | None

    @property
    def spread(self) -> float | None:
        """Half the interval's width, as a part of the median."""
        if not self.median or self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.median


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of the table."""

    run: str
    record: MeasurementRecord
    throughput: Throughput
    standing: Standing | None = None  # against the ceiling measured in its run, else the datasheet

    @property
    def measured(self) -> bool:
        """Whether there is a figure."""
        return self.throughput.median is not None

    @property
    def invalid(self) -> bool:
        """Whether what was seen beside the samples speaks against the figure."""
        return _spoiled(self.record)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the figure is less than sure, in a word or two each; why so stands in the table."""
        return doubts(self.record)

    @property
    def implementation(self) -> str:
        """Which implementation was measured."""
        return str(self.record.implementation)

    @property
    def anchor(self) -> str:
        """The id of its row."""
        return cell_anchor("cell", self.run, self.record.cell)

    @property
    def absence(self) -> str:
        """Why there is no figure that can be used, in a word or two."""
        outcome = str(self.record.outcome)
        return "no usable figure" if outcome == Outcome.MEASURED else outcome


@dataclass(frozen=True, kw_only=True)
class MeasuredCeilings:
    """What the device of a run was measured to do, against which its cells are set."""

    run: str
    device: str
    text: str
    doubts: tuple[str, ...]  # why it cannot be believed


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Measurements taken under the same conditions, so that their figures may stand side by side."""

    title: str  # all conditions
    short_title: str  # those that tell it from the other comparisons
    conditions: tuple[str, ...]
    rows: tuple[Measurement, ...]

    @cached_property
    def fastest(self) -> float | None:
        """The largest figure, upper ends of intervals included."""
        figures = [row.throughput.high or row.throughput.median for row in self.rows]
        return max((figure for figure in figures if figure), default=None)

    def share(self, row: Measurement) -> float:
        """The row's figure as a part of the largest one."""
        return max(0.0, (row.throughput.median or 0.0) / self.fastest) if self.fastest else 0.0


def comparisons(runs: Sequence[Run], labels: Sequence[str]) -> tuple[Comparison, ...]:
    """All timings, grouped by what must be equal for a comparison."""
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for run, label in zip(runs, labels, strict=True):
        for record in {record.cell: record for record in run.measurements}.values():  # a resumed cell: its last word
            row = Measurement(run=label, record=record, throughput=_throughput(record), standing=run.standing(record))
            groups.setdefault(conditions(record), []).append(row)
    shared = shared_conditions(list(groups))
    return tuple(
        Comparison(
            title=", ".join(conditions),
            short_title=", ".join(condition for condition in conditions if condition not in shared),
            conditions=conditions,
            rows=tuple(rows),
        )
        for conditions, rows in groups.items()
    )


def measured_ceilings(runs: Sequence[Run], labels: Sequence[str]) -> tuple[MeasuredCeilings, ...]:
    """Those of each run that has any."""
    return tuple(
        MeasuredCeilings(
            run=label,
            device=record.device,
            text=ceilings_text(record.ceilings),
            doubts=tuple(record.evidence.reasons) if _spoiled(record) and record.evidence else (),
        )
        for run, label in zip(runs, labels, strict=True)
        for record in {record.cell: record for record in run.limits}.values()
        if record.ceilings is not None
    )


def shared_conditions(groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What holds for all of several comparisons; none of one, so that it keeps its full title."""
    first, *others = groups or ((),)
    return tuple(condition for condition in first if others and all(condition in group for group in others))


def headline(groups: Sequence[Comparison]) -> Comparison | None:
    """The comparison for the first screen: the one that has figures for the most implementations, inference first."""

    def weight(group: Comparison) -> tuple[int, bool]:
        return sum(row.measured for row in group.rows), "inference" in group.conditions

    return max(groups, key=weight, default=None)


def _spoiled(record: MeasurementRecord) -> bool:
    return record.evidence is not None and record.evidence.verdict == Validity.INVALID


def conditions(record: MeasurementRecord, *, model: str | None = None, batch: bool = True) -> tuple[str, ...]:
    """What must be equal for a comparison, in words; with another name for the model, or without the batch."""
    threads = plural(record.threads, "thread")
    device = record.device if record.device == record.device_name else f"{record.device} ({record.device_name})"
    batches = (f"batch {record.batch}",) if batch else ()
    words = (
        record.task,
        record.model if model is None else model,
        record.dtype,
        *batches,
        record.mode,
        device,
        threads,
        *nodes(record),
    )
    prefix = () if record.suite == "throughput" else (str(record.suite),)
    return (*prefix, *(abridged(word, CONDITION_CHARACTERS) for word in words))


def nodes(record: MeasurementRecord | StudyRecord) -> tuple[str, ...]:
    """On which kind of nodes, where a run was spread over unlike ones: their figures do not compare."""
    kind = kind_of_node(record.node)
    return (f"nodes {kind}",) if kind else ()


def _throughput(record: MeasurementRecord) -> Throughput:
    return Throughput(
        median=figure(record.throughput_images_per_s),
        low=_rate(record.batch, record.latency_high_s),
        high=_rate(record.batch, record.latency_low_s),
        converged=record.converged,
    )


def _rate(batch: int, latency_s: float | None) -> float | None:
    latency = figure(latency_s)
    return figure(batch / latency) if latency and figure(batch) else None


def figure(value: object) -> float | None:
    """A finite number, or None: results may come from other writers."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
