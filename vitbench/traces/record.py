"""What a results file holds of a trace: where it lies, and tables of what took the time and the memory.

Seconds and bytes of a row are sums over all profiled iterations. Times of the device are null where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """All calls of one of torch's operators; *self* leaves out what it called."""

    name: str
    calls: int
    host_self_s: float
    host_total_s: float
    device_self_s: float | None  # of the kernels that it launched
    device_total_s: float | None


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """All launches of one kernel of the device."""

    name: str
    calls: int
    total_s: float
    mean_s: float
    longest_s: float
    tensor_cores: bool  # as far as the parser knows kernels by their names
    blocks_per_sm: float | None
    occupancy: float | None  # estimated, 0 to 1


@dataclass(frozen=True, kw_only=True)
class ModuleRow:
    """All forward passes of one torch module."""

    name: str  # its class, with a number that tells it from others
    depth: int  # in the tree of modules; the row above with a smaller one is its parent
    calls: int
    operators: int  # called by it, not by its children
    host_self_s: float
    host_total_s: float
    device_self_s: float | None
    device_total_s: float | None


@dataclass(frozen=True, kw_only=True)
class AllocationRow:
    """What all calls of one operator allocated; freeing is not deducted from sizes, but from increases."""

    name: str
    calls: int
    allocations: int
    allocated_bytes: int
    self_allocated_bytes: int
    increase_bytes: int  # left behind at its end; negative where it freed more than it allocated
    self_increase_bytes: int


@dataclass(frozen=True, kw_only=True)
class StepPart:
    """A part of the mean profiled iteration."""

    name: str  # as the parser calls it: Kernel, Memcpy, Runtime, CPU Exec, Other, …
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The largest rows of each table, the largest first; modules in the order of their tree."""

    parser: str  # name and version
    step_s: float  # mean of the profiled iterations, which profiling slows down
    parts: Sequence[StepPart]
    operators: Sequence[OperatorRow]  # by their own time: of the device where there is one, else of the host
    operators_in_all: int
    kernels: Sequence[KernelRow]
    kernels_in_all: int
    modules: Sequence[ModuleRow]
    modules_in_all: int
    allocations: Sequence[AllocationRow]
    allocations_in_all: int
    allocations_of: str  # CPU, GPU0, …; empty where nothing was seen
    gpu_utilization: float | None = None  # share of the iterations during which some kernel ran
    sm_efficiency: float | None = None  # estimated share of multiprocessors that were given blocks
    occupancy: float | None = None  # estimated
    tensor_core_share: float | None = None  # of the kernels' time, by the kernels' names


@dataclass(frozen=True, kw_only=True)
class TraceRecord:
    """A few more iterations of a cell under torch's profiler, after it was timed."""

    kind: ClassVar[str] = "trace"
    cell: str
    path: str = ""  # of the trace, from the folder of the results; empty where none was written
    size_bytes: int | None = None
    iterations: int = 0
    reason: str = ""  # why there is no trace, or no tables; empty where both are there
    tables: Tables | None = None
    duration_s: float = 0.0  # of profiling, writing and parsing
    node: str = ""  # of a cluster, on which it ran; empty: the machine of the header
