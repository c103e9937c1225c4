"""CSV for programs and spreadsheets: a line for each requirement, verdict, measurement and number of a study, in SI units."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO

from vitbench.matrix import run_labels
from vitbench.records import MeasurementRecord, RequirementRecord, StudyRecord, VerdictRecord
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
            "batch", "device", "device_name", "node", "threads", "outcome", "reason", "throughput_images_per_s", "latency_s",
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


JUDGED: Mapping[str, Callable[[RequirementRecord], object]] = {
    "requirement": lambda record: record.id,
    "level": lambda record: record.level,
    "examples": lambda record: record.examples,
    "worst_margin": lambda record: record.worst_margin,
}
"""What a line of a requirement has beside its suite, implementation, version, outcome and reason."""

NUMBERS = ("name", "series", "value", "unit", "spread", "low", "high")
"""What a line of a study's number has beside its study: its fields, spelt so in the results too."""

Line = dict[str, object]


def render(runs: Sequence[Run]) -> str:
    """Everything that was judged and measured in these runs, whatever came of it; RFC 4180, in UTF-8."""
    text = StringIO()
    writer = csv.DictWriter(text, ["run", *COLUMNS, *JUDGED, *NUMBERS], lineterminator="\r\n")
    writer.writeheader()
    for label, run in zip(run_labels(runs), runs, strict=True):
        for line in _lines(run):
            writer.writerow({"run": _harmless(label), **{name: _cell(value) for name, value in line.items()}})
    return text.getvalue()


def _lines(run: Run) -> Iterable[Line]:
    versions = {record.cell: record.version for record in run.verdicts}
    yield from (_verdict(record) for record in run.verdicts)
    yield from (_requirement(record, versions.get(record.cell, "")) for record in run.requirements)
    for record in (*run.of_implementations, *run.limits, *run.timers):
        yield {name: column(run, record) for name, column in COLUMNS.items()}
    for study in run.studies:
        yield from _study(study)


def _verdict(record: VerdictRecord) -> Line:
    return {
        "suite": "conformance",
        "implementation": record.implementation,
        "version": record.version,
        "outcome": record.verdict,
        "reason": record.reason or f"MUST {record.must}; SHOULD {record.should}; MAY {record.may}",
    }


def _requirement(record: RequirementRecord, version: str) -> Line:
    return {
        "suite": "conformance",
        "implementation": record.implementation,
        "version": version,
        "outcome": record.status,
        "reason": record.reason,
        **{name: column(record) for name, column in JUDGED.items()},
    }


def _study(record: StudyRecord) -> Iterable[Line]:
    """What became of the study, and each of its numbers; curves and arrays are in the results."""
    names = ("suite", "implementation", "version", "task", "model", "dtype", "device", "device_name", "threads")
    about: Line = {name: getattr(record, name) for name in (*names, "outcome", "reason")}
    yield about
    for scalar in record.scalars:
        yield {**about, **{name: getattr(scalar, name) for name in NUMBERS}}


def _cell(value: object) -> object:
    """A number as it is; text on one line."""
    if value in _NO_NUMBER or isinstance(value, bool | int | float):
        return value
    return _harmless(plain(value))


def _harmless(text: str) -> str:
    """A spreadsheet takes what begins so for a formula, and acts on it (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) else text
