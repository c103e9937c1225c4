"""Watches a device while something is timed on it: ``with watching(device) as watch: …; watch.evidence(timing, images)``."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from vitbench.conditions.host import Host, host_evidence
from vitbench.conditions.nvml import Gpu, gpu_evidence, uuid_of
from vitbench.conditions.record import Evidence, Validity
from vitbench.conditions.sampler import Sampler
from vitbench.timer import Timing

GPU_INTERVAL_S = 0.1
HOST_INTERVAL_S = 0.5


class Watch(Protocol):
    """What was seen, and what it says of a timing."""

    def evidence(self, timing: Timing, images: int) -> Evidence:
        """Of a timing of work on so many images a sample; after the watch's end."""
        ...


@contextmanager
def watching(device: str, library: Any = None, *, beside: Sequence[int] = ()) -> Iterator[Watch]:
    """Watch the device until the context ends. Never fails: what cannot be watched is told by the evidence.

    ``beside``: processes that do the same work as this one, and are no others.
    """
    if device == "cpu":
        host = Host(beside=beside)
        with Sampler(host.read, HOST_INTERVAL_S) as hosts:
            yield _HostWatch(host, hosts)
        return
    try:
        gpu = Gpu(uuid_of(device), library)
    except Exception as error:  # noqa: BLE001  # no driver, no library, no such device by NVML
        yield _Blind(f"NVML is not to be had: {type(error).__name__}: {error}"[:200])
        return
    with Sampler(gpu.read, GPU_INTERVAL_S) as gpus:
        yield _GpuWatch(gpu, gpus, beside)


class _HostWatch:
    def __init__(self, host: Host, sampler: Sampler[Any]) -> None:
        self._host, self._sampler = host, sampler

    def evidence(self, timing: Timing, images: int) -> Evidence:  # noqa: ARG002  # of one protocol
        readings = self._sampler.within(timing.started_s, timing.ended_s)
        cores = len(self._host.cores or ()) or os.cpu_count() or 1
        return host_evidence(readings, timing, cores, _ended(self._sampler))


class _GpuWatch:
    def __init__(self, gpu: Gpu, sampler: Sampler[Any], beside: Sequence[int]) -> None:
        self._gpu, self._sampler, self._beside = gpu, sampler, beside

    def evidence(self, timing: Timing, images: int) -> Evidence:
        readings = self._sampler.within(timing.started_s, timing.ended_s)
        refused = [f"NVML does not tell {quantity}: {why}" for quantity, why in self._gpu.refused.items()]
        seen = frozenset[int]().union(*(reading.processes or () for reading in readings))
        own = {os.getpid(), *self._beside, *(pid for pid in seen if _of_this_session(pid))}
        return gpu_evidence(readings, timing, images, frozenset(own), [*refused, *_ended(self._sampler)])


class _Blind:
    def __init__(self, why: str) -> None:
        self._why = why

    def evidence(self, timing: Timing, images: int) -> Evidence:  # noqa: ARG002  # of one protocol
        return Evidence(
            verdict=Validity.UNWATCHED,
            reasons=[self._why],
            notes=[],
            window_s=timing.ended_s - timing.started_s,
            readings=0,
        )


def _ended(sampler: Sampler[Any]) -> list[str]:
    return [f"the watch ended early: {sampler.failure}"] if sampler.failure else []


def _of_this_session(pid: int) -> bool:
    """Whether the candidate started it: each cell has a session of its own."""
    with suppress(OSError):
        return os.getsid(pid) == os.getsid(0)
    return False
