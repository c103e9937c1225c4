"""A gate's outcome for job pages, CI servers and GitHub: what each says of what was found, strangers' text included."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import sample_runs
from markdown_it import MarkdownIt
from rich.console import Console

from vitbench import gate
from vitbench.gating.decision import Decision
from vitbench.gating.outcome import Finding, Outcome
from vitbench.gating.shown import show
from vitbench.gating.written import annotations, junit, markdown, write

SLOWER = Finding(
    name="inference Ti/16@64",
    decision=Decision.REGRESSION,
    text="slower by 5.2 %, at least by 2.9 %",
    change=0.052,
    low=0.029,
    high=0.08,
    pairs=6,
    least_detectable=0.02,
)
UNSURE = Finding(name="training", decision=Decision.INCONCLUSIVE, text="neither a slowdown nor its absence")
FINE = Finding(name="conformance", decision=Decision.PASS, text="107 requirements no worse")
WILD = Finding(name="a|b\x1b[31m", decision=Decision.INCORRECT, text="broke:\n<b>&\x00 100 %, ::error::x")


def outcome(*findings: Finding) -> Outcome:
    return Outcome(tier="paired", title="head mine against base mine", findings=findings, notes=["others were busy"])


def test_junit_has_a_case_for_each_finding_and_fails_what_is_worse() -> None:
    suite = ET.fromstring(junit(outcome(SLOWER, UNSURE, FINE)))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    failure = cases["inference Ti/16@64"].find("failure")
    assert failure is not None
    assert failure.get("message") == SLOWER.text
    assert cases["training"].find("error") is not None
    assert not list(cases["conformance"])


def test_a_gate_that_compared_nothing_is_no_green_junit() -> None:
    suite = ET.fromstring(junit(outcome()))[0]
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")


def test_the_text_of_strangers_leaves_every_format_whole() -> None:
    assert ET.fromstring(junit(outcome(WILD)))[0].get("failures") == "1"
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(outcome(SLOWER, WILD)))
    assert "<b>" not in html
    assert html.count("<tr>") == 3
    (line,) = annotations(outcome(WILD))
    assert line.startswith("::error title=vitbench gate%3A INCORRECT::")
    assert "broke:%0A" in line
    assert "100 %25" in line


def test_annotations_are_errors_for_what_is_worse_warnings_for_what_is_open_and_none_for_passes() -> None:
    lines = annotations(outcome(FINE, UNSURE, SLOWER))
    assert [line.split()[0] for line in lines] == ["::error", "::warning"]


def test_markdown_says_first_what_stops_the_change() -> None:
    text = markdown(outcome(FINE, SLOWER))
    assert text.index("REGRESSION") < text.index("slower by 5.2 %") < text.index("| what |")
    assert "| conformance | PASS |" in text
    assert "- others were busy" in text


@pytest.mark.parametrize("inside", [True, False])
def test_only_a_github_workflow_is_given_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inside: bool
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true" if inside else "")
    run = sample_runs.run_of(sample_runs.records(), tmp_path / "run")
    assert gate.main(["exact", str(run.path), str(run.path), "--junit", str(tmp_path / "j.xml")]) == 5
    assert ("::warning" in capsys.readouterr().out) == inside
    assert ET.fromstring((tmp_path / "j.xml").read_text())[0].get("errors") == "1"


def test_text_that_no_encoding_holds_is_written_as_its_code(tmp_path: Path) -> None:
    odd = Finding(name="a \udcff file", decision=Decision.INCORRECT, text="no file \udcff")
    for name, text in (
        ("o.md", markdown(outcome(odd))),
        ("o.xml", junit(outcome(odd))),
        ("o.json", outcome(odd).to_json()),
    ):
        write(tmp_path / name, text)
        assert (tmp_path / name).read_text(encoding="utf-8")


def test_what_a_terminal_would_take_for_markup_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    odd = Finding(
        name="cell [bold]x[/]", decision=Decision.PASS, text="", change=0.0, low=0.0, high=0.0, least_detectable=0.1
    )
    show(Outcome(tier="paired", title="head a[/b] against base c", findings=[odd]), Console(width=200))
    shown = capsys.readouterr().out
    assert "head a[/b] against base c" in shown
    assert "cell [bold]x[/]" in shown


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sample_runs.run_of(sample_runs.records(), tmp_path / "run")
    for place in (tmp_path, tmp_path / ("x" * 5000)):
        assert gate.main(["exact", str(run.path), str(run.path), "-o", str(place)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert gate.main(["exact", str(run.path), "x" * 5000]) == 5


def test_a_server_is_told_also_where_there_was_no_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sample_runs.run_of(sample_runs.records(), tmp_path / "run")
    files = [tmp_path / "j.xml", tmp_path / "o.json", tmp_path / "o.md"]
    options = ["--junit", str(files[0]), "-o", str(files[1]), "--markdown", str(files[2])]
    assert gate.main(["exact", str(tmp_path / "nothing.jsonl"), str(run.path), *options]) == 4
    assert capsys.readouterr().err.startswith("vitbench gate: no base to compare with")
    assert ET.fromstring(files[0].read_text())[0].get("errors") == "1"
    assert '"exit_code": 4' in files[1].read_text()
    assert "NO BASELINE" in files[2].read_text()
