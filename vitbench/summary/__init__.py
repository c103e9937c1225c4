"""The tables after a run: who conforms, and how fast each is; as lines where the terminal is too narrow for tables."""

import shlex
from functools import partial

from rich.console import Console
from rich.text import Text

from vitbench.conditions.record import Validity
from vitbench.console import WIDTH_OF_TABLES, say, table_or_lines
from vitbench.limits.roofline import ceilings_text
from vitbench.progress import result_text
from vitbench.results import Run
from vitbench.summary.attention import attention_lines, attention_table
from vitbench.summary.counts import counts_table
from vitbench.summary.doubts import rank, show_reasons
from vitbench.summary.memory import memory_lines, memory_table, show_growths
from vitbench.summary.scaling import scaling_lines, scaling_table
from vitbench.summary.studies import study_lines
from vitbench.summary.timers import timer_lines, timer_table
from vitbench.summary.timings import comparable, measurement_lines, measurement_table, show_percentiles
from vitbench.summary.verdicts import show_failures, show_unjudged, verdict_lines, verdict_table
from vitbench.traces.folders import HOME
from vitbench.wording import plural


def show(run: Run, console: Console) -> None:
    """Print the verdicts and the figures of a run."""
    if run.verdicts:
        place = {cell: i for i, cell in enumerate(run.header.planned)}
        verdicts = sorted(run.verdicts, key=lambda record: place.get(record.cell, len(place)))
        _heading("Conformance", console)
        (verdict_lines if console.width < WIDTH_OF_TABLES else verdict_table)(verdicts, console)
        show_failures(verdicts, run.requirements, console)
        show_reasons(verdicts, console)
    if run.measurements:
        timed = sorted(run.measurements, key=rank)
        _heading("Measurements", console)
        for conditions, alike in comparable(run.measurements).items():
            say(conditions, console, style="dim")
            table = measurement_table(alike, run, console)
            table_or_lines(table, partial(measurement_lines, alike), console)
        show_percentiles(timed, console)
        show_reasons(timed, console)
        show_unjudged(run, console)
    if run.searches:
        _heading("Batch search", console)
        for record in run.searches:
            figure = record.reason or result_text(record)
            who = f"{record.implementation} {record.model} {record.task} {record.dtype} {record.mode}"
            say(f"{who}: {figure}", console)
    if run.attention:
        _heading("Attention", console)
        table_or_lines(attention_table(run.attention), partial(attention_lines, run.attention), console)
        show_reasons(run.attention, console)
    if run.memory:
        weighed = sorted(run.memory, key=rank)
        _heading("Memory", console)
        table_or_lines(memory_table(weighed), partial(memory_lines, weighed), console)
        show_growths(weighed, console)
        show_reasons(weighed, console)
    _show_scaling(run, console)
    if run.counts:
        counted = sorted(run.counts, key=rank)
        _heading("Counts", console)
        table_or_lines(counts_table(counted), partial(memory_lines, counted), console)
        show_reasons(counted, console)
    if run.timers:
        _heading("vitbench itself", console)
        table_or_lines(timer_table(run.timers), partial(timer_lines, run.timers), console)
        show_reasons(run.timers, console)
    _studies(run, console)
    _limits(run, console)
    _traces(run, console)


def _studies(run: Run, console: Console) -> None:
    if run.studies:
        _heading("The paper in miniature", console)
        study_lines(run.studies, console)


def _show_scaling(run: Run, console: Console) -> None:
    if run.scaling:
        scaled = sorted(run.scaling, key=rank)
        _heading("Several workers", console)
        table_or_lines(scaling_table(scaled), partial(scaling_lines, scaled), console)
        show_reasons(scaled, console)


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _limits(run: Run, console: Console) -> None:
    """What the device was measured to do."""
    for record in run.limits:
        figures = record.reason if record.ceilings is None else ceilings_text(record.ceilings)
        say(f"measured ceilings of {record.device}: {figures}", console, style="dim")
        if record.evidence is not None and record.evidence.verdict == Validity.INVALID:
            doubt = f"these ceilings are INVALID, and shares of them too high: {'; '.join(record.evidence.reasons)}"
            say(doubt, console, style="dim")


def _traces(run: Run, console: Console) -> None:
    """Where they are, how they are opened, and what they lack."""
    written = [record for record in run.traces if record.path]
    if written:
        command = shlex.join(["tensorboard", "--logdir", str(run.path.parent / HOME)])
        console.print()
        console.print(Text(f"{plural(len(written), 'trace')}, to be opened by: {command}"), soft_wrap=True)
    for reason in dict.fromkeys(record.reason for record in run.traces if record.reason):
        say(reason, console, style="dim")
