"""What NVML says of an NVIDIA GPU: clocks, power, temperature, why the clocks are as they are, whose processes, energy.

Each quantity can be refused by itself (a virtual machine, a slice of a GPU, an older board): that is noted once, and the
others go on. Power is a mean over a second on GPUs newer than the A100; the energy counter counts from the driver's load.
Source: NVML API Reference, device queries and NvmlClocksEventReasons.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vitbench.conditions.record import Evidence, span, verdict_of
from vitbench.conditions.sampler import now_s
from vitbench.timer import Timing

CLOCK_REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}
THROTTLED = {"hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "power brake"}
CLOCK_DRIFT = 0.05  # between the first and the last third of the samples' time
HOST_BOUND = 1.1  # wall clock over the sum of the samples
LEAST_ENERGY_WINDOW_S = 2.0  # the sensors of an A100 or H100 look a quarter of the time, the counter ticks every 0.1 s
_LEAST_READINGS = 6  # two in each third


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One look at the device; None: refused."""

    at_s: float
    sm_clock_hz: float | None = None
    memory_clock_hz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    clock_reasons: frozenset[str] | None = None
    processes: frozenset[int] | None = None  # numbers of those that compute
    energy_j: float | None = None


class Gpu:
    """One device, by NVML.

    Raises:
        Exception: NVML has no driver, or knows no such device.
    """

    def __init__(self, uuid: str, library: Any = None) -> None:
        import pynvml  # noqa: PLC0415

        self._nvml = pynvml if library is None else library
        self._nvml.nvmlInit()
        self._handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        self.refused: dict[str, str] = {}  # quantity: NVML's word for why

    def read(self) -> GpuReading:
        """Look at it now.

        Raises:
            Exception: the device or the driver is gone.
        """
        nvml, handle = self._nvml, self._handle
        return GpuReading(
            at_s=now_s(),
            sm_clock_hz=self._scaled("SM clock", 1e6, lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_clock_hz=self._scaled(
                "memory clock", 1e6, lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)
            ),
            power_w=self._scaled("power", 1e-3, lambda: nvml.nvmlDeviceGetPowerUsage(handle)),
            temperature_c=self._scaled(
                "temperature", 1, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            clock_reasons=self._asked(
                "clock reasons", lambda: _names(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
            ),
            processes=self._asked(
                "processes", lambda: frozenset(int(p.pid) for p in nvml.nvmlDeviceGetComputeRunningProcesses(handle))
            ),
            energy_j=self._scaled("energy", 1e-3, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle)),
        )

    def bytes_of_this_process(self) -> int | None:
        """What this process takes on the device, context and libraries included; None where NVML does not tell.

        In a container its number is another one to NVML; a device that shows one process only shows this one.

        Raises:
            Exception: the device or the driver is gone.
        """
        shown = self._asked("processes", lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)) or []
        own = [process for process in shown if process.pid == os.getpid()] or (shown if len(shown) == 1 else [])
        return int(own[0].usedGpuMemory) if own and own[0].usedGpuMemory else None

    def _scaled(self, quantity: str, unit: float, ask: Callable[[], int]) -> float | None:
        value = self._asked(quantity, ask)
        return None if value is None else value * unit

    def _asked(self, quantity: str, ask: Callable[[], Any]) -> Any:
        if quantity in self.refused:
            return None
        refusals = (
            self._nvml.NVMLError_NotSupported,
            self._nvml.NVMLError_NoPermission,
            self._nvml.NVMLError_FunctionNotFound,
        )
        try:
            return ask()
        except refusals as error:
            self.refused[quantity] = str(error)
            return None


def uuid_of(device: str) -> str:
    """As NVML has it; torch's numbers follow CUDA_VISIBLE_DEVICES and an order of their own, NVML's do not."""
    import torch  # noqa: PLC0415

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def driver_version(library: Any = None) -> str | None:
    """The NVIDIA driver's; None where NVML is not to be had."""
    import pynvml  # noqa: PLC0415

    nvml = pynvml if library is None else library
    try:
        nvml.nvmlInit()
        version = nvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return None
    return version.decode() if isinstance(version, bytes) else str(version)


def _names(bits: int) -> frozenset[str]:
    known = {name for bit, name in CLOCK_REASONS.items() if bits & bit}
    unknown = bits & ~sum(CLOCK_REASONS)
    return frozenset(known | ({f"0x{unknown:x}"} if unknown else set()))


def gpu_evidence(
    readings: Sequence[GpuReading], timing: Timing, images: int, own: frozenset[int], notes: Sequence[str] = ()
) -> Evidence:
    """What the readings in a timing's window say of it; ``own`` are this cell's processes."""
    inside = [r for r in readings if timing.started_s <= r.at_s <= timing.ended_s]
    seen = frozenset[str]().union(*(r.clock_reasons or () for r in inside))
    foreign, foreign_note = _foreign(inside, own)
    energy_j, per_image = _energy(readings, timing, images)
    reasons = [
        *(f"throttled while sampling: {name}" for name in sorted(seen & THROTTLED)),
        *([f"{foreign} other processes computed on the device"] if foreign else []),
        *(_drift([r.sm_clock_hz for r in inside]) if timing.samples_s else []),  # else of work of several kinds
        *_host_bound(timing),
    ]
    capped = [r for r in inside if "power cap" in (r.clock_reasons or ())]
    more = [f"at its power cap in {len(capped)} of {len(inside)} readings"] if capped else []
    watched = any(r.clock_reasons is not None or r.sm_clock_hz is not None for r in inside)
    return Evidence(
        verdict=verdict_of(reasons, watched=watched),
        reasons=reasons,
        notes=[*notes, *more, *foreign_note, *([] if inside else ["no reading fell into the samples' time"])],
        window_s=timing.ended_s - timing.started_s,
        readings=len(inside),
        sm_clock_hz=span(r.sm_clock_hz for r in inside),
        memory_clock_hz=span(r.memory_clock_hz for r in inside),
        power_w=span(r.power_w for r in inside),
        temperature_c=span(r.temperature_c for r in inside),
        clock_reasons=sorted(seen),
        foreign_processes=foreign,
        energy_j=energy_j,
        joules_per_image=per_image,
    )


def _foreign(readings: Sequence[GpuReading], own: frozenset[int]) -> tuple[int | None, list[str]]:
    """The most processes at once that are not ours; None where NVML does not show even our own."""
    shown = [r.processes for r in readings if r.processes is not None]
    if not any(shown):
        return None, ["processes on the device cannot be seen"] if readings else []
    if any(own & processes for processes in shown):
        return max(len(processes - own) for processes in shown), []
    return max(len(p) for p in shown) - 1, [
        "processes were told apart by their count: their numbers are another namespace's"
    ]


def _drift(clocks: Sequence[float | None]) -> list[str]:
    known = [clock for clock in clocks if clock is not None]
    if len(known) < _LEAST_READINGS:
        return []
    third = len(known) // 3
    first, last = span(known[:third]), span(known[-third:])
    if first is None or last is None or abs(last.median - first.median) <= CLOCK_DRIFT * first.median:
        return []
    return [f"the SM clock went from {first.median / 1e6:.0f} to {last.median / 1e6:.0f} MHz while sampling"]


def _host_bound(timing: Timing) -> list[str]:
    ratio = timing.wall_clock_ratio
    if ratio is None or ratio <= HOST_BOUND:
        return []
    return [f"host-bound: the wall clock ran {ratio:.2f} times as long as the samples"]


def _energy(readings: Sequence[GpuReading], timing: Timing, images: int) -> tuple[float | None, float | None]:
    """Joules within the window, and those for an image; None of a window too short for the counter."""
    known = [(r.at_s, r.energy_j) for r in readings if r.energy_j is not None]
    inside = [(at_s, joules) for at_s, joules in known if timing.started_s <= at_s <= timing.ended_s]
    if len(inside) < 2 or inside[-1][0] - inside[0][0] < LEAST_ENERGY_WINDOW_S:  # noqa: PLR2004  # ends of a span
        return None, None
    (start_s, start_j), (end_s, end_j) = inside[0], inside[-1]
    images_per_s = (
        images * len(timing.samples_s) / (timing.ended_s - timing.started_s)
    )  # idle time between rounds included
    watts = (end_j - start_j) / (end_s - start_s)
    return end_j - start_j, watts / images_per_s if images_per_s else None
