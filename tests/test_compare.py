"""``python -m vitbench.compare``: what it reads, what it prints and writes, and how it ends."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console
from sample_runs import (
    VERSIONS,
    header,
    hostile,
    judged,
    measurements,
    records,
    requirement,
    run_of,
    unfinished,
    verdict_of,
    write,
)

from vitbench.compare import main
from vitbench.exports import text
from vitbench.records import Footer, Record
from vitbench.requirement import Status
from vitbench.scorecard import Scorecard, scorecard

FOOTER = Footer(finished_at="2026-11-22T15:50:44+00:00", status="complete", duration_s=762.4)
HOSTILE = "<b>|`x`</b> \x1b[31mred\x1b[0m \x07\x00 [bold]a[/bold] \u202ertl 漢字"


def whole(*names: str, **changes: object) -> list[Record]:
    """A complete run that judged these and measured nothing."""
    planned = [f"conformance/{name}" for name in names]
    return [header(planned=planned, **changes), *(record for name in names for record in judged(name)), FOOTER]


def printed(card: Scorecard, width: int, *, everything: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    text.show(card, console, everything=everything)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def card_of(*runs: Sequence[Record], folder: Path) -> Scorecard:
    return scorecard([run_of(run, folder, f"run{number}.jsonl") for number, run in enumerate(runs, 1)])


def output_of(arguments: Sequence[object], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def mistake_of(arguments: Sequence[object], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("vitbench compare: ")
    assert output.err.count("\n") == 1
    return output.err


def test_two_implementations_stand_side_by_side_in_words(tmp_path: Path) -> None:
    assert printed(card_of(whole("timm", "torchvision"), folder=tmp_path), 80) == [
        "",
        "Scorecard: 1 of 2 implementations conforms",
        "   Implementation      Verdict           MUST   SHOULD  MAY",
        "1  timm 1.0.31         DOES NOT CONFORM  45/47  4/6     2/2",
        "2  torchvision 0.29.1  CONFORMS          47/47  3/6     0/2",
        "",
        "Passed, by area",
        "Area    timm  torchvision",
        "POS     8/10         9/10",
        "HEAD     4/6          5/6",
        "PATCH    9/9          6/9",
        "PURE     6/6          6/6",
        "ATTN     6/6          6/6",
        "TOKEN    5/5          5/5",
        "BLOCK    4/4          4/4",
        "MLP      3/3          3/3",
        "NORM     3/3          3/3",
        "CONFIG   2/2          2/2",
        "STATE    1/1          1/1",
        "",
        "Requirements not passed by all",
        "Requirement                  Level   timm         torchvision",
        "VIT-POS-EQUAL-COUNT          MUST    failed       passed",
        "VIT-POS-TRANSPOSE            MUST    failed       passed",
        "VIT-HEAD-INIT                SHOULD  failed       passed",
        "VIT-POS-MODEL                SHOULD  passed       not offered",
        "VIT-HEAD-HIDDEN              SHOULD  not offered  passed",
        "VIT-PATCH-CHANNELS           SHOULD  passed       not offered",
        "VIT-PATCH-IMAGE-RECTANGULAR  SHOULD  passed       not offered",
        "VIT-HEAD-MEAN                MAY     passed       not offered",
        "VIT-PATCH-SHAPE-RECTANGULAR  MAY     passed       not offered",
        "46 requirements passed by all; --all lists them.",
        "Reasons, examples and commands: -o scorecard.html or -o scorecard.md",
    ]


def test_what_does_not_fit_in_words_is_numbered_and_explained(tmp_path: Path) -> None:
    lines = printed(card_of(records(), folder=tmp_path), 80)
    assert "VIT-POS-EQUAL-COUNT          MUST    ✓  ✗  ✓  ✓  –" in lines
    assert "VIT-PATCH-INDIVISIBLE        MUST    ✓  ✓  ✓  k  ✓" in lines
    assert "✗ failed   ! harness error   k known failure   – not offered   ✓ passed" in lines
    assert "Columns are numbered as the implementations above." in lines


def test_a_terminal_without_such_symbols_gets_letters(tmp_path: Path) -> None:
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=80)
    text.show(card_of(records(), folder=tmp_path), console)
    console.file.seek(0)
    assert "VIT-POS-EQUAL-COUNT          MUST    +  X  +  +  -" in console.file.read()


def test_a_narrow_terminal_gets_lines_that_say_who(tmp_path: Path) -> None:
    lines = printed(card_of(records(), folder=tmp_path), 40)
    assert max(map(len, lines)) <= 40
    start = lines.index("VIT-POS-EQUAL-COUNT MUST")
    assert lines[start + 1 : start + 4] == [
        "  ✗ failed: timm",
        "  – not offered: vit_pytorch",
        "  ✓ passed: 3 implementations",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_thirty_implementations_are_laid_out_in_parts(width: int, tmp_path: Path) -> None:
    runs = []
    for number in range(30):
        ones = [replace(requirement("timm", n), implementation=f"package_{number}") for n in range(50)]
        runs.append([header(), *ones, verdict_of(ones)])
    lines = printed(card_of(*runs, folder=tmp_path), width)
    assert max(map(len, lines)) <= width
    assert any(line.startswith("30 ") for line in lines)


def test_everything_is_listed_where_it_is_asked_for(tmp_path: Path) -> None:
    card = card_of(whole("timm"), folder=tmp_path)
    assert sum(line.startswith("VIT-") for line in printed(card, 80)) == 4
    assert sum(line.startswith("VIT-") for line in printed(card, 80, everything=True)) == 55


def test_colour_is_for_terminals(tmp_path: Path) -> None:
    path = write(records(), tmp_path / "run.jsonl")
    script = [sys.executable, "-m", "vitbench.compare", str(path)]
    log = subprocess.run(script, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    shown = subprocess.run(
        script, check=True, capture_output=True, text=True, encoding="utf-8", env=os.environ | {"FORCE_COLOR": "1"}
    ).stdout
    assert "\x1b" not in log
    assert "\x1b[" in shown


def test_before_and_after_are_told_apart_and_compared(tmp_path: Path) -> None:
    before = [requirement(number=0), requirement(number=1, status=Status.PASSED)]
    after = [requirement(number=0), requirement(number=1, status=Status.FAILED)]
    card = card_of([header(), *before, verdict_of(before)], [header(), *after, verdict_of(after)], folder=tmp_path)
    assert [standing.title for standing in card.standings] == ["timm 1.0.31, run1.jsonl", "timm 1.0.31, run2.jsonl"]
    assert [row.id for row in card.matrix.rows if row.differs] == ["VIT-PATCH-PROJECTION"]
    assert card.title == "timm conforms in none of 2 runs"


def test_of_before_and_after_what_differs_comes_first(tmp_path: Path) -> None:
    before = [requirement(number=0, status=Status.FAILED), requirement(number=9, status=Status.PASSED)]
    after = [requirement(number=0, status=Status.FAILED), requirement(number=9, status=Status.NOT_OFFERED)]
    card = card_of([header(), *before, verdict_of(before)], [header(), *after, verdict_of(after)], folder=tmp_path)
    lines = printed(card, 80)
    first = [line.split()[0] for line in lines if line.startswith(("PATCH ", "TOKEN ", "VIT-"))]
    assert first == ["TOKEN", "PATCH", "VIT-TOKEN-LENGTH", "VIT-PATCH-COUNT"]


def test_a_requirement_without_a_record_is_not_judged_and_no_pass(tmp_path: Path) -> None:
    one, both = [requirement("timm")], [requirement("torchvision"), requirement("torchvision", 1)]
    card = card_of([header(), *one, verdict_of(one)], [header(), *both, verdict_of(both)], folder=tmp_path)
    assert "VIT-PATCH-PROJECTION  MUST   not judged  passed" in printed(card, 100)


def test_an_area_of_which_nothing_was_judged_has_no_zero(tmp_path: Path) -> None:
    assert "MLP           3/3   3/3          3/3             –" in printed(card_of(unfinished(), folder=tmp_path), 80)


def test_an_unfinished_run_says_so_and_counts_against_all(tmp_path: Path) -> None:
    card = card_of(unfinished(), folder=tmp_path)
    assert card.notes == (
        "run1.jsonl: this run did not come to its end, so what follows is only a part of it.",
        "run1.jsonl: planned, and without a verdict: conformance/transformers, conformance/vit_pytorch.",
    )
    last = card.standings[-1]
    assert (last.verdict, last.must.passed, last.must.total) == ("NO VERDICT", 8, 47)
    assert last.reason == "the results hold 12 requirements of it and no verdict"


def test_runs_that_were_made_differently_are_said_to_be(tmp_path: Path) -> None:
    card = card_of(whole("timm", preset="quick"), whole("torchvision", preset="full"), folder=tmp_path)
    assert card.notes == ("The runs differ in their preset: quick in run1.jsonl, full in run2.jsonl.",)


def test_a_run_that_judged_nothing_is_named_beside_one_that_did(tmp_path: Path) -> None:
    card = card_of(whole("timm"), [header(), *measurements(), FOOTER], folder=tmp_path)
    assert card.notes == ("run2.jsonl: nothing was judged in this run.",)


def test_filters_choose_what_is_listed_and_leave_the_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    path = write(records(), tmp_path / "run.jsonl")
    lines = output_of([path, "--area", "pos", "--failing"], capsys).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("VIT-")] == [
        "VIT-POS-EQUAL-COUNT",
        "VIT-POS-TRANSPOSE",
    ]
    assert "POS       10/10  8/10         9/10         10/10         6/10" in lines
    assert "53 requirements left out by the filters chosen." in lines
    lines = output_of([path, "--only-differences", "--impl", "timm", "--impl", "torchvision"], capsys).splitlines()
    assert sum(line.startswith("VIT-") for line in lines) == 9
    assert not [line for line in lines if "transformers" in line]


def test_only_differences_leaves_out_what_fails_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statuses = {"before": (Status.FAILED, Status.FAILED), "after": (Status.FAILED, Status.PASSED)}
    for name, (first, second) in statuses.items():
        ones = [requirement(number=0, status=first), requirement(number=1, status=second)]
        write([header(), *ones, verdict_of(ones), FOOTER], tmp_path / f"{name}.jsonl")
    said = output_of([tmp_path / "before.jsonl", tmp_path / "after.jsonl", "--only-differences"], capsys)
    assert [line.split()[0] for line in said.splitlines() if line.startswith("VIT-")] == ["VIT-PATCH-PROJECTION"]


def test_many_runs_are_folded_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write(whole(name), tmp_path / f"{name}.jsonl") for name in VERSIONS]
    output_of([*runs, "-o", tmp_path / "card.html"], capsys)
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "<summary>5 runs</summary>" in page
    assert "2 of 5 implementations conform" in page


def test_a_reader_that_stops_reading_is_no_mistake(tmp_path: Path) -> None:
    path = write(records(), tmp_path / "run.jsonl")
    command = f"{sys.executable} -m vitbench.compare {path} --format html | head -c 10"
    finished = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
    assert (finished.stdout, finished.stderr) == ("<!doctype ", "")


def test_the_suffix_tells_the_format_and_several_files_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(whole("timm"), tmp_path / "run.jsonl")
    names = ("card.md", "card.HTML", "card.xml", "card.svg", "new/card.txt")
    said = output_of([path, *(part for name in names for part in ("-o", tmp_path / name))], capsys).splitlines()
    assert [line.split(": ")[0] for line in said] == [str(tmp_path / name) for name in names]
    begins = [(tmp_path / name).read_text(encoding="utf-8")[:9] for name in names]
    assert begins == ["## vitben", "<!doctype", "<?xml ver", "<svg xmln", "Scorecard"]


def test_a_format_can_be_printed_or_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(whole("timm"), tmp_path / "run.jsonl")
    assert output_of([path, "--format", "markdown"], capsys).startswith("## vitbench scorecard: timm 1.0.31: DOES NOT")
    output_of([path, "--format", "junit", "-o", tmp_path / "results"], capsys)
    assert ET.parse(tmp_path / "results").getroot().tag == "testsuites"  # written a moment ago


def test_a_runs_folder_stands_for_its_results_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("base", "head"):
        write(whole("timm"), tmp_path / name / "results.jsonl")
    said = output_of([tmp_path / "base", tmp_path / "head"], capsys)
    assert "timm 1.0.31, base" in said
    assert "timm 1.0.31, head" in said


def test_without_a_run_the_latest_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no run in vitbench-results/" in mistake_of([], capsys)
    for age, name in ((100, "2026-11-22T15-38-02Z"), (200, "2026-11-21T15-38-02Z")):
        path = write(whole("timm"), Path("vitbench-results", name, "results.jsonl"))
        os.utime(path, (time.time() - age, time.time() - age))
    assert main([]) == 0
    output = capsys.readouterr()
    assert output.err == "vitbench compare: no RUN given, so the latest: vitbench-results/2026-11-22T15-38-02Z\n"
    assert "timm 1.0.31: DOES NOT CONFORM" in output.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jsonl"], "cannot read results nowhere.jsonl: No such file or directory"),
        (["other.jsonl"], "other.jsonl is no vitbench results file"),
        (["measured.jsonl"], "nothing was judged in measured.jsonl; to judge: vitbench run --suite conformance"),
        (
            ["run.jsonl", "--impl", "tim"],
            "no implementation 'tim' was judged in these runs; there are: reference, timm",
        ),
        (["run.jsonl", "--area", "LEGS"], "no requirement of an area 'LEGS' in these runs; there are: ATTN, BLOCK"),
        (["run.jsonl", "-o", "card.pdf"], "the suffix of card.pdf tells no format; known: .txt, .md"),
        (["run.jsonl", "-o", "x.svg"], "a badge is of one implementation in one run; choose one of reference, timm"),
        (["run.jsonl", "-o", "run.jsonl", "--format", "junit"], "run.jsonl is one of the runs"),
        (["run.jsonl", "-o", "a.md", "-o", "./a.md"], "given twice"),
        (["run.jsonl", "-o", "run.jsonl/a.md"], "cannot write run.jsonl/a.md"),
        (["run.jsonl", "--format", "pdf"], "invalid choice: 'pdf'"),
        (["run.jsonl", "--only"], "unrecognized arguments: --only (vitbench compare --help explains the options)"),
    ],
)
def test_a_mistake_ends_in_one_line_and_writes_nothing(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(records(), Path("run.jsonl"))
    write([header(), *measurements(), FOOTER], Path("measured.jsonl"))
    Path("other.jsonl").write_text('{"some": "json"}\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert said in mistake_of(arguments, capsys)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_one_format_cannot_hold_keeps_no_other_from_being_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(records(), Path("run.jsonl"))
    assert main(["run.jsonl", "-o", "x.svg", "-o", "a.md"]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("a.md: ")
    assert "not written: x.svg: a badge is of one implementation in one run" in told.err
    assert (Path("a.md").exists(), Path("x.svg").exists()) == (True, False)


@pytest.mark.parametrize("width", [40, 80])
def test_foreign_text_commands_no_terminal(width: int, tmp_path: Path) -> None:
    said = "".join(printed(card_of(hostile(HOSTILE), folder=tmp_path), width))
    assert not [character for character in said if not character.isprintable()]
    assert "[bold]a" in said


def test_help_waits_for_nothing_heavy_and_teaches_by_examples() -> None:
    script = (
        "import contextlib, sys; from vitbench.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['compare', '--help'])\n"
        "print({'torch', 'jinja2', 'hypothesis', 'pytest'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert finished.stdout.endswith("set()\n")
    assert "vitbench compare before.jsonl after.jsonl --only-differences" in finished.stdout


def test_a_scorecard_needs_no_torch(tmp_path: Path) -> None:
    run = write(whole("timm"), tmp_path / "run.jsonl")
    files = [part for name in ("a.html", "a.md", "a.xml", "a.svg") for part in ("-o", str(tmp_path / name))]
    script = (
        "import sys; sys.modules['torch'] = None\n"
        f"from vitbench.compare import main; sys.exit(main({[str(run), *files]}) or main({[str(run)]}))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert (tmp_path / "a.html").stat().st_size > 50_000


def test_the_verb_is_offered() -> None:
    finished = subprocess.run([sys.executable, "-m", "vitbench"], check=True, capture_output=True, text=True)
    assert "compare" in finished.stdout


def test_the_page_has_what_was_judged_and_nothing_that_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(records(), tmp_path / "run.jsonl")
    output_of([path, "-o", tmp_path / "card.html"], capsys)
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "<title>vitbench scorecard: 2 of 5 implementations conform</title>" in page
    assert 'id="requirements"' in page
    assert 'id="throughput"' not in page
    assert "#throughput" not in page.split("<main")[1]
    assert "This run is not finished" not in page
    assert all(f"<bdi>{name}</bdi>" in page for name in VERSIONS)
