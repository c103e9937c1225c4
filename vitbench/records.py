"""What a run records: a header, a record per requirement, verdict, measurement, study, trace and cell's process, and a footer.

``vitbench.results`` writes them as lines of JSON and reads them again; ``docs/results.schema.json`` is their schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from vitbench.batch_search import BatchSearch
from vitbench.conditions.record import Evidence
from vitbench.diagnosis.record import Diagnosis
from vitbench.limits.roofline import Ceilings, Roofline
from vitbench.requirement import Level, Status, Tally, Verdict
from vitbench.scaling import Scaling
from vitbench.study import Curve, Missing, NamedArray, Scalar
from vitbench.timer_check import TimerCheck
from vitbench.traces.record import TraceRecord

SCHEMA_VERSION = 1
LIMITS, ATTENTION, MEMORY, COUNTS, SELF = "limits", "attention", "memory", "counts", "self"
SCALING = "scaling"
"""Suites whose records stand apart: of the device, of kernels, of bytes, of operators, of vitbench's own timer, of several workers."""


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
    node: str = ""  # of a cluster, on which it ran; empty: the machine of the header


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
    diagnosis: Diagnosis | None = None  # of failures that are a matter of parity; null where there is none
    inferred: Sequence[str] = field(
        default_factory=list
    )  # of an adapter that was inferred: what it assumes, a line each
    node: str = ""  # of a cluster, on which it ran; empty: the machine of the header

    @property
    def said(self) -> str:
        """The verdict, and whether it rests on an adapter that was inferred."""
        return in_words(self.verdict, bool(self.inferred))


def in_words(verdict: str, inferred: bool) -> str:
    """A verdict as it is shown: one under conventions that were inferred says so."""
    return f"{verdict} (inferred)" if inferred else str(verdict)


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
    scaling: Scaling | None = (
        None  # of the scaling suite; batch is each worker's, other figures those of the most workers
    )
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
    # of a cluster only
    node: str = ""  # of a cluster, on which it ran; empty: the machine of the header


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One cell of a suite ``paper/…``: what the study measured, or why it measured nothing."""

    kind: ClassVar[str] = "study"
    cell: str
    implementation: str
    version: str
    suite: str  # paper/transfer, …
    task: str  # the part of the study; empty where there is only one
    model: str  # variant and image size; empty where the study compares several, named in its series
    device: str
    device_name: str
    dtype: str
    threads: int
    outcome: Outcome
    reason: str = ""  # empty where measured
    data: str = ""  # the images: digits, …, and how many
    seeds: Sequence[int] = field(default_factory=tuple)  # of training, one run each
    settings: Mapping[str, Any] = field(default_factory=dict)  # sizes, steps, rates, optimizer, as a reader needs them
    scalars: Sequence[Scalar] = field(default_factory=tuple)
    curves: Sequence[Curve] = field(default_factory=tuple)
    arrays: Sequence[NamedArray] = field(default_factory=tuple)
    missing: Sequence[Missing] = field(default_factory=tuple)  # what of the study this implementation does not offer
    notes: Sequence[str] = field(default_factory=tuple)  # what a reader must know beside the figures
    duration_s: float = 0.0
    node: str = ""  # of a cluster, on which it ran; empty: the machine of the header


@dataclass(frozen=True, kw_only=True)
class Ran:
    """When the process of a cell ran, from its start to its end: with its imports and waits, which its result leaves out."""

    kind: ClassVar[str] = "ran"
    cell: str
    started_at: str  # ISO 8601, UTC, to the millisecond
    duration_s: float
    timed: bool  # nothing else of the run ran beside it
    node: str = ""  # of a cluster, on which it ran; empty: the machine of the header


@dataclass(frozen=True, kw_only=True)
class Footer:
    """How the run ended."""

    kind: ClassVar[str] = "footer"
    finished_at: str
    status: str  # complete, interrupted, out of time (--max-seconds)
    duration_s: float


Record = Header | RequirementRecord | VerdictRecord | MeasurementRecord | StudyRecord | TraceRecord | Ran | Footer

Result = VerdictRecord | MeasurementRecord | StudyRecord
"""What a cell comes to: one of these ends it."""


def kind_of_node(node: str) -> str:
    """The part of a node's name that alike nodes share; empty where all nodes of the run were alike, or there were none."""
    return node.rpartition("-")[0]
