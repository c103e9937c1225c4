"""How far timers are off, vitbench's own among them."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.console import fitting_table, say
from vitbench.progress import result_text
from vitbench.records import MeasurementRecord
from vitbench.summary.doubts import note


def timer_table(records: Sequence[MeasurementRecord]) -> Table:
    """What each timer read of a load, how far that is from the truth, and what it cost."""
    table = fitting_table("Load or command", "Timer", "Median", "Off by", "Beside each", "Samples", "Note")
    for right in range(2, 6):
        table.columns[right].justify = "right"
    for record in records:
        check = record.timer_check
        table.add_row(
            Text(record.mode),
            Text(record.implementation),
            units.seconds(record.latency_s),
            units.MISSING if check is None else units.percent(check.deviation),
            units.MISSING if check is None else units.seconds(check.beside_s),
            units.count(len(record.samples_s)),
            Text(note(record), style="dim"),
        )
    return table


def timer_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    """The same, a line for each."""
    for record in records:
        figure = record.outcome if record.reason else result_text(record)
        say(f"{record.mode} by {record.implementation}: {figure}", console)
