"""How much memory each implementation takes, and how that grows with the batch."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.console import fitting_table, say
from vitbench.memory_fit import growths
from vitbench.progress import result_text
from vitbench.records import MeasurementRecord, Memory, Outcome
from vitbench.summary.doubts import invalid, note

_POINTS_OF_A_LINE = 2  # which always lie on one


def memory_table(records: Sequence[MeasurementRecord]) -> Table:
    """Peaks, and what they are made of; activations beside their closed form."""
    parts = ("Allocated", "Weights", "Gradients", "Optimizer", "Activations (expected)", "Process")
    table = fitting_table("Model", "Task", "Batch", "Implementation", *parts)
    for right in (2, *range(4, 4 + len(parts))):
        table.columns[right].justify = "right"
    for record in records:
        named = (Text(record.model), record.task, str(record.batch), Text(record.implementation))
        table.add_row(*named, *(_memory_cells(record.memory) if record.memory else [Text(note(record), style="dim")]))
    return table


def _memory_cells(memory: Memory) -> list[str]:
    held = (memory.allocated_bytes, memory.parameters_bytes, memory.gradients_bytes, memory.optimizer_bytes)
    expected = f" ({units.data_size(memory.activations_expected_bytes)})" if memory.activations_expected_bytes else ""
    activations = f"{_held(memory.activations_bytes)}{expected}"
    return [*map(_held, held), activations, units.data_size(memory.process_bytes)]


def _held(size_bytes: int) -> str:
    return units.data_size(size_bytes) if size_bytes else units.MISSING


def memory_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    """Of bytes, or of operators."""
    for record in records:
        figure = result_text(record) if record.outcome == Outcome.MEASURED else str(record.outcome)
        figure += "" if record.memory is None else f" ({_parts(record.memory)})"
        who = f"{record.implementation} {record.model} {record.task} batch {record.batch}"
        say(f"{who}: {figure}{invalid(record)}", console)


def _parts(memory: Memory) -> str:
    """What the peak is made of, without what there is none of, and the process around it."""
    names = ("weights", "gradients", "optimizer", "activations")
    sizes = (memory.parameters_bytes, memory.gradients_bytes, memory.optimizer_bytes, memory.activations_bytes)
    held = [f"{name} {units.data_size(size)}" for name, size in zip(names, sizes, strict=True) if size]
    return ", ".join([*held, f"process {units.data_size(memory.process_bytes)}"])


def show_growths(records: Sequence[MeasurementRecord], console: Console) -> None:
    """What tensors take at most, as a line over the batch."""
    for growth in growths(records):
        first = growth.records[0]
        line = f"{units.data_size(growth.fixed_bytes)} + batch × {units.data_size(growth.per_image_bytes)}"
        off = (
            f", off by {units.data_size(growth.worst_bytes)} at most" if len(growth.records) > _POINTS_OF_A_LINE else ""
        )
        say(f"{first.implementation} {first.model} {first.task}: {line}{off}", console, style="dim")
