"""How far a timer is from a load whose duration is known."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.statistics import median


@dataclass(frozen=True, kw_only=True)
class TimerCheck:
    """What became of a load of known duration in the hands of a timer."""

    known_s: float  # 0: the load does nothing, and what is read is the timer's own
    deviation: float | None  # (median - known) / known; null where nothing was known to take time
    beside_s: float | None  # that the timer itself took beside each sample, its warm-up left out; null: not told


def check_of(known_s: float, samples_s: Sequence[float], elapsed_s: float | None, loads: int) -> TimerCheck:
    """From samples, each the mean of one or several loads, and the time in which all these loads were run."""
    off = None if known_s == 0 else (median(samples_s) - known_s) / known_s
    sampled_s = sum(samples_s) * loads / len(samples_s)
    return TimerCheck(
        known_s=known_s, deviation=off, beside_s=None if elapsed_s is None else (elapsed_s - sampled_s) / loads
    )
