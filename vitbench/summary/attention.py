"""How fast attention kernels are, beside how far they are off."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.console import fitting_table, say
from vitbench.progress import result_text
from vitbench.records import MeasurementRecord
from vitbench.summary.doubts import invalid, note, which_pass


def attention_table(records: Sequence[MeasurementRecord]) -> Table:
    """Speed beside error, for each kernel, dtype, shape and pass."""
    table = fitting_table("Kernel", "dtype", "Shape", "Pass", "Time", "TFLOP/s", "Error / bound", "Note")
    for right in (4, 5, 6):
        table.columns[right].justify = "right"
    for record in records:
        table.add_row(
            Text(record.kernel),
            Text(record.dtype),
            Text(str(record.shape or units.MISSING)),
            Text(which_pass(record)),
            units.seconds(record.latency_s),
            units.tera(record.flops_per_s),
            _error(record),
            Text(note(record), style="dim"),
        )
    return table


def attention_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    """The same, a line for each."""
    for record in records:
        figure = (
            record.outcome
            if record.reason
            else f"{result_text(record)}, error / bound {_error(record)}{invalid(record)}"
        )
        say(f"{record.kernel} {record.dtype} {record.shape} {which_pass(record)}: {figure}", console)


def _error(record: MeasurementRecord) -> Text:
    """Of the largest value, beside what tier N allows."""
    if record.precision is None:
        return Text(units.MISSING)
    error, bound = record.precision.worst
    style = "" if record.precision.within else "bold red"
    return Text(f"{units.number(error, 2)} / {units.number(bound, 2)}", style=style)
