"""The report in a real browser: Chromium, headless, as Debian packages it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import DESKTOP, PHONE, TABLET, Browser, chromium, needs_chromium, webdriver, written
from sample_runs import header, hostile, large, measurement, records

from vitbench.conditions.record import Evidence, Validity

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the module."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's report."""
    return written(records(), tmp_path_factory.mktemp("page"))


def test_the_page_runs_without_complaint_and_asks_for_nothing(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find("#theme").click()
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []


def test_charts_are_drawn_with_a_bar_and_an_interval_for_each_figure(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.querySelectorAll('#throughput .plot-area svg').length") == 2
    assert (
        browser.run("document.querySelectorAll('.plot-area svg')[0].querySelectorAll('[data-part=bar] rect').length")
        == 4
    )
    assert "not converged" in browser.find(".plot-area").text


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["timm", "MWMW_vision_transformer_WMWM"])
def test_what_stands_beside_a_bar_ends_within_the_chart(
    name: str, size: tuple[int, int], browser: Browser, tmp_path: Path
) -> None:
    busy = Evidence(verdict=Validity.INVALID, reasons=["busy"], notes=[], window_s=2.0, readings=4)
    wide = measurement(name, latency_low_s=0.02, latency_high_s=0.05, converged=False, evidence=busy)
    training = replace(wide, task="training", cell="training")
    browser.open(written([header(), measurement("reference"), wide, training], tmp_path))
    browser.resize(*size)
    browser.wait(lambda: browser.run("document.querySelector('.plot-area svg').clientWidth") <= size[0])
    assert "not converged, INVALID" in browser.find(".plot-area").text
    beyond = """[...document.querySelectorAll('.plot-area svg')].flatMap((chart) =>
        [...chart.querySelectorAll('text')].map((text) => [
            text.getBoundingClientRect().right - chart.getBoundingClientRect().right,
            chart.getBoundingClientRect().left - text.getBoundingClientRect().left,
            chart.getBoundingClientRect().top - text.getBoundingClientRect().top]))"""
    assert max(max(edges) for edges in browser.run(beyond)) <= 0


def test_the_policy_refuses_an_injected_script(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.driver.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.injected = 1'; document.body.append(s);"
    )
    assert browser.run("window.injected === undefined")
    assert "Content Security Policy" in " ".join(browser.complaints())


def test_filters_show_what_matches_and_clear_again(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find("select[name=status] option[value=failed]").click()
    assert browser.find("#match-count").text == "4 of 55"
    assert browser.run(
        "[...document.querySelectorAll('.requirement:not([hidden]) th a')].map((a) => a.textContent)"
    ) == [
        "VIT-POS-EQUAL-COUNT",
        "VIT-POS-TRANSPOSE",
        "VIT-NORM-EPSILON",
        "VIT-HEAD-INIT",
    ]
    browser.find("select[name=level] option:nth-child(2)").click()
    browser.find("input[name=text]").send_keys("rows columns")
    assert browser.find("#match-count").text == "1 of 55"
    browser.find("input[name=text]").send_keys(" no such word")
    assert browser.visible("#no-match") == 1
    browser.find(".filters [type=reset]").click()
    assert browser.wait(lambda: browser.find("#match-count").text == "55 of 55")


def test_a_filter_shows_where_implementations_come_out_differently(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find("select[name=status] option[value=differs]").click()
    assert browser.find("#match-count").text == "16 of 55"


def test_a_filter_opens_the_areas_that_match(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.visible("[data-area=MLP] .requirement") == 0
    browser.find("select[name=area] option:nth-of-type(6)").click()
    assert browser.find("select[name=area]").get_property("value") == "MLP"
    assert browser.visible(".area") == 1
    assert browser.visible("[data-area=MLP] .requirement th") == 3


def test_the_theme_follows_the_system_until_the_reader_chooses(browser: Browser, page: Path) -> None:
    browser.open(page)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(ground)
    browser.prefer("dark")
    dark = browser.run(ground)
    browser.find("#theme").click()
    assert (light, dark) == ("rgb(253, 252, 250)", "rgb(21, 21, 19)")
    assert browser.run(ground) == light
    assert browser.find("#theme").get_attribute("aria-pressed") == "false"
    browser.driver.refresh()
    assert browser.run(ground) == light


def test_the_copy_button_copies_the_command(browser: Browser, page: Path) -> None:
    browser.open(page)
    command = browser.find("#data pre").text
    browser.find("#data .copy").click()
    assert browser.wait(lambda: browser.find("#data .copy").text == "Copied")
    browser.find("input[name=text]").send_keys(webdriver.Keys.CONTROL, "v")
    assert browser.find("input[name=text]").get_property("value") == command


def test_a_link_in_the_verdict_opens_the_evidence(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.visible(".failure") == 0
    browser.find(".faults a").click()
    assert browser.wait(lambda: browser.visible(".failure") == 2)
    assert "returned the table unchanged" in browser.find(".failure:target").text


def test_an_address_with_a_requirement_opens_it(browser: Browser, page: Path) -> None:
    browser.open(page, "#VIT-MLP-WIDTH")
    assert browser.wait(lambda: browser.visible("#VIT-MLP-WIDTH") == 1)
    assert 0 <= browser.run("document.getElementById('VIT-MLP-WIDTH').getBoundingClientRect().top") < DESKTOP[1]


@pytest.mark.parametrize("kind", ["sample", "hostile", "many implementations"])
def test_no_width_makes_the_page_scroll_sideways(kind: str, browser: Browser, page: Path, tmp_path: Path) -> None:
    if kind == "hostile":
        page = written(hostile("W" * 10_000 + " <b>\u202eabc"), tmp_path)
    if kind == "many implementations":
        page = written(large(requirements=60, implementations=14), tmp_path)
    browser.open(page)
    browser.driver.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    beyond = {}
    for size in (PHONE, TABLET, DESKTOP):
        browser.resize(*size)
        beyond[size] = browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert beyond == {PHONE: 0, TABLET: 0, DESKTOP: 0}
    assert browser.complaints() == []


def test_a_trace_is_closed_until_it_is_opened_by_the_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.visible(".trace summary") == 4
    assert browser.visible(".trace table") == 0
    browser.find(".trace summary").send_keys(webdriver.Keys.ENTER)
    assert browser.visible(".trace table") == 3
    assert browser.find(".trace[open] .modules tbody tr:last-child th").text == "Mlp_0"
    indent = "parseFloat(getComputedStyle(document.querySelector('.trace [data-depth=\"{}\"]')).paddingLeft)"
    assert browser.run(indent.format(0)) < browser.run(indent.format(1)) < browser.run(indent.format(2))


def test_charts_are_drawn_anew_for_another_width(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.resize(*PHONE)
    width = "document.querySelector('.plot-area svg').getBoundingClientRect().width"
    assert browser.wait(lambda: browser.run(width) <= PHONE[0])


def test_hostile_text_neither_runs_nor_breaks_the_page(browser: Browser, tmp_path: Path) -> None:
    text = "<img src=x onerror=window.owned=1><script>window.owned=1</script></script>\"'><!--"
    browser.open(written(hostile(text), tmp_path))
    assert browser.run("window.owned === undefined")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.requests() == [(tmp_path / "report.html").as_uri()]
    assert browser.complaints() == []


def test_without_scripts_everything_can_be_read(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.driver.refresh()
        assert browser.visible(".verdicts tbody tr") == 5
        assert browser.visible(".measurements tbody tr") == 8
        assert browser.visible(".needs-script") == 0
        browser.find("[data-area=MLP] > summary").click()
        assert browser.visible("[data-area=MLP] .requirement th") == 3
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_on_paper_everything_is_open_and_nothing_is_to_be_pressed(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.visible(".requirement > tr:first-child") == 55
        assert browser.visible(".failure") == 21
        assert (
            browser.visible("button:not(.legend button)") + browser.visible("nav") + browser.visible("#match-count")
            == 0
        )
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_paper_says_that_filters_left_something_out(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.find("select[name=status] option[value=failed]").click()
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.visible("#match-count") == 1
        said = browser.run("getComputedStyle(document.getElementById('match-count'), '::before').content")
        assert said == '"Only what the filters left: "'
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_the_download_gives_the_results_as_they_were(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page)
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.find("a.download").click()
    target = tmp_path / "run.jsonl"
    assert browser.wait(target.exists)
    assert target.read_bytes() == (page.parent / "run.jsonl").read_bytes()


def test_the_keyboard_reaches_the_filters_and_opens_an_area(browser: Browser, page: Path) -> None:
    browser.open(page)
    keys = webdriver.ActionChains(browser.driver)
    keys.send_keys(webdriver.Keys.TAB).perform()
    assert browser.run("document.activeElement.className") == "skip"
    browser.driver.execute_script("document.querySelector('[data-area=MLP] > summary').focus()")
    keys.send_keys(webdriver.Keys.ENTER).perform()
    assert browser.visible("[data-area=MLP] .requirement th") == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_enough(scheme: str, browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.prefer(scheme)
    browser.driver.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run(f"({CONTRAST})()") == []


CONTRAST = """() => {
  const luminance = ([red, green, blue]) => [red, green, blue]
    .map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let around = element; around; around = around.parentElement) {
      const colour = parts(getComputedStyle(around).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  for (const element of document.querySelectorAll("main *, header *, footer *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, .visually-hidden, option")) continue;
    const style = getComputedStyle(element);
    const [one, other] = [luminance(parts(style.color)), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = ((one + 0.05) / (other + 0.05) - 1) * Number(style.opacity) + 1;
    if (ratio < 4.5) faint.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return [...faint];
}"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, page: Path, size: tuple[int, int], scheme: str) -> None:
    browser.open(page)
    browser.resize(*size)
    browser.prefer(scheme)
    browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert browser.inaccessible() == []


def test_axe_would_find_what_is_serious(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('h1').insertAdjacentHTML('afterend', '<button></button>')")
    assert any(found.startswith("button-name") for found in browser.inaccessible())
