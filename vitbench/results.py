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
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin

from vitbench.batch_search import BatchSearch
from vitbench.conditions.record import Evidence
from vitbench.errors import OutputCut, OutputUnwritable, ResultsUnreadable
from vitbench.limits.roofline import Ceilings, Roofline, Standing, standing
from vitbench.requirement import Level, Status, Tally, Verdict
from vitbench.timer_check import TimerCheck
from vitbench.traces.record import TraceRecord

SCHEMA_VERSION = 1
LIMITS, ATTENTION, MEMORY, COUNTS, SELF = "limits", "attention", "memory", "counts", "self"
"""Suites whose records stand apart: of the device, of kernels, of bytes, of operators, of vitbench's own timer."""

_LONE_SURROGATES = "backslashreplace"  # from a foreign message or file name; the escape is JSON's own

R = TypeVar("R")


class Outcome(StrEnum):
    """What came of a benchmark cell; all but the first are results too, and say why in the record's reason."""

    MEASURED = "measured"
    NOT_SUPPORTED = "not supported"
    OUT_OF_MEMORY = "out of memory"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What was planned, by whom it was asked for, and where it ran."""

    kind: ClassVar[str] = "header"
    vitbench_version: str
    started_at: str  # ISO 8601, UTC
    command: Sequence[str]
    preset: str
    seed: int
    environment: Mapping[str, Any]
    planned: Sequence[str]  # keys of the cells
    resumed_at: Sequence[str] = field(default_factory=list)  # when a run that had been stopped went on; ISO 8601, UTC
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class RequirementRecord:
    """One requirement judged for one implementation."""

    kind: ClassVar[str] = "requirement"
    cell: str
    implementation: str
    id: str
    area: str
    level: Level
    statement: str
    status: Status
    examples: int  # configurations on which it was judged
    unsupported: int  # configurations drawn that the implementation declares out of reach
    worst_margin: float | None  # error / bound, at most 1 where it passed; null where nothing is compared by bound
    reason: str  # why it failed, was not offered or could not be judged; empty where it passed
    example: str  # the smallest failing example; empty where it passed
    reproduce: str  # one command that judges this requirement again
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class VerdictRecord:
    """All requirements of one implementation in one word."""

    kind: ClassVar[str] = "verdict"
    cell: str
    implementation: str
    version: str  # of the package adapted
    verdict: Verdict
    must: Tally
    should: Tally
    may: Tally
    conventions: Mapping[str, Any]  # as declared by the adapter
    reason: str  # why there is no other verdict: a smoke-stage error, a crash, a time limit; else empty
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of query, key and value of an attention kernel: (B, h, T, D_h)."""

    batch: int
    heads: int
    tokens: int
    head_dim: int

    def __str__(self) -> str:
        return f"{self.batch}×{self.heads}×{self.tokens}×{self.head_dim}"


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How far an attention kernel's answers are from float64, and how far tier N lets them be.

    Each as a part of the largest value of the float64 answer, over every element of the images judged.
    """

    output_error: float | None  # null where it is not finite
    output_bound: float | None
    gradient_error: float | None = None  # of query, key or value, whichever is the nearest to its bound or beyond
    gradient_bound: float | None = None
    gradient_of: str = ""  # which of the three
    within: bool  # every error within its bound
    images: int  # of the batch; all of them where that is not too much

    @property
    def worst(self) -> tuple[float | None, float | None]:
        """Error and bound of what is the nearest to its bound or beyond: the output, or a gradient."""
        pairs = ((self.output_error, self.output_bound), (self.gradient_error, self.gradient_bound))
        return max(pairs, key=lambda pair: pair[0] / pair[1] if pair[0] is not None and pair[1] else -1.0)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the work of a cell takes, in bytes: four peaks after warm-up, what they are made of, and closed forms beside."""

    allocated_bytes: int  # by tensors, images and model included
    reserved_bytes: int | None  # by torch's caching allocator; null on the CPU, which has none
    process_bytes: int | None  # CPU: peak resident set size; CUDA: of this process on the device, by NVML
    process_before_bytes: int | None  # CPU: resident before the model was built
    device_bytes: int | None  # of the device, by whomever; null on the CPU
    parameters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int  # what the forward pass leaves for the backward pass
    temporaries_bytes: int  # the most that a phase takes beyond what was there before it and what it leaves
    parameters_expected_bytes: int  # closed form
    optimizer_expected_bytes: int
    activations_expected_bytes: int  # with fused attention


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a forward pass or a training step does, in numbers that are the same on every run."""

    operators: Mapping[str, int]  # by torch's name: how often it was dispatched
    flops: int  # by torch's counter, which knows matrix products and convolutions; on some devices fused attention too
    graph_breaks: int | None  # of torch.compile; null for a model that is no torch module
    attention: Sequence[str]  # operators that compute attention without its weights


@dataclass(frozen=True, kw_only=True)
class MeasurementRecord:
    """One benchmark cell: what was measured, or why nothing was."""

    kind: ClassVar[str] = "measurement"
    cell: str
    implementation: str
    version: str
    suite: str
    task: str  # inference, training
    model: str  # variant and image size, as Ti/16@64
    device: str
    device_name: str
    dtype: str
    batch: int
    mode: str  # eager, channels-last, compile, compile-reduce-overhead, compile-max-autotune
    threads: int
    outcome: Outcome
    reason: str = ""  # empty where measured
    parameters: int | None = None
    multiply_accumulates: int | None = None  # of one image, closed form
    throughput_images_per_s: float | None = None  # batch / median latency
    latency_s: float | None = None  # median of the samples
    latency_low_s: float | None = None  # 95 % confidence interval of the median
    latency_high_s: float | None = None
    converged: bool | None = None  # the interval became narrow enough within the time given
    wall_clock_ratio: float | None = None  # CUDA: wall clock of the loop over the sum of event times
    build_s: float | None = None
    first_forward_s: float | None = None
    cold_start_s: float | None = None  # from the start of the cell's process to the first answer, all imports included
    compile_s: float | None = None  # the first call of what torch.compile returned
    warmup_iterations: int | None = None
    memory_layouts: int | None = None  # drawn during sampling; 1: one layout, whose bias every sample carries
    memory: Memory | None = None  # of the memory suite
    counts: Counts | None = None  # of the counts suite
    samples_s: Sequence[float] = field(default_factory=tuple)  # in the order taken, none dropped
    duration_s: float = 0.0
    roofline: Roofline | None = None  # how near the limit; null where no closed form says what work was done
    evidence: Evidence | None = None  # under which conditions it was timed; null where nothing was
    batch_search: BatchSearch | None = None  # of --find-batch; the figures are then those of the best batch
    timer_check: TimerCheck | None = None  # of the suite self
    ceilings: Ceilings | None = None  # of the suite limits: what the others are set against
    # of attention kernels only
    kernel: str = ""  # as --kernel takes it
    direction: str = ""  # forward, forward+backward
    shape: Shape | None = None
    precision: Precision | None = None
    kernels_ran: Sequence[str] = field(default_factory=tuple)  # by the profiler, the longest first
    flops: int | None = None  # of one launch, closed form
    flops_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Footer:
    """How the run ended."""

    kind: ClassVar[str] = "footer"
    finished_at: str
    status: str  # complete, interrupted, out of time (--max-seconds)
    duration_s: float


Record = Header | RequirementRecord | VerdictRecord | MeasurementRecord | TraceRecord | Footer

Result = VerdictRecord | MeasurementRecord
"""What a cell comes to: one of these ends it."""

_KINDS: dict[str, type[Record]] = {
    record.kind: record for record in (Header, RequirementRecord, VerdictRecord, MeasurementRecord, TraceRecord, Footer)
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
    damaged_lines: int = 0  # cut in mid-line by a crash; at most the last one of each writer

    @property
    def complete(self) -> bool:
        """Whether every planned cell had its say."""
        return self.footer is not None and self.footer.status == "complete"

    @property
    def of_implementations(self) -> Sequence[MeasurementRecord]:
        """The cells of every suite that measures implementations or kernels, and not the device itself."""
        return (*self.measurements, *self.attention, *self.memory, *self.counts, *self.searches)

    def ceilings(self, record: MeasurementRecord) -> Ceilings | None:
        """What was measured in this run of the device and threads that a cell ran on; None where nothing was."""
        same = [m.ceilings for m in self.limits if (m.device, m.threads) == (record.device, record.threads)]
        return next((one for one in reversed(same) if one is not None), None)

    def standing(self, record: MeasurementRecord) -> Standing | None:
        """How near a cell comes to its roof; None where its work or the roof is not known."""
        return None if record.roofline is None else standing(record.roofline, self.ceilings(record))


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
    if kind is float:
        return isinstance(value, float) or (type(value) is int and abs(value) <= _LARGEST_FLOAT)
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
    apart = {name: [m for m in measured if m.suite == name] for name in (LIMITS, ATTENTION, MEMORY, COUNTS, SELF)}
    return Run(
        path=path,
        header=header,
        requirements=_of(records, RequirementRecord),
        verdicts=_of(records, VerdictRecord),
        measurements=[m for m in measured if m.suite not in apart and m.batch_search is None],
        searches=[m for m in measured if m.batch_search is not None],
        limits=apart[LIMITS],
        attention=apart[ATTENTION],
        memory=apart[MEMORY],
        traces=_of(records, TraceRecord),
        timers=apart[SELF],
        counts=apart[COUNTS],
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
