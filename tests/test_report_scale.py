"""Very many records: what the page holds at once is bounded, and what it does not show can be reached."""

import gzip
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from chromium import PHONE, Browser, chromium, needs_chromium
from sample_charts import cell, kernel, memory
from sample_runs import header, large, run_of

from vitbench.records import MeasurementRecord, Record
from vitbench.reports import model, render
from vitbench.reports.series import SeriesChart

MANY = 300


def cells(number: int) -> Iterator[MeasurementRecord]:
    """So many cells of three implementations, one batch after the other."""
    for batch in range(1, number // 3 + 1):
        for name in ("timm", "torchvision", "other <b>"):
            yield replace(cell(name, batch, sampled=20), cell=f"{name} {batch}")


def everything() -> list[Record]:
    """Many of each kind of cell."""
    stacks = (replace(memory("timm", batch), cell=f"memory {batch}") for batch in range(1, MANY))
    kernels = (replace(kernel("flash", "float16", 1e-4, 1e-4, 1e-3), cell=f"kernel {k}") for k in range(MANY))
    bodies = list(chain(cells(MANY), stacks, kernels))
    return [header(planned=[one.cell for one in bodies]), *bodies]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale")
    target = folder / "report.html"
    render.write(model.build([run_of(everything(), folder)]), target)
    return target


def test_of_many_rows_a_table_holds_the_first_and_packs_all(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    packed = re.findall(r'data-rows="(\d+)">.*?</tbody>\s*<script type="text/plain">([^<]+)</script>', text, re.DOTALL)
    assert [number for number, _ in packed] == [str(MANY), str(MANY), str(MANY), str(MANY - 1)]
    for number, content in packed:
        rows = json.loads(gzip.decompress(b64decode(content)))
        assert len(rows) == int(number)
        assert all(row.strip().startswith("<tr") and row.strip().endswith("</tr>") for row in rows)
    assert text.count("<tr") < 4 * 100 + 100
    assert text.count("The others lie packed in this page") == len(packed)


def test_the_page_of_thousands_of_cells_is_small(page: Path) -> None:
    assert page.stat().st_size < 1_400_000


def test_no_chart_draws_thousands_of_marks_and_each_says_what_it_leaves_out(tmp_path: Path) -> None:
    report = model.build([run_of(everything(), tmp_path)])
    for chart in report.charts.all:
        if isinstance(chart, SeriesChart):
            assert sum(len(one.points) for one in chart.series) <= 8 * 101


def test_a_curve_of_many_points_is_drawn_through_some_from_the_first_to_the_last(tmp_path: Path) -> None:
    (curve,) = model.build([run_of([header(planned=[]), *cells(360)], tmp_path)]).charts.curves
    assert "timm: 120 points, of which 100 are" in curve.left_out
    xs = [point.x for point in curve.series[0].points]
    assert (len(xs), xs[0], xs[-1]) == (100, 1, 120)


def test_implementations_beyond_the_bars_are_counted(tmp_path: Path) -> None:
    records = [replace(cell(f"impl{k}", 4, sampled=20), cell=f"{k}") for k in range(50)]
    (chart,) = model.build([run_of([header(planned=[]), *records], tmp_path)]).charts.bars
    assert (len(chart.bars), chart.left_out) == (40, ("10 bars more: in the table",))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def told(browser: Browser) -> str:
    """What the first long table says of its rows."""
    return str(browser.run("document.querySelector('#throughput .pages output').textContent"))


@needs_chromium
def test_pages_are_turned_searched_and_led_to(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert told(browser) == "Rows 1 – 100 of 300"
    assert browser.visible(".rest") == 0
    following = browser.find("#throughput .pages button:last-child")
    following.click()
    assert browser.wait(lambda: told(browser) == "Rows 101 – 200 of 300")
    assert browser.run("document.querySelector('#throughput tbody.paged td:nth-child(3)').textContent") == "34"
    browser.find("#throughput .pages input").send_keys("other <b>")
    assert browser.wait(lambda: told(browser) == "Rows 1 – 100 of 100 found among 300")
    assert browser.run("document.querySelectorAll('#throughput tbody.paged b').length") == 0
    browser.find("#throughput .pages input").clear()
    browser.find("#throughput .pages input").send_keys("no such row")
    assert browser.wait(lambda: told(browser) == "No row of 300 matches")
    assert browser.complaints() == []


@needs_chromium
def test_choosing_an_implementation_turns_to_its_rows(browser: Browser, page: Path) -> None:
    browser.open(page, "#implementation=torchvision")
    assert browser.wait(lambda: told(browser) == "Rows 1 – 100 of 100 found among 300")
    count = "document.getElementById('chosen-count').textContent"
    assert browser.wait(lambda: browser.run(count) == "201 of 902 rows")
    assert browser.complaints() == []


@needs_chromium
def test_an_address_leads_to_a_row_on_any_page(browser: Browser, page: Path) -> None:
    (content, *_) = re.findall(r'<script type="text/plain">([^<]+)</script>', page.read_text(encoding="utf-8"))
    last = json.loads(gzip.decompress(b64decode(content)))[-1]
    anchor = re.findall(r'id="([^"]+)"', last)[0]
    browser.open(page, f"#{anchor}")
    assert browser.wait(lambda: told(browser) == "Rows 201 – 300 of 300")
    assert browser.run("document.getElementById(arguments[0]) !== null", anchor)


@needs_chromium
def test_pages_are_accessible_and_fit_a_phone(browser: Browser, tmp_path: Path) -> None:
    stacks = [replace(memory("timm", 1), cell=f"memory {number}") for number in range(MANY)]
    target = tmp_path / "report.html"
    render.write(model.build([run_of([header(planned=[]), *stacks], tmp_path)]), target)
    browser.open(target)
    assert browser.visible(".pages") == 1
    browser.resize(*PHONE)
    assert browser.run("document.documentElement.scrollWidth") <= PHONE[0]
    assert browser.inaccessible() == []


@needs_chromium
def test_of_very_many_requirements_an_area_shows_some_and_offers_more(browser: Browser, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    render.write(model.build([run_of(large(requirements=1200, implementations=1), tmp_path)]), target)
    browser.open(target)
    area = "document.querySelector('.area:has(.more:not([hidden]))')"
    shown = f"{area}.querySelectorAll('.requirement:not([hidden])').length"
    there = browser.run(f"{area}.querySelectorAll('.requirement').length")
    assert there > browser.run(shown) == 200
    assert browser.run(f"{area}.querySelector('.more').textContent") == f"Show more: 200 of {there} are shown"
    browser.driver.execute_script(f"const area = {area}; area.open = true; area.querySelector('.more').click()")
    assert browser.run("document.querySelectorAll('.more:not([hidden])').length") == 0
    assert browser.run("document.querySelectorAll('.requirement:not([hidden])').length") == 1200
    assert browser.run("document.getElementById('match-count').textContent") == "1200 of 1200"
