"""Work that takes a known time: the processor waits busily for a deadline, a CUDA device spins for counted cycles."""

import time
from collections.abc import Callable
from typing import Any

from vitbench.statistics import median

LOADS_S = {"nothing": 0.0, "20 µs": 20e-6, "200 µs": 200e-6, "2 ms": 2e-3, "10 ms": 10e-3, "50 ms": 50e-3}
"""By name, in seconds."""


def busy_wait(known_s: float, now_ns: Callable[[], int] = time.perf_counter_ns) -> Callable[[], None]:
    """A load that returns at the first look at the clock past its deadline; one of no time looks at no clock.

    It never returns early, and late by one look (some 50 ns) or by what the system withheld.
    """
    known_ns = round(known_s * 1e9)
    if known_ns == 0:
        return lambda: None

    def wait() -> None:
        deadline = now_ns() + known_ns
        while now_ns() < deadline:
            pass

    return wait


def spin(
    known_s: float, device: str, cuda: Any = None, now_s: Callable[[], float] = time.perf_counter
) -> Callable[[], None]:
    """A load that a CUDA device spins on for as many cycles as fill the time; of no time it launches an empty spin."""
    if cuda is None:
        import torch  # noqa: PLC0415

        cuda = torch.cuda
    cycles = round(known_s * cycles_per_s(device, cuda, now_s)) if known_s else 0
    return lambda: cuda._sleep(cycles)  # noqa: SLF001  # torch's own tests time by it; there is no other name


def cycles_per_s(device: str, cuda: Any, now_s: Callable[[], float]) -> float:
    """By the host's clock: what twice the cycles take longer, in which launching and waiting cancel out.

    No events are asked, since they are what is to be checked.
    """

    def taken_s(cycles: int) -> float:
        cuda.synchronize(device)
        started = now_s()
        cuda._sleep(cycles)  # noqa: SLF001
        cuda.synchronize(device)
        return now_s() - started

    with cuda.device(device):
        for _ in range(_WARM_SPINS):
            taken_s(_CYCLES)
        return _CYCLES / median([taken_s(2 * _CYCLES) - taken_s(_CYCLES) for _ in range(_SPINS)])


_CYCLES = 50_000_000  # some 30 ms
_WARM_SPINS, _SPINS = 5, 9  # the clock rises under load
