"""Every kind of chart in a real browser: drawn, looked up by the pointer, its series shown and hidden."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from chromium import DESKTOP, PHONE, Browser, chromium, needs_chromium, webdriver, written
from sample_charts import measured

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the module."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every kind of chart."""
    return written(measured(), tmp_path_factory.mktemp("page"))


def count(browser: Browser, chart: str, selector: str) -> int:
    """How many elements of a chart a selector finds."""
    return int(browser.run("document.querySelectorAll(arguments[0]).length", f"[data-chart={chart}] {selector}"))


def hover(browser: Browser, chart: str, selector: str) -> str:
    """What the chart says of an element that the pointer is over."""
    mark: Any = browser.find(f"[data-chart={chart}] {selector}")
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    webdriver.ActionChains(browser.driver).move_to_element(mark).perform()
    said = f"document.querySelector('[data-chart={chart}] [aria-label=tip]')?.textContent.replaceAll('\\u200b', '|')"
    return str(browser.wait(lambda: browser.run(said)))


def test_throughput_is_drawn_against_the_batch_with_a_line_and_intervals_for_each(browser: Browser, page: Path) -> None:
    browser.open(page)
    chart = "against-batch-1"
    assert count(browser, chart, "[aria-description=series] path") == 5
    assert count(browser, chart, "[aria-description=point] *") == 18
    assert count(browser, chart, "[aria-description='doubtful point'] *") == 1
    ticks = f"[...document.querySelectorAll('[data-chart={chart}] [aria-label=\"x-axis tick label\"] text')].map((t) => t.textContent)"
    assert browser.run(ticks) == ["1", "4", "16", "64"]
    said = hover(browser, chart, "[aria-description='doubtful point'] *")
    assert "timm" in said
    assert "batch 16: " in said
    assert "INVALID" in said
    assert browser.complaints() == []


def test_a_button_hides_its_series_and_shows_it_again_by_the_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    chart = "against-batch-1"
    button = browser.find(f"figure:has([data-chart={chart}]) .legend button:nth-child(2)")
    assert (button.text, button.get_attribute("aria-pressed")) == ("timm", "true")
    button.send_keys(webdriver.Keys.ENTER)
    assert button.get_attribute("aria-pressed") == "false"
    assert count(browser, chart, "[aria-description=series] path") == 4
    assert count(browser, chart, "[aria-description='doubtful point'] *") == 0
    button.send_keys(webdriver.Keys.SPACE)
    assert count(browser, chart, "[aria-description=series] path") == 5
    assert browser.run("document.activeElement.textContent") == "timm"


def test_attention_marks_the_front_and_what_is_wrong(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert count(browser, "attention-1", "[aria-description=front] *") == 4
    assert count(browser, "attention-1", "[aria-description='point beyond its bound'] *") == 1
    assert "error beyond its bound" in hover(browser, "attention-1", "[aria-description='point beyond its bound'] *")
    assert browser.complaints() == []


def test_memory_is_stacked_and_a_class_can_be_taken_out(browser: Browser, page: Path) -> None:
    browser.open(page)
    chart = "memory-2"
    assert count(browser, chart, "[aria-description=part] rect") == 20
    assert "activations: 248 MiB" in hover(browser, chart, "[aria-description=part] rect:nth-of-type(14)")
    before = browser.run(f"document.querySelector('[data-chart={chart}] rect:nth-of-type(5)').x.baseVal.value")
    browser.find(f"figure:has([data-chart={chart}]) .legend button").click()
    assert count(browser, chart, "[aria-description=part] rect") == 16
    assert browser.run(f"document.querySelector('[data-chart={chart}] rect:nth-of-type(4)').x.baseVal.value") < before
    assert browser.complaints() == []


def test_latency_is_a_curve_for_each_and_says_the_percentile(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert count(browser, "latency-1", "[aria-description=series] path") == 5
    assert " %: " in hover(browser, "latency-1", "[aria-description=series] path")
    assert browser.complaints() == []


def test_the_roofline_has_its_roofs_and_says_how_far_a_cell_is_from_them(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert count(browser, "roofline-1", "[aria-description=guide] path") == 2
    assert "400 GFLOP/s" in browser.find("[data-chart=roofline-1]").text
    assert "of matrix product" in hover(browser, "roofline-1", "[aria-description=point] *")
    assert browser.complaints() == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_text_of_a_chart_is_within_it(size: tuple[int, int], browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.resize(*size)
    browser.wait(lambda: browser.run("document.querySelector('.plot-area svg').clientWidth") <= size[0])
    beyond = """[...document.querySelectorAll('.plot-area > svg')].flatMap((chart) => {
        const outer = chart.getBoundingClientRect();
        return [...chart.querySelectorAll('text')].map((text) => text.getBoundingClientRect()).flatMap((box) => [
            box.right - outer.right, outer.left - box.left, outer.top - box.top, box.bottom - outer.bottom]); })"""
    assert max(browser.run(beyond)) <= 1
    assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_on_a_phone_what_hovering_says_is_within_the_page(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.resize(*PHONE)
    browser.wait(lambda: browser.run("document.querySelector('.plot-area svg').clientWidth") <= PHONE[0])
    for place in (1, 2, 3, 4):
        hover(browser, "against-batch-1", f"[aria-description=point] :nth-child({place})")
        tip = "document.querySelector('[data-chart=against-batch-1] [aria-label=tip]').getBoundingClientRect()"
        assert browser.run(f"{tip}.left") >= 0
        assert browser.run(f"{tip}.right") <= PHONE[0]


def test_on_paper_the_legend_is_a_key_without_frames(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.run("getComputedStyle(document.querySelector('.legend button')).borderTopWidth") == "0px"
        assert browser.visible(".legend button") > 0
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_a_chart_is_saved_as_a_file_with_its_key_and_colours(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page)
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.find("figure:has([data-chart=attention-1]) .save").click()
    target = tmp_path / "attention-1.svg"
    assert browser.wait(target.exists)
    saved = ET.fromstring(target.read_text(encoding="utf-8"))
    assert "var(" not in ET.tostring(saved, encoding="unicode")
    assert {"flash", "efficient", "math", "wrong"} <= set(saved.itertext())
    assert browser.complaints() == []
