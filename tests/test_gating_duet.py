"""A pair of processes that take turns: real ones, and sides that fail in every way."""

import ast
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from vitbench.gating.decision import EXIT_CODES, Decision
from vitbench.gating.duet import BASE, HEAD, Pair, Protocol, Side, SideFailed, play
from vitbench.gating.paired import Gated, Looked, Measured, controlled, duets, finding, label, notes
from vitbench.gating.sequential import Design
from vitbench.gating.slowdown import Slowdown
from vitbench.plan import Cell

CELL = Cell(
    suite="throughput",
    implementation="",
    task="inference",
    model="Ti/16@32,depth=2",
    dtype="float32",
    batch=2,
    mode="eager",
)
QUICK = Protocol(pair_s=0.4, block_s=0.005)
REFERENCE = {label: Side(label=label, implementation="reference") for label in (BASE, HEAD)}


def played(base: Side = REFERENCE[BASE], head: Side = REFERENCE[HEAD], protocol: Protocol = QUICK) -> Pair:
    return play(base, head, CELL, protocol, random.Random(0))


def adapter(folder: Path, body: str) -> str:
    """An adapter of the reference whose ``logits`` has this body before it answers."""
    path = folder / "candidate.py"
    path.write_text(
        "import os, sys, time\n"
        "from vitbench.adapters.reference import ReferenceAdapter\n"
        "class Candidate(ReferenceAdapter):\n"
        "    calls = 0\n"
        "    def logits(self, model, images):\n"
        "        self.calls += 1\n"
        f"        {body}\n"
        "        return super().logits(model, images)\n"
        "vitbench_adapter = Candidate()\n",
        encoding="utf-8",
    )
    return str(path)


def test_both_sides_give_as_many_blocks_and_a_planted_slowdown_shows() -> None:
    slow = replace(REFERENCE[HEAD], slowdown=Slowdown(kind="busy", fraction=1.0))
    pair = played(head=slow)
    assert len(pair.base_s) == len(pair.head_s) >= QUICK.least_blocks
    assert pair.log_ratio > 0.3  # of log 2 = 0.69, on however busy a machine
    assert pair.introductions[BASE]["implementation"] == "reference"
    assert pair.introductions[HEAD]["redrawn"]


def test_extra_work_in_one_block_shows() -> None:
    slow = replace(REFERENCE[HEAD], slowdown=Slowdown(kind="work", fraction=1.0))
    assert played(head=slow).log_ratio > 0.3


def test_a_side_is_pinned_moved_and_left_alone_while_it_is_timed(tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    looks = "sorted(os.sched_getaffinity(0)), next(model.parameters()).data_ptr(), gc.isenabled(), os.read(0, 1)"
    body = f"import gc; open({str(seen)!r}, 'a').write(repr(({looks})) + chr(10))"
    pair = played(head=replace(REFERENCE[HEAD], implementation=adapter(tmp_path, body)))
    lines = [ast.literal_eval(line) for line in seen.read_text().splitlines()]
    timed = lines[-len(pair.head_s) :]  # each block is one launch at least
    assert [cores for cores, *_ in timed] == [list(pair.cores)] * len(timed)
    assert len({address for _, address, *_ in timed}) > 1
    assert not any(collecting for *_, collecting, _ in timed)
    assert {answer for *_, answer in lines} == {b""}  # nothing of the conversation can be read


def test_what_a_candidate_prints_is_no_answer(tmp_path: Path) -> None:
    chatty = adapter(tmp_path, 'print("{\\"seconds\\": 1}", flush=True); os.write(1, b"noise")')
    pair = played(head=replace(REFERENCE[HEAD], implementation=chatty))
    assert max(pair.head_s) < 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no such kernel')", "RuntimeError: no such kernel|no such kernel"),
        ("self.calls > 9 and os.abort()", "SIGABRT"),
        ("self.calls > 9 and os._exit(7)", "code 7"),
        ("self.calls > 9 and time.sleep(60)", "a block took longer than 2 s"),
    ],
)
def test_a_side_that_gives_no_times_is_named_with_its_reason(tmp_path: Path, body: str, reason: str) -> None:
    broken = replace(REFERENCE[HEAD], implementation=adapter(tmp_path, body))
    with pytest.raises(SideFailed, match=f"head: .*({reason})") as raised:
        played(head=broken, protocol=replace(QUICK, block_limit_s=2.0))
    assert set(raised.value.reasons) == {HEAD}


def test_both_sides_are_told_of_where_both_fail() -> None:
    missing = {label: replace(side, implementation="no_such_package") for label, side in REFERENCE.items()}
    with pytest.raises(SideFailed) as raised:
        played(missing[BASE], missing[HEAD])
    assert set(raised.value.reasons) == {BASE, HEAD}


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = replace(REFERENCE[BASE], python=str(tmp_path / "python"))
    with pytest.raises(SideFailed, match=r"base: cannot start .*python: No such file"):
        played(base=nowhere)


def test_a_base_of_which_nothing_comes_from_its_revision_is_none(tmp_path: Path) -> None:
    """Else it is the head that is installed here, and the head is compared with itself."""
    elsewhere = replace(REFERENCE[BASE], folder=tmp_path, within=(tmp_path,))
    with pytest.raises(SideFailed, match="base: nothing of reference was imported from its revision") as raised:
        played(base=elsewhere)
    assert set(raised.value.reasons) == {BASE}


def test_a_base_that_comes_from_its_revision_is_measured(tmp_path: Path) -> None:
    implementation = adapter(tmp_path, "pass")
    assert played(base=replace(REFERENCE[BASE], implementation=implementation, within=(tmp_path,))).base_s


def test_another_interpreter_is_not_given_the_packages_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "the-heads-own")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$PYTHONPATH" > {tmp_path}/seen\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(SideFailed, match="base: its process exited with code 1"):
        played(base=replace(REFERENCE[BASE], python=str(python), path=(tmp_path / "one",)))
    assert (tmp_path / "seen").read_text() == f"{tmp_path}/one\n"


def test_a_side_that_cannot_be_measured_is_no_regression_wherever_it_is_told() -> None:
    assert SideFailed({HEAD: "it broke"}).exit_code == EXIT_CODES[Decision.NOTHING_MEASURED]


def test_pairs_draw_layouts_of_their_own_and_sides_of_a_pair_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitbench.gating import duet

    seeds: list[int] = []

    class Refused(Exception):
        pass

    def task(**fields: Any) -> None:
        seeds.append(fields["layout_seed"])
        if len(seeds) % 2 == 0:
            raise Refused

    class Silent:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def end(self) -> None:
            pass

    monkeypatch.setattr(duet, "Task", task)
    monkeypatch.setattr(duet, "Child", Silent)
    monkeypatch.setattr(duet, "asdict", lambda _: {})
    rng = random.Random(0)
    for _ in range(2):
        with pytest.raises(Refused):
            play(REFERENCE[BASE], REFERENCE[HEAD], CELL, QUICK, rng)
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, math.nan, math.inf])
def test_a_clock_that_runs_backwards_is_no_measurement(seconds: float) -> None:
    from vitbench.gating import duet

    with pytest.raises(SideFailed, match="s for a block of the head, expected a time above zero") as raised:
        duet._log_ratio([1.0, 1.0], [1.0, seconds], interleaved=True)
    assert set(raised.value.reasons) == {BASE, HEAD}  # which is NOTHING MEASURED


def test_a_pair_holds_its_device_as_a_timed_cell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from vitbench.gating import duet

    held: list[str] = []

    @contextmanager
    def noted(device: str, who: str) -> Iterator[None]:
        held.append(device)
        yield
        held.append("free")

    monkeypatch.setattr(duet, "exclusively", noted)
    with pytest.raises(SideFailed):
        played(base=replace(REFERENCE[BASE], python="/nowhere/python"))
    assert held == ["cpu"]


# --- pair by pair, with pairs that are made up ---


def pairs_of(ratios: Sequence[float]) -> object:
    given = iter(ratios)

    def made_up(base: Side, head: Side, cell: Cell, protocol: Protocol, rng: random.Random) -> Pair:
        return Pair(log_ratio=next(given), base_s=[1.0], head_s=[1.0], cores=())

    return made_up


def gate(play: object, *, cells: Sequence[Cell] = (CELL,), most_s: float = 1e9, step_s: float = 1.0) -> list[Gated]:
    ticks = iter(range(10**6))
    events = duets(
        REFERENCE[BASE],
        REFERENCE[HEAD],
        cells,
        design=Design(),
        protocol=QUICK,
        seed=0,
        most_s=most_s,
        play=play,
        now_s=lambda: next(ticks) * step_s,
    )
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            return stop.value
        assert isinstance(event, Measured | Looked)


def test_it_stops_as_soon_as_it_is_certain() -> None:
    (gated,) = gate(pairs_of([0.05, 0.051, 0.049, 0.05, 9.0]))
    assert gated.decision is Decision.REGRESSION
    assert len(gated.pairs) == 4


def test_it_looks_once_more_when_the_time_is_up() -> None:
    (gated,) = gate(pairs_of([0.05, 0.051, 0.049, 0.05]), most_s=12.0, step_s=2.0)
    assert 2 <= len(gated.pairs) < 4
    assert gated.decision in {Decision.REGRESSION, Decision.INCONCLUSIVE}


def test_a_round_that_would_not_end_in_time_is_not_begun() -> None:
    """All open cells take a pair in each round, or none does: three of 1 s are too many for the 2 s that are left."""
    cells = [replace(CELL, batch=batch) for batch in (1, 2, 3)]
    now = [0.0]

    def takes_a_second(*_: object) -> Pair:
        now[0] += 1.0
        return Pair(log_ratio=0.0, base_s=[1.0], head_s=[1.0], cores=())

    events = duets(
        *REFERENCE.values(),
        cells,
        design=Design(),
        protocol=QUICK,
        seed=0,
        most_s=8.0,
        play=takes_a_second,
        now_s=lambda: now[0],
    )
    measured = [event for event in events if isinstance(event, Measured)]
    assert len(measured) == 6


@pytest.mark.parametrize(("launch_s", "blocks"), [(1.0, 7), (0.01, 40)])
def test_blocks_are_as_many_as_the_time_holds_and_seven_at_least(
    monkeypatch: pytest.MonkeyPatch, launch_s: float, blocks: int
) -> None:
    from vitbench.gating import duet

    class Steady:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def introduction(self) -> dict[str, Any]:
            return {}

        def block(self, launches: int) -> float:
            return launches * launch_s

    monkeypatch.setattr(duet, "_Player", Steady)
    pair = play(REFERENCE[BASE], REFERENCE[HEAD], CELL, Protocol(pair_s=4.0, block_s=0.05), random.Random(0))
    assert pair.base_s == pair.head_s == pytest.approx([launch_s] * blocks)  # of one launch each
    assert pair.log_ratio == 0


def test_the_order_of_a_round_is_drawn() -> None:
    from vitbench.gating import duet

    turns = duet._turns(40, Protocol(), random.Random(0))
    rounds = [tuple(turns[i : i + 2]) for i in range(0, 80, 2)]
    assert set(rounds) == {(BASE, HEAD), (HEAD, BASE)}
    apart = duet._turns(3, Protocol(interleaved=False), random.Random(0))
    assert apart in ([BASE] * 3 + [HEAD] * 3, [HEAD] * 3 + [BASE] * 3)


def test_cores_are_drawn_anew_and_are_as_many_as_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitbench.gating import duet

    monkeypatch.setattr(duet.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    drawn = {tuple(duet._cores(replace(CELL, threads=2), random.Random(i))) for i in range(30)}
    assert {len(cores) for cores in drawn} == {2}
    assert len(drawn) > 2
    assert duet._cores(replace(CELL, threads=5), random.Random(0)) == []
    assert duet._cores(replace(CELL, device="cuda:0"), random.Random(0)) == []


def test_settings_of_malloc_are_added_to_those_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitbench.gating import duet

    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    assert duet._keeping_memory()["GLIBC_TUNABLES"].startswith("glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:")


def test_too_little_time_for_anything_is_no_pass() -> None:
    (gated,) = gate(pairs_of([0.0]), most_s=0.5)
    assert gated.decision is Decision.NOTHING_MEASURED
    assert "0 of the 2 pairs" in gated.reason


@pytest.mark.parametrize(
    ("failing", "decision"),
    [
        ({HEAD}, Decision.INCORRECT),
        ({BASE}, Decision.NO_BASELINE),
        ({BASE, HEAD}, Decision.NOTHING_MEASURED),
    ],
)
def test_a_failing_side_decides_what_follows(failing: set[str], decision: Decision) -> None:
    def fails(*_: object) -> Pair:
        raise SideFailed(dict.fromkeys(sorted(failing), "it broke"))

    (gated,) = gate(fails)
    assert gated.decision is decision
    assert "it broke" in gated.reason


def test_a_cell_that_fails_leaves_the_others_to_be_decided() -> None:
    broken = replace(CELL, batch=3)

    def some(base: Side, head: Side, cell: Cell, protocol: Protocol, rng: random.Random) -> Pair:
        if cell.batch == 3:
            raise SideFailed({HEAD: "it broke"})
        return Pair(log_ratio=rng.gauss(0.0, 0.001), base_s=[1.0], head_s=[1.0], cores=())

    decisions = {gated.cell: gated.decision for gated in gate(some, cells=(broken, CELL))}
    assert decisions == {label(broken): Decision.INCORRECT, label(CELL): Decision.PASS}


def test_every_decision_is_put_into_words() -> None:
    for ratios, text in (
        ([0.0, 0.001, -0.001, 0.0], "no slowdown of 2.0 % or more"),
        ([0.05, 0.051, 0.049, 0.05], "slower by 5.1 %, at least by "),
        ([0.3, -0.3] * 20, "a quieter machine, or more time"),
    ):
        (gated,) = gate(pairs_of(ratios))
        assert text in finding(gated, Design()).text


def gated(*, cores: Sequence[int] = (0,), **redrawn: bool) -> Gated:
    introductions = {side: {"redrawn": drawn} for side, drawn in redrawn.items()}
    pair = Pair(log_ratio=0.0, base_s=[1.0], head_s=[1.0], cores=cores, introductions=introductions)
    return Gated(cell="a", decision=Decision.PASS, pairs=[pair])


def test_only_what_held_in_every_pair_counts_as_controlled() -> None:
    whole = gated(base=True, head=True)
    pinned, drawn, _ = controlled([whole], Protocol())
    assert controlled([whole], Protocol())[pinned]
    assert controlled([whole], Protocol())[drawn]
    on_a_device = controlled([whole, gated(cores=(), base=True, head=True)], Protocol())
    assert (on_a_device[pinned], on_a_device[drawn]) == (False, True)
    assert not controlled([gated(base=False, head=False)], Protocol())[drawn]
    assert not any(controlled([], Protocol()).values())


def test_a_layout_that_only_one_side_can_draw_is_told() -> None:
    assert notes([gated(base=True, head=True), gated(base=False, head=False)]) == []
    (note,) = notes([gated(base=True, head=False)])
    assert "the memory layout of the head cannot be drawn anew" in note


def test_the_interpreter_is_this_one_unless_another_is_asked_for() -> None:
    assert REFERENCE[BASE].python == sys.executable
