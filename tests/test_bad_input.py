"""Odd results, side by side and as a site: nothing runs, nothing is dropped in silence, and what is missing is said."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import PHONE, Browser, chromium, needs_chromium
from sample_runs import header, hostile, judged, measurement, nowhere, records, unfinished, write
from test_report_render import HOSTILE, Document, text_of

from vitbench.records import Footer, Outcome, Record
from vitbench.report import main

FOOTER = Footer(finished_at="2026-11-22T15:50:44+00:00", status="complete", duration_s=1.0)
ODD = {
    "not a number": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "null": None,
    "zero": 0.0,
    "negative": -1.0,
}


def made(folder: Path, *runs: list[Record], kinds: tuple[str, ...] = ("both.html", "site")) -> Path:
    """A comparison of these runs and a site of them."""
    for number, run in enumerate(runs, 1):
        write(run, folder / "runs" / f"run-{number}" / "results.jsonl")
    for kind in kinds:
        assert main([str(folder / "runs"), "-o", str(folder / kind)]) == 0
    return folder


def pages(folder: Path) -> Iterator[str]:
    """Every page that was written."""
    for page in sorted(folder.rglob("*.html")):
        yield page.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_of_strangers_stays_text_in_comparisons_and_sites(text: str, tmp_path: Path) -> None:
    attacked = made(tmp_path / "attacked", hostile(text), hostile(text))
    plain = made(tmp_path / "plain", hostile("plain text"), hostile("plain text"))
    for one, other in zip(pages(attacked), pages(plain), strict=True):
        found, expected = Document(one), Document(other)
        assert {tag for tag, _ in found.elements} <= {tag for tag, _ in expected.elements}
        assert {name for _, attributes in found.elements for name in attributes if name.startswith("on")} == set()
        for kind, script in found.scripts:
            assert kind != "application/json" or json.loads(script) is not None


def test_what_turns_the_direction_of_text_is_shown_by_its_code(tmp_path: Path) -> None:
    for page in pages(made(tmp_path, hostile("a\u202eb"), hostile("a\u202eb"))):
        assert "\u202e" not in text_of(page)
    assert "a⟨U+202E⟩b" in (tmp_path / "both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_figure_that_is_none_is_a_dash_wherever_it_stands(value: float | None, tmp_path: Path) -> None:
    odd = replace(
        measurement(), latency_s=value, latency_low_s=value, latency_high_s=value, throughput_images_per_s=value
    )
    made(tmp_path, [header(), odd, FOOTER], [header(), measurement(), FOOTER], kinds=("both.html", "site", "all.csv"))
    for page in pages(tmp_path):
        assert not re.search(r"\b(nan|None|inf)\b", text_of(page))
    assert "No cell was timed in two runs." in text_of((tmp_path / "both.html").read_text(encoding="utf-8"))
    rows = (tmp_path / "all.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    assert not re.search(r"\b(nan|None|inf)\b", rows[1])


def test_runs_without_anything_in_common_say_so(tmp_path: Path) -> None:
    other = measurement("torchvision", cell="another cell")
    made(tmp_path, [header(), measurement(), FOOTER], [header(), other, FOOTER])
    assert "No cell was timed in two runs." in text_of((tmp_path / "both.html").read_text(encoding="utf-8"))


def test_an_unfinished_run_is_named_among_finished_ones(tmp_path: Path) -> None:
    made(tmp_path, records(), unfinished())
    said = text_of((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert "This run is not finished. run-2: The results have no footer" in said
    assert "The results have no footer" in text_of((tmp_path / "site" / "index.html").read_text(encoding="utf-8"))


def test_a_run_without_records_has_its_place_and_says_nothing_of_itself(tmp_path: Path) -> None:
    made(tmp_path, records(), [header(planned=[]), FOOTER])
    assert "run-2" in text_of((tmp_path / "both.html").read_text(encoding="utf-8"))
    index = text_of((tmp_path / "site" / "index.html").read_text(encoding="utf-8"))
    assert "10 runs" not in index
    assert "2 runs" in index


def test_only_empty_runs_make_pages_that_say_so(tmp_path: Path) -> None:
    made(tmp_path, [header(planned=[]), FOOTER], [header(planned=[]), FOOTER])
    index = text_of((tmp_path / "site" / "index.html").read_text(encoding="utf-8"))
    assert "No run has judged anything." in index
    assert "No run has measured a time." in text_of((tmp_path / "site" / "history.html").read_text(encoding="utf-8"))
    assert "Nothing was judged" in text_of((tmp_path / "both.html").read_text(encoding="utf-8"))


def test_a_newer_schema_is_refused_by_a_comparison_and_told_of_by_a_site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(records(), tmp_path / "runs" / "old" / "results.jsonl")
    newer = write(records(), tmp_path / "runs" / "newer" / "results.jsonl")
    first, *rest = newer.read_text(encoding="utf-8").split("\n")
    newer.write_text("\n".join((json.dumps(json.loads(first) | {"schema_version": 999}), *rest)), encoding="utf-8")
    for target in ("both.html", "all.csv", "table.tex", "table.md"):
        assert main([str(tmp_path / "runs"), "-o", str(tmp_path / target)]) != 0
        said = capsys.readouterr().err
        assert "999" in said
        assert said.count("\n") == 1
        assert not (tmp_path / target).exists()
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    index = text_of((tmp_path / "site" / "index.html").read_text(encoding="utf-8"))
    assert "left out" in index
    assert "999" in index


@pytest.mark.parametrize("target", ["report.html", "all.csv", "table.tex", "table.md", "site"])
def test_a_place_that_cannot_be_written_ends_in_one_line(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(records(), tmp_path / "run.jsonl")
    (tmp_path / "taken").write_text("a file, no folder", encoding="utf-8")
    assert main([str(run), "-o", str(tmp_path / "taken" / target)]) != 0
    said = capsys.readouterr().err
    assert "cannot write" in said
    assert said.count("\n") == 1


def test_a_cell_that_failed_says_why_beside_one_that_did_not(tmp_path: Path) -> None:
    lost = replace(measurement(), outcome=Outcome.CRASHED, reason="killed by SIGSEGV", latency_s=None)
    made(tmp_path, [header(), lost, FOOTER], [header(), measurement(), *judged("timm"), FOOTER])
    assert "killed by SIGSEGV" in text_of((tmp_path / "both.html").read_text(encoding="utf-8"))


def test_a_measurement_of_nowhere_is_kept_in_the_history_of_others(tmp_path: Path) -> None:
    made(tmp_path, [header(), nowhere(measurement()), FOOTER], [header(), measurement(), FOOTER])
    assert "1 figure" in text_of((tmp_path / "site" / "history.html").read_text(encoding="utf-8"))


@needs_chromium
def test_a_name_of_10_000_characters_widens_no_page_of_a_phone(tmp_path: Path) -> None:
    name = "W" * 10_000
    made(tmp_path, hostile(name), hostile(name))
    with chromium() as browser:
        for page in (tmp_path / "both.html", tmp_path / "site" / "index.html", tmp_path / "site" / "history.html"):
            quiet(browser, page)


def quiet(browser: Browser, page: Path) -> None:
    """At the width of a phone nothing scrolls sideways, nothing is asked for, and nothing complains."""
    browser.open(page)
    browser.resize(*PHONE)
    assert browser.wait(lambda: browser.run("document.documentElement.scrollWidth") <= PHONE[0])
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
