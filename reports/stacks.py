"""What memory is made of: a bar for each cell, stacked by class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vitbench import units
from vitbench.records import Memory
from vitbench.reports.memory import MemoryRow, MemorySection
from vitbench.reports.series import Axis, distinct_labels, drawable, ticks
from vitbench.reports.throughput import conditions, shared_conditions

MOST_STACK_CHARTS = 8
MOST_STACKS = 16  # of a chart; others are in the table only
CLASSES = ("weights", "gradients", "optimizer", "activations", "temporaries")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One class of one cell."""

    bytes: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One cell."""

    label: str
    parts: tuple[Part, ...]  # in the order of the classes
    peak: float  # what tensors took at once, at most; the parts need not have met
    text: str
    subject: str  # the implementation by its whole name
    row: str  # the id of its row in the table


@dataclass(frozen=True, kw_only=True)
class StackChart:
    """Cells under conditions that are equal but for the batch."""

    id: str
    title: str
    axis: Axis
    classes: tuple[str, ...]
    stacks: tuple[Stack, ...]
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    kind: Literal["stacks"] = "stacks"


def memory_charts(section: MemorySection, *, several_runs: bool) -> tuple[StackChart, ...]:
    """A chart for each set of conditions under which the memory of any cell is known."""
    groups: dict[tuple[str, ...], list[MemoryRow]] = {}
    for row in section.rows:
        groups.setdefault(conditions(row.record, batch=False), []).append(row)
    everywhere = shared_conditions(list(groups))
    known = [(words, rows) for words, rows in groups.items() if any(row.record.memory for row in rows)]
    return tuple(
        _chart(f"memory-{number}", f"Memory: {_told(words, everywhere)}", rows, several_runs)
        for number, (words, rows) in enumerate(known[:MOST_STACK_CHARTS], 1)
    )


def _told(words: Sequence[str], everywhere: Sequence[str]) -> str:
    return ", ".join(word for word in words if word not in everywhere)


def _chart(identity: str, title: str, rows: Sequence[MemoryRow], several_runs: bool) -> StackChart:
    ordered = sorted(rows, key=lambda row: row.record.batch)
    labels = distinct_labels([_name(row, several_runs=several_runs) for row in ordered])
    named = list(zip(labels, ordered, strict=True))
    stacks = [_stack(label, row, row.record.memory) for label, row in named if row.record.memory]
    absences = [f"{label}: {row.record.outcome}" for label, row in named if not row.record.memory]
    shown = stacks[:MOST_STACKS]
    most = max(max(stack.peak, sum(part.bytes for part in stack.parts)) for stack in shown)
    return StackChart(
        id=identity,
        title=title,
        axis=_bytes_axis(most),
        classes=CLASSES,
        stacks=tuple(shown),
        remarks=(
            "Diamond: the peak that tensors took at once; it has the images too, and not every part at its most.",
        ),
        left_out=(*(f"{stack.label}: in the table" for stack in stacks[MOST_STACKS:]), *absences)[:MOST_STACKS],
    )


def _name(row: MemoryRow, *, several_runs: bool) -> str:
    """The batch first, so that what is abridged is the name."""
    run = f", {row.run}" if several_runs else ""
    return f"b{row.record.batch} {row.record.implementation}{run}"


def _stack(label: str, row: MemoryRow, memory: Memory) -> Stack:
    parts = (
        memory.parameters_bytes,
        memory.gradients_bytes,
        memory.optimizer_bytes,
        memory.activations_bytes,
        memory.temporaries_bytes,
    )
    return Stack(
        label=label,
        parts=tuple(Part(bytes=_size(part), text=units.data_size(part)) for part in parts),
        peak=_size(memory.allocated_bytes),
        text=units.data_size(memory.allocated_bytes),
        subject=row.record.implementation,
        row=row.anchor,
    )


def _size(value: float) -> float:
    return value if drawable(value) else 0


def _bytes_axis(most: float) -> Axis:
    """With ticks at multiples of a power of two."""
    step = 2.0 ** math.ceil(math.log2(max(most, 1.0) / 5))
    at = [k * step for k in range(int(most / step) + 1)]
    return Axis(label="bytes", low=0.0, high=max(most, 1.0), log=False, ticks=ticks(at, units.data_size))
