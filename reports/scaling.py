"""Several workers together: a row for each number of them, below the one that worked alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitbench.records import MeasurementRecord
from vitbench.reports.anchors import cell_anchor
from vitbench.results import Run
from vitbench.scaling import Figure, Point


@dataclass(frozen=True, kw_only=True)
class ScalingRow:
    """So many workers of a cell; or the whole cell, where nothing was measured."""

    run: str
    record: MeasurementRecord
    first: bool  # of its cell
    workers: str  # empty where nothing was measured
    images_per_s: Figure | None = None
    point: Point | None = None  # none of the worker alone, which the others are held against

    @property
    def anchor(self) -> str:
        """The id of its cell's first row; empty of the others."""
        return cell_anchor("scaling", self.run, self.record.cell) if self.first else ""


def scaling_rows(runs: Sequence[Run], labels: Sequence[str]) -> tuple[ScalingRow, ...]:
    """The cells of the suite scaling; a resumed cell's last word counts."""
    latest = {
        (label, record.cell): (label, record) for run, label in zip(runs, labels, strict=True) for record in run.scaling
    }
    return tuple(row for label, record in latest.values() for row in _rows(label, record))


def _rows(run: str, record: MeasurementRecord) -> Iterator[ScalingRow]:
    if record.scaling is None:
        yield ScalingRow(run=run, record=record, first=True, workers="")
        return
    alone = record.scaling.alone_images_per_s
    yield ScalingRow(run=run, record=record, first=True, workers="1 alone", images_per_s=alone)
    for point in record.scaling.points:
        reached = point.images_per_s
        yield ScalingRow(
            run=run, record=record, first=False, workers=str(point.workers), images_per_s=reached, point=point
        )
