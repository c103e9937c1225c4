"""``vitbench view``: the report of a run in a browser, written where it is missing or out of date."""

import os
from pathlib import Path

import pytest
from sample_runs import records, write

from vitbench.view import main


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was given."""
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(addresses.append(address)) or True)
    return addresses


def test_the_report_is_written_and_opened(tmp_path: Path, opened: list[str]) -> None:
    run = write(records(), tmp_path / "one" / "results.jsonl")
    assert main([str(run.parent)]) == 0
    assert opened == [(tmp_path / "one" / "report.html").as_uri()]
    assert "<html" in (run.parent / "report.html").read_text()


def test_a_report_is_written_anew_only_where_it_is_older_than_its_results(tmp_path: Path, opened: list[str]) -> None:
    run = write(records(), tmp_path / "results.jsonl")
    page = tmp_path / "report.html"
    page.write_text("mine")
    os.utime(run, ns=(10**18, 10**18))
    assert main([str(run)]) == 0
    assert page.read_text() == "mine"
    os.utime(run, ns=(4 * 10**18, 4 * 10**18))
    assert main([str(run)]) == 0
    assert page.read_text() != "mine"


def test_results_of_another_name_have_a_report_of_theirs(tmp_path: Path, opened: list[str]) -> None:
    run = write(records(), tmp_path / "mine.jsonl")
    assert main([str(run)]) == 0
    assert opened == [(tmp_path / "mine.html").as_uri()]


def test_without_a_run_the_latest_is_opened(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert "no run in vitbench-results/" in capsys.readouterr().err
    for name in ("a", "b"):
        write(records(), Path("vitbench-results", name, "results.jsonl"))
    os.utime("vitbench-results/a/results.jsonl", ns=(4 * 10**18, 4 * 10**18))
    assert main([]) == 0
    assert opened[0].endswith("/vitbench-results/a/report.html")


def test_where_there_is_no_browser_the_place_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(records(), tmp_path / "results.jsonl")
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")


def test_a_run_that_is_not_there_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith("vitbench view: cannot read results")
