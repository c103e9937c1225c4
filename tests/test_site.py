"""A static site of many runs: what its pages say, and that they are whole."""

import html
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import PHONE, Browser, chromium, needs_chromium
from sample_runs import records, requirement, write

from vitbench.records import Footer, Header, MeasurementRecord, Outcome, VerdictRecord
from vitbench.report import main
from vitbench.reports import site
from vitbench.requirement import Status, Verdict
from vitbench.results import Run, read

CELL = MeasurementRecord(
    cell="throughput inference mine",
    implementation="mine",
    version="1.0",
    suite="throughput",
    task="inference",
    model="Ti/16@64",
    device="cpu",
    device_name="a processor",
    dtype="float32",
    batch=2,
    mode="eager",
    threads=1,
    outcome=Outcome.MEASURED,
)


def header(day: int, torch: str = "2.14.1") -> Header:
    first = next(one for one in records() if isinstance(one, Header))
    environment = {**first.environment, "torch": torch, "git_commit": f"{day:040x}"}
    return replace(first, started_at=f"2026-11-{day:02}T00:00:00+00:00", environment=environment, planned=[CELL.cell])


def a_run(folder: Path, day: int, seconds: float, *more: object, torch: str = "2.14.1") -> Path:
    timed = replace(CELL, latency_s=seconds, latency_low_s=0.99 * seconds, latency_high_s=1.01 * seconds)
    end = Footer(finished_at="", status="complete", duration_s=1.0)
    return write([header(day, torch), *more, timed, end], folder / f"day-{day:02}" / "results.jsonl")


def ten_runs(folder: Path, levels: Sequence[float]) -> list[Path]:
    noise = random.Random(1)
    return [a_run(folder, day, level * math.exp(noise.gauss(0, 0.01))) for day, level in enumerate(levels, 1)]


def verdict(word: Verdict) -> VerdictRecord:
    first = next(one for one in records() if isinstance(one, VerdictRecord))
    return replace(first, implementation="mine", verdict=word)


def read_all(paths: Sequence[Path]) -> list[Run]:
    return [read(path) for path in paths]


class Links(HTMLParser):
    """The addresses that a page leads to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.hrefs += [given["href"]] if tag == "a" and given.get("href") else []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of ten runs, of which the last five are a fifth slower."""
    home = tmp_path_factory.mktemp("home")
    ten_runs(home / "runs", [0.1] * 5 + [0.12] * 5)
    assert main([str(home / "runs"), "-o", str(home / "site")]) == 0
    return home / "site"


def test_a_change_of_level_is_found_with_its_run(tmp_path: Path) -> None:
    found = site.build(read_all(ten_runs(tmp_path, [0.1] * 5 + [0.12] * 5)))
    assert found.title == "10 runs, 1 cell changed"
    (changed,) = found.changed
    (change,) = changed.changes
    assert change.at == "2026-11-06T00:00:00+00:00"
    assert change.href == "runs/day-06.html"
    assert change.text.startswith("slower: ")


def test_a_change_by_more_than_floats_can_say_is_still_told(tmp_path: Path) -> None:
    found = site.build(read_all(ten_runs(tmp_path, [1e-300] * 5 + [1e300] * 5)))
    assert [change.text.split(" (")[0] for one in found.changed for change in one.changes] == [
        "slower: ∞× the time before"
    ]


def test_a_figure_that_is_less_than_sure_says_so_in_the_history(tmp_path: Path) -> None:
    unsure = write([header(1), replace(CELL, latency_s=0.1, converged=False)], tmp_path / "a" / "results.jsonl")
    ((point,),) = (one.points for one in site.build(read_all([unsure])).series)
    assert point.note == "not converged"


def test_a_level_that_stays_is_no_change_and_too_few_runs_say_so(tmp_path: Path) -> None:
    paths = ten_runs(tmp_path, [0.1] * 10)
    assert site.build(read_all(paths)).changed == ()
    (few,) = site.build(read_all(paths[:4])).series
    assert "10 are the least that a change can be seen in" in few.without_change


def test_runs_are_listed_with_the_newest_first_whatever_their_order(tmp_path: Path) -> None:
    runs = read_all(ten_runs(tmp_path, [0.1] * 3))
    random.Random(0).shuffle(runs)
    found = site.build(runs)
    assert [run.href for run in found.runs] == ["runs/day-03.html", "runs/day-02.html", "runs/day-01.html"]
    assert [run.commit for run in found.runs] == [f"{0:012x}"] * 3


def test_a_verdict_that_changed_says_what_it_was(tmp_path: Path) -> None:
    paths = [
        a_run(tmp_path, 1, 0.1, verdict(Verdict.CONFORMS)),
        a_run(tmp_path, 2, 0.1, verdict(Verdict.DOES_NOT_CONFORM)),
    ]
    (standing,) = site.build(read_all(paths)).standings
    assert (standing.verdict, standing.before) == (Verdict.DOES_NOT_CONFORM, Verdict.CONFORMS)
    assert standing.href == "runs/day-02.html"


def test_verdicts_stand_side_by_side_from_run_to_run(tmp_path: Path) -> None:
    words = (Verdict.INCOMPLETE, Verdict.CONFORMS)
    built = site.build(read_all([a_run(tmp_path, day, 0.1, verdict(word)) for day, word in enumerate(words, 1)]))
    assert [place.label for place in built.timeline.places] == ["day-01", "day-02"]
    (line,) = built.timeline.lines
    assert [(one.tone, one.verdict, one.place.label) for one in line.standings if one] == [
        ("unsure", "INCOMPLETE", "day-01"),
        ("good", "CONFORMS", "day-02"),
    ]


def test_only_the_newest_runs_have_a_place_and_the_others_are_counted(tmp_path: Path) -> None:
    built = site.build(read_all([a_run(tmp_path, day, 0.1, verdict(Verdict.CONFORMS)) for day in range(1, 15)]))
    assert (built.timeline.places[0].label, built.timeline.further) == ("day-03", 2)


def test_a_run_that_did_not_judge_leaves_its_place_empty(tmp_path: Path) -> None:
    other = replace(verdict(Verdict.CONFORMS), implementation="other")
    runs = [a_run(tmp_path, 1, 0.1, verdict(Verdict.CONFORMS)), a_run(tmp_path, 2, 0.1, other)]
    lines = site.build(read_all(runs)).timeline.lines
    assert [(line.implementation, [one is None for one in line.standings]) for line in lines] == [
        ("mine", [False, True]),
        ("other", [True, False]),
    ]


def test_a_requirement_that_turned_says_what_it_was_and_since_when(tmp_path: Path) -> None:
    statuses = (Status.FAILED, Status.FAILED, Status.PASSED)
    made = [
        a_run(tmp_path, day, 0.1, requirement("mine", 0, status=status), requirement("mine", 1))
        for day, status in enumerate(statuses, 1)
    ]
    (turn,) = site.build(read_all(made)).turns
    assert (turn.id, turn.before.word, turn.now.word, turn.place.label) == (
        "VIT-PATCH-COUNT",
        "failed",
        "passed",
        "day-03",
    )


def test_another_torch_makes_another_series(tmp_path: Path) -> None:
    paths = [a_run(tmp_path, 1, 0.1), a_run(tmp_path, 2, 0.2, torch="2.15.0")]
    titles = [one.title for one in site.build(read_all(paths)).series]
    assert titles == [f"{CELL.cell} [torch 2.14.1]", f"{CELL.cell} [torch 2.15.0]"]


def test_every_link_within_the_site_leads_somewhere(built: Path) -> None:
    pages = {page: Links(page.read_text()) for page in built.rglob("*.html")}
    assert len(pages) == 12
    for page, links in pages.items():
        assert len(links.ids) == len(set(links.ids)), page
        for href in (href for href in links.hrefs if not href.startswith("data:")):
            place, _, anchor = href.partition("#")
            target = (page.parent / place).resolve() if place else page
            assert target in pages, f"{href} in {page}"
            assert not anchor or anchor in pages[target].ids, f"{href} in {page}"


def test_nothing_is_loaded_from_anywhere_and_the_policy_says_so(built: Path) -> None:
    for page in (built / "index.html", built / "history.html"):
        text = html.unescape(page.read_text())
        assert "default-src 'none'" in text
        assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?(https?:|/)", text)
        assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_the_drawing_has_every_figure_and_the_change(built: Path) -> None:
    text = (built / "history.html").read_text()
    (drawn,) = json.loads(re.search(r'id="history-data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert len(drawn["points"]) == 10
    assert drawn["unit"] == "ms"
    assert drawn["points"][0]["value"] == pytest.approx(100, rel=0.05)
    assert [drawn["points"][place]["run"] for place in drawn["changes"]] == ["day-06"]


def test_a_cell_that_is_not_drawn_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "MOST_DRAWN", 1)
    for day in (1, 2):
        a_run(tmp_path / "runs", day, 0.1, replace(CELL, cell="another", batch=4, latency_s=0.2))
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    text = (tmp_path / "site" / "history.html").read_text()
    assert text.count("Not drawn: 1 cell before it is.") == 1


def test_a_run_that_cannot_be_read_is_told_of_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ten_runs(tmp_path / "runs", [0.1] * 2)
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "results.jsonl").write_text("<script>alert(1)</script>")
    assert main([str(tmp_path / "runs"), "-o", str(tmp_path / "site")]) == 0
    index = (tmp_path / "site" / "index.html").read_text()
    assert "is no vitbench results file" in index
    assert capsys.readouterr().out.count("\n") == 4
    assert main([str(tmp_path / "runs" / "broken"), "-o", str(tmp_path / "other")]) == 2


def test_text_of_strangers_stays_text(tmp_path: Path) -> None:
    wild = "<img src=x onerror=alert(1)> \u202e </script> " + "x" * 10_000
    path = write(
        [header(1), replace(CELL, cell=wild, implementation=wild, latency_s=0.1)], tmp_path / "a" / "results.jsonl"
    )
    again = write(
        [header(2), replace(CELL, cell=wild, implementation=wild, latency_s=0.1)], tmp_path / "b" / "results.jsonl"
    )
    assert main([str(path), str(again), "-o", str(tmp_path / "site")]) == 0
    for page in ("index.html", "history.html"):
        text = (tmp_path / "site" / page).read_text()
        assert "<img src=x" not in text
    assert (tmp_path / "site" / "history.html").read_text().count(
        "</script>"
    ) == 5  # theme, data, library, two for the drawing


def test_runs_of_one_name_have_pages_of_their_own(tmp_path: Path) -> None:
    paths = [a_run(tmp_path / "one", 1, 0.1), a_run(tmp_path / "two", 1, 0.1)]
    hrefs = [run.href for run in site.build(read_all(paths)).runs]
    assert len(set(hrefs)) == 2


def test_no_run_takes_the_page_of_another_and_none_is_called_like_a_device(tmp_path: Path) -> None:
    names = ("a b", "a_b", "a-b-1", "A B", "CON", "con.x", "é", "ü", "run-7", "..", "a-b-2")
    hrefs = site._hrefs(names)
    assert len({href.lower() for href in hrefs}) == len(names)
    assert not [href for href in hrefs if href.lower().startswith("runs/con") or ".." in href]


def test_the_index_calls_no_run_complete_that_lacks_cells_or_lines(tmp_path: Path) -> None:
    whole, lacking = (a_run(tmp_path, day, 0.1) for day in (1, 2))
    lacking.write_text(lacking.read_text().replace(CELL.cell, "another cell", 1) + "cut in mid-li")
    assert main([str(whole), str(lacking), "-o", str(tmp_path / "site")]) == 0
    index = (tmp_path / "site" / "index.html").read_text()
    first, second = re.findall(r"<td>([^\n]*)\n?</tr>", index[index.index('id="runs"') :])
    assert "1 planned cell without a result" in first
    assert "1 line could not be read" in first
    assert second == "complete</td>"


def test_pages_of_someone_else_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, folder = a_run(tmp_path, 1, 0.1), tmp_path / "docs"
    folder.mkdir()
    (folder / "index.html").write_text("mine")
    assert main([str(run), "-o", str(folder)]) == 2
    assert "was not written by vitbench" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in folder.rglob("*")] == [("index.html", "mine")]
    (folder / "index.html").rename(folder / "notes.html")
    assert main([str(run), "-o", str(folder)]) == 0
    assert main([str(run), "-o", str(folder)]) == 0
    assert (folder / "notes.html").read_text() == "mine"


@pytest.mark.parametrize("shape", [5, "words", [1, {"a": []}], None, {"memory_bytes": 10**400}])
def test_an_environment_of_another_shape_keeps_no_site_from_being_written(tmp_path: Path, shape: object) -> None:
    odd = replace(header(1), environment=shape, started_at="0001-01-01T00:00:00+14:00")  # type: ignore[arg-type]
    path = write([odd, replace(CELL, latency_s=0.1)], tmp_path / "run" / "results.jsonl")
    assert main([str(path), "-o", str(tmp_path / "site")]) == 0
    assert "0001-01-01T00:00:00+14:00" in html.unescape((tmp_path / "site" / "index.html").read_text())


def test_an_interval_that_is_no_number_takes_no_drawing_away(tmp_path: Path) -> None:
    lines = [path.read_text() for path in (a_run(tmp_path, 1, 0.1), a_run(tmp_path, 2, 0.1))]
    for day, line in enumerate(lines, 1):
        spoiled = re.sub(r'("latency_low_s": )[^,]+', r"\1-Infinity", line)
        (tmp_path / f"day-{day:02}" / "results.jsonl").write_text(
            re.sub(r'("latency_high_s": )[^,]+', r"\1NaN", spoiled)
        )
    assert main([*(str(tmp_path / f"day-{day:02}") for day in (1, 2)), "-o", str(tmp_path / "site")]) == 0
    text = (tmp_path / "site" / "history.html").read_text()
    data = re.search(r'id="history-data">(.*?)</script>', text, re.DOTALL)[1]  # type: ignore[index]
    (drawn,) = json.loads(data, parse_constant=pytest.fail)
    assert [(point["low"], point["high"]) for point in drawn["points"]] == [(None, None)] * 2


def test_a_place_that_cannot_be_written_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path, 1, 0.1)
    (tmp_path / "taken").write_text("")
    assert main([str(run), "-o", str(tmp_path / "taken")]) == 2
    assert "cannot write" in capsys.readouterr().err


# --- in a browser ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@needs_chromium
def test_the_history_is_drawn_and_its_pages_are_quiet_and_accessible(built: Path, browser: Browser) -> None:
    for page in ("index.html", "history.html", "runs/day-01.html"):
        browser.open(built / page)
        assert browser.complaints() == []
        assert browser.requests() == [(built / page).as_uri()]
        assert browser.inaccessible() == []
    browser.open(built / "history.html")
    assert browser.wait(lambda: browser.visible(".plot circle") == 10)
    browser.resize(*PHONE)
    assert browser.wait(lambda: browser.run("document.documentElement.scrollWidth <= innerWidth"))


@needs_chromium
def test_the_index_leads_to_the_change_and_to_the_run(built: Path, browser: Browser) -> None:
    browser.open(built / "index.html")
    browser.find("#changes tbody a").click()
    assert browser.wait(lambda: browser.run("location.hash") == "#cell-1")
    browser.find(".series .small a").click()
    assert browser.wait(lambda: "day-06.html" in browser.run("location.href"))
