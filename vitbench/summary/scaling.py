"""How throughput grows with the workers."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.console import fitting_table, say
from vitbench.records import MeasurementRecord
from vitbench.scaling import Figure, Scaling
from vitbench.summary.doubts import invalid, note


def scaling_table(records: Sequence[MeasurementRecord]) -> Table:
    """A row for each number of workers."""
    table = fitting_table(
        "Model", "Strategy", "Batch", "Implementation", "Workers", "Images/s", "Efficiency", "Communication", "Note"
    )
    for right in (2, 4, 5, 6, 7):
        table.columns[right].justify = "right"
    for record in records:
        named = (Text(record.model), record.mode, str(record.batch), Text(record.implementation))
        rows = list(_rows(record.scaling)) if record.scaling else [(units.MISSING,) * 4]
        for row in rows:
            table.add_row(*named, *row, Text(note(record), style="dim"))
    return table


def scaling_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    """The same, a line for each."""
    for record in records:
        who = f"{record.implementation} {record.model} {record.mode} batch {record.batch}"
        if record.scaling is None:
            say(f"{who}: {record.outcome}", console)
            continue
        for workers, rate, efficiency, share in _rows(record.scaling):
            more = "" if efficiency == units.MISSING else f", efficiency {efficiency}"
            more += "" if share == units.MISSING else f", communication {share}"
            say(f"{who}, workers {workers}: {rate} images/s{more}{invalid(record)}", console)


def _rows(scaling: Scaling) -> Iterator[tuple[str, str, str, str]]:
    yield "1 alone", units.number(scaling.alone_images_per_s.value), units.MISSING, units.MISSING
    for point in scaling.points:
        figures = (_part(point.efficiency), _part(point.communication_share))
        yield str(point.workers), units.number(point.images_per_s.value), *figures


def _part(figure: Figure | None) -> str:
    if figure is None:
        return units.MISSING
    spread = units.percent_interval(figure.low, figure.high)
    return f"{units.percent(figure.value)}{'' if spread == units.MISSING else f' ({spread})'}"
