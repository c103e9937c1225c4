"""The tables after a run: who conforms, and how fast each is; as lines where the terminal is too narrow for tables."""

import os
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitbench import units
from vitbench.progress import result_text
from vitbench.requirement import Level, Status, Verdict
from vitbench.results import MeasurementRecord, Outcome, RequirementRecord, Run, VerdictRecord

_WIDTH_OF_LOGS = 120
_WIDTH_OF_TABLES = 80  # below this, lines
_FAILURES_SHOWN = 4
_STYLES = {Verdict.CONFORMS: "bold green", Verdict.INCOMPLETE: "bold yellow", Verdict.HARNESS_ERROR: "bold magenta"}


def console(*, stderr: bool = False) -> Console:
    """A console as wide as its terminal; without one as wide as COLUMNS says, or as a log bears."""
    found = Console(stderr=stderr, highlight=False)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(stderr=stderr, highlight=False, width=_WIDTH_OF_LOGS)


def show(run: Run, console: Console) -> None:
    """Print the verdicts and the figures of a run."""
    narrow = console.width < _WIDTH_OF_TABLES
    if run.verdicts:
        _heading("Conformance", console)
        (_verdict_lines if narrow else _verdict_table)(run.verdicts, console)
        _failures(run, console)
    if run.measurements:
        ranked = sorted(run.measurements, key=_rank)
        _heading("Measurements", console)
        (_measurement_lines if narrow else _measurement_table)(ranked, console)


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _verdict_table(verdicts: Sequence[VerdictRecord], console: Console) -> None:
    table = _table("Implementation", "Verdict", "MUST", "SHOULD")
    for record in verdicts:
        must, should = ("–", "–") if _unjudged(record) else (str(record.must), str(record.should))
        table.add_row(Text(_who(record)), _verdict(record), must, should)
        if record.reason:
            table.add_row("", Text(record.reason, style="dim"))
    console.print(table)


def _verdict_lines(verdicts: Sequence[VerdictRecord], console: Console) -> None:
    for record in verdicts:
        console.print(Text.assemble(_who(record), ": ", _verdict(record)))
        tallies = [] if _unjudged(record) else [f"MUST {record.must}", f"SHOULD {record.should}"]
        for line in filter(None, [*tallies, record.reason]):
            console.print(Padding(Text(line), (0, 0, 0, 2)))


def _failures(run: Run, console: Console) -> None:
    """Which MUSTs each implementation misses; why stands in the report."""
    for record in run.verdicts:
        failed = [r.id for r in run.requirements if r.cell == record.cell and _is_missed(r)]
        if failed:
            more = f" and {len(failed) - _FAILURES_SHOWN} more" if len(failed) > _FAILURES_SHOWN else ""
            shown = ", ".join(failed[:_FAILURES_SHOWN])
            console.print(Text(f"{record.implementation} fails {shown}{more}", style="dim"))


def _is_missed(record: RequirementRecord) -> bool:
    return record.level == Level.MUST and record.status in {Status.FAILED, Status.KNOWN_FAILURE}


def _measurement_table(records: Sequence[MeasurementRecord], console: Console) -> None:
    table = _table("Model", "Batch", "Implementation", "images/s", "Latency (95 % interval)", "Note")
    for name in ("Batch", "images/s"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for record in records:
        interval = units.seconds_interval(record.latency_low_s, record.latency_high_s)
        table.add_row(
            Text(record.model),
            str(record.batch),
            Text(record.implementation),
            units.number(record.throughput_images_per_s),
            "–" if record.latency_s is None else f"{units.seconds(record.latency_s)} ({interval})",
            Text(_note(record), style="dim"),
        )
    console.print(table)


def _measurement_lines(records: Sequence[MeasurementRecord], console: Console) -> None:
    for record in records:
        console.print(Text(f"{record.model} batch {record.batch} {record.implementation}: {result_text(record)}"))


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _who(record: VerdictRecord) -> str:
    return f"{record.implementation} {record.version}".strip()


def _verdict(record: VerdictRecord) -> Text:
    return Text(record.verdict, style=_STYLES.get(record.verdict, "bold red"))


def _unjudged(record: VerdictRecord) -> bool:
    return record.verdict == Verdict.ADAPTER_BROKEN


def _rank(record: MeasurementRecord) -> tuple[str, int, float]:
    """Model and batch together, the fastest first, those without a figure last."""
    return record.model, record.batch, -(record.throughput_images_per_s or 0.0)


def _note(record: MeasurementRecord) -> str:
    if record.outcome != Outcome.MEASURED:
        return f"{record.outcome}: {record.reason}"
    return "" if record.converged else "not converged"
