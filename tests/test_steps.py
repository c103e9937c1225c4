"""How far a cell has come: told by its process, seen by the executor, drawn as a bar."""

import io
import sys
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from vitbench.executor import Advanced, Finished, Started, execute
from vitbench.measurement import unmeasured
from vitbench.plan import Cell
from vitbench.progress import Live
from vitbench.records import Outcome
from vitbench.steps import Steps, steps_of
from vitbench.suite import Ending

CELL = Cell(suite="counts", implementation="mine", task="training", time_limit_s=60)


def test_steps_are_told_to_whoever_looks(tmp_path: Path) -> None:
    results = tmp_path / "0.jsonl"
    assert steps_of(results) is None
    steps = Steps(results, total=3)
    steps.advance()
    assert steps_of(results) == (1, 3)  # the first at once
    steps.advance(2)
    assert steps_of(results) == (3, 3)  # and the last


@pytest.mark.parametrize("text", ["", "[1", "[1]", "{}", '["a", 2]', "7", "null"])
def test_what_tells_of_no_steps_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "0.steps").write_text(text, encoding="utf-8")
    assert steps_of(tmp_path / "0.jsonl") is None


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    Steps(tmp_path / "nowhere" / "0.jsonl", total=2).advance()


CODE = """
import sys, time
from pathlib import Path
from vitbench.steps import Steps
steps = Steps(Path(sys.argv[1]), total=4)
for _ in range(4):
    steps.advance()
    time.sleep(0.4)
"""


def test_the_executor_tells_of_a_cells_steps_as_they_are_done() -> None:
    with closing(execute([CELL], command=lambda _cell, file: [sys.executable, "-c", CODE, str(file)])) as events:
        advanced = [event for event in events if isinstance(event, Advanced)]
    assert advanced[-1] == Advanced(CELL, 4, 4)
    assert [event.done for event in advanced] == sorted(event.done for event in advanced)


def test_a_terminal_shows_them_as_a_bar_and_no_bar_for_what_counts_none() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    ending = Ending(outcome=Outcome.FAILED, reason="stopped", duration_s=1.0)
    with Live(console, cells=1) as live:
        live.show(Started(CELL))
        before = "".join(segment.text for segment in console.render(live._progress.get_renderable()))
        live.show(Advanced(CELL, 30, 120))
        after = "".join(segment.text for segment in console.render(live._progress.get_renderable()))
        live.show(Finished(CELL, unmeasured(CELL, ending), 1.0))
    _, cell_before = before.splitlines()
    _, cell_after = after.splitlines()
    assert "━" not in cell_before
    assert "counts training mine: 30 of 120 steps ━━━━━" in cell_after
