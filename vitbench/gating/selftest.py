"""The gate tried on itself: identical sides, sides with a slowdown of known size, and designs that lack a part of its own.

Pairs of every condition are measured in turn, so that all of them see the same machine. What the gate would have decided
is then computed from these pairs, and so is what the usual rules would have decided from the same processes.
"""

import json
import math
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import stdev

from vitbench.gating.decision import Decision
from vitbench.gating.duet import BASE, HEAD, Pair, Protocol, Side
from vitbench.gating.rules import RULES
from vitbench.gating.sequential import CellDecision, Design, look
from vitbench.gating.slowdown import KINDS, Slowdown
from vitbench.plan import Cell
from vitbench.statistics import upper_rate

FRACTIONS = (0.01, 0.02, 0.03, 0.05, 0.10)
_RESAMPLED = 1000  # gates, from the pairs of one condition


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A way to measure a pair, and what is planted in its head."""

    name: str
    protocol: Protocol
    slowdown: Slowdown | None = None


def conditions(protocol: Protocol) -> list[Condition]:
    """The gate's own design with and without slowdowns, and what it is without one part after the other."""
    bare = replace(protocol, interleaved=False, redrawn=False, pinned=False)
    return [
        Condition(name="one process after the other", protocol=bare),
        Condition(name="interleaved", protocol=replace(bare, interleaved=True)),
        Condition(name="interleaved, pinned", protocol=replace(bare, interleaved=True, pinned=True)),
        Condition(name="interleaved, layout redrawn", protocol=replace(bare, interleaved=True, redrawn=True)),
        Condition(name=IDENTICAL, protocol=protocol),
        *(
            Condition(
                name=f"{100 * fraction:g} % slower, {kind}",
                protocol=protocol,
                slowdown=Slowdown(kind=kind, fraction=fraction),
            )
            for fraction in FRACTIONS
            for kind in KINDS
        ),
    ]


IDENTICAL = "interleaved, pinned, layout redrawn"
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
    listed = conditions(protocol)
    pairs: dict[str, list[Pair]] = {condition.name: [] for condition in listed}
    while now_s() - started < most_s:
        for condition in rng.sample(listed, len(listed)):
            base = Side(label=BASE, implementation=implementation)
            head = Side(label=HEAD, implementation=implementation, slowdown=condition.slowdown)
            pair = play(base, head, cell, condition.protocol, rng)
            pairs[condition.name].append(pair)
            yield condition, pair
            if now_s() - started >= most_s:
                break
    return [Observed(condition=one, pairs=pairs[one.name]) for one in listed]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often a condition is called a regression, of gates that were put together from its pairs."""

    name: str
    pairs: int
    sd: float | None  # of the log ratio of a pair
    gates: int  # made of pairs that no other gate had
    regressions: int
    low: float  # 95 % Clopper-Pearson bounds of that rate
    high: float
    resampled: (
        float  # share of regressions among gates of pairs drawn with replacement: less noisy, and not independent
    )
    inconclusive: float  # the same
    pairs_taken: float  # mean number of pairs until a decision, of those
    by_rule: Mapping[str, float]  # share of pairs that each of the usual rules calls a regression


def rates(observed: Observed, design: Design, seed: int) -> Rates:
    """What the gate and the usual rules make of one condition's pairs."""
    ratios, rng = observed.log_ratios, random.Random(seed)  # noqa: S311
    apart = [decision for decision, _ in _gates(iter(ratios), design)]
    found = sum(decision is Decision.REGRESSION for decision in apart)
    drawn = [_gate(_endless(ratios, rng), design) for _ in range(_RESAMPLED)] if len(ratios) > 1 else []
    decisions = [decision for decision, _ in drawn if decision is not None]
    return Rates(
        name=observed.condition.name,
        pairs=len(ratios),
        sd=stdev(ratios) if len(ratios) > 1 else None,
        gates=len(apart),
        regressions=found,
        low=1 - upper_rate(len(apart) - found, len(apart), 0.975) if apart else 0.0,
        high=upper_rate(found, len(apart), 0.975) if apart else 1.0,
        resampled=_share(decisions, Decision.REGRESSION),
        inconclusive=_share(decisions, Decision.INCONCLUSIVE),
        pairs_taken=sum(pairs for _, pairs in drawn) / len(drawn) if drawn else 0.0,
        by_rule={
            name: sum(rule(pair.base_s, pair.head_s) for pair in observed.pairs) / max(1, len(observed.pairs))
            for name, rule in RULES.items()
        },
    )


def _gates(ratios: Iterator[float], design: Design) -> Iterator[tuple[Decision, int]]:
    """Gates one after the other, each from pairs of its own, until they run out."""
    while True:
        decision, pairs = _gate(ratios, design)
        if decision is None:
            return
        yield decision, pairs


def _gate(ratios: Iterator[float], design: Design) -> tuple[Decision | None, int]:
    """One gate, and how many pairs it took; None where they ran out before it was over."""
    taken: list[float] = []
    state: dict[str, CellDecision] = {}
    for needed in design.looks:
        while len(taken) < needed:
            following = next(ratios, None)
            if following is None:
                return None, len(taken)
            taken.append(following)
        state = look({"": taken}, state, design)
        if state[""].decision is not Decision.INCONCLUSIVE:
            break
    return state[""].decision, len(taken)


def _endless(ratios: Sequence[float], rng: random.Random) -> Iterator[float]:
    while True:
        yield rng.choice(ratios)


def document(found: Sequence[Rates], design: Design) -> str:
    """The table, as Markdown: noise by design, then false alarms and power by what was planted."""
    lines = [
        f"Regressions of {100 * (math.exp(design.delta) - 1):.2g} % and more, false ones in at most {design.alpha:.0%} of gates.",
        "",
        "| condition | pairs | noise of a pair | regressions of gates | 95 % bounds | resampled | inconclusive | pairs taken | "
        + " | ".join(RULES)
        + " |",
        "|---|" + "---|" * (7 + len(RULES)),
    ]
    for one in found:
        noise = "–" if one.sd is None else f"{100 * one.sd:.2f} %"
        by_rule = " | ".join(f"{share:.0%}" for share in one.by_rule.values())
        lines.append(
            f"| {one.name} | {one.pairs} | {noise} | {one.regressions} of {one.gates} | {one.low:.0%} – {one.high:.0%} | "
            f"{one.resampled:.1%} | {one.inconclusive:.1%} | {one.pairs_taken:.1f} | {by_rule} |"
        )
    return "\n".join(lines) + "\n"


def to_json(observed: Sequence[Observed], found: Sequence[Rates], design: Design) -> str:
    """Everything, so that other rules can be tried on the same pairs."""
    whole = {"design": design, "rates": found, "observed": observed}
    return json.dumps(whole, default=asdict, indent=1) + "\n"


def _share(decisions: Sequence[Decision], which: Decision) -> float:
    return sum(decision is which for decision in decisions) / max(1, len(decisions))
