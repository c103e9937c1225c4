"""``python -m vitbench.report``: one line of output, exit codes that say what went wrong, and no wait for --help."""

import subprocess
import sys
from pathlib import Path

import pytest
from sample_runs import records, write

from vitbench.report import main


def test_writes_the_report_and_says_where_and_how_large(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, target = write(records(), tmp_path / "run.jsonl"), tmp_path / "new" / "report.html"
    assert main([str(run), "-o", str(target)]) == 0
    path, size = capsys.readouterr().out.strip().split(": ")
    assert (path, size[-3:]) == (str(target), "KiB")
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_several_runs_make_one_report(tmp_path: Path) -> None:
    runs = [str(write(records(), tmp_path / name / "results.jsonl")) for name in ("base", "head")]
    assert main([*runs, "--output", str(tmp_path / "both.html")]) == 0
    assert "4 of 10 candidates in 2 runs conform" in (tmp_path / "both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read results"),
        ("", "is no vitbench results file"),
        ("no json\n", "is no vitbench results file"),
        ('{"kind": "header"', "is no vitbench results file"),
    ],
)
def test_results_that_cannot_be_read_end_in_one_line(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.jsonl"
    if content is not None:
        path.write_text(content)
    assert main([str(path), "-o", str(tmp_path / "report.html")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("vitbench.report: ")
    assert said in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["circle", "x" * 300])
def test_a_name_that_no_file_can_have_and_a_link_to_itself_end_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    run = write(records(), tmp_path / "run.jsonl")
    for words in (
        [tmp_path / name, "-o", tmp_path / "a.html"],
        [run, "-o", tmp_path / name],
        [run, "-o", tmp_path / name / "a.md"],
    ):
        assert main([str(word) for word in words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_place_that_cannot_be_written_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(records(), tmp_path / "run.jsonl")
    assert main([str(run), "-o", str(run / "report.html")]) == 2
    assert capsys.readouterr().err.startswith("vitbench.report: cannot write")


def test_without_results_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "usage: python -m vitbench.report" in capsys.readouterr().err


def test_help_comes_at_once_and_names_the_default() -> None:
    """What takes long to import is not imported; how long that is depends on what else the machine does."""
    heavy = (
        "torch",
        "numpy",
        "jinja2",
        "rich",
        "vitbench.reports",
        "vitbench.specification",
        "vitbench.exports.formats",
    )
    script = (
        "import sys, vitbench.report\n"
        "try: vitbench.report.main(['--help'])\n"
        f"finally: print('imported:', [name for name in {heavy!r} if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "default: report.html" in finished.stdout
    assert finished.stdout.endswith("imported: []\n")


def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    run = write(records(), tmp_path / "run.jsonl")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        f"from vitbench.report import main; sys.exit(main([{str(run)!r}, '-o', {str(tmp_path / 'report.html')!r}]))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_a_runs_folder_stands_for_its_results(tmp_path: Path) -> None:
    write(records(), tmp_path / "base" / "results.jsonl")
    assert main([str(tmp_path / "base"), "-o", str(tmp_path / "report.html")]) == 0
    assert "results.jsonl" in (tmp_path / "report.html").read_text(encoding="utf-8")
