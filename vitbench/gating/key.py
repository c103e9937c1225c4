"""What has to be the same for two times to be comparable: device, driver, torch, CUDA, processor, threads."""

from collections.abc import Mapping
from typing import Any

from vitbench.results import Run

_NAMED = ("device_name", "cpu", "cores", "threads", "torch", "cuda", "cudnn", "machine")


def key(run: Run) -> dict[str, str]:
    """The machine and what computes on it, in the words of a run's environment."""
    environment: Mapping[str, Any] = run.header.environment
    gpu = environment.get("gpu")
    driver = gpu.get("driver") if isinstance(gpu, Mapping) else None
    return {name: str(environment.get(name)) for name in _NAMED} | {"driver": str(driver)}


def differences(base: Run, head: Run) -> list[str]:
    """Each part of the key in which they differ, as ``torch: 2.13.0 before, now 2.14.1``."""
    before, now = key(base), key(head)
    return [f"{name}: {before[name]} before, now {now[name]}" for name in before if before[name] != now[name]]
