"""What a reader must know beside a figure: why there is none, or why it cannot be believed."""

from collections.abc import Sequence

from rich.console import Console

from vitbench.conditions.record import Validity
from vitbench.console import say
from vitbench.records import SELF, MeasurementRecord, Outcome, VerdictRecord, kind_of_node


def rank(record: MeasurementRecord) -> tuple[str, str, int, float]:
    """Model, task and batch together, the fastest first, those without a figure last."""
    return record.model, record.task, record.batch, -(record.throughput_images_per_s or 0.0)


def note(record: MeasurementRecord) -> str:
    """To stand beside a figure in a table: why there is none, or why to doubt it."""
    if record.outcome != Outcome.MEASURED:
        return str(record.outcome)
    wrong = record.precision is not None and not record.precision.within
    grows = bool(record.evidence is not None and record.evidence.grown_bytes)
    kind = kind_of_node(record.node)
    doubts = [
        *["not attention"] * wrong,
        *["not converged"] * (record.converged is False),
        *["INVALID"] * bool(invalid(record)),
        *["may leak"] * grows,
        *[f"nodes {kind}"] * bool(kind),
    ]
    return ", ".join(doubts)


def invalid(record: MeasurementRecord) -> str:
    """To stand behind a figure on a line."""
    return ", INVALID" if record.evidence is not None and record.evidence.verdict == Validity.INVALID else ""


def show_reasons(records: Sequence[VerdictRecord] | Sequence[MeasurementRecord], console: Console) -> None:
    """Why there is no better result; below the tables, since such texts are long."""
    reasons = [f"{_whose(record)}: {reason}" for record in records for reason in _told(record)]
    for line in dict.fromkeys(reasons):
        say(line, console, style="dim")


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
    return which_pass(record) if record.kernel else record.task


def which_pass(record: MeasurementRecord) -> str:
    """Forward alone or with gradients; on a GPU, from what caches too."""
    return record.direction if record.device == "cpu" else f"{record.direction}, {record.mode}"
