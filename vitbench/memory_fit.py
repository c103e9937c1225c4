"""How memory grows with the batch: a straight line through the peaks of several cells."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import linear_regression

from vitbench.records import MeasurementRecord


@dataclass(frozen=True, kw_only=True)
class Growth:
    """``fixed_bytes + batch × per_image_bytes`` is what tensors take at most."""

    records: Sequence[MeasurementRecord]  # those of one implementation, model, task, dtype, mode and device
    fixed_bytes: float
    per_image_bytes: float
    worst_bytes: float  # the farthest that a record lies off the line; two records always lie on it

    def largest_batch(self, available_bytes: float) -> int | None:
        """The batch at which the line reaches what is available; None where memory does not grow."""
        if self.per_image_bytes <= 0:
            return None
        return max(0, int((available_bytes - self.fixed_bytes) / self.per_image_bytes))


def growths(records: Iterable[MeasurementRecord]) -> list[Growth]:
    """A line for each group of records that differ in nothing but their batch, where there are two batches at least."""
    groups: dict[tuple[object, ...], dict[int, MeasurementRecord]] = {}
    for record in records:
        if record.memory is not None:
            alike = (record.model, record.task, record.dtype, record.mode, record.device, record.implementation)
            groups.setdefault(alike, {})[record.batch] = record
    return [_growth(list(group.values())) for group in groups.values() if len(group) > 1]


def _growth(records: Sequence[MeasurementRecord]) -> Growth:
    batches, peaks = [r.batch for r in records], [r.memory.allocated_bytes for r in records if r.memory]
    slope, fixed = linear_regression(batches, peaks)
    worst = max(abs(fixed + slope * batch - peak) for batch, peak in zip(batches, peaks, strict=True))
    return Growth(records=records, fixed_bytes=fixed, per_image_bytes=slope, worst_bytes=worst)
