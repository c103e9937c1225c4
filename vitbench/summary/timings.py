"""How fast each implementation is."""

from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.console import fitting_table, say, table_or_lines
from vitbench.percentiles import Latency, latencies
from vitbench.progress import result_text
from vitbench.records import MeasurementRecord, kind_of_node
from vitbench.results import Run
from vitbench.summary.doubts import invalid, note, rank

_WIDTH_OF_LIMITS = 110  # below this, no columns for them
_NUMBERS = ("Batch", "images/s", "TFLOP/s")


def comparable(records: Sequence[MeasurementRecord]) -> dict[str, list[MeasurementRecord]]:
    """Those of one task, arithmetic, mode and kind of node together, in the order of the run; their figures compare."""
    groups: dict[str, list[MeasurementRecord]] = {}
    for record in records:
        kind = kind_of_node(record.node)
        words = (record.task, record.dtype, record.mode, f"nodes {kind}" if kind else "")
        groups.setdefault(", ".join(filter(None, words)), []).append(record)
    return {conditions: sorted(alike, key=rank) for conditions, alike in groups.items()}


def measurement_table(records: Sequence[MeasurementRecord], run: Run, console: Console) -> Table:
    """Figures under the same conditions, with how near the limit they are where there is room."""
    limits = console.width >= _WIDTH_OF_LIMITS and any(record.roofline for record in records)
    beside = ("TFLOP/s", "Of ceiling") if limits else ()
    table = fitting_table("Model", "Batch", "Implementation", "images/s", *beside, "Latency (95 % CI)", "Note")
    for column in table.columns:
        column.justify = "right" if column.header in _NUMBERS else "left"
    for record in records:
        table.add_row(
            Text(record.model),
            str(record.batch),
            Text(record.implementation),
            units.number(record.throughput_images_per_s),
            *((_teraflops(record), _of_ceiling(run, record)) if limits else ()),
            _latency(record),
            Text(note(record), style="dim"),
        )
    return table


def measurement_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    """The same, a line for each."""
    for record in records:
        figure = record.outcome if record.reason else f"{result_text(record)}, {_latency(record)}{invalid(record)}"
        say(f"{record.implementation} {record.model} batch {record.batch}: {figure}", console)


def _teraflops(record: MeasurementRecord) -> str:
    return units.tera(None if record.roofline is None else record.roofline.flops_per_s)


def _of_ceiling(run: Run, record: MeasurementRecord) -> str:
    standing = run.standing(record)
    return units.MISSING if standing is None else f"{units.percent(standing.share)} {standing.ceiling}"


def _latency(record: MeasurementRecord) -> str:
    if record.latency_s is None:
        return units.MISSING
    figure, unit = units.seconds(record.latency_s).rsplit(" ", 1)
    interval = units.seconds_interval(record.latency_low_s, record.latency_high_s)
    if interval.endswith(f" {unit}"):
        return f"{figure} ({interval.removesuffix(f' {unit}')}) {unit}"
    return f"{figure} {unit} ({interval})"


def show_percentiles(records: Sequence[MeasurementRecord], console: Console) -> None:
    """How long one image takes, for most calls and for nearly all; with how many samples that rests on."""
    found = latencies(records)
    if not found:
        return
    names = [percentile.name for percentile in found[0].percentiles]
    table = fitting_table("Latency at batch 1", "Implementation", "dtype", "Mode", *names, "Samples")
    for column in table.columns[4:]:
        column.justify = "right"
    for one in found:
        record, values = one.record, [units.seconds(percentile.latency_s) for percentile in one.percentiles]
        table.add_row(
            Text(record.model), Text(record.implementation), record.dtype, record.mode, *values, str(one.samples)
        )
    console.print()
    table_or_lines(table, partial(_percentile_lines, found), console)


def _percentile_lines(found: Sequence[Latency], console: Console) -> None:
    for one in found:
        told = ", ".join(f"{percentile.name} {units.seconds(percentile.latency_s)}" for percentile in one.percentiles)
        record = one.record
        who = f"{record.implementation} {record.model} batch 1 {record.dtype} {record.mode}"
        say(f"{who}: {told} of {one.samples} samples", console)
