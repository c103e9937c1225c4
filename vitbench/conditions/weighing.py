"""The evidence beside bytes: what spoils a time does not spoil them, and what spoils them does not show in a time."""

from dataclasses import replace

from vitbench import units
from vitbench.conditions.record import Evidence, verdict_of


def of_process(seen: Evidence, swapped_bytes: int | None) -> Evidence:
    """Of bytes of a process on the CPU: those in swap are not resident, and so are missing from its peak."""
    if swapped_bytes is None:
        return _judged(seen, ["whether some of the process lay in swap is not known"], watched=False)
    reasons = [f"{units.data_size(swapped_bytes)} of the process lay in swap"] if swapped_bytes else []
    return replace(_judged(seen, reasons), notes=[])  # what the host tells is about time


def of_device(seen: Evidence) -> Evidence:
    """Of bytes on a device: its own count includes what others take."""
    others = seen.foreign_processes
    if others is None:
        return _judged(seen, [*seen.reasons, "who else took memory of the device is not known"], watched=False)
    return _judged(seen, [f"{others} other processes took memory of the device"] if others else [])


def _judged(seen: Evidence, reasons: list[str], *, watched: bool = True) -> Evidence:
    """Another verdict from the same readings."""
    return replace(seen, verdict=verdict_of(reasons if watched else [], watched=watched), reasons=reasons)
