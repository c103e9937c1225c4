"""The evidence that a figure carries, and how readings become a verdict on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median


class Validity(StrEnum):
    """Whether the conditions allow a figure to be believed."""

    VALID = "VALID"
    INVALID = "INVALID"
    UNWATCHED = "UNWATCHED"  # nothing could be read that would tell


@dataclass(frozen=True, kw_only=True)
class Span:
    """Lowest, median and highest of what was read while sampling."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen beside one timing, in the time of its samples. Units: seconds, Hz, W, °C, J; null: not readable."""

    verdict: Validity
    reasons: Sequence[str]  # why it is not VALID
    notes: Sequence[str]  # what a reader should know all the same; what could not be read, and why
    window_s: float
    readings: int
    sm_clock_hz: Span | None = None
    memory_clock_hz: Span | None = None
    power_w: Span | None = None
    temperature_c: Span | None = None
    clock_reasons: Sequence[str] = field(default_factory=list)  # NVML's reasons for the clocks there were
    foreign_processes: int | None = None  # the most at once, on the device
    energy_j: float | None = None  # by the device's total-energy counter
    joules_per_image: float | None = None
    others_share: float | None = None  # of the usable cores' time, used by other processes
    steal_share: float | None = None  # of the usable cores' time, withheld by the hypervisor
    quota_throttled_s: float | None = None  # time for which the control group's CPU quota held its processes up
    cpu_clock_hz: Span | None = None
    grown_bytes: int | None = None  # held more after the last launch than after the first, and growing; 0: not growing


def spoiled(seen: Evidence, reasons: Sequence[str]) -> Evidence:
    """The evidence with more reasons not to believe the figure; as it was where there are none."""
    if not reasons:
        return seen
    return replace(seen, verdict=Validity.INVALID, reasons=[*seen.reasons, *reasons])


def span(values: Iterable[float | None]) -> Span | None:
    """Of what was readable; None if nothing was."""
    known = [value for value in values if value is not None]
    return Span(low=min(known), median=median(known), high=max(known)) if known else None


def verdict_of(reasons: Sequence[str], *, watched: bool) -> Validity:
    """INVALID for any reason; UNWATCHED where nothing could be read that might have given one."""
    if reasons:
        return Validity.INVALID
    return Validity.VALID if watched else Validity.UNWATCHED
