"""What a pass or a step of each implementation does."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.console import fitting_table
from vitbench.records import Counts, MeasurementRecord
from vitbench.summary.doubts import note


def counts_table(records: Sequence[MeasurementRecord]) -> Table:
    """What a pass or a step does; the same on every run."""
    table = fitting_table(
        "Model", "Task", "Batch", "Implementation", "Operators", "FLOPs counted", "Graph breaks", "Attention by"
    )
    for right in (2, 4, 5, 6):
        table.columns[right].justify = "right"
    for record in records:
        named = (Text(record.model), record.task, str(record.batch), Text(record.implementation))
        table.add_row(*named, *(_counted(record.counts) if record.counts else [Text(note(record), style="dim")]))
    return table


def _counted(counts: Counts) -> list[str]:
    operators, breaks = units.count(sum(counts.operators.values())), units.count(counts.graph_breaks)
    attention = ", ".join(name.removeprefix("aten::") for name in counts.attention) or "products and softmax"
    return [operators, units.number(counts.flops), breaks, attention]
