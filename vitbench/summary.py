"""The tables after a run: who conforms, and how fast each is; as lines where the terminal is too narrow for tables."""

import shlex
from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.conditions.record import Validity
from vitbench.console import WIDTH_OF_TABLES, fitting_table, table_or_lines
from vitbench.limits.roofline import ceilings_text
from vitbench.memory_fit import growths
from vitbench.percentiles import Latency, latencies
from vitbench.progress import result_text
from vitbench.requirement import Level, Status, Verdict
from vitbench.results import SELF, Counts, MeasurementRecord, Memory, Outcome, RequirementRecord, Run, VerdictRecord
from vitbench.traces.folders import HOME
from vitbench.wording import plural

_WIDTH_OF_LIMITS = 110  # below this, no columns for them
_NUMBERS = ("Batch", "images/s", "TFLOP/s")
_FAILURES_SHOWN = 4
_POINTS_OF_A_LINE = 2  # which always lie on one
_STYLES = {Verdict.CONFORMS: "bold green", Verdict.INCOMPLETE: "bold yellow", Verdict.HARNESS_ERROR: "bold magenta"}


def show(run: Run, console: Console) -> None:
    """Print the verdicts and the figures of a run."""
    narrow = console.width < WIDTH_OF_TABLES
    if run.verdicts:
        place = {cell: i for i, cell in enumerate(run.header.planned)}
        verdicts = sorted(run.verdicts, key=lambda record: place.get(record.cell, len(place)))
        _heading("Conformance", console)
        (_verdict_lines if narrow else _verdict_table)(verdicts, console)
        _failures(verdicts, run.requirements, console)
        _reasons(verdicts, console)
    if run.measurements:
        timed = sorted(run.measurements, key=_rank)
        _heading("Measurements", console)
        for conditions, alike in _comparable(run.measurements).items():
            console.print(Text(conditions, style="dim"))
            table = _measurement_table(alike, run, console)
            table_or_lines(table, partial(_measurement_lines, alike), console)
        _percentiles(timed, console)
        _reasons(timed, console)
    if run.searches:
        _heading("Batch search", console)
        for record in run.searches:
            figure = record.reason or result_text(record)
            who = f"{record.implementation} {record.model} {record.task} {record.dtype} {record.mode}"
            console.print(Text(f"{who}: {figure}"))
    if run.attention:
        _heading("Attention", console)
        table_or_lines(_attention_table(run.attention), partial(_attention_lines, run.attention), console)
        _reasons(run.attention, console)
    if run.memory:
        weighed = sorted(run.memory, key=_rank)
        _heading("Memory", console)
        table_or_lines(_memory_table(weighed), partial(_memory_lines, weighed), console)
        _growths(weighed, console)
        _reasons(weighed, console)
    if run.counts:
        counted = sorted(run.counts, key=_rank)
        _heading("Counts", console)
        table_or_lines(_counts_table(counted), partial(_memory_lines, counted), console)
        _reasons(counted, console)
    if run.timers:
        _heading("vitbench itself", console)
        table_or_lines(_timer_table(run.timers), partial(_timer_lines, run.timers), console)
        _reasons(run.timers, console)
    _limits(run, console)
    _traces(run, console)


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _comparable(records: Sequence[MeasurementRecord]) -> dict[str, list[MeasurementRecord]]:
    """Those of one task, arithmetic and mode together, in the order of the run; their figures compare."""
    groups: dict[str, list[MeasurementRecord]] = {}
    for record in records:
        groups.setdefault(", ".join(filter(None, (record.task, record.dtype, record.mode))), []).append(record)
    return {conditions: sorted(alike, key=_rank) for conditions, alike in groups.items()}


def _verdict_table(verdicts: Sequence[VerdictRecord], console: Console) -> None:
    table = fitting_table("Implementation", "Verdict", "MUST", "SHOULD")
    for record in verdicts:
        table.add_row(Text(_who(record)), _verdict(record), *_tallies(record))
    console.print(table)


def _verdict_lines(verdicts: Sequence[VerdictRecord], console: Console) -> None:
    for record in verdicts:
        must, should = _tallies(record)
        console.print(Text.assemble(_who(record), ": ", _verdict(record)))
        console.print(Padding(Text(f"MUST {must}\nSHOULD {should}"), (0, 0, 0, 2)))


def _tallies(record: VerdictRecord) -> tuple[str, str]:
    broken = record.verdict == Verdict.ADAPTER_BROKEN
    return (units.MISSING, units.MISSING) if broken else (str(record.must), str(record.should))


def _failures(verdicts: Sequence[VerdictRecord], requirements: Sequence[RequirementRecord], console: Console) -> None:
    """Which MUSTs each implementation misses; why stands in the report."""
    for record in verdicts:
        failed = [r.id for r in requirements if r.cell == record.cell and _is_missed(r)]
        if failed:
            more = f" and {len(failed) - _FAILURES_SHOWN} more" if len(failed) > _FAILURES_SHOWN else ""
            shown = ", ".join(failed[:_FAILURES_SHOWN])
            console.print(Text(f"{record.implementation} fails {shown}{more}", style="dim"))


def _is_missed(record: RequirementRecord) -> bool:
    return record.level == Level.MUST and record.status in {Status.FAILED, Status.KNOWN_FAILURE}


def _measurement_table(records: Sequence[MeasurementRecord], run: Run, console: Console) -> Table:
    limits = console.width >= _WIDTH_OF_LIMITS and any(record.roofline for record in records)
    beside = ("TFLOP/s", "Of ceiling") if limits else ()
    table = fitting_table("Model", "Batch", "Implementation", "images/s", *beside, "Latency (95 % interval)", "Note")
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
            Text(_note(record), style="dim"),
        )
    return table


def _percentiles(records: Sequence[MeasurementRecord], console: Console) -> None:
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
        console.print(Text(f"{who}: {told} of {one.samples} samples"))


def _teraflops(record: MeasurementRecord) -> str:
    return units.tera(None if record.roofline is None else record.roofline.flops_per_s)


def _of_ceiling(run: Run, record: MeasurementRecord) -> str:
    standing = run.standing(record)
    return units.MISSING if standing is None else f"{units.percent(standing.share)} {standing.ceiling}"


def _limits(run: Run, console: Console) -> None:
    """What the device was measured to do."""
    for record in run.limits:
        figures = record.reason if record.ceilings is None else ceilings_text(record.ceilings)
        console.print(Text(f"measured ceilings of {record.device}: {figures}", style="dim"))
        if record.evidence is not None and record.evidence.verdict == Validity.INVALID:
            doubt = f"these ceilings are INVALID, and shares of them too high: {'; '.join(record.evidence.reasons)}"
            console.print(Text(doubt, style="dim"))


def _traces(run: Run, console: Console) -> None:
    """Where they are, how they are opened, and what they lack."""
    written = [record for record in run.traces if record.path]
    if written:
        command = shlex.join(["tensorboard", "--logdir", str(run.path.parent / HOME)])
        console.print()
        console.print(Text(f"{plural(len(written), 'trace')}, to be opened by: {command}"), soft_wrap=True)
    for reason in dict.fromkeys(record.reason for record in run.traces if record.reason):
        console.print(Text(reason, style="dim"))


def _measurement_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    for record in records:
        figure = record.outcome if record.reason else f"{result_text(record)}, {_latency(record)}{_invalid(record)}"
        console.print(Text(f"{record.implementation} {record.model} batch {record.batch}: {figure}"))


def _attention_table(records: Sequence[MeasurementRecord]) -> Table:
    table = fitting_table("Kernel", "dtype", "Shape", "Pass", "Time", "TFLOP/s", "Error / bound", "Note")
    for right in (4, 5, 6):
        table.columns[right].justify = "right"
    for record in records:
        table.add_row(
            Text(record.kernel),
            Text(record.dtype),
            Text(str(record.shape or units.MISSING)),
            Text(_pass(record)),
            units.seconds(record.latency_s),
            units.tera(record.flops_per_s),
            _error(record),
            Text(_note(record), style="dim"),
        )
    return table


def _attention_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    for record in records:
        figure = (
            record.outcome
            if record.reason
            else f"{result_text(record)}, error / bound {_error(record)}{_invalid(record)}"
        )
        console.print(Text(f"{record.kernel} {record.dtype} {record.shape} {_pass(record)}: {figure}"))


def _pass(record: MeasurementRecord) -> str:
    return record.direction if record.device == "cpu" else f"{record.direction}, {record.mode}"


def _error(record: MeasurementRecord) -> Text:
    """Of the largest value, beside what tier N allows."""
    if record.precision is None:
        return Text(units.MISSING)
    error, bound = record.precision.worst
    style = "" if record.precision.within else "bold red"
    return Text(f"{units.number(error, 2)} / {units.number(bound, 2)}", style=style)


def _memory_table(records: Sequence[MeasurementRecord]) -> Table:
    """Peaks, and what they are made of; activations beside their closed form."""
    parts = ("Allocated", "Weights", "Gradients", "Optimizer", "Activations (expected)", "Process")
    table = fitting_table("Model", "Task", "Batch", "Implementation", *parts)
    for right in (2, *range(4, 4 + len(parts))):
        table.columns[right].justify = "right"
    for record in records:
        named = (Text(record.model), record.task, str(record.batch), Text(record.implementation))
        table.add_row(*named, *(_memory_cells(record.memory) if record.memory else [Text(_note(record), style="dim")]))
    return table


def _memory_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    """Of bytes, or of operators."""
    for record in records:
        figure = result_text(record) if record.outcome == Outcome.MEASURED else str(record.outcome)
        figure += "" if record.memory is None else f" ({_parts(record.memory)})"
        who = f"{record.implementation} {record.model} {record.task} batch {record.batch}"
        console.print(Text(f"{who}: {figure}{_invalid(record)}"))


def _parts(memory: Memory) -> str:
    """What the peak is made of, without what there is none of, and the process around it."""
    names = ("weights", "gradients", "optimizer", "activations")
    sizes = (memory.parameters_bytes, memory.gradients_bytes, memory.optimizer_bytes, memory.activations_bytes)
    held = [f"{name} {units.data_size(size)}" for name, size in zip(names, sizes, strict=True) if size]
    return ", ".join([*held, f"process {units.data_size(memory.process_bytes)}"])


def _memory_cells(memory: Memory) -> list[str]:
    held = (memory.allocated_bytes, memory.parameters_bytes, memory.gradients_bytes, memory.optimizer_bytes)
    expected = f" ({units.data_size(memory.activations_expected_bytes)})" if memory.activations_expected_bytes else ""
    activations = f"{_held(memory.activations_bytes)}{expected}"
    return [*map(_held, held), activations, units.data_size(memory.process_bytes)]


def _counts_table(records: Sequence[MeasurementRecord]) -> Table:
    """What a pass or a step does; the same on every run."""
    table = fitting_table(
        "Model", "Task", "Batch", "Implementation", "Operators", "FLOPs counted", "Graph breaks", "Attention by"
    )
    for right in (2, 4, 5, 6):
        table.columns[right].justify = "right"
    for record in records:
        named = (Text(record.model), record.task, str(record.batch), Text(record.implementation))
        table.add_row(*named, *(_counted(record.counts) if record.counts else [Text(_note(record), style="dim")]))
    return table


def _counted(counts: Counts) -> list[str]:
    operators, breaks = units.count(sum(counts.operators.values())), units.count(counts.graph_breaks)
    attention = ", ".join(name.removeprefix("aten::") for name in counts.attention) or "products and softmax"
    return [operators, units.number(counts.flops), breaks, attention]


def _held(size_bytes: int) -> str:
    return units.data_size(size_bytes) if size_bytes else units.MISSING


def _growths(records: Sequence[MeasurementRecord], console: Console) -> None:
    """What tensors take at most, as a line over the batch."""
    for growth in growths(records):
        first = growth.records[0]
        line = f"{units.data_size(growth.fixed_bytes)} + batch × {units.data_size(growth.per_image_bytes)}"
        off = (
            f", off by {units.data_size(growth.worst_bytes)} at most" if len(growth.records) > _POINTS_OF_A_LINE else ""
        )
        console.print(Text(f"{first.implementation} {first.model} {first.task}: {line}{off}", style="dim"))


def _timer_table(records: Sequence[MeasurementRecord]) -> Table:
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
            Text(_note(record), style="dim"),
        )
    return table


def _timer_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    for record in records:
        figure = record.outcome if record.reason else result_text(record)
        console.print(Text(f"{record.mode} by {record.implementation}: {figure}"))


def _latency(record: MeasurementRecord) -> str:
    if record.latency_s is None:
        return units.MISSING
    interval = units.seconds_interval(record.latency_low_s, record.latency_high_s)
    return f"{units.seconds(record.latency_s)} ({interval})"


def _reasons(records: Sequence[VerdictRecord] | Sequence[MeasurementRecord], console: Console) -> None:
    """Why there is no better result; below the tables, since such texts are long."""
    reasons = [f"{_whose(record)}: {reason}" for record in records for reason in _told(record)]
    for line in dict.fromkeys(reasons):
        console.print(Text(line, style="dim"))


def _whose(record: VerdictRecord | MeasurementRecord) -> str:
    """Of several kernels in one file, which."""
    return record.implementation if isinstance(record, VerdictRecord) else record.kernel or record.implementation


def _told(record: VerdictRecord | MeasurementRecord) -> list[str]:
    """The reason for no result, or those for not believing it."""
    if isinstance(record, VerdictRecord) or record.evidence is None or record.evidence.verdict != Validity.INVALID:
        return [record.reason] if record.reason else []
    what = record.mode if record.suite == SELF else f"{_task(record)} {record.model} batch {record.batch}"
    return [f"{what} INVALID: {'; '.join(record.evidence.reasons)}"]


def _task(record: MeasurementRecord) -> str:
    return _pass(record) if record.kernel else record.task


def _who(record: VerdictRecord) -> str:
    return f"{record.implementation} {record.version}".strip()


def _verdict(record: VerdictRecord) -> Text:
    return Text(record.verdict, style=_STYLES.get(record.verdict, "bold red"))


def _rank(record: MeasurementRecord) -> tuple[str, str, int, float]:
    """Model, task and batch together, the fastest first, those without a figure last."""
    return record.model, record.task, record.batch, -(record.throughput_images_per_s or 0.0)


def _invalid(record: MeasurementRecord) -> str:
    return ", INVALID" if record.evidence is not None and record.evidence.verdict == Validity.INVALID else ""


def _note(record: MeasurementRecord) -> str:
    if record.outcome != Outcome.MEASURED:
        return str(record.outcome)
    wrong = record.precision is not None and not record.precision.within
    grows = bool(record.evidence is not None and record.evidence.grown_bytes)
    doubts = [
        *["not attention"] * wrong,
        *["not converged"] * (record.converged is False),
        *["INVALID"] * bool(_invalid(record)),
        *["may leak"] * grows,
    ]
    return ", ".join(doubts)
