"""Figures of a cell that are no samples: how long its start took, and what its pass or step consists of."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitbench.records import MeasurementRecord
from vitbench.results import Run

MOST_OPERATORS = 3  # named; the others are in the results


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One cell, and the run that it is from."""

    run: str
    record: MeasurementRecord

    @property
    def operators(self) -> int | None:
        """How many a pass or a step dispatches."""
        return None if self.record.counts is None else sum(self.record.counts.operators.values())

    @property
    def most_frequent(self) -> tuple[tuple[str, int], ...]:
        """The operators that are dispatched the most often."""
        counted = self.record.counts.operators.items() if self.record.counts else ()
        named = ((name.removeprefix("aten::"), number) for name, number in counted)
        return tuple(sorted(named, key=lambda one: (-one[1], one[0]))[:MOST_OPERATORS])


def start_rows(runs: Sequence[Run], labels: Sequence[str]) -> tuple[CellRow, ...]:
    """The cells of which it is known how long some part of the start took."""
    return tuple(row for row in _rows(runs, labels, "measurements") if _started(row.record))


def count_rows(runs: Sequence[Run], labels: Sequence[str]) -> tuple[CellRow, ...]:
    """The cells of the suite counts, whatever became of them."""
    return tuple(_rows(runs, labels, "counts"))


def _rows(runs: Sequence[Run], labels: Sequence[str], cells: str) -> Iterator[CellRow]:
    for run, label in zip(runs, labels, strict=True):
        latest = {record.cell: record for record in getattr(run, cells)}  # a resumed cell: its last word
        yield from (CellRow(run=label, record=record) for record in latest.values())


def _started(record: MeasurementRecord) -> bool:
    parts = (record.build_s, record.first_forward_s, record.cold_start_s, record.compile_s)
    return any(part is not None and math.isfinite(part) for part in parts)
