"""The self-test on pairs of which the truth is known: what it makes of them, and what the usual rules make of them."""

import math
import random
from collections import Counter

import pytest

from vitbench.gating.duet import Pair, Protocol, Side
from vitbench.gating.rules import RULES
from vitbench.gating.selftest import IDENTICAL, Condition, Observed, conditions, document, measure, rates
from vitbench.gating.sequential import Design
from vitbench.plan import Cell

CELL = Cell(suite="throughput", implementation="", task="inference", model="Ti/16@32", batch=1)


def simulated(slower: float, *, pairs: int, noise: float = 0.012, bias: float = 0.0, seed: int = 0) -> Observed:
    """Pairs of a known slowdown; each process has a bias of its own, which all its samples share."""
    rng, found = random.Random(seed), []
    for _ in range(pairs):
        base, head = (math.exp(rng.gauss(0, bias)) for _ in range(2))
        base_s = [base * math.exp(rng.gauss(0, 0.01)) for _ in range(20)]
        head_s = [(1 + slower) * head * math.exp(rng.gauss(0, 0.01)) for _ in range(20)]
        found.append(Pair(log_ratio=rng.gauss(math.log1p(slower), noise), base_s=base_s, head_s=head_s, core=None))
    return Observed(condition=Condition(name="made up", protocol=Protocol()), pairs=found)


def test_identical_sides_are_hardly_ever_accused_and_slow_ones_found() -> None:
    alike, slow = rates(simulated(0.0, pairs=120), Design(), 1), rates(simulated(0.02, pairs=120), Design(), 1)
    assert (alike.regressions, alike.low) == (0, 0.0)
    assert alike.resampled < 0.02
    assert slow.regressions == slow.gates >= 8
    assert slow.low > 0.5
    assert slow.resampled > 0.95


def test_noise_is_what_was_put_in() -> None:
    assert rates(simulated(0.0, pairs=200), Design(), 0).sd == pytest.approx(0.012, rel=0.15)


def test_a_rank_test_on_samples_of_one_process_cries_wolf_where_the_gate_does_not() -> None:
    found = rates(simulated(0.0, pairs=150, bias=0.02), Design(), 0)
    assert found.by_rule["U test, p < 0.01"] > 0.2
    assert found.resampled < 0.02


def test_a_fixed_percentage_misses_what_is_below_it() -> None:
    found = rates(simulated(0.03, pairs=100), Design(), 0)
    assert found.by_rule["pytest-benchmark, median:5%"] < 0.05
    assert found.by_rule["asv, factor 1.1"] == 0
    assert found.resampled > 0.95


def test_every_rule_calls_what_is_twice_as_slow_a_regression() -> None:
    base, head = [1.0 + 0.001 * i for i in range(20)], [2.0 + 0.001 * i for i in range(20)]
    assert all(rule(base, head) and not rule(head, base) for rule in RULES.values())


def test_conditions_are_measured_in_turn_until_the_time_is_up() -> None:
    ticks = iter(range(10**6))
    played: list[tuple[str, float]] = []

    def play(base: Side, head: Side, cell: Cell, protocol: Protocol, rng: random.Random) -> Pair:
        assert base.slowdown is None
        return Pair(log_ratio=0.0, base_s=[1.0], head_s=[1.0], core=None)

    trials = measure("reference", CELL, Protocol(), most_s=80.0, seed=0, play=play, now_s=lambda: float(next(ticks)))
    while True:
        try:
            condition, _ = next(trials)
            played.append((condition.name, 0.0))
        except StopIteration as stop:
            observed = stop.value
            break
    counts = Counter(name for name, _ in played)
    assert set(counts) == {condition.name for condition in conditions(Protocol())}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert [len(one.pairs) for one in observed] == [counts[one.condition.name] for one in observed]


def test_the_designs_differ_by_one_part_each_and_end_with_the_gates_own() -> None:
    named = {condition.name: condition for condition in conditions(Protocol())}
    assert named[IDENTICAL].protocol == Protocol()
    assert named[IDENTICAL].slowdown is None
    assert not named["one process after the other"].protocol.interleaved
    slow = [condition for condition in named.values() if condition.slowdown]
    assert len(slow) == 10
    assert all(condition.protocol == Protocol() for condition in slow)


def test_the_table_has_a_line_for_each_condition_also_for_one_without_pairs() -> None:
    found = [rates(simulated(0.0, pairs=20), Design(), 0), rates(simulated(0.0, pairs=0), Design(), 0)]
    table = document(found, Design()).splitlines()
    assert len(table) == 2 + 2 + 2
    assert "| made up | 0 | – | 0 of 0 | 0% – 100% |" in table[-1]
