"""``vitbench run`` held to stored runs: the command itself, on what is counted in seconds."""

import json
from pathlib import Path

import pytest

from vitbench import run
from vitbench.gating import baseline

COMMAND = ["--impl", "reference", "--suite", "memory", "--model", "Ti/16@32,depth=2", "--batch", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(*options: str) -> int:
    return run.main([*COMMAND, "--task", "inference", *options])


def test_a_run_begins_a_baseline_the_next_is_held_to_it_and_one_that_does_more_is_stopped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran("--output", "one", "--baseline", "main", "--save-baseline", "main") == 4
    (file,) = baseline.saved("main")
    shown = " ".join(capsys.readouterr().out.split())
    assert "this run begins one" in shown
    assert f"in {file}" in shown

    assert ran("--output", "two", "--baseline", "main") == 0
    assert "PASS" in capsys.readouterr().out

    edited = json.loads(file.read_text())
    (cell,) = edited["cells"]
    edited["cells"][cell]["counts"]["parameters"] -= 1
    file.write_text(json.dumps(edited))
    assert ran("--output", "three", "--baseline", "main", "--save-baseline", "main") == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "REGRESSION" in shown
    assert "not saved, since the run is worse than its base" in shown
    assert json.loads(file.read_text()) == edited


def test_a_missing_baseline_stops_before_anything_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("--output", "one", "--baseline", "main") == 4
    assert "no run, no file and no baseline" in capsys.readouterr().err
    assert not (folder / "one").exists()


def test_a_run_that_was_cut_short_is_not_saved(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran("--output", "one", "--max-seconds", "0.001", "--save-baseline", "main")
    assert "not saved, since the run is not complete" in " ".join(capsys.readouterr().out.split())
    assert baseline.names() == []


def test_a_name_that_cannot_be_one_is_a_usage_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("--save-baseline", "../elsewhere") == 2
    assert "expected letters, digits, dots and dashes" in capsys.readouterr().err


BREAKABLE = """
from pathlib import Path

from vitbench.adapters.reference import ReferenceAdapter

class Candidate(ReferenceAdapter):
    name = "reference"

    def build(self, config):
        if Path(__file__).with_name("broken").exists():
            raise RuntimeError("no such kernel")
        return super().build(config)

vitbench_adapter = Candidate()
"""


def test_an_adapter_that_is_broken_now_is_incorrect_and_not_saved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "candidate.py").write_text(BREAKABLE, encoding="utf-8")
    command = ["--impl", "candidate.py", "--suite", "memory", "--model", "Ti/16,depth=2", "--batch", "1"]
    command += ["--task", "inference"]
    assert run.main([*command, "--output", "one", "--save-baseline", "main"]) == 0
    (folder / "broken").touch()
    both = ["--suite", "conformance", "--baseline", "main", "--save-baseline", "main"]
    assert run.main([*command, *both, "--output", "two"]) == 6
    shown = " ".join(capsys.readouterr().out.split())
    assert "measured before, now failed" in shown
    assert "not saved, since the run is worse than its base" in shown
    assert run.main([*command, "--suite", "conformance", "--save-baseline", "new"]) == 4
    assert baseline.names() == ["main"]
