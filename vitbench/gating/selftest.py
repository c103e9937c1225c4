"""The gate tried on itself: identical sides, sides with a slowdown of known size, and designs that lack a part of its own.

Pairs of every condition are measured in turn, so that all of them see the same machine. What the gate would have decided
is then computed from these pairs, and so is what the usual rules would have decided from the same processes.
"""

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from statistics import fmean, stdev

from vitbench.gating.decision import Decision
from vitbench.gating.duet import BASE, HEAD, Pair, Protocol, Side
from vitbench.gating.rules import RULES
from vitbench.gating.sequential import CellDecision, Design, look
from vitbench.gating.slowdown import KINDS, Slowdown
from vitbench.plan import Cell
from vitbench.statistics import upper_rate

FRACTIONS = (0.01, 0.02, 0.03, 0.05, 0.10)
STATED = 0.02  # the slowdown that the aim is about
_OFTEN = 3
BUDGETS_S = (30.0, 60.0, 120.0, 240.0)
_RESAMPLED = 1000  # gates, from the pairs of one condition


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A way to measure a pair, and what is planted in its head."""

    name: str
    protocol: Protocol
    slowdown: Slowdown | None = None
    turns: int = 1  # in each round: more pairs of what the rates rest on


def conditions(protocol: Protocol, device: str = "cpu") -> list[Condition]:
    """The gate's own design with and without slowdowns, and what it is without one part after the other.

    A loop that waits on the host is in no device's time, so that there only extra work is planted.
    """
    kinds = KINDS if device == "cpu" else ("work",)
    bare = replace(protocol, interleaved=False, redrawn=False, pinned=False, memory_kept=False)
    return [
        Condition(name="one process after the other", protocol=bare),
        Condition(name="interleaved", protocol=replace(bare, interleaved=True)),
        Condition(name="interleaved, pinned", protocol=replace(bare, interleaved=True, pinned=True)),
        Condition(name="interleaved, layout redrawn", protocol=replace(bare, interleaved=True, redrawn=True)),
        Condition(name="interleaved, memory kept", protocol=replace(bare, interleaved=True, memory_kept=True)),
        Condition(name="all but memory kept", protocol=replace(protocol, memory_kept=False)),
        Condition(name="all but layout redrawn", protocol=replace(protocol, redrawn=False)),
        Condition(name=IDENTICAL, protocol=protocol, turns=_OFTEN),
        *(
            Condition(
                name=f"{100 * fraction:g} % slower, {kind}",
                protocol=protocol,
                slowdown=Slowdown(kind=kind, fraction=fraction),
                turns=_OFTEN if fraction == STATED else 1,
            )
            for fraction in FRACTIONS
            for kind in kinds
        ),
    ]


IDENTICAL = "interleaved, pinned, layout redrawn, memory kept"
"""The gate's own design, both sides the same."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the pairs of one condition say."""

    condition: Condition
    pairs: Sequence[Pair]

    @property
    def log_ratios(self) -> list[float]:
        """One for each pair."""
        return [pair.log_ratio for pair in self.pairs]


def measure(
    implementation: str,
    cell: Cell,
    protocol: Protocol,
    *,
    most_s: float,
    seed: int,
    play: Callable[[Side, Side, Cell, Protocol, random.Random], Pair],
    now_s: Callable[[], float] = time.monotonic,
) -> Generator[tuple[Condition, Pair], None, list[Observed]]:
    """Pairs of all conditions in turn, in an order drawn anew for each round, until the time is up."""
    rng, started = random.Random(seed), now_s()  # noqa: S311  # an order, no secret
    listed = conditions(protocol, cell.device)
    pairs: dict[str, list[Pair]] = {condition.name: [] for condition in listed}
    often = [condition.turns for condition in listed]
    turns = (condition for _ in count() for condition in rng.sample(listed, sum(often), counts=often))
    with suppress(KeyboardInterrupt):  # what there is by then is told
        while now_s() - started < most_s:
            condition = next(turns)
            base = Side(label=BASE, implementation=implementation)
            head = Side(label=HEAD, implementation=implementation, slowdown=condition.slowdown)
            pairs[condition.name].append(play(base, head, cell, condition.protocol, rng))
            yield condition, pairs[condition.name][-1]
    return [Observed(condition=one, pairs=pairs[one.name]) for one in listed]


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What gates of one condition came to, that were put together from its pairs and had so much time."""

    budget_s: float
    most_pairs: int  # that fit into it, at the time that a pair of this condition took
    gates: int  # made of pairs that no other gate had
    regressions: int
    low: float  # 95 % Clopper-Pearson bounds of that rate
    high: float
    resampled: float  # share of regressions among gates of pairs drawn with replacement: less noisy, not independent
    inconclusive: float  # the same
    pairs_taken: float  # mean until a decision, of those


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often a condition is called a regression, by the gate and by the usual rules."""

    name: str
    slowdown: Slowdown | None
    pairs: int
    mean: float | None  # of the log ratio of a pair
    sd: float | None
    pair_s: float | None  # mean time that a pair took, both processes' start included
    reached: Sequence[Reached]  # by budget
    by_rule: Mapping[str, float]  # share of pairs that each of the usual rules calls a regression

    def within(self, budget_s: float) -> Reached:
        """What was reached in so much time."""
        return next(one for one in self.reached if one.budget_s == budget_s)


def rates(observed: Observed, design: Design, seed: int) -> Rates:
    """What the gate and the usual rules make of one condition's pairs."""
    ratios, pairs = observed.log_ratios, observed.pairs
    pair_s = fmean(pair.took_s for pair in pairs) if pairs else None
    return Rates(
        name=observed.condition.name,
        slowdown=observed.condition.slowdown,
        pairs=len(pairs),
        mean=fmean(ratios) if ratios else None,
        sd=stdev(ratios) if len(ratios) > 1 else None,
        pair_s=pair_s,
        reached=[_reached(ratios, pair_s, budget_s, design, seed) for budget_s in BUDGETS_S],
        by_rule={
            name: sum(rule(pair.base_s, pair.head_s) for pair in pairs) / max(1, len(pairs))
            for name, rule in RULES.items()
        },
    )


def _reached(ratios: Sequence[float], pair_s: float | None, budget_s: float, design: Design, seed: int) -> Reached:
    rng = random.Random(seed)  # noqa: S311
    most = min(design.looks[-1], int(budget_s / pair_s)) if pair_s else design.looks[-1]
    enough = most > 1 and len(ratios) > 1  # a variance takes two
    apart = [decision for decision, _ in _gates(iter(ratios), design, most)] if enough else []
    found = sum(decision is Decision.REGRESSION for decision in apart)
    drawn = [_gate(_endless(ratios, rng), design, most) for _ in range(_RESAMPLED)] if enough else []
    decisions = [decision for decision, _ in drawn if decision is not None]
    return Reached(
        budget_s=budget_s,
        most_pairs=most,
        gates=len(apart),
        regressions=found,
        low=1 - upper_rate(len(apart) - found, len(apart), 0.975) if apart else 0.0,
        high=upper_rate(found, len(apart), 0.975) if apart else 1.0,
        resampled=_share(decisions, Decision.REGRESSION),
        inconclusive=_share(decisions, Decision.INCONCLUSIVE),
        pairs_taken=fmean(pairs for _, pairs in drawn) if drawn else 0.0,
    )


def _gates(ratios: Iterator[float], design: Design, most: int) -> Iterator[tuple[Decision, int]]:
    """Gates one after the other, each from pairs of its own, until they run out."""
    while True:
        decision, pairs = _gate(ratios, design, most)
        if decision is None:
            return
        yield decision, pairs


def _gate(ratios: Iterator[float], design: Design, most: int) -> tuple[Decision | None, int]:
    """One gate that has time for so many pairs, and how many it took; None where they ran out before it was over."""
    taken: list[float] = []
    state: dict[str, CellDecision] = {}
    for needed in design.looks:
        while len(taken) < min(needed, most):
            following = next(ratios, None)
            if following is None:
                return None, len(taken)
            taken.append(following)
        state = look({"": taken}, state, design)
        if state[""].decision is not Decision.INCONCLUSIVE or needed >= most:
            break
    return state[""].decision, len(taken)


def _endless(ratios: Sequence[float], rng: random.Random) -> Iterator[float]:
    while True:
        yield rng.choice(ratios)


def _share(decisions: Sequence[Decision], which: Decision) -> float:
    return sum(decision is which for decision in decisions) / max(1, len(decisions))
