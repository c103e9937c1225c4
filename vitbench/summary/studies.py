"""What studies found, as lines: their figures with what they are means of; curves and pictures are the report's."""

from collections.abc import Sequence

from rich.console import Console

from vitbench import units
from vitbench.console import say
from vitbench.progress import result_text
from vitbench.records import StudyRecord
from vitbench.study import Scalar

_MOST = 6  # figures of one study on the terminal


def study_lines(records: Sequence[StudyRecord], console: Console) -> None:
    """A heading for each study's cell, its figures below."""
    for record in records:
        who = " ".join(filter(None, (record.suite, record.task, record.implementation, record.model)))
        say(f"{who}: {result_text(record)}", console)
        for scalar in record.scalars[:_MOST]:
            say(f"  {scalar_text(scalar)}", console)
        if len(record.scalars) > _MOST:
            say(f"  … {len(record.scalars) - _MOST} more in the report", console, style="dim")
        for note in record.notes:
            say(f"  {note}", console, style="dim")


def scalar_text(scalar: Scalar) -> str:
    """Name, value with its unit and interval, and of how many seeds."""
    unit = f" {scalar.unit}" if scalar.unit else ""
    value = "not finite" if scalar.value is None else f"{units.number(scalar.value)}{unit}"
    interval = "" if scalar.low is None else f" ({units.interval(scalar.low, scalar.high)})"
    several = f", {scalar.seeds} seeds" if scalar.seeds > 1 else ""
    return f"{f'{scalar.series}: ' if scalar.series else ''}{scalar.name} {value}{interval}{several}"
