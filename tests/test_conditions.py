"""The evidence beside a figure, from a recording of NVML (a synthetic one) and from files as Linux has them."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pynvml
import pytest
from fake_nvml import RECORDING, FakeNvml

from vitbench.conditions import nvml as by_nvml
from vitbench.conditions import watch as watches
from vitbench.conditions.host import Host, HostReading, host_evidence
from vitbench.conditions.nvml import Gpu, GpuReading, driver_version, gpu_evidence
from vitbench.conditions.record import Evidence, Span, Validity, span
from vitbench.conditions.sampler import Sampler
from vitbench.conditions.watch import watching
from vitbench.conditions.weighing import of_device, of_process
from vitbench.timer import CpuClock, Effort, Timing, sample, span_of_time

TIMING = Timing(
    samples_s=[0.01] * 350,
    median_s=0.01,
    interval=None,
    converged=True,
    warmup_iterations=5,
    rounds=35,
    wall_clock_ratio=1.01,
    started_s=0.45,
    ended_s=4.0,
)
OWN = frozenset({4242})


def play(library: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> list[GpuReading]:
    """Every frame read, at its own time."""
    times = iter(frame["at_s"] for frame in library.frames)
    monkeypatch.setattr(by_nvml, "now_s", lambda: next(times))
    gpu = Gpu(RECORDING["uuid"], library)
    return [gpu.read() for _ in library.frames]


def frames(**changes: Any) -> list[dict[str, Any]]:
    """The recording with its later half changed."""
    return [frame | (changes if frame["at_s"] > 2 else {}) for frame in RECORDING["frames"]]


def seen(
    monkeypatch: pytest.MonkeyPatch,
    recorded: Sequence[dict[str, Any]] | None = None,
    timing: Timing = TIMING,
    **how: Any,
) -> Evidence:
    readings = play(FakeNvml(None if recorded is None else list(recorded), **how), monkeypatch)
    return gpu_evidence(readings, timing, images=8, own=OWN)


# --- a GPU


def test_a_steady_device_to_itself_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch)
    assert (evidence.verdict, evidence.reasons, evidence.notes) == (Validity.VALID, [], [])
    assert evidence.sm_clock_hz == Span(low=1.98e9, median=1.98e9, high=1.98e9)
    assert evidence.memory_clock_hz == Span(low=2.619e9, median=2.619e9, high=2.619e9)
    assert evidence.power_w == Span(low=610, median=618, high=626)
    assert evidence.temperature_c is not None
    assert evidence.foreign_processes == 0
    assert evidence.readings == 36


def test_what_lies_before_the_samples_is_not_held_against_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock rises and the device idles while it warms up."""
    assert RECORDING["frames"][0]["clock_reasons"] == 1
    assert seen(monkeypatch).clock_reasons == []


@pytest.mark.parametrize(
    ("bit", "name"),
    [
        (0x8, "hardware slowdown"),
        (0x20, "software thermal slowdown"),
        (0x40, "hardware thermal slowdown"),
        (0x80, "power brake"),
    ],
)
def test_throttling_while_sampling_is_invalid_and_named(bit: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch, frames(clock_reasons=bit))
    assert (evidence.verdict, evidence.reasons) == (Validity.INVALID, [f"throttled while sampling: {name}"])
    assert evidence.clock_reasons == [name]


def test_a_device_at_its_power_cap_is_told_and_valid_while_its_clock_is_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch, frames(clock_reasons=0x4))
    assert evidence.verdict == Validity.VALID
    assert evidence.notes == ["at its power cap in 20 of 36 readings"]


def test_a_reason_that_nvml_has_added_is_kept_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, frames(clock_reasons=0x1002)).clock_reasons == ["0x1000", "application clocks"]


def test_a_clock_that_goes_down_while_sampling_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch, frames(sm_clock_mhz=1755))
    assert evidence.reasons == ["the SM clock went from 1980 to 1755 MHz while sampling"]
    assert seen(monkeypatch, frames(sm_clock_mhz=1900)).verdict == Validity.VALID  # 4 %


def test_another_process_on_the_device_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch, frames(processes=[4242, 77]))
    assert evidence.reasons == ["1 other processes computed on the device"]
    assert evidence.foreign_processes == 1


def test_in_a_container_processes_are_told_apart_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [frame | {"processes": [9]} for frame in RECORDING["frames"]]
    shared = [frame | {"processes": [9, 10]} for frame in RECORDING["frames"]]
    hidden = [frame | {"processes": []} for frame in RECORDING["frames"]]
    assert (seen(monkeypatch, alone).verdict, seen(monkeypatch, shared).verdict) == (Validity.VALID, Validity.INVALID)
    assert "by their count" in seen(monkeypatch, alone).notes[0]
    assert seen(monkeypatch, hidden).foreign_processes is None
    assert seen(monkeypatch, hidden).notes == ["processes on the device cannot be seen"]


def test_a_host_that_cannot_keep_up_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch, timing=replace(TIMING, wall_clock_ratio=1.5))
    assert evidence.reasons == ["host-bound: the wall clock ran 1.50 times as long as the samples"]


def test_energy_is_the_counters_over_seconds_and_an_images_share_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """61.5 J in each tenth of a second, 350 samples of 8 images in 3.55 s."""
    evidence = seen(monkeypatch)
    assert evidence.energy_j == pytest.approx(35 * 61.5)
    assert evidence.joules_per_image == pytest.approx(615 / (8 * 350 / 3.55))


def test_work_of_several_kinds_may_change_the_clock_and_has_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch, frames(sm_clock_mhz=1500), timing=span_of_time(0.45, 4.0))
    assert (evidence.verdict, evidence.joules_per_image) == (Validity.VALID, None)
    assert evidence.energy_j == pytest.approx(35 * 61.5)


def test_energy_of_less_than_two_seconds_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = seen(monkeypatch, timing=replace(TIMING, started_s=2.2))
    assert (evidence.energy_j, evidence.joules_per_image) == (None, None)


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
def test_a_quantity_that_nvml_refuses_is_null_and_the_others_are_read(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = seen(monkeypatch, refuses={"nvmlDeviceGetTotalEnergyConsumption": code, "nvmlDeviceGetPowerUsage": code})
    assert (evidence.energy_j, evidence.power_w, evidence.verdict) == (None, None, Validity.VALID)
    assert evidence.sm_clock_hz is not None


def test_a_device_that_refuses_clocks_and_reasons_is_unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ("nvmlDeviceGetClockInfo", "nvmlDeviceGetCurrentClocksThrottleReasons")
    library = FakeNvml(refuses=dict.fromkeys(refused, pynvml.NVML_ERROR_NOT_SUPPORTED))
    monkeypatch.setattr(library, "looks", 0)
    monkeypatch.setattr(by_nvml, "now_s", lambda: 1.0)
    readings = [Gpu(RECORDING["uuid"], library).read()]
    assert gpu_evidence(readings, TIMING, 8, OWN).verdict == Validity.UNWATCHED


def test_no_reading_in_time_is_unwatched() -> None:
    evidence = gpu_evidence([], TIMING, 8, OWN)
    assert (evidence.verdict, evidence.notes) == (Validity.UNWATCHED, ["no reading fell into the samples' time"])


@pytest.mark.parametrize(
    ("processes", "used_bytes", "found"),
    [
        ([os.getpid(), 77], 5, 5),
        ([77], 5, 5),  # in a container this process has another number
        ([77, 78], 5, None),
        ([], 5, None),
        ([os.getpid()], None, None),  # as drivers for Windows have it
    ],
)
def test_the_bytes_of_this_process_are_those_that_nvml_shows_of_it(
    processes: list[int], used_bytes: int | None, found: int | None
) -> None:
    frame = RECORDING["frames"][0] | {"processes": processes, "used_bytes": used_bytes}
    assert Gpu(RECORDING["uuid"], FakeNvml([frame])).bytes_of_this_process() == found


def test_bytes_that_nvml_refuses_are_not_known() -> None:
    refuses = {"nvmlDeviceGetComputeRunningProcesses": pynvml.NVML_ERROR_NOT_SUPPORTED}
    assert Gpu(RECORDING["uuid"], FakeNvml(refuses=refuses)).bytes_of_this_process() is None


def test_without_a_driver_there_is_no_version_of_it() -> None:
    assert driver_version(FakeNvml(refuses={"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND})) is None


# --- of bytes, for which other conditions count than for times


def test_bytes_of_a_device_hold_those_of_others_and_a_throttled_clock_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert of_device(seen(monkeypatch, frames(clock_reasons=0x40))).verdict == Validity.VALID
    shared = of_device(seen(monkeypatch, frames(processes=[4242, 77])))
    assert (shared.verdict, shared.reasons) == (Validity.INVALID, ["1 other processes took memory of the device"])
    hidden = of_device(seen(monkeypatch, [frame | {"processes": []} for frame in RECORDING["frames"]]))
    assert (hidden.verdict, hidden.reasons) == (
        Validity.UNWATCHED,
        ["who else took memory of the device is not known"],
    )


def test_bytes_of_a_process_miss_those_in_swap_and_busy_cores_do_not_matter() -> None:
    busy = during(busy_s=3.0)
    assert busy.verdict == Validity.INVALID
    assert (of_process(busy, 0).verdict, of_process(busy, 0).reasons) == (Validity.VALID, [])
    swapped = of_process(busy, 3 * 2**20)
    assert (swapped.verdict, swapped.reasons) == (Validity.INVALID, ["3.00 MiB of the process lay in swap"])
    assert of_process(busy, None).verdict == Validity.UNWATCHED


# --- watching


def timed() -> Timing:
    effort = Effort(relative_width=100.0, least_samples=3, least_s=0.25, most_s=0.5, most_warmup_s=0.0)
    return sample(lambda: time.sleep(0.01), CpuClock(), effort)


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "uuid_of", lambda device: RECORDING["uuid"])
    monkeypatch.setattr(watches, "GPU_INTERVAL_S", 0.02)


@pytest.mark.usefixtures("a_gpu")
def test_a_watch_reads_beside_the_timing() -> None:
    with watching("cuda:0", FakeNvml()) as watch:
        timing = timed()
    evidence = watch.evidence(timing, 1)
    assert evidence.readings >= 3
    assert evidence.window_s == timing.ended_s - timing.started_s > 0.2


@pytest.mark.usefixtures("a_gpu")
def test_nvml_dying_midway_is_a_recorded_fact_and_the_timing_stands() -> None:
    with watching("cuda:0", FakeNvml(dies_at=4)) as watch:
        timing = timed()
    assert len(timing.samples_s) >= 3
    evidence = watch.evidence(timing, 1)
    assert evidence.notes[0] == "the watch ended early: NVMLError_GpuIsLost: GPU is lost"
    assert evidence.readings >= 1


@pytest.mark.usefixtures("a_gpu")
@pytest.mark.parametrize(
    ("library", "why"),
    [
        (FakeNvml(refuses={"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}), "NVML Shared Library Not Found"),
        (FakeNvml(refuses={"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}), "Driver Not Loaded"),
    ],
)
def test_without_a_driver_the_watch_is_absent_and_says_so(library: FakeNvml, why: str) -> None:
    with watching("cuda:0", library) as watch:
        timing = timed()
    evidence = watch.evidence(timing, 1)
    assert (evidence.verdict, evidence.readings) == (Validity.UNWATCHED, 0)
    assert why in evidence.reasons[0]


def test_a_device_that_nvml_does_not_know_is_unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "uuid_of", lambda device: "GPU-of-a-slice")
    with watching("cuda:0", FakeNvml()) as watch:
        pass
    assert "Not Found" in watch.evidence(TIMING, 1).reasons[0]


def test_the_cpu_is_watched_for_real() -> None:
    with watching("cpu") as watch:
        timing = sample(lambda: sum(range(20_000)), CpuClock(), Effort(least_s=0.6, most_s=1.0, most_warmup_s=0.1))
    evidence = watch.evidence(timing, 1)
    assert evidence.readings >= 2
    assert evidence.verdict in set(Validity)
    if Path("/proc/stat").exists():
        assert evidence.others_share is not None
        assert 0 <= evidence.others_share <= 1


# --- the sampler


@dataclass(frozen=True)
class At:
    at_s: float


def test_a_sampler_reads_until_its_end_and_leaves_no_thread() -> None:
    with Sampler(lambda: At(time.perf_counter()), 0.01) as sampler:
        start = time.perf_counter()
        time.sleep(0.1)
        end = time.perf_counter()
    readings = sampler.within(start, end)
    assert len(readings) >= 4
    assert readings[0].at_s < start
    assert readings[-1].at_s > end
    assert "vitbench-sampler" not in [thread.name for thread in threading.enumerate()]


def test_a_sampler_whose_first_reading_fails_starts_none() -> None:
    def broken() -> At:
        raise OSError("gone")

    with Sampler(broken, 0.01) as sampler:
        pass
    assert (sampler.failure, sampler.within(0, 1)) == ("OSError: gone", [])


def test_a_driver_that_never_answers_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitbench.conditions.sampler._ENDING_S", 0.05)
    answers, release = iter([At(0.0)]), threading.Event()

    def hangs() -> At:
        found = next(answers, None)
        if found is None:
            release.wait(30)
            return At(1.0)
        return found

    with Sampler(hangs, 0.001) as sampler:
        time.sleep(0.05)
    release.set()
    assert sampler.failure == "no answer within 0.05 s"


def test_a_span_is_of_what_was_readable() -> None:
    assert span([3.0, None, 1.0, 2.0]) == Span(low=1.0, median=2.0, high=3.0)
    assert span([None]) is None


# --- the host

STAT = """cpu  1 1 1 1 1 1 1 1 0 0
cpu0 {busy} 0 100 5000 10 0 0 {steal} 0 0
cpu1 200 0 0 9000 0 0 0 0 0 0
cpu7 99999 0 0 0 0 0 0 5000 0 0
intr 5
"""


def machine(folder: Path, busy: int = 1000, steal: int = 0, throttled_usec: int = 0) -> Host:
    """A system of which this process may use the cores 0 and 1."""
    files = {
        "proc/stat": STAT.format(busy=busy, steal=steal),
        "sys/fs/cgroup/cpu.stat": f"usage_usec 5\nthrottled_usec {throttled_usec}\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2700000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2500000\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="ascii")
    return Host(folder, cores=frozenset({0, 1}), tick_s=0.01)


def test_only_the_cores_that_this_process_may_use_are_counted(tmp_path: Path) -> None:
    reading = machine(tmp_path, busy=1000, steal=30, throttled_usec=2_000_000).read()
    assert (reading.busy_s, reading.steal_s) == (13.0, 0.3)
    assert (reading.quota_throttled_s, reading.clock_hz) == ({"/": 2.0}, 2.6e9)


def test_a_quota_of_any_group_that_the_process_is_in_holds_it_up(tmp_path: Path) -> None:
    host = machine(tmp_path)
    group = tmp_path / "sys/fs/cgroup/user.slice/mine"
    beside = tmp_path / "sys/fs/cgroup/user.slice/other"
    for folder in (group, beside):
        folder.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("1:cpu:/elsewhere\n0::/user.slice/mine\n", encoding="ascii")

    def throttled(own_usec: int, above_usec: int) -> HostReading:
        (group / "cpu.stat").write_text(f"nr_throttled 3\nthrottled_usec {own_usec}\n", encoding="ascii")
        (group.parent / "cpu.stat").write_text(f"throttled_usec {above_usec}\n", encoding="ascii")
        (beside / "cpu.stat").write_text(f"throttled_usec {own_usec * 9}\n", encoding="ascii")
        return host.read()

    first = replace(throttled(1_000_000, 5_000_000), at_s=0.0)
    of_own = replace(throttled(1_400_000, 5_000_000), at_s=2.0)
    of_both = replace(throttled(1_400_000, 5_700_000), at_s=2.0)
    timing = replace(TIMING, started_s=0.1, ended_s=2.0)
    assert first.quota_throttled_s == {"/user.slice/mine": 1.0, "/user.slice": 5.0, "/": 0.0}
    for last, held_s in ((of_own, 0.4), (of_both, 0.7)):
        evidence = host_evidence([first, last], timing, cores=2)
        assert evidence.quota_throttled_s == pytest.approx(held_s)
        assert f"a CPU quota held its processes up for {held_s} s" in evidence.reasons


def test_a_group_that_is_left_midway_says_nothing_and_the_others_do() -> None:
    def reading(at_s: float, quotas: dict[str, float]) -> HostReading:
        return HostReading(at_s=at_s, busy_s=9, steal_s=0, own_s=9, quota_throttled_s=quotas, clock_hz=None)

    timing = replace(TIMING, started_s=0.1, ended_s=2.0)
    moved = [reading(0, {"/a": 7.0, "/": 1.0}), reading(2, {"/b": 9.0, "/": 1.0})]
    assert host_evidence(moved, timing, cores=2).quota_throttled_s == 0.0


def test_processes_that_do_the_same_work_are_no_others(tmp_path: Path) -> None:
    """Their user and system time, 3.2 s and 0.5 s, is this process's own; of one that has ended nothing is known."""
    machine(tmp_path)
    (tmp_path / "proc/7").mkdir()
    fields = ["S", *["0"] * 10, "320", "50", *["0"] * 20]
    (tmp_path / "proc/7/stat").write_text(f"7 (a (worker) b) {' '.join(fields)}\n", encoding="ascii")
    alone = Host(tmp_path, tick_s=0.01).read().own_s
    together = Host(tmp_path, tick_s=0.01, beside=(7, 8)).read().own_s
    assert together - alone == pytest.approx(3.7, abs=0.5)


def test_a_system_without_these_files_is_not_readable(tmp_path: Path) -> None:
    reading = Host(tmp_path, cores=frozenset({0})).read()
    assert (reading.busy_s, reading.steal_s, reading.quota_throttled_s, reading.clock_hz) == (None, None, {}, None)


def during(seconds: float = 2.0, busy_s: float = 2.0, own_s: float = 2.0, **more: float) -> Evidence:
    """Evidence of two readings so far apart, on two cores."""
    first = HostReading(at_s=0, busy_s=50, steal_s=1, own_s=7, quota_throttled_s={"/": 0.0}, clock_hz=None)
    last = HostReading(
        at_s=seconds,
        busy_s=50 + busy_s,
        steal_s=1 + more.get("steal_s", 0),
        own_s=7 + own_s,
        quota_throttled_s={"/": more.get("quota_s", 0.0)},
        clock_hz=None,
    )
    return host_evidence([first, last], replace(TIMING, started_s=0.1, ended_s=seconds), cores=2)


def test_a_machine_to_itself_is_valid() -> None:
    evidence = during()
    assert (evidence.verdict, evidence.reasons, evidence.others_share) == (Validity.VALID, [], 0.0)


def test_others_that_use_the_cores_make_a_figure_invalid() -> None:
    evidence = during(busy_s=3.0)
    assert evidence.reasons == ["other processes used 25% of the cores' time"]
    assert during(busy_s=2.1).verdict == Validity.VALID


def test_time_that_the_hypervisor_or_a_quota_withheld_makes_it_invalid() -> None:
    assert during(steal_s=0.2).reasons == ["the hypervisor withheld 5.0% of the cores' time"]
    assert during(quota_s=0.3).reasons == ["a CPU quota held its processes up for 0.3 s"]


def test_a_moment_is_too_short_to_tell() -> None:
    evidence = during(seconds=0.2)
    assert (evidence.verdict, evidence.others_share) == (Validity.UNWATCHED, None)
    assert "too short to tell" in evidence.notes[0]


def test_a_host_that_cannot_be_read_is_unwatched() -> None:
    blank = HostReading(at_s=0, busy_s=None, steal_s=None, own_s=0, quota_throttled_s={}, clock_hz=None)
    evidence = host_evidence([blank, replace(blank, at_s=3.0)], TIMING, cores=2)
    assert evidence.verdict == Validity.UNWATCHED
