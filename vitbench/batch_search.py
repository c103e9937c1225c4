"""Which batch has the highest throughput, and which is the largest that fits: tries, and when to stop trying."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vitbench import units


@dataclass(frozen=True, kw_only=True)
class BatchSearch:
    """What a search found; each of its tries has a record of its own."""

    tried: Sequence[int]  # in the order tried
    best: int | None  # the highest throughput of those measured; null: none was
    largest_fitting: int | None  # of those tried
    smallest_refused: int | None  # that ran out of memory, or was not tried since it was bound to
    stopped: str  # why no more were tried


@dataclass(frozen=True, kw_only=True)
class Try:
    """One batch, in a process of its own."""

    batch: int
    rate: float | None  # images a second; None: nothing was measured
    lowest_rate: float | None = None  # by the 95 % interval of the median latency
    highest_rate: float | None = None
    out_of_memory: bool = False
    reason: str = ""  # why nothing was measured
    peak_bytes: int | None = None  # of its process, on the host


Measure = Callable[[int], Try]
Forbid = Callable[[int, Sequence[Try]], str]
"""Why a batch must not be tried after those tries, as it is bound not to fit; empty where it may."""
Late = Callable[[int], str]
"""Why there is no time left to try a batch, which says nothing of whether it fits; empty where there is."""

_FLAT = 2  # doublings in a row without a gain are no chance
_NARROW = 16  # bisection ends at this part of the batch that fits
_MOST = 2**16


def _in_time(_batch: int) -> str:
    return ""


def search(measure: Measure, forbid: Forbid, *, until_full: bool, late: Late = _in_time) -> BatchSearch:
    """Double the batch from one on; then, where memory ran out, bisect between what fitted and what did not.

    Args:
        until_full: go on until memory runs out, as a device lets one; else stop where throughput no longer rises.
    """
    tries, refused, stopped = _doubled(measure, forbid, late, until_full=until_full)
    if any(one.out_of_memory for one in tries):
        refused, why = _bisected(measure, forbid, late, tries)
        stopped = f"{stopped}; {why}" if why else stopped
    measured = [one for one in tries if one.rate is not None]
    best = max(measured, key=lambda one: one.rate or 0.0, default=None)
    return BatchSearch(
        tried=[one.batch for one in tries],
        best=None if best is None else best.batch,
        largest_fitting=max((one.batch for one in measured), default=None),
        smallest_refused=refused,
        stopped=stopped,
    )


def _doubled(measure: Measure, forbid: Forbid, late: Late, *, until_full: bool) -> tuple[list[Try], int | None, str]:
    tries: list[Try] = []
    flat, batch = 0, 1
    while batch <= _MOST:
        if why := late(batch):
            return tries, None, why
        if why := forbid(batch, tries):
            return tries, batch, why
        one = measure(batch)
        flat = 0 if rises(one, tries) else flat + 1
        tries.append(one)
        if one.out_of_memory:
            return tries, batch, f"batch {batch} ran out of memory: {one.reason}"
        if one.rate is None:
            return tries, None, f"batch {batch} was not measured: {one.reason}"
        if flat == _FLAT and not until_full:
            return tries, None, f"throughput no longer rose by more than its interval, {_FLAT} doublings in a row"
        batch *= 2
    return tries, None, f"batch {_MOST} is the largest that is tried"


def rises(one: Try, before: Sequence[Try]) -> bool:
    """Whether a throughput lies above all before it by more than both intervals."""
    if one.rate is None:
        return False
    reached = max((earlier.highest_rate or earlier.rate or 0.0 for earlier in before), default=0.0)
    return (one.lowest_rate or one.rate) > reached


def _bisected(measure: Measure, forbid: Forbid, late: Late, tries: list[Try]) -> tuple[int, str]:
    """Try between, until little lies between; adds to the tries.

    Returns:
        The smallest batch that did not fit; and why more lies between than should, empty where it does not.
    """
    refused = min(one.batch for one in tries if one.out_of_memory)
    fits = max((one.batch for one in tries if one.rate is not None), default=0)
    while refused - fits > max(1, fits // _NARROW):
        middle = (fits + refused) // 2
        if why := late(middle) or forbid(middle, tries):
            return refused, why
        one = measure(middle)
        tries.append(one)
        if one.out_of_memory:
            refused = middle
        elif one.rate is not None:
            fits = middle
        else:  # neither: an error that a larger batch did not have
            return refused, f"batch {middle} was not measured: {one.reason}"
    return refused, ""


SHARE = 0.8
"""Of the memory available that a try may be predicted to take: the rest is everybody's."""


def memory_forbids(
    batch: int, tries: Sequence[Try], *, fixed_bytes: float, per_image_bytes: float, available_bytes: int
) -> str:
    """Why a batch is bound to take more of the host's memory than a try may; empty where it is not.

    The first tries are predicted in closed form. Later ones lie on the line through the tries before, the steepest of
    them, and never below the closed form's: what a process takes to start hides how it grows.
    """
    peaks = [(one.batch, one.peak_bytes) for one in tries if one.peak_bytes is not None]
    slopes = [(y - x) / (b - a) for (a, x), (b, y) in pairwise(peaks) if b > a]
    slope = max([per_image_bytes, *slopes])
    predicted = fixed_bytes + per_image_bytes * batch
    if peaks:
        last, peak = peaks[-1]
        predicted = max(predicted, peak + slope * (batch - last))
    if predicted <= SHARE * available_bytes:
        return ""
    return (
        f"batch {batch} was not tried: it would take some {units.data_size(predicted)}, more than {SHARE:.0%} of the "
        f"{units.data_size(available_bytes)} of memory available"
    )
