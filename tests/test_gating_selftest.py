"""The self-test on pairs of which the truth is known: what it makes of them, and what the usual rules make of them."""

import json
import math
import random
from collections import Counter
from collections.abc import Generator

import pytest

from vitbench.gating.duet import Pair, Protocol, Side
from vitbench.gating.rules import RULES
from vitbench.gating.selftest import (
    BUDGETS_S,
    IDENTICAL,
    Condition,
    Observed,
    Rates,
    Reached,
    conditions,
    measure,
    rates,
)
from vitbench.gating.sequential import Design
from vitbench.gating.slowdown import Slowdown
from vitbench.gating.trial_document import SHOWN_BUDGET_S, markdown, plot, to_json
from vitbench.plan import Cell

CELL = Cell(suite="throughput", implementation="", task="inference", model="Ti/16@32", batch=1)


def simulated(
    slower: float, *, pairs: int, noise: float = 0.012, bias: float = 0.0, seed: int = 0, took_s: float = 0.0
) -> Observed:
    """Pairs of a known slowdown; each process has a bias of its own, which all its samples share."""
    rng, found = random.Random(seed), []
    for _ in range(pairs):
        base, head = (math.exp(rng.gauss(0, bias)) for _ in range(2))
        base_s = [base * math.exp(rng.gauss(0, 0.01)) for _ in range(20)]
        head_s = [(1 + slower) * head * math.exp(rng.gauss(0, 0.01)) for _ in range(20)]
        ratio = rng.gauss(math.log1p(slower), noise)
        found.append(Pair(log_ratio=ratio, base_s=base_s, head_s=head_s, cores=(), took_s=took_s))
    planted = Slowdown(kind="work", fraction=slower) if slower else None
    return Observed(condition=Condition(name=IDENTICAL, protocol=Protocol(), slowdown=planted), pairs=found)


def reached(observed: Observed, budget_s: float = SHOWN_BUDGET_S) -> Reached:
    return rates(observed, Design(), 1).within(budget_s)


def test_identical_sides_are_hardly_ever_accused_and_slow_ones_found() -> None:
    alike, slow = reached(simulated(0.0, pairs=120)), reached(simulated(0.02, pairs=120))
    assert (alike.regressions, alike.low) == (0, 0.0)
    assert alike.resampled < 0.02
    assert slow.regressions == slow.gates >= 8
    assert slow.low == pytest.approx(0.025 ** (1 / slow.gates))  # Clopper and Pearson's, of 95 %
    assert alike.high == pytest.approx(1 - 0.025 ** (1 / alike.gates))
    assert slow.resampled > 0.95


def test_less_time_finds_less_and_accuses_no_more() -> None:
    alike, slow = simulated(0.0, pairs=120, took_s=10.0), simulated(0.02, pairs=120, took_s=10.0)
    assert [reached(slow, budget_s).most_pairs for budget_s in BUDGETS_S] == [3, 6, 12, 24]
    found = [reached(slow, budget_s).resampled for budget_s in BUDGETS_S]
    assert found == sorted(found)
    assert found[0] < 0.7
    assert found[-1] > 0.9
    assert all(reached(alike, budget_s).resampled < 0.02 for budget_s in BUDGETS_S)
    assert all(reached(slow, budget_s).pairs_taken <= budget_s / 10 for budget_s in BUDGETS_S)


def test_noise_is_what_was_put_in() -> None:
    assert rates(simulated(0.0, pairs=200), Design(), 0).sd == pytest.approx(0.012, rel=0.15)


def test_a_rank_test_on_samples_of_one_process_cries_wolf_where_the_gate_does_not() -> None:
    found = rates(simulated(0.0, pairs=150, bias=0.02), Design(), 0)
    assert found.by_rule["U test, p < 0.01"] > 0.2
    assert found.within(SHOWN_BUDGET_S).resampled < 0.02


def test_a_fixed_percentage_misses_what_is_below_it() -> None:
    found = rates(simulated(0.03, pairs=100), Design(), 0)
    assert found.by_rule["pytest-benchmark, median:5%"] < 0.05
    assert found.by_rule["asv, factor 1.1"] == 0
    assert found.within(SHOWN_BUDGET_S).resampled > 0.95


def test_every_rule_calls_what_is_twice_as_slow_a_regression() -> None:
    base, head = [1.0 + 0.001 * i for i in range(20)], [2.0 + 0.001 * i for i in range(20)]
    assert all(rule(base, head) and not rule(head, base) for rule in RULES.values())


def ended(trials: Generator[object, None, list[Observed]]) -> list[Observed]:
    while True:
        try:
            next(trials)
        except StopIteration as stop:
            return stop.value


def test_conditions_are_measured_in_turn_until_the_time_is_up() -> None:
    ticks = iter(range(10**6))

    def play(base: Side, head: Side, cell: Cell, protocol: Protocol, rng: random.Random) -> Pair:
        assert base.slowdown is None
        return Pair(log_ratio=0.0, base_s=[1.0], head_s=[1.0], cores=())

    trials = measure("reference", CELL, Protocol(), most_s=80.0, seed=0, play=play, now_s=lambda: float(next(ticks)))
    observed = ended(trials)
    counts = Counter({one.condition.name: len(one.pairs) for one in observed})
    assert set(counts) == {condition.name for condition in conditions(Protocol())}
    turns = {condition.name: condition.turns for condition in conditions(Protocol())}
    rounds = [counts[name] / turns[name] for name in turns]
    assert max(rounds) - min(rounds) <= 1
    assert counts[IDENTICAL] > 2 * min(counts.values())
    assert [one.condition for one in observed] == conditions(Protocol())


def test_the_designs_differ_by_one_part_each_and_end_with_the_gates_own() -> None:
    named = {condition.name: condition for condition in conditions(Protocol())}
    assert named[IDENTICAL].protocol == Protocol()
    assert named[IDENTICAL].slowdown is None
    assert not named["one process after the other"].protocol.interleaved
    slow = [condition for condition in named.values() if condition.slowdown]
    assert len(slow) == 10
    assert all(condition.protocol == Protocol() for condition in slow)


def test_on_a_device_no_loop_of_the_host_is_planted() -> None:
    kinds = {condition.slowdown.kind for condition in conditions(Protocol(), "cuda:0") if condition.slowdown}
    assert kinds == {"work"}


def trials() -> list[Rates]:
    return [rates(simulated(slower, pairs=40), Design(), 0) for slower in (0.0, 0.02, 0.05)]


def test_the_tables_have_a_line_for_each_condition_also_for_one_without_pairs() -> None:
    table = markdown([*trials(), rates(simulated(0.10, pairs=0), Design(), 0)], Design())
    assert len([line for line in table.splitlines() if line.startswith("| nothing | 40 |")]) == 1
    assert f"| {IDENTICAL} | 0 | – | – | 0 of 0 | 0% – 100% |" in table
    assert f"| {IDENTICAL} | 40 | " in table


def test_the_plot_shows_the_gate_and_every_rule() -> None:
    pytest.importorskip("matplotlib")
    drawn = plot(trials(), Design())
    assert drawn.startswith("<?xml")
    for name in ("the gate, more work in one block", *RULES):
        assert name.replace("<", "&lt;") in drawn


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitbench import gate

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert gate.main(["selftest", "--plot", "x.svg"]) == 2
    assert "pip install 'vitbench[plot]'" in capsys.readouterr().err


def test_everything_is_kept_so_that_other_rules_can_be_tried() -> None:
    observed = simulated(0.02, pairs=3)
    whole = json.loads(to_json([observed], [rates(observed, Design(), 0)], Design()))
    assert [len(pair["base_s"]) for pair in whole["observed"][0]["pairs"]] == [20, 20, 20]


def test_an_interruption_keeps_what_was_measured() -> None:
    played = iter(range(5))

    def play(base: Side, head: Side, cell: Cell, protocol: Protocol, rng: random.Random) -> Pair:
        if next(played) == 4:
            raise KeyboardInterrupt
        return Pair(log_ratio=0.0, base_s=[1.0], head_s=[1.0], cores=())

    trials = measure("reference", CELL, Protocol(), most_s=1e9, seed=0, play=play, now_s=lambda: 0.0)
    observed = ended(trials)
    assert sum(len(one.pairs) for one in observed) == 4
