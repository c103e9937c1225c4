"""Whole runs as CSV, LaTeX, Markdown, JUnit, badge and JSON Lines: everything in them, and strangers' text that acts nowhere."""

import csv
import re
import shutil
import subprocess
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from sample_charts import measured as many_kinds
from sample_charts import scaling
from sample_runs import header, records, run_of, unfinished, write
from sample_studies import hostile_study, studies, study
from test_exports import HOSTILE, Rendered, require_valid

from vitbench.errors import UsageError
from vitbench.exports import formats, junit, latex, markdown
from vitbench.exports.files import SUFFIXES
from vitbench.exports.spreadsheet import COLUMNS, JUDGED, NUMBERS
from vitbench.exports.spreadsheet import render as comma_separated
from vitbench.records import MeasurementRecord, Outcome, StudyRecord
from vitbench.report import FORMATS, main
from vitbench.results import Run, read
from vitbench.scorecard import judged_part, scorecard

WILD = "=cmd|' /C calc'!A0 & 50% of_it \\input{x} <b> ~^#$"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(records(), tmp_path)


def exported(form: str, *runs: Run) -> str:
    """As the command does it."""
    judged = any(run.verdicts or run.requirements for run in runs)
    return formats.render(form, runs, scorecard(judged_part(runs)) if judged else None)


def measured_only(run: Run, *records: MeasurementRecord) -> Run:
    """The run with these measurements and nothing else."""
    return Run(path=run.path, header=run.header, requirements=[], verdicts=[], measurements=records, footer=run.footer)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text, newline="")))


def test_csv_has_a_line_for_everything_with_the_figure_as_it_was_recorded(run: Run) -> None:
    found = rows(comma_separated([run]))
    cells = (*run.of_implementations, *run.limits, *run.timers)
    scalars = [scalar for study in run.studies for scalar in study.scalars]
    assert len(scalars) > 1
    assert {row["value"] for row in found if row["name"] == scalars[0].name} >= {str(scalars[0].value)}
    assert list(found[0]) == ["run", *COLUMNS, *JUDGED, *NUMBERS]
    assert len(found) == len(run.verdicts) + len(run.requirements) + len(cells) + len(run.studies) + len(scalars)
    for row, record in zip(found[len(run.verdicts) + len(run.requirements) :], cells, strict=False):
        assert row["implementation"] == record.implementation
        assert (float(row["latency_s"]) if row["latency_s"] else None) == record.latency_s
        assert row["outcome"] == record.outcome
    verdict, requirement = found[1], found[len(run.verdicts) + 1]
    assert (verdict["implementation"], verdict["version"]) == ("timm", "1.0.31")
    assert verdict["outcome"] == "DOES NOT CONFORM"
    assert requirement["requirement"] == run.requirements[1].id
    assert float(requirement["worst_margin"]) == run.requirements[1].worst_margin


def test_csv_tells_several_runs_apart(run: Run, tmp_path: Path) -> None:
    again = run_of(records(), tmp_path / "again")
    assert len({row["run"] for row in rows(comma_separated([run, again]))}) == 2


def test_a_spreadsheet_is_given_no_formula(run: Run) -> None:
    wild = replace(run.measurements[0], implementation=WILD, reason="@sum", model="＝1+1")
    (row,) = rows(comma_separated([replace(measured_only(run, wild), path=Path("=2+2"))]))
    assert row["run"] == "'=2+2"
    assert row["model"] == "'＝1+1"
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


@pytest.mark.parametrize("form", ["latex", "markdown"])
def test_a_table_has_a_row_for_each_cell_and_marks_what_is_doubted(run: Run, form: str) -> None:
    text = exported(form, measured_only(run, *run.measurements))
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


@pytest.mark.parametrize("form", ["latex", "markdown"])
def test_tables_say_on_what_they_were_measured_once_a_machine(run: Run, tmp_path: Path, form: str) -> None:
    measured = run.measurements[0]
    place = f"{measured.device} ({measured.device_name}), {measured.threads} thread"
    assert f"measured on {place}" in exported(form, measured_only(run, measured, measured)).replace("\\", "")
    other = run_of(records(), tmp_path / "other")
    moved = replace(measured, device="cuda:0", device_name="NVIDIA\n\\end{document}", threads=2)
    text = exported(form, measured_only(run, measured), measured_only(other, moved))
    assert "and on cuda:0" in text.replace("\\", "").replace("<!-- -->", "")
    assert not any(line.startswith("\\end{document}") for line in text.splitlines())


def test_a_cell_without_a_figure_says_what_became_of_it(run: Run) -> None:
    failed = replace(run.measurements[0], outcome=Outcome.OUT_OF_MEMORY, throughput_images_per_s=None)
    assert "out of memory" in exported("latex", measured_only(run, failed))


def test_markdown_of_strangers_is_text(run: Run) -> None:
    wild = replace(run.measurements[0], implementation=f"{WILD} | @someone")
    text = exported("markdown", measured_only(run, wild))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert html.count("<tr>") == 2
    assert "<b>" not in html


def test_markdown_escapes_what_acts_and_leaves_the_rest_as_it_reads(run: Run) -> None:
    plainly = replace(run.measurements[0], implementation="vit_pytorch", model="Ti/16@224", version="1.0.31")
    assert "| Ti/16@224 | " in exported("markdown", measured_only(run, plainly))
    assert "| vit_pytorch | 1.0.31 | " in exported("markdown", measured_only(run, plainly))
    for text, written in {
        "40.8": "40.8",
        "-1": "-1",
        "1. one": r"1\. one",
        "- one": r"\- one",
        "---": r"\---",
        "_a_ b__c": r"\_a\_ b\_\_c",
        "@224": "@<!-- -->224",
        "1@224.de": "1@<!-- -->224.de",
        "a/b1@1234567": "a/b1@<!-- -->1234567",
        "a@224": "a@<!-- -->224",
    }.items():
        assert markdown.escaped(text) == written


def test_latex_of_strangers_is_text_and_compiles_where_there_is_a_latex(run: Run, tmp_path: Path) -> None:
    table = exported("latex", measured_only(run, replace(run.measurements[0], implementation=WILD)))
    assert r"\textbackslash{}input\{x\}" in table
    assert r"50\% of\_it" in table
    if shutil.which("pdflatex"):
        page = rf"\documentclass{{article}}\usepackage{{booktabs}}\usepackage{{textcomp}}\begin{{document}}{table}\end{{document}}"
        (tmp_path / "page.tex").write_text(page)
        subprocess.run(["pdflatex", "-halt-on-error", "page.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_latex_writes_powers_and_brackets_so_that_they_stay_what_they_are(tmp_path: Path) -> None:
    table = exported("latex", run_of(many_kinds(), tmp_path))
    assert r"2.00$\cdot$10$^{-7}$ & 1.00$\cdot$10$^{-6}$ \\" in table
    assert "% Attention kernels" in table
    assert "% Memory" in table
    assert latex.escaped("[x] *") == "{}[x] *"


def test_markdown_and_latex_of_a_run_begin_with_its_verdicts(run: Run) -> None:
    text = exported("markdown", run)
    assert text.index("| timm 1.0.31 | **DOES NOT CONFORM**") < text.index("### Throughput") < text.index("### Passed")
    assert exported("latex", run).index("% Conformance") < exported("latex", run).index("% Throughput")


# --- studies, and nothing at all ---


def studied(tmp_path: Path, *found: StudyRecord) -> Run:
    return run_of([header(), *found], tmp_path)


def test_a_run_of_studies_alone_is_a_table_of_their_figures(tmp_path: Path) -> None:
    run = studied(tmp_path, *studies(), study(implementation="torchvision", version="0.28.0"))
    text = exported("markdown", run)
    assert [line for line in text.splitlines() if line.startswith("|")] == [
        "| Study | Figure | Of | Implementation | Version | Value |",
        "| --- | --- | --- | --- | --- | ---: |",
        "| paper/transfer | accuracy | fine-tuned | timm | 1.0.31 | 0.910 (0.880 – 0.940) |",
        "| paper/transfer | accuracy | fine-tuned | torchvision | 0.28.0 | 0.910 (0.880 – 0.940) |",
        "| paper/transfer | accuracy | from scratch | timm | 1.0.31 | not finite |",
        "| paper/transfer | accuracy | from scratch | torchvision | 0.28.0 | not finite |",
        "| paper/transfer | – | – | vit_pytorch | 1.0.31 | not supported |",
    ]
    assert "interval: 95 % of the mean, by Student's t; measured on cpu (Intel(R) Xeon(R)" in text
    assert r"fine-tuned & timm & 1.0.31 & 0.910 (0.880 -- 0.940) \\" in exported("latex", run)
    assert [row["value"] for row in rows(exported("csv", run)) if row["series"] == "fine-tuned"] == ["0.91", "0.91"]
    assert {one.cell for one in run.studies} < set(cases(exported("junit", run)))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_figures_of_strangers_studies_are_text(tmp_path: Path, text: str) -> None:
    run = studied(tmp_path, hostile_study(text))
    page = Rendered(exported("markdown", run))
    assert set(page.tags) <= {"h3", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert page.cells == [6, 6]
    assert not [piece for piece in page.text if re.search(r"[@#]\w|:tada:|://", piece)]
    assert not any(line.startswith("\\end{document}") for line in exported("latex", run).splitlines())


@pytest.mark.parametrize("suffix", [".md", ".tex"])
def test_a_run_of_nothing_has_no_table_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    run, table, page = write([header()], tmp_path / "run.jsonl"), tmp_path / f"a{suffix}", tmp_path / "a.html"
    assert main([str(run), "-o", str(table), "-o", str(page)]) == 2
    assert f"not written: {table}: nothing was judged, and of throughput" in capsys.readouterr().err
    assert (table.exists(), page.exists()) == (False, True)


# --- JUnit ---


def cases(text: str) -> dict[str, ET.Element]:
    """The cases of measurements, by their cells."""
    return {
        str(case.get("name")): case
        for suite in ET.fromstring(text)
        if suite.get("package") == "vitbench.measurement"
        for case in suite.iter("testcase")
    }


@pytest.mark.parametrize("kind", [records, unfinished, many_kinds])
def test_junit_of_a_whole_run_keeps_to_the_usual_schemas(kind: Any, tmp_path: Path) -> None:
    require_valid(exported("junit", run_of(kind(), tmp_path)))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_junit_of_measurements_is_valid_whatever_the_text(run: Run, text: str) -> None:
    odd = replace(run.measurements[0], implementation=text, version=text, cell=text, reason=text, outcome="failed")
    require_valid(junit.render(None, [measured_only(run, odd)]))


def test_junit_has_a_case_for_each_requirement_and_each_cell(run: Run) -> None:
    suites = list(ET.fromstring(exported("junit", run)))
    requirements = sum(len(s.findall("testcase")) for s in suites if s.get("package") == "vitbench.conformance")
    assert requirements == len(run.requirements) + 1  # a verdict that no requirement shows has a case of its own
    cells = [*run.measurements, *run.studies]
    assert set(cases(exported("junit", run))) == {record.cell for record in cells}
    assert len({(case.get("classname"), case.get("name")) for s in suites for case in s.iter("testcase")}) == (
        requirements + len(cells)
    )


def test_junit_tells_what_became_of_a_cell(tmp_path: Path) -> None:
    found = cases(exported("junit", run_of([*records()[:-1], *many_kinds()[1:]], tmp_path)))
    ended = {name: [(child.tag, child.get("message")) for child in case] for name, case in found.items()}
    assert ended["throughput/vit_pytorch/inference/Ti/16@224/float32/b4/eager/cpu"] == []
    assert ended["throughput/transformers/training"] == [
        ("error", "out of memory: RuntimeError: cannot allocate 3.1 GiB")
    ]
    assert ended["throughput/timm/inference/Ti/16@224/float32/b16/eager/cpu"] == [
        ("skipped", "measured, but not to compare by: INVALID: others used 40 %")
    ]
    assert ended["attention/efficient/forward/float16"] == [
        ("skipped", "measured, but not to compare by: not converged")
    ]
    assert ended["attention/wrong/forward/float16"] == [
        ("failure", "the error is beyond its bound: 0.300, allowed 0.00200")
    ]
    assert ended["attention/cudnn"] == [("skipped", "not supported: not for this device")]


def test_junit_has_an_error_for_each_planned_cell_without_a_result(tmp_path: Path) -> None:
    run = run_of(unfinished(), tmp_path)
    missing = [
        case
        for case in cases(exported("junit", run)).values()
        if case.get("classname") == "without_a_result.measurement"
    ]
    assert len(missing) == 9
    assert all(case.find("error") is not None for case in missing)


def test_junit_says_the_figures_with_their_spread(run: Run) -> None:
    said = "".join(ET.fromstring(exported("junit", run)).itertext())
    assert "throughput/timm/inference/Ti/16@224/float32/b4/eager/cpu: 85.5 images/s, 46.8 ms (46.2 – 47.5 ms)" in said


# --- JSON Lines and the badge ---


def test_json_lines_of_a_run_are_its_file(run: Run) -> None:
    assert exported("jsonl", run) == run.path.read_text(encoding="utf-8")


def test_json_lines_of_a_part_can_be_read_as_a_run_of_it(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "part.jsonl"
    assert main([str(run.path), "--impl", "timm", "-o", str(target)]) == 0
    part = read(target)
    assert {record.implementation for record in (*part.verdicts, *part.requirements, *part.measurements)} == {"timm"}
    assert len(part.measurements) == 2
    assert part.complete
    assert part.damaged_lines == 0
    assert set(part.header.planned) == {"conformance/timm", *(record.cell for record in part.measurements)}


def test_several_runs_are_no_results_file(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of one run, and there are 2"):
        exported("jsonl", run, run_of(records(), tmp_path / "again"))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (records, "badge.svg: a badge is of one implementation in one run; choose one of reference, timm"),
        (many_kinds, "badge.svg: a badge is of a verdict, and nothing was judged"),
    ],
)
def test_a_badge_of_none_or_several_says_what_to_choose_and_keeps_no_other_file_back(
    kind: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(kind(), tmp_path / "run.jsonl")
    outputs = [tmp_path / "a.xml", tmp_path / "badge.svg", tmp_path / "a.csv"]
    assert main([str(run), *(part for output in outputs for part in ("-o", str(output)))]) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert [line.split(": ")[0] for line in output.out.splitlines()] == [str(outputs[0]), str(outputs[2])]
    assert [path.exists() for path in outputs] == [True, False, True]


def test_a_name_that_no_run_has_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(records(), tmp_path / "run.jsonl")
    assert main([str(run), "--impl", "nobody", "-o", str(tmp_path / "a.csv")]) == 2
    assert "nothing of 'nobody' in these runs; there are: reference, timm" in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


def test_a_badge_of_one_is_written(run: Run, tmp_path: Path) -> None:
    assert main([str(run.path), "--impl", "timm", "-o", str(tmp_path / "badge.svg")]) == 0
    assert "timm 1.0.31" in (tmp_path / "badge.svg").read_text(encoding="utf-8")


def test_the_command_writes_each_by_its_suffix(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [tmp_path / f"a{SUFFIXES[form][0]}" for form in FORMATS]
    arguments = [part for output in outputs for part in ("-o", str(output))]
    assert main([str(run.path), "--impl", "timm", *arguments]) == 0
    assert all(output.stat().st_size > 500 for output in outputs)
    assert capsys.readouterr().out.count("\n") == len(FORMATS) == 7


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


def test_several_workers_have_a_table_with_the_machine(tmp_path: Path) -> None:
    table = exported("markdown", run_of([header(), scaling("timm")], tmp_path))
    (row,) = [line for line in table.splitlines() if "80 %" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")][-3:] == [
        "160",
        "80 % (80.0 – 100 %)",
        "10 % (10.0 – 10.0 %)",
    ]
    assert "1 alone" in table
