"""NVML as a recording plays it: the functions that are asked, answering frame after frame."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

RECORDING: Mapping[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "nvml_h100_synthetic.json").read_text(encoding="utf-8")
)


class FakeNvml:
    """Plays the frames in turn, the last one for ever; ``refuses`` holds functions and NVML's codes for why."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_NoPermission = pynvml.NVMLError_NoPermission
    NVMLError_FunctionNotFound = pynvml.NVMLError_FunctionNotFound

    def __init__(
        self,
        frames: list[dict[str, Any]] | None = None,
        refuses: Mapping[str, int] | None = None,
        dies_at: int | None = None,
    ) -> None:
        self.frames = list(RECORDING["frames"]) if frames is None else frames
        self.refuses, self.dies_at, self.looks = refuses or {}, dies_at, -1

    def nvmlInit(self) -> None:  # noqa: N802
        self._may("nvmlInit")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != RECORDING["uuid"]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "the device"

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        """The first that is asked of a look."""
        if kind == self.NVML_CLOCK_SM:
            self.looks += 1
            if self.dies_at is not None and self.looks >= self.dies_at:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
            return self._answer("nvmlDeviceGetClockInfo", "sm_clock_mhz")
        return self._answer("nvmlDeviceGetClockInfo", "memory_clock_mhz")

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return self._answer("nvmlDeviceGetPowerUsage", "power_mw")

    def nvmlDeviceGetTemperature(self, handle: str, kind: int) -> int:  # noqa: N802
        return self._answer("nvmlDeviceGetTemperature", "temperature_c")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        return self._answer("nvmlDeviceGetCurrentClocksThrottleReasons", "clock_reasons")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        self._may("nvmlDeviceGetComputeRunningProcesses")
        used = self._frame().get("used_bytes", 2**30)
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid in self._frame()["processes"]]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return self._answer("nvmlDeviceGetTotalEnergyConsumption", "energy_mj")

    def _answer(self, function: str, name: str) -> int:
        self._may(function)
        return int(self._frame()[name])

    def _may(self, function: str) -> None:
        if function in self.refuses:
            raise pynvml.NVMLError(self.refuses[function])

    def _frame(self) -> dict[str, Any]:
        return self.frames[min(max(self.looks, 0), len(self.frames) - 1)]
