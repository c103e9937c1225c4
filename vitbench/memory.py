"""What memory some work takes: tensors by their allocator, the process by the operating system, the device by its driver."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from vitbench.conditions.nvml import Gpu, uuid_of

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK_OF_RSS = "5"  # what resets it; man 5 proc
_KIB = 1024


@dataclass(frozen=True)
class Phase:
    """The bytes of tensors that a piece of work took, beyond those that there were before it."""

    left: int  # when it ended; negative where it let more go than it made
    peak: int  # at most

    @property
    def scratch(self) -> int:
        """At most, beyond what there was before it and what it left."""
        return self.peak - max(0, self.left)


Work = Callable[[], object]


class Allocator(Protocol):
    """Counts the bytes of tensors on a device."""

    def phases(self, *works: Work) -> list[Phase]:
        """What each of several pieces of work takes, done one after the other."""
        ...

    def reserved_peak(self, work: Work) -> int | None:
        """The most that the allocator holds, used or not, while the work is done; None: it holds nothing back."""
        ...


class CudaAllocator:
    """torch's caching allocator, which counts by itself."""

    def __init__(self, device: str) -> None:
        self._device = device

    def phases(self, *works: Work) -> list[Phase]:
        """What each of several pieces of work takes, done one after the other."""
        return [self._phase(work) for work in works]

    def _phase(self, work: Work) -> Phase:
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return Phase(
            left=torch.cuda.memory_allocated(self._device) - before,
            peak=torch.cuda.max_memory_allocated(self._device) - before,
        )

    def reserved_peak(self, work: Work) -> int | None:
        """The most that the allocator holds, used or not, while the work is done."""
        torch.cuda.reset_peak_memory_stats(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_reserved(self._device)


class CpuAllocator:
    """torch's memory profiler: every tensor on the CPU is an event when it comes and when it goes.

    Of a tensor from before the profile it does not see the end, so all phases share one.
    """

    def phases(self, *works: Work) -> list[Phase]:
        """What each of several pieces of work takes, done one after the other."""
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            for work in works:
                with record_function(_PHASE):
                    work()
        events = profiled.profiler.kineto_results.events()
        starts = sorted(event.start_ns() for event in events if event.name() == _PHASE)
        changes: list[list[int]] = [[] for _ in works]
        for event in sorted((e for e in events if e.name() == _MEMORY), key=lambda e: e.start_ns()):
            changes[max(0, bisect_right(starts, event.start_ns()) - 1)].append(event.nbytes())
        return [Phase(left=sum(one), peak=max(accumulate(one, initial=0))) for one in changes]

    def reserved_peak(self, work: Work) -> int | None:  # noqa: ARG002
        """None: what a tensor leaves goes back to the C library at once, and its books are not ours."""
        return None


_PHASE, _MEMORY = "vitbench::phase", "[memory]"


def allocator(device: str) -> Allocator:
    """The allocator of a device."""
    return CpuAllocator() if device == "cpu" else CudaAllocator(device)


def process_peak(work: Work) -> int | None:
    """The most memory that this process holds while the work is done: peak resident set size, in bytes.

    None where the operating system does not let a process start that count afresh; Linux does.
    """
    try:
        _CLEAR.write_text(_PEAK_OF_RSS, encoding="ascii")
    except OSError:
        return None
    work()
    return _status("VmHWM")


def resident() -> int | None:
    """The memory that this process holds now, in bytes; None where it cannot be read."""
    return _status("VmRSS")


def swapped() -> int | None:
    """What of this process lies in swap and so is not resident, in bytes; None where it cannot be read."""
    return _status("VmSwap")


def _status(name: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * _KIB
    return None


@dataclass(frozen=True)
class OnDevice:
    """What the driver of a CUDA device says is taken, in bytes."""

    process: int | None  # by this process, context and libraries included; None: NVML does not tell
    device: int  # by everyone


def on_device(device: str) -> OnDevice:
    """What is taken on a CUDA device now. The caching allocator gives nothing back by itself, so now is the peak."""
    free, total = torch.cuda.mem_get_info(device)
    return OnDevice(process=_by_this_process(device), device=total - free)


def _by_this_process(device: str) -> int | None:
    with suppress(Exception):  # no driver, no such device by NVML, or one that is gone: there is no figure
        return Gpu(uuid_of(device)).bytes_of_this_process()
    return None


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes of these tensors, storage that several of them share counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
