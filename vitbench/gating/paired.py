"""The paired tier: duets of base and head, pair by pair, until each cell is decided or the time is up."""

import platform
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

from vitbench.gating.decision import Decision
from vitbench.gating.duet import BASE, HEAD, Pair, Protocol, Side, SideFailed, play
from vitbench.gating.outcome import Finding, as_relative, percent
from vitbench.gating.sequential import CellDecision, Design, Estimate, look
from vitbench.plan import Cell

Play = Callable[[Side, Side, Cell, Protocol, random.Random], Pair]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A pair of a cell was measured."""

    cell: str  # its label
    pair: Pair
    pairs: int  # so far


@dataclass(frozen=True, kw_only=True)
class Looked:
    """All pairs so far were looked at."""

    decisions: Mapping[str, CellDecision]


@dataclass(frozen=True, kw_only=True)
class Gated:
    """What one cell came to."""

    cell: str  # its label
    decision: Decision
    estimate: Estimate | None = None  # None: there are fewer than two pairs
    reason: str = ""  # why there is nothing to decide on; empty where there is
    pairs: Sequence[Pair] = field(default_factory=tuple)


Event = Measured | Looked


def label(cell: Cell) -> str:
    """A cell by the work it does; the implementation is each side's own."""
    usual = {"float32", "eager"}
    return " ".join(
        [cell.task, cell.model, f"batch {cell.batch}", *(w for w in (cell.dtype, cell.mode) if w not in usual)]
    )


def duets(
    base: Side,
    head: Side,
    cells: Sequence[Cell],
    *,
    design: Design,
    protocol: Protocol,
    seed: int,
    most_s: float,
    play: Play = play,
    now_s: Callable[[], float] = time.monotonic,
) -> Generator[Event, None, list[Gated]]:
    """Measure pairs of all undecided cells in turn, and look at them as the design has it; tell what happens.

    The time is up when the next pair would probably end later than ``most_s`` after the start; what there is by then is
    looked at once more, in place of the look that would have been the next.
    """
    rng, started = random.Random(seed), now_s()  # noqa: S311  # the order of blocks is no secret
    pairs: dict[str, list[Pair]] = {label(cell): [] for cell in cells}
    failed: dict[str, SideFailed] = {}
    decisions: dict[str, CellDecision] = {}
    longest_s, done = 0.0, 0
    while (needed := design.next_look(done)) is not None:
        open_cells = [cell for cell in cells if label(cell) not in failed and _is_open(decisions.get(label(cell)))]
        rounds = 0
        for _ in range(needed - done):
            if not open_cells or now_s() - started + longest_s * len(open_cells) > most_s:
                break
            for cell in list(open_cells):
                name, began = label(cell), now_s()
                try:
                    pairs[name].append(play(base, head, cell, protocol, rng))
                except SideFailed as error:
                    failed[name] = error
                    open_cells.remove(cell)
                    continue
                longest_s = max(longest_s, now_s() - began)
                yield Measured(cell=name, pair=pairs[name][-1], pairs=len(pairs[name]))
            rounds += 1
        decisions = look(_ratios(pairs, failed), decisions, design)
        yield Looked(decisions=decisions)
        if rounds < needed - done:
            break
        done = needed
    return [_gated(name, found, decisions.get(name), failed.get(name)) for name, found in pairs.items()]


def _is_open(state: CellDecision | None) -> bool:
    return state is None or state.decision is Decision.INCONCLUSIVE


def _ratios(pairs: Mapping[str, Sequence[Pair]], failed: Mapping[str, SideFailed]) -> dict[str, list[float]]:
    return {
        key: [pair.log_ratio for pair in found]
        for key, found in pairs.items()
        if key not in failed and len(found) > 1  # a variance takes two
    }


def _gated(key: str, pairs: Sequence[Pair], state: CellDecision | None, failed: SideFailed | None) -> Gated:
    if failed is not None:
        return Gated(cell=key, decision=_without_times(failed), reason=str(failed), pairs=pairs)
    if state is None:
        reason = f"{len(pairs)} of the 2 pairs that an estimate takes were measured in the time given"
        return Gated(cell=key, decision=Decision.NOTHING_MEASURED, reason=reason, pairs=pairs)
    return Gated(cell=key, decision=state.decision, estimate=state.estimate, pairs=pairs)


def _without_times(failed: SideFailed) -> Decision:
    """A head that fails where its base works is broken; a base that fails is none; where both fail, nothing is known."""
    if {BASE, HEAD} <= set(failed.reasons):
        return Decision.NOTHING_MEASURED
    return Decision.NO_BASELINE if BASE in failed.reasons else Decision.INCORRECT


def controlled(gated: Sequence[Gated], protocol: Protocol) -> dict[str, bool]:
    """What of the protocol held in every pair; a device is pinned to no core, and only torch modules can be moved."""
    pairs = [pair for one in gated for pair in one.pairs]
    glibc = platform.libc_ver()[0] == "glibc"  # whose settings they are
    return {
        "both sides of a pair pinned to the same cores": bool(pairs) and all(pair.cores for pair in pairs),
        "memory layout drawn before each block": bool(pairs) and not any(_fixed(pair) for pair in pairs),
        "memory kept by malloc between launches": bool(pairs) and protocol.memory_kept and glibc,
    }


def notes(gated: Sequence[Gated]) -> list[str]:
    """What tells the two sides apart though it is not in their code."""
    found = {side for one in gated for pair in one.pairs if len(_fixed(pair)) == 1 for side in _fixed(pair)}
    return [
        f"the memory layout of the {side} cannot be drawn anew, and the other side's is: what a process keeps for life "
        "may stand for a change"
        for side in sorted(found)
    ]


def _fixed(pair: Pair) -> list[str]:
    """Sides whose memory layout stayed."""
    return [side for side, said in pair.introductions.items() if not said.get("redrawn")]


def finding(gated: Gated, design: Design) -> Finding:
    """One cell in words and relative changes."""
    found = gated.estimate
    if found is None or gated.reason:
        return Finding(name=gated.cell, decision=gated.decision, text=gated.reason, pairs=len(gated.pairs))
    change, low, high = (as_relative(ratio) for ratio in (found.mean, found.low, found.high))
    least, matters = as_relative(found.least_detectable), percent(as_relative(design.delta), signed=False)
    text = {
        Decision.PASS: f"no slowdown of {matters} or more: {percent(change)}, at most {percent(high)}",
        Decision.REGRESSION: f"slower by {percent(change, signed=False)}, at least by {percent(low, signed=False)}",
    }.get(
        gated.decision,
        f"{percent(change)}, between {percent(low)} and {percent(high)}: neither a slowdown of {matters} nor its absence "
        f"is certain; {found.pairs} pairs as noisy as these find slowdowns from {percent(least, signed=False)} up; "
        "a quieter machine, or more time (--max-seconds), tells",
    )
    return Finding(
        name=gated.cell,
        decision=gated.decision,
        text=text,
        change=change,
        low=low,
        high=high,
        pairs=found.pairs,
        least_detectable=least,
    )
