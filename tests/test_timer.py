"""The sampling loop, on clocks that tell what they are told to."""

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, cycle, repeat

import pytest

from vitbench import timer
from vitbench.statistics import Interval
from vitbench.timer import CpuClock, CudaClock, Effort, ReplayClock, clock_for, launches_of_a_round, sample

UNHURRIED = Effort(relative_width=0.1, least_samples=6, least_s=0.0, most_s=1000.0, most_warmup_s=1000.0)
WARM = (1.0,) * 10  # two windows of five that agree


class ScriptedClock:
    """Each launch takes the next of the durations given, on a wall clock that only launches move."""

    own_time = False

    def __init__(self, durations_s: Iterable[float], round_s: float = 0.0, wall_factor: float = 1.0) -> None:
        self._durations_s: Iterator[float] = iter(durations_s)
        self._now_s, self.round_s, self._wall_factor = 0.0, round_s, wall_factor
        self.own_time = wall_factor != 1.0

    def now_s(self) -> float:
        return self._now_s

    def idle(self, seconds: float) -> None:
        """Time that passes without a launch."""
        self._now_s += seconds

    def time(self, launch: Callable[[], object], count: int) -> list[float]:
        taken = []
        for _ in range(count):
            launch()
            taken.append(next(self._durations_s))
            self._now_s += taken[-1] * self._wall_factor
        return taken


def nothing() -> None:
    pass


def test_samples_are_kept_in_the_order_taken_and_none_is_dropped() -> None:
    scripted = [5.0, 5.1, 90.0, 4.9, 5.0, 5.05, 5.02, 4.98, 5.01, 5.0]
    effort = Effort(relative_width=0.1, least_samples=10, least_s=0.0, most_s=1e6, most_warmup_s=1e6)
    timing = sample(nothing, ScriptedClock(chain(WARM, scripted)), effort)
    assert timing.samples_s == tuple(scripted)
    assert timing.median_s == pytest.approx(5.005)
    assert timing.interval == Interval(4.98, 5.1)  # ranks 2 and 9 of ten
    assert timing.converged
    assert timing.warmup_iterations == 10
    assert timing.wall_clock_ratio is None


def test_it_stops_as_soon_as_the_interval_is_narrow() -> None:
    wide_then_narrow = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, *repeat(1.5, 100)]
    timing = sample(nothing, ScriptedClock(chain(WARM, wide_then_narrow)), UNHURRIED)
    assert timing.converged
    assert timing.interval == Interval(1.5, 1.5)
    assert 6 < len(timing.samples_s) < 40


def test_it_takes_no_fewer_than_the_least_samples() -> None:
    effort = Effort(relative_width=0.1, least_samples=25, least_s=0.0, most_s=1000.0)
    assert len(sample(nothing, ScriptedClock(repeat(1.0)), effort).samples_s) == 25


def test_it_goes_on_for_the_least_time() -> None:
    effort = Effort(relative_width=0.1, least_samples=6, least_s=50.0, most_s=1000.0)
    assert len(sample(nothing, ScriptedClock(repeat(1.0)), effort).samples_s) == 50


def test_it_stops_at_the_most_time_and_says_that_it_has_not_converged() -> None:
    effort = Effort(relative_width=0.01, least_samples=6, least_s=0.0, most_s=30.0, most_warmup_s=5.0)
    timing = sample(nothing, ScriptedClock(cycle([1.0, 2.0, 3.0])), effort)
    assert not timing.converged
    assert 15 <= len(timing.samples_s) <= 16


def test_one_launch_longer_than_all_the_time_is_one_sample_without_an_interval() -> None:
    effort = Effort(most_s=10.0, most_warmup_s=1.0)
    timing = sample(nothing, ScriptedClock(repeat(60.0)), effort)
    assert timing.samples_s == (60.0,)
    assert timing.warmup_iterations == 1
    assert timing.interval is None
    assert not timing.converged


def test_it_warms_up_until_two_windows_agree() -> None:
    slow_start = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.2]
    timing = sample(nothing, ScriptedClock(chain(slow_start, repeat(1.0))), UNHURRIED)
    assert timing.warmup_iterations > len(slow_start) + 5
    assert set(timing.samples_s) == {1.0}


def test_thousands_of_samples_are_not_all_sorted_after_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(timer, "median_interval", lambda samples: looks.append(len(samples)))
    timing = sample(nothing, ScriptedClock(repeat(1.0)), Effort(least_s=0.0, most_s=3000.0, most_warmup_s=1000.0))
    assert len(timing.samples_s) == 3000
    assert len(looks) < 150
    assert looks[:15] == list(range(10, 25))  # while there are few, after each


def test_a_warm_up_that_never_becomes_stable_ends_all_the_same() -> None:
    effort = Effort(least_s=0.0, most_s=10.0, most_warmup_s=40.0)
    durations = chain.from_iterable([n * 1.0] * 5 for n in range(1, 100))
    assert 10 < sample(nothing, ScriptedClock(durations), effort).warmup_iterations < 30


def test_conditions_are_renewed_before_every_sample_and_one_launch_follows_unsampled() -> None:
    seen: list[str] = []
    timing = sample(lambda: seen.append("launch"), ScriptedClock(repeat(1.0)), UNHURRIED, lambda: seen.append("renew"))
    assert timing.rounds == len(timing.samples_s) == 6
    assert seen[timing.warmup_iterations :] == ["renew", "launch", "launch"] * 6


def test_a_device_is_sampled_in_rounds_and_compared_with_the_wall_clock() -> None:
    timing = sample(nothing, ScriptedClock(repeat(0.01), round_s=0.1, wall_factor=1.5), UNHURRIED)
    assert timing.rounds == 1
    assert len(timing.samples_s) == 10
    assert timing.wall_clock_ratio == pytest.approx(1.5)


def test_what_comes_between_rounds_is_not_held_against_the_device() -> None:
    clock = ScriptedClock(repeat(0.01), round_s=0.1, wall_factor=1.5)
    timing = sample(nothing, clock, replace(UNHURRIED, least_s=3.0), look=lambda: clock.idle(1.0))
    assert timing.rounds > 2
    assert timing.wall_clock_ratio == pytest.approx(1.5)


def test_no_collection_of_garbage_falls_into_a_sample() -> None:
    enabled: list[bool] = []
    frozen: list[int] = []

    def launch() -> None:
        enabled.append(gc.isenabled())
        frozen.append(gc.get_freeze_count())

    assert gc.isenabled()
    sample(launch, ScriptedClock(repeat(1.0)), UNHURRIED)
    assert not any(enabled)
    assert all(frozen)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_garbage_collection_is_restored_after_an_error() -> None:
    def launch() -> None:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        sample(launch, ScriptedClock(repeat(1.0)), UNHURRIED)
    assert gc.isenabled()


def test_garbage_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        sample(nothing, ScriptedClock(repeat(1.0)), UNHURRIED)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_cpu_clock_takes_differences_of_its_counter() -> None:
    ticks = iter([1_000, 3_000, 10_000, 15_000, 2_000_000_000])
    clock = CpuClock(lambda: next(ticks))
    assert clock.time(nothing, 2) == pytest.approx([2e-6, 5e-6])
    assert clock.now_s() == pytest.approx(2.0)


class FakeCuda:
    """What CudaClock uses of torch.cuda, with a log of the calls."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.events = 0

    def device(self, device: str) -> "FakeCuda":
        self.log.append(f"device {device}")
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass

    def synchronize(self, device: str) -> None:
        self.log.append(f"synchronize {device}")

    def Event(self, *, enable_timing: bool) -> "FakeEvent":  # noqa: N802  # torch's name
        assert enable_timing
        self.events += 1
        return FakeEvent(self, self.events)


class FakeEvent:
    def __init__(self, cuda: FakeCuda, number: int) -> None:
        self._cuda, self._number = cuda, number

    def record(self) -> None:
        self._cuda.log.append(f"record {self._number}")

    def elapsed_time(self, end: "FakeEvent") -> float:
        return 10.0 * end._number  # milliseconds


def test_the_cuda_clock_records_events_around_each_launch_and_waits_once() -> None:
    cuda = FakeCuda()
    clock = CudaClock("cuda:1", cuda)
    assert clock.time(lambda: cuda.log.append("launch"), 2) == pytest.approx([0.020, 0.040])
    assert cuda.log == [
        "device cuda:1",
        *("record 1", "launch", "record 2"),
        *("record 3", "launch", "record 4"),
        "synchronize cuda:1",
    ]


def test_the_cuda_clock_reads_the_wall_when_the_device_is_done() -> None:
    cuda = FakeCuda()
    CudaClock("cuda:0", cuda).now_s()
    assert cuda.log == ["synchronize cuda:0"]


def test_each_device_has_its_clock() -> None:
    assert isinstance(clock_for("cpu"), CpuClock)
    assert isinstance(clock_for("cuda:1"), CudaClock)


def test_a_replay_holds_many_launches_and_its_round_is_as_long_as_any_other() -> None:
    clock = ReplayClock("cuda:0", launches=20, cuda=FakeCuda())
    assert clock.time(lambda: None, 1) == pytest.approx([0.020 / 20])
    assert not clock.own_time  # the host replays, and a sample is a mean
    launch_s = 1e-4
    replays = launches_of_a_round([launch_s] * 5, clock)
    assert replays * 20 * launch_s == pytest.approx(CudaClock.round_s)
