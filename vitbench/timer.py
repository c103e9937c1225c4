"""The sampling loop: warm up, then sample until the median is known well enough or the time is up."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vitbench.statistics import Interval, median, median_interval

if TYPE_CHECKING:
    import torch

Launch = Callable[[], object]
"""The timed callable. It only launches work: no host read, print, copy or allocation that its user would not have."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """When to stop: as soon as the interval is narrow, but not before the least and never after the most."""

    relative_width: float = 0.02  # of the 95 % confidence interval of the median
    least_samples: int = 10
    least_s: float = 1.0
    most_s: float = 10.0
    most_warmup_s: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What was sampled, in the order taken, and what follows from it."""

    samples_s: Sequence[float]
    median_s: float
    interval: Interval | None  # 95 %, of the median; None below six samples
    converged: bool  # the interval became narrow enough within the time given
    warmup_iterations: int
    rounds: int  # groups of samples taken back to back; with ``renew``, each under conditions drawn anew
    wall_clock_ratio: float | None  # wall clock of the rounds over the sum of their samples; None for a wall clock
    started_s: float = 0.0  # of the first sample, by the clock's now_s; warm-up lies before it
    ended_s: float = 0.0


def span_of_time(started_s: float, ended_s: float) -> Timing:
    """Work of several kinds between two moments of a clock, as a timing without samples: for what watches it."""
    return Timing(
        samples_s=(),
        median_s=0.0,
        interval=None,
        converged=True,
        warmup_iterations=0,
        rounds=0,
        wall_clock_ratio=None,
        started_s=started_s,
        ended_s=ended_s,
    )


class Clock(Protocol):
    """Something that takes time: of the host, or of a device that works while the host goes on."""

    round_s: float
    """How long a round should be; 0: a sample each."""
    own_time: bool
    """Whether samples are the device's own time, which the wall clock can contradict."""

    def now_s(self) -> float:
        """The wall clock, once all work launched is done."""
        ...

    def time(self, launch: Launch, count: int) -> list[float]:
        """Seconds of each of ``count`` launches, back to back."""
        ...


class CpuClock:
    """The host's monotonic clock; a launch is over when it returns."""

    round_s = 0.0
    own_time = False

    def __init__(self, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now_ns = now_ns

    def now_s(self) -> float:
        """The counter, in seconds."""
        return self._now_ns() * 1e-9

    def time(self, launch: Launch, count: int) -> list[float]:
        """Seconds from each launch to its return."""
        now_ns, taken_ns = self._now_ns, []
        for _ in range(count):
            start = now_ns()
            launch()
            taken_ns.append(now_ns() - start)
        return [ns / 1e9 for ns in taken_ns]  # not times 1e-9, which is off by a bit and takes 18 digits to write


class CudaClock:
    """Events on the device's stream around each launch; the host waits once, at the end of a round."""

    round_s = 0.1

    def __init__(
        self, device: "torch.device | str", cuda: Any = None, before: Callable[[], object] | None = None
    ) -> None:
        """``before`` launches work ahead of each sample that is not part of it, such as to wipe the device's cache."""
        import torch  # noqa: PLC0415  # the loop itself works without

        self._device = device
        self._cuda = torch.cuda if cuda is None else cuda
        self._before = before
        self.own_time = before is None  # else the wall clock has more to time than the samples

    def now_s(self) -> float:
        """The host's counter, once the device has nothing left to do."""
        self._cuda.synchronize(self._device)
        return time.perf_counter()

    def time(self, launch: Launch, count: int) -> list[float]:
        """Seconds that the device took from each launch's first work to its last."""
        with self._cuda.device(self._device):
            pairs = [self._pair() for _ in range(count)]
            for start, end in pairs:
                if self._before is not None:
                    self._before()
                start.record()
                launch()
                end.record()
            self._cuda.synchronize(self._device)
        return [round(start.elapsed_time(end) * 1e6) / 1e9 for start, end in pairs]  # its steps are no finer than 1 ns

    def _pair(self) -> tuple[Any, Any]:
        return self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)


class ReplayClock(CudaClock):
    """Events around a launch that holds several of what is timed, as a CUDA graph does; seconds of one of them."""

    def __init__(self, device: "torch.device | str", launches: int, cuda: Any = None) -> None:
        super().__init__(device, cuda)
        self.own_time, self.round_s = False, CudaClock.round_s / launches
        self._launches = launches

    def time(self, launch: Launch, count: int) -> list[float]:
        """Seconds of the device, divided by the number of launches within."""
        return [seconds / self._launches for seconds in super().time(launch, count)]


def clock_for(device: str, framework: str = "torch") -> Clock:
    """The clock that measures work on this device; torch's events do not see what another framework launches there."""
    return CpuClock() if device == "cpu" or framework != "torch" else CudaClock(device)


def sample(
    launch: Launch,
    clock: Clock,
    effort: Effort,
    renew: Callable[[], None] | None = None,
    look: Callable[[], None] | None = None,
) -> Timing:
    """Warm up until stable, then sample until the median's interval is narrow or the most time is over.

    ``renew`` draws conditions anew before each round, such as the memory layout, on which a process's figures
    depend for all its life; one launch that is not sampled follows it. ``look`` sees what is there between rounds.
    """
    with garbage_collection_paused():
        warmup = warm_up(launch, clock, effort)
        per_round = launches_of_a_round(warmup, clock)
        samples: list[float] = []
        rounds, in_rounds_s, started = 0, 0.0, clock.now_s()
        converged, next_look = False, 0
        while True:
            begin_round(launch, clock, renew)
            if look is not None:
                look()
            round_started = clock.now_s()
            samples += clock.time(launch, per_round)
            now = clock.now_s()
            rounds, in_rounds_s = rounds + 1, in_rounds_s + now - round_started
            if len(samples) >= next_look:
                converged, next_look = _narrow(samples, effort), int(len(samples) * _BETWEEN_LOOKS)
            if now - started >= effort.most_s or (converged and now - started >= effort.least_s):
                break
    return timing_of(
        samples,
        effort,
        warmup_iterations=len(warmup),
        rounds=rounds,
        started_s=started,
        ended_s=now,
        wall_clock_ratio=in_rounds_s / sum(samples) if clock.own_time and sum(samples) > 0 else None,
    )


def timing_of(
    samples_s: Sequence[float],
    effort: Effort,
    *,
    warmup_iterations: int,
    rounds: int,
    started_s: float,
    ended_s: float,
    wall_clock_ratio: float | None = None,
) -> Timing:
    """What follows from samples, whoever took them."""
    return Timing(
        samples_s=tuple(samples_s),
        median_s=median(samples_s),
        interval=median_interval(samples_s),
        converged=_narrow(samples_s, effort),
        warmup_iterations=warmup_iterations,
        rounds=rounds,
        wall_clock_ratio=wall_clock_ratio,
        started_s=started_s,
        ended_s=ended_s,
    )


_WINDOW = 5  # launches
_BETWEEN_LOOKS = 1.05  # times as many samples: each look sorts them all, and short launches give thousands
_STABLE = 0.05  # two windows' medians differ by less


def launches_of_a_round(warmup: Sequence[float], clock: Clock) -> int:
    """How many launches fill a round of the clock."""
    return max(1, int(clock.round_s / max(median(warmup[-_WINDOW:]), 1e-9)))


def begin_round(launch: Launch, clock: Clock, renew: Callable[[], object] | None) -> None:
    """What comes before the samples of a round: garbage is collected, conditions drawn anew and met once unsampled."""
    gc.collect()
    if renew is not None:
        renew()
        clock.time(launch, 1)


def warm_up(launch: Launch, clock: Clock, effort: Effort) -> list[float]:
    """Launch until two successive windows agree, or the time for it is over; at least once."""
    taken: list[float] = []
    started = clock.now_s()
    while True:
        taken += clock.time(launch, 1)
        if len(taken) >= 2 * _WINDOW:
            before, after = median(taken[-2 * _WINDOW : -_WINDOW]), median(taken[-_WINDOW:])
            if abs(after - before) <= _STABLE * before:
                return taken
        if clock.now_s() - started >= effort.most_warmup_s:
            return taken


def _narrow(samples: Sequence[float], effort: Effort) -> bool:
    if len(samples) < effort.least_samples:
        return False
    interval = median_interval(samples)
    return interval is not None and interval.relative_width(median(samples)) <= effort.relative_width


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """No collection falls into a sample; what exists is frozen, so that collecting between rounds is cheap."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
