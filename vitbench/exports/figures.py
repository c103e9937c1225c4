"""Measurements elsewhere: CSV with every figure in SI units for programs, tables of throughput for papers and pull requests."""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO

from vitbench import units
from vitbench.conditions.record import Validity
from vitbench.exports.markdown import escaped
from vitbench.matrix import run_labels
from vitbench.records import MeasurementRecord
from vitbench.results import Run
from vitbench.wording import plain

_NO_NUMBER = (None, "")
Column = Callable[[Run, MeasurementRecord], object]


def _of_record(name: str) -> Column:
    return lambda _run, record: getattr(record, name)


def _standing(run: Run, record: MeasurementRecord) -> object:
    found = run.standing(record)
    return None if found is None else found.share


COLUMNS: Mapping[str, Column] = {
    **{
        name: _of_record(name)
        for name in (
            "suite", "implementation", "version", "kernel", "task", "direction", "model", "shape", "dtype", "mode",
            "batch", "device", "device_name", "threads", "outcome", "reason", "throughput_images_per_s", "latency_s",
            "latency_low_s", "latency_high_s", "converged",
        )
    },
    "samples": lambda _run, record: len(record.samples_s) or None,
    "conditions": lambda _run, record: None if record.evidence is None else record.evidence.verdict,
    "joules_per_image": lambda _run, record: None if record.evidence is None else record.evidence.joules_per_image,
    "flops_per_s": lambda _run, record: record.flops_per_s or (record.roofline and record.roofline.flops_per_s),
    "share_of_ceiling": _standing,
    "output_error": lambda _run, record: record.precision and record.precision.output_error,
    "gradient_error": lambda _run, record: record.precision and record.precision.gradient_error,
    "allocated_bytes": lambda _run, record: record.memory and record.memory.allocated_bytes,
    "process_bytes": lambda _run, record: record.memory and record.memory.process_bytes,
    **{
        name: _of_record(name)
        for name in ("parameters", "multiply_accumulates", "build_s", "first_forward_s", "cold_start_s", "compile_s")
    },
}  # fmt: skip
"""What CSV has, by the name of its column: units are in the name, and none means a count, a ratio or a word."""


def comma_separated(runs: Sequence[Run]) -> str:
    """A line for each measurement of each run, whatever came of it; RFC 4180, in UTF-8."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["run", *COLUMNS])
    for label, run in zip(run_labels(runs), runs, strict=True):
        for record in (*run.of_implementations, *run.limits, *run.timers):
            writer.writerow([_harmless(label), *(_cell(column(run, record)) for column in COLUMNS.values())])
    return text.getvalue()


def _cell(value: object) -> object:
    """A number as it is; text on one line."""
    if value in _NO_NUMBER or isinstance(value, bool | int | float):
        return value
    return _harmless(plain(value))


def _harmless(text: str) -> str:
    """A spreadsheet takes what begins so for a formula, and acts on it (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def latex(runs: Sequence[Run]) -> str:
    r"""A table of throughput for a paper; it takes ``\usepackage{booktabs}``."""
    head, rows = _table(runs)
    lines = [
        r"\begin{tabular}{" + "l" * (len(head) - _NUMBERS) + "r" * _NUMBERS + "}",
        r"\toprule",
        _latex_row(head),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        f"% {_NOTE}",
    ]
    return "\n".join(lines) + "\n"


def markdown(runs: Sequence[Run]) -> str:
    """The same table for a pull request, as GitHub renders it."""
    head, rows = _table(runs)
    rule = ["---"] * (len(head) - _NUMBERS) + ["---:"] * _NUMBERS
    lines = [_markdown_row(head), f"|{'|'.join(rule)}|", *(_markdown_row(map(escaped, row)) for row in rows)]
    return "\n".join([*lines, "", _NOTE]) + "\n"


_NUMBERS = 3  # columns at the end
_NOTE = "interval: 95 % of the median; *: not converged, or INVALID by its evidence"


def _table(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each cell of throughput, those of one model and task together."""
    several = len(runs) > 1
    head = [*(["Run"] if several else []), "Model", "Task", "Implementation", "Version", "Batch", "Images/s", "Latency"]
    rows = []
    for label, run in zip(run_labels(runs), runs, strict=True):
        for record in sorted(run.measurements, key=_order):
            task = f"{record.task}, {record.dtype}, {record.mode}"
            named = [record.model, task, record.implementation, record.version, str(record.batch)]
            rows.append([*([label] if several else []), *named, *_figures(record)])
    return head, rows


def _order(record: MeasurementRecord) -> tuple[object, ...]:
    return (record.model, record.task, record.dtype, record.mode, record.batch, record.implementation)


def _figures(record: MeasurementRecord) -> tuple[str, str]:
    if record.throughput_images_per_s is None:
        return str(record.outcome), "–"
    doubted = record.evidence is not None and record.evidence.verdict == Validity.INVALID
    mark = "*" if doubted or record.converged is False else ""
    spread = units.seconds_interval(record.latency_low_s, record.latency_high_s)
    return f"{units.number(record.throughput_images_per_s)}{mark}", f"{units.seconds(record.latency_s)} ({spread})"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(_ACTIVE.sub(lambda found: _LATEX[found[0]], plain(cell)) for cell in cells) + r" \\"


_LATEX = {mark: rf"\{mark}" for mark in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "×": r"$\times$",
    "µ": r"\textmu{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
}
_ACTIVE = re.compile("|".join(map(re.escape, _LATEX)))
