"""Searches for a batch: what each found, and why it ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.records import MeasurementRecord
from vitbench.results import Run


@dataclass(frozen=True, kw_only=True)
class SearchRow:
    """One search; its tries are among the measurements."""

    run: str
    record: MeasurementRecord


def search_rows(runs: Sequence[Run], labels: Sequence[str]) -> tuple[SearchRow, ...]:
    """The searches of several runs; a resumed cell's last word counts."""
    latest = {
        (label, record.cell): SearchRow(run=label, record=record)
        for run, label in zip(runs, labels, strict=True)
        for record in run.searches
    }
    return tuple(latest.values())
