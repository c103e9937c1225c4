"""What has to be the same for two times to be comparable: device, driver, torch, CUDA, processor, threads."""

from collections.abc import Mapping

_NAMED = ("device_name", "cpu", "cores", "threads", "torch", "cuda", "cudnn", "machine")
NODES = "nodes"
"""In the environment of a run on nodes that are not alike: what differs, by kind."""


def key(environment: object) -> dict[str, str]:
    """The machine and what computes on it, in the words of a run's environment; one of another shape says nothing."""
    known = environment if isinstance(environment, Mapping) else {}
    gpu = known.get("gpu")
    driver = gpu.get("driver") if isinstance(gpu, Mapping) else None
    unlike = {NODES: "unlike ones"} if known.get(NODES) else {}
    return {name: str(known.get(name)) for name in _NAMED} | {"driver": str(driver)} | unlike


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Each part of two keys in which they differ, as ``torch: 2.13.0 before, now 2.14.1``.

    A run on unlike nodes differs even from itself: which of them had a cell is another each time.
    """
    names = [name for name in now if name != NODES and before.get(name) != now[name]]
    unlike = [name for name in (NODES,) if name in before or name in now]
    return [f"{name}: {before.get(name)} before, now {now.get(name)}" for name in [*names, *unlike]]
