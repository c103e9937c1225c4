"""What a gate says of the machine around it, read from made-up files of the system."""

from pathlib import Path

import pytest

from vitbench.conditions import host
from vitbench.conditions.host import Host
from vitbench.gating import surroundings as module
from vitbench.gating.surroundings import surroundings

CORES = frozenset({0, 1})


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of readings: set its first item."""
    now = [0.0]
    monkeypatch.setattr(host, "now_s", lambda: now[0])
    monkeypatch.setattr(host.time, "process_time", lambda: 0.0)
    return now


def stat(root: Path, busy: int, steal: int = 0) -> None:
    (root / "proc").mkdir(exist_ok=True)
    lines = [f"cpu{core} {busy} 0 0 1000 0 0 0 {steal} 0 0" for core in CORES]
    (root / "proc" / "stat").write_text("\n".join(lines), encoding="ascii")


def test_others_are_told_of_and_what_the_gate_itself_took_is_not(
    tmp_path: Path, seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    children_s = iter([5.0, 15.0])
    monkeypatch.setattr(module, "_children_s", lambda: next(children_s))
    stat(tmp_path, busy=0)
    with surroundings(host=Host(tmp_path, CORES, 0.01), root=tmp_path) as around:
        stat(tmp_path, busy=800, steal=50)  # 8 s a core, of which children took 10 s
        seconds[0] = 10.0
    assert around.others_share == pytest.approx(0.3)
    assert around.steal_share == pytest.approx(0.05)
    (note,) = around.notes
    assert "other processes used 30% of the cores' time, the hypervisor withheld 5.0%" in note


def test_a_quiet_machine_needs_no_note_and_what_is_not_readable_is_not_made_up(
    tmp_path: Path, seconds: list[float]
) -> None:
    with surroundings(host=Host(tmp_path, CORES, 0.01), root=tmp_path) as around:
        seconds[0] = 10.0
    assert (around.others_share, around.notes) == (None, [])
    assert any("no governor is readable" in one for one in around.not_controlled)


@pytest.mark.parametrize("pinned", [True, False])
def test_what_could_not_be_controlled_is_listed(tmp_path: Path, pinned: bool) -> None:
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("powersave\n")
    with surroundings(host=Host(tmp_path, CORES, 0.01), root=tmp_path) as around:
        pass
    named = "both sides of a pair pinned to the same cores"
    around.control({named: pinned})
    assert (named in around.controlled, named in around.not_controlled) == (pinned, not pinned)
    assert "the processor's clock (governor powersave)" in around.not_controlled


def test_it_is_filled_in_also_where_the_gate_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        surroundings(host=Host(tmp_path, CORES, 0.01), root=tmp_path) as around,
    ):
        raise KeyboardInterrupt
    assert around.not_controlled
