"""A run's results: one JSON Lines file, appended to as results are made, so that an interrupted run keeps its own.

First a header (what was planned, on which machine), then a record per requirement, verdict and measurement, last
a footer; a file without its footer is incomplete and says so. ``docs/results.schema.json`` is its JSON schema.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, Self, TypeVar, get_args, get_origin

from vitbench.errors import OutputCut, OutputUnwritable, ResultsUnreadable
from vitbench.limits.roofline import Ceilings, Standing, standing
from vitbench.records import (
    ATTENTION,
    COUNTS,
    LIMITS,
    MEMORY,
    SCALING,
    SCHEMA_VERSION,
    SELF,
    Footer,
    Header,
    MeasurementRecord,
    Ran,
    Record,
    RequirementRecord,
    StudyRecord,
    VerdictRecord,
    kind_of_node,
)
from vitbench.traces.record import TraceRecord

_LONE_SURROGATES = "backslashreplace"  # from a foreign message or file name; the escape is JSON's own

R = TypeVar("R")

_KINDS: dict[str, type[Record]] = {
    record.kind: record
    for record in (Header, RequirementRecord, VerdictRecord, MeasurementRecord, StudyRecord, TraceRecord, Ran, Footer)
}


@dataclass(frozen=True)
class Run:
    """A results file, read."""

    path: Path
    header: Header
    requirements: Sequence[RequirementRecord]
    verdicts: Sequence[VerdictRecord]
    measurements: Sequence[MeasurementRecord]
    footer: Footer | None  # None: the run was interrupted and the file is incomplete
    limits: Sequence[MeasurementRecord] = ()  # of the suite limits: the device's, of no implementation
    attention: Sequence[MeasurementRecord] = ()  # of kernels, not of implementations
    memory: Sequence[MeasurementRecord] = ()  # of the suite memory: bytes, no times
    traces: Sequence[TraceRecord] = ()  # of cells that were profiled beside
    searches: Sequence[MeasurementRecord] = ()  # for the best batch; their tries are among the measurements
    timers: Sequence[MeasurementRecord] = ()  # of the suite self: of vitbench, not of implementations
    counts: Sequence[MeasurementRecord] = ()  # of the suite counts: numbers of operators, no times
    scaling: Sequence[MeasurementRecord] = ()  # of the suite scaling: several workers together
    studies: Sequence[StudyRecord] = ()  # of the suites paper/…
    ran: Sequence[Ran] = ()  # when the processes of the cells ran
    damaged_lines: int = 0  # cut in mid-line by a crash; at most the last one of each writer

    @property
    def complete(self) -> bool:
        """Whether every planned cell had its say."""
        return self.footer is not None and self.footer.status == "complete"

    @property
    def of_implementations(self) -> Sequence[MeasurementRecord]:
        """The cells of every suite that measures implementations or kernels, and not the device itself."""
        return (*self.measurements, *self.attention, *self.memory, *self.counts, *self.searches, *self.scaling)

    def ceilings(self, record: MeasurementRecord) -> Ceilings | None:
        """What was measured in this run of the device and threads that a cell ran on; None where nothing was."""
        same = [m.ceilings for m in self.limits if _place(m) == _place(record)]
        return next((one for one in reversed(same) if one is not None), None)

    def standing(self, record: MeasurementRecord) -> Standing | None:
        """How near a cell comes to its roof; None where its work or the roof is not known."""
        return None if record.roofline is None else standing(record.roofline, self.ceilings(record))


def _place(record: MeasurementRecord) -> tuple[str, int, str]:
    """What a ceiling holds for: a device, with so many threads, on nodes of a kind."""
    return record.device, record.threads, kind_of_node(record.node)


class ResultsWriter:
    """Appends records to a results file, each one whole and with the system before the next is made.

    The file is begun anew, unless it is to be gone on with.
    """

    def __init__(self, path: Path, *, go_on: bool = False) -> None:
        self.path = path
        self._mode = "ab" if go_on else "wb"

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open(self._mode, buffering=0)
        except OSError as error:
            raise OutputUnwritable(
                f"cannot write {self.path}: {error.strerror or error}; choose another place with --output"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk, which write() has told of
            self._file.close()

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            OutputCut: the disk is full, or gone; what was written before stays, and no part of this record.
        """
        line = f"{to_line(record)}\n".encode(errors=_LONE_SURROGATES)
        whole = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # no disk to begin with
                self._file.seek(self._file.truncate(whole))
            raise OutputCut(f"cannot go on writing {self.path}: {error.strerror or error}") from error


def to_line(record: Record) -> str:
    """One record as one line of JSON; numbers that JSON lacks (NaN, infinity) become null."""
    return json.dumps({"kind": record.kind} | _finite(asdict(record)), ensure_ascii=False, allow_nan=False)


def from_line(line: str) -> Record:
    """The record that a line holds; keys that a newer writer added are passed over.

    Raises:
        ValueError: the line is no record.
    """
    data = json.loads(line)
    if not isinstance(data, dict) or data.get("kind") not in list(_KINDS):
        raise ValueError(f"no record of a known kind: {line[:80]!r}")
    kind = _KINDS[data["kind"]]
    known = {f.name: f.type for f in fields(kind)}
    try:
        record = kind(**{name: _typed(known[name], value) for name, value in data.items() if name in known})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{data['kind']} record lacks a field: {error}") from error
    for field_ in fields(kind):
        if not _fits(getattr(record, field_.name), field_.type):
            raise ValueError(f"{data['kind']} record: {field_.name} is {getattr(record, field_.name)!r}")
    return record


def _fits(value: Any, kind: Any) -> bool:  # noqa: PLR0911  # a case each
    """Whether a value read from JSON is of a field's type: a class, a union of classes, a sequence or a mapping."""
    if isinstance(kind, UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    origin = get_origin(kind)
    if origin is Mapping:
        return True  # an environment may come to be of another shape, and readers take any
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    if isinstance(value, int) and kind in {int, float}:
        return (kind is int or type(value) is int) and abs(value) <= _LARGEST_FLOAT
    if isinstance(kind, type) and issubclass(kind, str):
        return isinstance(value, str)  # a newer writer's word is kept
    if isinstance(kind, type) and is_dataclass(kind):
        return isinstance(value, kind) and all(_fits(getattr(value, f.name), f.type) for f in fields(kind))
    return not isinstance(kind, type) or isinstance(value, kind)


_LARGEST_FLOAT = sys.float_info.max  # an integer beyond it is no quantity, and cannot be reckoned with


def read(path: Path) -> Run:
    """Read a results file, complete or not.

    Raises:
        ResultsUnreadable: missing, no results file, or of a newer schema; the text says which.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ResultsUnreadable(f"cannot read results {path}: {error.strerror or error}") from error
    records: list[Record] = []
    damaged = 0
    for line in filter(None, text.split("\n")):  # not splitlines(): a reason may hold other line separators
        try:
            records.append(from_line(line))
        except (ValueError, RecursionError):
            damaged += 1
    header = next((record for record in records if isinstance(record, Header)), None)
    if header is None:
        raise ResultsUnreadable(f"{path} is no vitbench results file: it has no header line (vitbench.run writes one)")
    if header.schema_version > SCHEMA_VERSION:
        raise ResultsUnreadable(
            f"{path} has schema version {header.schema_version}, "
            f"this vitbench reads up to {SCHEMA_VERSION}; upgrade vitbench"
        )
    measured = list({one.cell: one for one in _of(records, MeasurementRecord)}.values())  # a cell's last word counts
    apart = {
        name: [m for m in measured if m.suite == name] for name in (LIMITS, ATTENTION, MEMORY, COUNTS, SELF, SCALING)
    }
    return Run(
        path=path,
        header=header,
        requirements=list({(one.cell, one.id): one for one in _of(records, RequirementRecord)}.values()),
        verdicts=_of(records, VerdictRecord),
        measurements=[m for m in measured if m.suite not in apart and m.batch_search is None],
        searches=[m for m in measured if m.batch_search is not None],
        limits=apart[LIMITS],
        attention=apart[ATTENTION],
        memory=apart[MEMORY],
        traces=_of(records, TraceRecord),
        timers=apart[SELF],
        counts=apart[COUNTS],
        scaling=apart[SCALING],
        studies=list({one.cell: one for one in _of(records, StudyRecord)}.values()),
        ran=_of(records, Ran),
        footer=next(iter(_of(records, Footer)), None),
        damaged_lines=damaged,
    )


def _of(records: Sequence[Record], kind: type[R]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


def _typed(kind: Any, value: Any) -> Any:
    """A value read from JSON as its field's type has it: words of an enumeration, and records within records."""
    if isinstance(kind, UnionType):
        kind = next((part for part in get_args(kind) if is_dataclass(part)), None)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
        return kind(**{f.name: _typed(f.type, value[f.name]) for f in fields(kind) if f.name in value})
    if get_origin(kind) is Sequence and isinstance(value, list):
        return [_typed(get_args(kind)[0], item) for item in value]
    if isinstance(kind, type) and issubclass(kind, StrEnum) and value in list(kind):
        return kind(value)
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def append(path: Path, record: Record) -> None:
    """Add one record to a file that others may read meanwhile."""
    with path.open("a", encoding="utf-8", errors=_LONE_SURROGATES) as file:
        file.write(to_line(record) + "\n")


class Follower:
    """Reads the records that another process appends to a file, each one once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new(self) -> list[Record]:
        """The records written whole since the last call; lines that are no records are passed over."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            written = file.read()
        whole = written[: written.rfind(b"\n") + 1]
        self._position += len(whole)
        records = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                records.append(from_line(line.decode(errors="replace")))
        return records
