"""Figures as CSV, LaTeX and Markdown: every measurement, whole numbers of it, and strangers' text that acts nowhere."""

import csv
import shutil
import subprocess
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from sample_runs import records, run_of, write

from vitbench.exports.figures import COLUMNS, comma_separated, latex, markdown
from vitbench.records import MeasurementRecord, Outcome
from vitbench.report import main
from vitbench.results import Run

WILD = "=cmd|' /C calc'!A0 & 50% of_it \\input{x} <b> ~^#$"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(records(), tmp_path)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text, newline="")))


def test_csv_has_a_line_for_each_measurement_with_the_figure_as_it_was_recorded(run: Run) -> None:
    found = rows(comma_separated([run]))
    cells = (*run.of_implementations, *run.limits, *run.timers)
    assert len(found) == len(cells) > 5
    assert list(found[0]) == ["run", *COLUMNS]
    for row, record in zip(found, cells, strict=True):
        assert row["implementation"] == record.implementation
        assert (float(row["latency_s"]) if row["latency_s"] else None) == record.latency_s
        assert row["outcome"] == record.outcome


def test_csv_tells_several_runs_apart(run: Run, tmp_path: Path) -> None:
    again = run_of(records(), tmp_path / "again")
    assert len({row["run"] for row in rows(comma_separated([run, again]))}) == 2


def test_a_spreadsheet_is_given_no_formula(run: Run) -> None:
    wild = replace(run.measurements[0], implementation=WILD, reason="@sum")
    (row,) = rows(
        comma_separated(
            [replace(run, measurements=[wild], attention=[], memory=[], counts=[], searches=[], limits=[], timers=[])]
        )
    )
    assert row["implementation"].startswith("'=")
    assert row["reason"] == "'@sum"


def test_columns_are_fields_of_the_record_or_say_how_they_are_had() -> None:
    fields = set(MeasurementRecord.__dataclass_fields__)
    derived = {
        "samples",
        "conditions",
        "joules_per_image",
        "share_of_ceiling",
        "output_error",
        "gradient_error",
        "allocated_bytes",
        "process_bytes",
    }
    assert set(COLUMNS) - fields == derived


@pytest.mark.parametrize("render", [latex, markdown])
def test_a_table_has_a_row_for_each_cell_and_marks_what_is_doubted(run: Run, render: object) -> None:
    text = render([run])  # type: ignore[operator]
    body = [
        line
        for line in text.splitlines()
        if ("&" in line or line.startswith("|")) and "Implementation" not in line and "---" not in line
    ]
    assert len(body) == len(run.measurements)
    doubted = [
        one
        for one in run.measurements
        if one.latency_s and (one.converged is False or (one.evidence and one.evidence.verdict == "INVALID"))
    ]
    assert sum("*" in line for line in body) == len(doubted) > 0


def test_a_cell_without_a_figure_says_what_became_of_it(run: Run) -> None:
    failed = replace(run.measurements[0], outcome=Outcome.OUT_OF_MEMORY, throughput_images_per_s=None)
    assert "out of memory" in latex([replace(run, measurements=[failed])])


def test_markdown_of_strangers_is_text(run: Run) -> None:
    wild = replace(run.measurements[0], implementation=f"{WILD} | @someone")
    html = (
        MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown([replace(run, measurements=[wild])]))
    )
    assert html.count("<tr>") == 2
    assert "<b>" not in html


def test_latex_of_strangers_is_text_and_compiles_where_there_is_a_latex(run: Run, tmp_path: Path) -> None:
    table = latex([replace(run, measurements=[replace(run.measurements[0], implementation=WILD)])])
    assert r"\textbackslash{}input\{x\}" in table
    assert r"50\% of\_it" in table
    if shutil.which("pdflatex"):
        page = rf"\documentclass{{article}}\usepackage{{booktabs}}\usepackage{{textcomp}}\begin{{document}}{table}\end{{document}}"
        (tmp_path / "page.tex").write_text(page)
        subprocess.run(["pdflatex", "-halt-on-error", "page.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_the_command_writes_each_by_its_suffix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(records(), tmp_path / "run.jsonl")
    outputs = [tmp_path / name for name in ("a.csv", "a.tex", "a.md", "a.html")]
    assert main([str(run), *(part for output in outputs for part in ("-o", str(output)))]) == 0
    assert all(output.stat().st_size > 500 for output in outputs)
    assert capsys.readouterr().out.count("\n") == 4


@pytest.mark.parametrize(
    ("output", "said"), [("a.docx", "tells no format; known: .html"), ("run.jsonl", "is one of the runs")]
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, said: str
) -> None:
    run = write(records(), tmp_path / "run.jsonl")
    assert main([str(run), "-o", str(tmp_path / "a.csv"), "-o", str(tmp_path / output)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()
