"""A duet: base and head as two live processes that take turns, in short blocks, in random order.

What drifts meanwhile, of the machine or by its other users, falls on both alike and cancels in their ratio. What a
process keeps for life, its memory layout, does not cancel: it is drawn anew before each block (docs/gating.md).
"""

import json
import math
import os
import random
import select
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from vitbench.exclusive import exclusively
from vitbench.gating.decision import NothingMeasured
from vitbench.gating.slowdown import Slowdown
from vitbench.gating.worker import Task
from vitbench.plan import Cell
from vitbench.process import Child, how_it_ended

BASE, HEAD = "base", "head"


class SideFailed(NothingMeasured):
    """A side of a pair, or both, gave no times; the text says which, and why."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{side}: {reason}" for side, reason in reasons.items()))
        self.reasons = reasons  # by side


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side runs, and by which interpreter."""

    label: str  # base or head
    implementation: str  # as --impl takes it
    python: str = sys.executable
    path: tuple[Path, ...] = ()  # looked in before anything else that the interpreter knows
    folder: Path | None = None  # to run in; None: the present one
    within: tuple[Path, ...] = ()  # of which something has to be imported, else it is not the code that was asked for
    slowdown: Slowdown | None = None  # planted, to see whether it is found


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a pair is measured. The defaults are the gate's; the others exist to show what each part of it buys."""

    pair_s: float = 4.0  # of launches, both sides together
    block_s: float = 0.05  # of one block, at least
    least_blocks: int = 7  # of each side
    interleaved: bool = True
    redrawn: bool = True  # the memory layout, before each block
    pinned: bool = True  # both sides to the same cores, as many as a side has threads
    memory_kept: bool = True  # by malloc, once it is freed, rather than given back to the system and cleared again
    start_limit_s: float = 180.0  # until both sides are ready
    block_limit_s: float = 60.0  # beyond it, a block hangs


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What two processes took, block by block, in the order of each side's own."""

    log_ratio: float  # median over blocks of log(head's / base's); where they are not interleaved, of the medians
    base_s: Sequence[float]  # of one launch
    head_s: Sequence[float]
    cores: Sequence[int]  # that both sides were pinned to; none: to none
    took_s: float = 0.0  # from the start of its processes to their end
    introductions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by side


def play(base: Side, head: Side, cell: Cell, protocol: Protocol, rng: random.Random) -> Pair:
    """Measure one pair of fresh processes.

    Raises:
        SideFailed: a side could not be started or prepared, ended, or hung.
    """
    began = time.monotonic()
    cores, layout_seed = _cores(cell, rng) if protocol.pinned else [], rng.randrange(2**32)
    with ExitStack() as stack:
        stack.enter_context(exclusively(cell.device, "a pair of vitbench gate"))  # no timed cell of a run beside it
        sides = {
            side.label: stack.enter_context(_Player(side, cell, protocol, cores, layout_seed)) for side in (base, head)
        }  # both prepare at once
        said = _introductions(sides)
        # In turn: beside each other on one core they would take twice as long.
        looks = {label: [player.block(1) for _ in range(_LOOKS)] for label, player in sides.items()}
        _require_durations(looks)
        launch_s = [min(taken) for taken in looks.values()]
        launches = max(1, round(protocol.block_s / min(launch_s)))
        rounds = max(protocol.least_blocks, int(protocol.pair_s / (sum(launch_s) * launches)))
        taken: dict[str, list[float]] = {BASE: [], HEAD: []}
        for label in _turns(rounds, protocol, rng):
            taken[label].append(sides[label].block(launches) / launches)
    return Pair(
        log_ratio=_log_ratio(taken[BASE], taken[HEAD], interleaved=protocol.interleaved),
        base_s=taken[BASE],
        head_s=taken[HEAD],
        cores=cores,
        took_s=time.monotonic() - began,
        introductions=said,
    )


def _cores(cell: Cell, rng: random.Random) -> list[int]:
    """As many of the usable cores as a side has threads, drawn anew for each pair; none where the work is a device's."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return sorted(rng.sample(usable, cell.threads)) if cell.device == "cpu" and cell.threads <= len(usable) else []


def _introductions(sides: Mapping[str, "_Player"]) -> Mapping[str, Mapping[str, Any]]:
    """Of both; where both failed, both are told of."""
    said: dict[str, Mapping[str, Any]] = {}
    failed: dict[str, str] = {}
    for label, player in sides.items():
        try:
            said[label] = player.introduction()
            if said[label].get("from_elsewhere"):
                failed[label] = player.elsewhere()
        except SideFailed as error:
            failed |= error.reasons
    if failed:
        raise SideFailed(failed)
    return said


_LOOKS = 2  # at how long a launch takes


def _turns(rounds: int, protocol: Protocol, rng: random.Random) -> Sequence[str]:
    """Whose turn it is, block by block."""
    if not protocol.interleaved:
        return [label for label in rng.sample((BASE, HEAD), 2) for _ in range(rounds)]
    return [label for _ in range(rounds) for label in rng.sample((BASE, HEAD), 2)]


def _log_ratio(base_s: Sequence[float], head_s: Sequence[float], *, interleaved: bool) -> float:
    _require_durations({BASE: base_s, HEAD: head_s})
    if interleaved:
        return median(math.log(head / base) for base, head in zip(base_s, head_s, strict=True))
    return math.log(median(head_s) / median(base_s))


def _require_durations(by_side: Mapping[str, Sequence[float]]) -> None:
    """Raises SideFailed, of both, where a clock gave what is no duration: that is neither's fault."""
    for label, taken in by_side.items():
        if not all(math.isfinite(seconds) and seconds > 0 for seconds in taken):
            text = f"the clock gave {min(taken)} s for a block of the {label}, expected a time above zero"
            raise SideFailed({BASE: text, HEAD: text})


class _Player:
    """The process of one side, and the conversation with it."""

    def __init__(self, side: Side, cell: Cell, protocol: Protocol, cores: Sequence[int], layout_seed: int) -> None:
        """``layout_seed``: the same for both sides of a pair, and another for each pair, so that pairs are independent."""
        self._side, self._protocol, self._started = side, protocol, time.monotonic()
        cell_of_side = {**cell.to_json(), "implementation": side.implementation}
        slowdown = None if side.slowdown is None else asdict(side.slowdown)
        task = Task(
            cell=cell_of_side,
            redrawn=protocol.redrawn,
            cores=cores,
            slowdown=slowdown,
            layout_seed=layout_seed,
            within=[str(folder) for folder in side.within],
        )
        self._answers, theirs = os.pipe()
        try:
            self._child = Child(
                [side.python, "-P", "-m", "vitbench.gating.worker", json.dumps(asdict(task)), str(theirs)],
                threads=cell.threads,
                listens=True,
                keeps=(theirs,),
                path=side.path,
                folder=side.folder,
                settings=_environment(side, protocol),
            )
        except OSError as error:
            os.close(self._answers)
            raise SideFailed({side.label: f"cannot start {side.python}: {error.strerror or error}"}) from error
        finally:
            os.close(theirs)
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.end()
        os.close(self._answers)

    def introduction(self) -> Mapping[str, Any]:
        return self._answer(self._protocol.start_limit_s - (time.monotonic() - self._started), "getting ready")

    def elsewhere(self) -> str:
        return (
            f"nothing of {self._side.implementation} was imported from its revision, but from what is installed here; "
            "what base and head share cannot be compared: name the package's own folder with --repository"
        )

    def block(self, launches: int) -> float:
        self._child.tell(json.dumps({"launches": launches}) + "\n")
        return float(self._answer(self._protocol.block_limit_s, "a block")["seconds"])

    def _answer(self, limit_s: float, doing: str) -> Mapping[str, Any]:
        until = time.monotonic() + limit_s
        while b"\n" not in self._unread:
            if not select.select([self._answers], [], [], max(0.0, until - time.monotonic()))[0]:
                raise SideFailed({self._side.label: f"{doing} took longer than {limit_s:.0f} s"})
            chunk = os.read(self._answers, 65536)
            if not chunk:
                raise SideFailed({self._side.label: self._how_it_ended()})
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise SideFailed({self._side.label: str(answer["failed"])})
        return answer

    def _how_it_ended(self) -> str:
        code, words = self._child.wait(self._child.elapsed_s + _LAST_S), self._child.last_words()
        how = how_it_ended(1 if code is None else code)
        return f"{how}; its last output: {words}" if words else how


def _environment(side: Side, protocol: Protocol) -> dict[str, str]:
    """What differs from this process's own: another interpreter has packages of its own, and is not to be given the head's."""
    other = {} if side.python == sys.executable else {"PYTHONPATH": os.pathsep.join(map(str, side.path))}
    return (_keeping_memory() if protocol.memory_kept else {}) | other


def _keeping_memory() -> dict[str, str]:
    """The environment in which malloc keeps what is freed.

    Else glibc takes large pieces from the system for each launch and gives them back after it, and the system clears
    every page anew, which is most of the noise of a launch. Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    given = os.environ.get("GLIBC_TUNABLES")
    return {"GLIBC_TUNABLES": ":".join([*([given] if given else []), *_TUNABLES])}


_TUNABLES = ("glibc.malloc.mmap_max=0", f"glibc.malloc.trim_threshold={2**40}")
_LAST_S = 5.0  # for a process that has closed its side of the conversation to end
