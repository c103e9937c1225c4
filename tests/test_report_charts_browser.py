"""Every kind of chart in a real browser: drawn, looked up by the pointer, its series shown and hidden."""

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from chromium import DESKTOP, PHONE, Browser, chromium, needs_chromium, webdriver, written
from sample_charts import cell, kernels, limits, measured, memory
from sample_runs import header, run_of

from vitbench.reports import model, render

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
    assert count(browser, chart, "[data-part=series] path") == 5
    assert count(browser, chart, "[data-part=point] *") == 18
    assert count(browser, chart, "[data-part='doubtful point'] *") == 1
    ticks = f"[...document.querySelectorAll('[data-chart={chart}] [aria-label=\"x-axis tick label\"] text')].map((t) => t.textContent)"
    assert browser.run(ticks) == ["1", "4", "16", "64"]
    said = hover(browser, chart, "[data-part='doubtful point'] *")
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
    assert count(browser, chart, "[data-part=series] path") == 4
    assert count(browser, chart, "[data-part='doubtful point'] *") == 0
    button.send_keys(webdriver.Keys.SPACE)
    assert count(browser, chart, "[data-part=series] path") == 5
    assert browser.run("document.activeElement.textContent") == "timm"


def test_attention_marks_the_front_and_what_is_wrong(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert count(browser, "attention-1", "[data-part=front] *") == 4
    assert count(browser, "attention-1", "[data-part='point beyond its bound'] *") == 1
    assert "error beyond its bound" in hover(browser, "attention-1", "[data-part='point beyond its bound'] *")
    assert browser.complaints() == []


def test_memory_is_stacked_and_a_class_can_be_taken_out(browser: Browser, page: Path) -> None:
    browser.open(page)
    chart = "memory-2"
    assert count(browser, chart, "[data-part=part] rect") == 20
    assert "activations: 248 MiB" in hover(browser, chart, "[data-part=part] rect:nth-of-type(14)")
    before = browser.run(f"document.querySelector('[data-chart={chart}] rect:nth-of-type(5)').x.baseVal.value")
    browser.find(f"figure:has([data-chart={chart}]) .legend button").click()
    assert count(browser, chart, "[data-part=part] rect") == 16
    assert browser.run(f"document.querySelector('[data-chart={chart}] rect:nth-of-type(4)').x.baseVal.value") < before
    assert browser.complaints() == []


def test_latency_is_a_curve_for_each_and_says_the_percentile(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert count(browser, "latency-1", "[data-part=series] path") == 5
    assert " %: " in hover(browser, "latency-1", "[data-part=series] path")
    assert browser.complaints() == []


def test_the_roofline_has_its_roofs_and_says_how_far_a_cell_is_from_them(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert count(browser, "roofline-1", "[data-part=guide] path") == 2
    assert "400 GFLOP/s" in browser.find("[data-chart=roofline-1]").text
    assert "of matrix product" in hover(browser, "roofline-1", "[data-part=point] *")
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
        hover(browser, "against-batch-1", f"[data-part=point] :nth-child({place})")
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


def saved(browser: Browser, chart: str, form: str, folder: Path) -> Path:
    """The file that a button above the chart gives."""
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.find(f"figure:has([data-chart={chart}]) .save[data-format={form}]").click()
    target = folder / f"{chart}.{form}"
    assert browser.wait(target.exists)
    return target


def test_a_chart_is_saved_with_its_key_in_light_colours_on_white_from_a_dark_page(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    browser.open(page)
    browser.prefer("dark")
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    svg = ET.fromstring(saved(browser, "attention-1", "svg", tmp_path).read_text(encoding="utf-8"))
    assert "var(" not in ET.tostring(svg, encoding="unicode")
    assert {"flash", "efficient", "math", "wrong"} <= set(svg.itertext())
    assert svg[0].get("fill") == "#fff"
    assert svg.get("fill") == "rgb(29, 27, 24)"
    assert browser.run("getComputedStyle(document.body).backgroundColor") == ground == "rgb(21, 21, 19)"
    assert browser.complaints() == []


def test_a_png_has_three_pixels_for_one_of_the_page_and_a_white_ground(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    browser.open(page)
    content = saved(browser, "against-batch-1", "png", tmp_path).read_bytes()
    width = int(browser.run("document.querySelector('[data-chart=against-batch-1] svg').width.baseVal.value"))
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(content[16:20]) == 3 * width
    corner_and_colours = """
        const done = arguments[arguments.length - 1];
        const image = new Image();
        image.onload = () => {
            const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
            canvas.drawImage(image, 0, 0);
            const pixels = new Uint32Array(canvas.getImageData(0, 0, image.width, image.height).data.buffer);
            done([pixels[0], new Set(pixels).size]);
        };
        image.src = `data:image/png;base64,${arguments[0]}`;"""
    corner, colours = browser.driver.execute_async_script(corner_and_colours, b64encode(content).decode())
    assert corner == 0xFFFFFFFF
    assert colours > 5 * 3  # five series and what lies between them and the ground
    assert browser.complaints() == []


def words(svg: ET.Element) -> str:
    """All that stands in a saved picture, its broken lines joined."""
    return " ".join(svg.itertext())


def test_a_saved_chart_says_on_what_it_was_measured_and_how_to_read_it(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    browser.open(page)
    told = words(ET.fromstring(saved(browser, "against-batch-1", "svg", tmp_path).read_text(encoding="utf-8")))
    assert "Throughput against the batch: Ti/16@224" in told
    for word in ("inference; ", "float32; batch 1, 4, 16, 64; eager; ", "Xeon(R)", "1 thread; ", "vitbench ", "timm"):
        assert word in told
    assert "Hollow on a yellow ground: not converged, or conditions not VALID." in told
    assert "With 95 % confidence intervals of the median." in told
    assert "Not drawn: transformers at batch 64: out of memory" in told
    bars = words(ET.fromstring(saved(browser, "throughput-3", "svg", tmp_path).read_text(encoding="utf-8")))
    assert "Yellow: not converged" in bars
    assert browser.complaints() == []


def test_no_text_of_a_saved_chart_is_cut_on_a_phone(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page)
    browser.resize(*PHONE)
    browser.wait(lambda: browser.run("document.querySelector('.plot-area svg').clientWidth") <= PHONE[0])
    beyond = """(() => {
        const holder = document.createElement("div");
        document.body.append(holder);
        holder.innerHTML = arguments[0];
        const outer = holder.firstElementChild.getBoundingClientRect();
        const boxes = [...holder.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
        holder.remove();
        return Math.max(...boxes.flatMap((box) => [box.right - outer.right, outer.left - box.left, box.bottom - outer.bottom]));
    })()"""
    for chart in ("against-batch-1", "attention-1", "memory-2", "throughput-1"):
        content = saved(browser, chart, "svg", tmp_path).read_text(encoding="utf-8")
        assert browser.run(beyond, content) <= 1, chart


def test_arrow_keys_walk_over_the_figures_and_say_each(browser: Browser, page: Path) -> None:
    browser.open(page)
    chart = browser.find("[data-chart=against-batch-1]")
    said = []
    for key in (webdriver.Keys.ARROW_RIGHT, webdriver.Keys.ARROW_RIGHT, webdriver.Keys.ARROW_DOWN, webdriver.Keys.END):
        chart.send_keys(key)
        said.append(browser.run("document.getElementById('announcer').textContent"))
    assert said == [
        "reference, batch 1: 46.0 images/s (45.3 – 46.5); 1 of 4",
        "reference, batch 4: 66.7 images/s (65.7 – 67.5); 2 of 4",
        "timm, batch 4: 100 images/s (98.6 – 101); 2 of 4",
        "timm, batch 64: 116 images/s (115 – 118); 4 of 4",
    ]
    assert count(browser, "against-batch-1", "[data-part=here] *") == 1
    chart.send_keys(webdriver.Keys.ESCAPE)
    assert count(browser, "against-batch-1", "[data-part=here] *") == 0
    assert browser.complaints() == []


@pytest.mark.parametrize("chart", ["throughput-1", "memory-2", "latency-1", "roofline-1", "attention-1"])
def test_every_kind_of_chart_is_walked_with_what_hovering_says(chart: str, browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find(f"[data-chart={chart}]").send_keys(webdriver.Keys.ARROW_DOWN, webdriver.Keys.ARROW_DOWN)
    said = browser.run("document.getElementById('announcer').textContent").partition(";")[0]
    tips = f"[...document.querySelectorAll('[data-chart={chart}] [aria-label=tip]')].map((tip) => tip.textContent).join('')"
    assert len(said) > 10
    assert re.sub(r"\W", "", browser.run(tips)) == re.sub(r"\W", "", said)  # but for where its lines break
    assert browser.complaints() == []


def chosen_rows(browser: Browser) -> set[str]:
    """Whose rows the tables of implementations show."""
    names = "[...document.querySelectorAll('tr[data-implementation]')].filter((row) => row.checkVisibility()).map((row) => row.dataset.implementation)"
    return set(browser.run(names))


def test_a_click_on_a_figure_shows_its_rows_alone_until_all_are_asked_for(browser: Browser, page: Path) -> None:
    browser.open(page)
    mark = browser.find("[data-chart=throughput-1] [aria-label=bar] rect:nth-of-type(4)")
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    webdriver.ActionChains(browser.driver).move_to_element(mark).click().perform()
    assert chosen_rows(browser) == {"transformers"}
    assert browser.find("#chosen").text.startswith("Only transformers 12 of 72 rows")
    assert browser.run("location.hash") == "#implementation=transformers"
    assert browser.visible("tr[data-kernel]") == 8
    faint = "document.querySelectorAll('[data-chart=throughput-1] [data-part=bar] rect[fill-opacity=\"0.2\"]').length"
    assert browser.run(faint) == 4
    browser.find("#chosen-row").click()
    assert browser.run("document.querySelector('tr:target').dataset.implementation") == "transformers"
    browser.find("#chosen-all").click()
    assert len(chosen_rows(browser)) == 5
    assert browser.run("location.hash") == ""
    assert browser.visible("#chosen") == 0
    assert browser.complaints() == []


def test_the_keyboard_chooses_from_a_chart_and_comes_back_to_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    chart = browser.find("[data-chart=attention-1]")
    chart.send_keys(webdriver.Keys.ARROW_DOWN, webdriver.Keys.ENTER)
    assert browser.run("location.hash") == "#kernel=efficient"
    assert browser.visible("tr[data-kernel]") == 3
    assert len(chosen_rows(browser)) == 5
    assert browser.find("select[data-chooses=kernel]").get_property("value") == "efficient"
    browser.find("#chosen-all").send_keys(webdriver.Keys.ENTER)
    assert browser.visible("tr[data-kernel]") == 8
    assert browser.run("document.activeElement.dataset.chart") == "attention-1"


def test_a_figure_of_the_first_screen_leads_to_its_row_with_the_evidence(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find(".verdicts .judgement:nth-of-type(2) .big").click()
    row = browser.find("tr:target")
    assert row.text.startswith("timm")
    assert "69.0" in row.text
    assert "200 samples" in row.text
    assert 0 <= browser.run("document.querySelector('tr:target').getBoundingClientRect().top") < DESKTOP[1]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs, with every kind of chart and few rows: axe looks at each."""
    folder = tmp_path_factory.mktemp("comparison")
    cells = [cell(name, batch) for name in ("reference", "timm") for batch in (1, 4)]
    records = [header(), *cells, memory("timm", 1), *kernels()[:3], limits()]
    runs = [run_of(records, folder / name) for name in ("before", "after")]
    render.write(model.build(runs), folder / "report.html")
    return folder / "report.html"


def test_ratios_are_drawn_with_the_line_at_one_and_said(browser: Browser, comparison: Path) -> None:
    browser.open(comparison)
    points = count(browser, "ratios", "[data-part=point] *")
    assert points == count(browser, "ratios", "[data-part=interval] line") == 8
    assert count(browser, "ratios", "[data-part=one] line") == 1
    browser.find("[data-chart=ratios]").send_keys(webdriver.Keys.ARROW_DOWN, webdriver.Keys.ARROW_DOWN)
    said = "reference, batch 4, 1.00× (0.974 – 1.03): alike, 60.0 ms before, 60.0 ms now; 2 of 8"
    assert browser.run("document.getElementById('announcer').textContent") == said
    assert browser.complaints() == []
    assert browser.requests() == [comparison.as_uri()]


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_axe_finds_nothing_serious_where_every_chart_is(
    browser: Browser, comparison: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.open(comparison, "#implementation=timm")
    browser.resize(*size)
    browser.prefer(scheme)
    assert browser.inaccessible() == []


def test_a_list_above_the_charts_chooses_too(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find("select[data-chooses=implementation] option[value=reference]").click()
    assert chosen_rows(browser) == {"reference"}
    assert "None of its rows" in browser.run(
        "getComputedStyle(document.querySelector('#memory .wide'), '::after').content"
    )
    browser.find("select[data-chooses=implementation] option").click()
    assert len(chosen_rows(browser)) == 5


def test_an_address_keeps_the_choice_and_one_of_somebody_else_is_no_choice(browser: Browser, page: Path) -> None:
    browser.open(page, "#implementation=timm")
    assert chosen_rows(browser) == {"timm"}
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.find("#chosen").text.startswith("Only timm ")
        assert browser.visible("#chosen button") + browser.visible(".chooser") == 0
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")
    browser.open(page, "#implementation=nobody")
    assert len(chosen_rows(browser)) == 5
