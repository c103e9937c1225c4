"""Which kernels a piece of work launched, by torch's profiler: what ran, not what was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True, kw_only=True)
class Launched:
    """Names of what ran."""

    operators: Sequence[str]  # torch's own, the longest first
    kernels: Sequence[str]  # of the device, the longest first; on the CPU, the operators that took the time

    def includes(self, prefix: str) -> bool:
        """Whether an operator ran whose name begins so."""
        return any(name.startswith(prefix) for name in self.operators)


def launched(work: Callable[[], object], device: str) -> Launched:
    """Run ``work`` once under the profiler."""
    on_cuda = device != "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as profiled:
        work()
        if on_cuda:
            import torch  # noqa: PLC0415

            torch.cuda.synchronize(device)
    return of_events(profiled.key_averages(), on_cuda=on_cuda)


def of_events(events: Sequence[Any], *, on_cuda: bool) -> Launched:
    """Sort the profiler's events; those of the device have its type, those of the host an operator's name."""
    host = [event for event in events if "CUDA" not in str(event.device_type)]
    operators = _longest([event for event in host if "::" in event.key], "self_cpu_time_total")
    if not on_cuda:
        return Launched(operators=operators, kernels=_longest(host, "self_cpu_time_total"))
    device = [event for event in events if "CUDA" in str(event.device_type) and not event.key.startswith(_NO_KERNELS)]
    return Launched(operators=operators, kernels=_longest(device, "self_device_time_total"))


_NO_KERNELS = ("Memcpy", "Memset", "Activity Buffer")


def _longest(events: Sequence[Any], time: str) -> tuple[str, ...]:
    """Names by the time that each took itself, without the profiler's bookkeeping."""
    ordered = sorted(events, key=lambda event: -float(getattr(event, time, 0.0)))
    return tuple(_plain(event.key) for event in ordered)


def _plain(name: str) -> str:
    """A compiled graph's hash is another each time; its kind stays."""
    return "compiled graph" if "CompiledFxGraph" in name else str(name)
