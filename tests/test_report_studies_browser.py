"""The studies' section in a real browser: pictures and charts seen on a desktop, a phone and paper, in both themes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import DESKTOP, PHONE, Browser, chromium, needs_chromium, written
from sample_runs import header
from sample_studies import curve, study

from vitbench.reports.study_pictures import FIELD, FILTERS, IMAGES, POSITIONS, ROLLOUT
from vitbench.study import NamedArray

pytestmark = needs_chromium


def array(name: str, shape: tuple[int, ...], series: str) -> NamedArray:
    count = 1
    for side in shape:
        count *= side
    numbers = [place % 13 / 13 for place in range(count)]
    return NamedArray.of(name, [str(axis) for axis in range(len(shape))], shape, numbers, series=series)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the module."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every kind of picture and chart of the studies, and a hook that is missing."""
    views = (
        array(FILTERS, (28, 3, 4, 4), "trained"),
        *(array(POSITIONS, (8, 8, 8, 8), when) for when in ("at the start", "trained")),
        array(IMAGES, (4, 3, 32, 32), ""),
        array(ROLLOUT, (4, 8, 8), "trained"),
        array("attention distance", (1, 4, 4), "trained"),
    )
    fields = tuple(array(FIELD, (5, 32, 32), when) for when in ("at the start", "trained"))
    by_depth = tuple(curve(f"with positions, {when}") for when in ("at the start", "trained"))
    records = [
        header(planned=[]),
        study("paper/transfer"),
        study("paper/inductive_bias", arrays=fields, curves=by_depth),
        study("paper/inner_views", arrays=views),
    ]
    return written(records, tmp_path_factory.mktemp("page"))


def test_every_picture_and_chart_is_drawn_without_a_complaint(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run(
        "[...document.querySelectorAll('.picture > img')].every((i) => i.complete && i.naturalWidth > 1)"
    )
    assert browser.visible(".picture") == 6
    drawn = browser.run("[...document.querySelectorAll('#paper .plot-area')].map((a) => !!a.querySelector('svg'))")
    assert drawn == [True] * 4
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_section_fits_and_axe_finds_nothing_serious(
    browser: Browser, page: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.open(page)
    browser.resize(*size)
    browser.prefer(scheme)
    browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.inaccessible() == []


def test_pictures_are_shown_pixel_by_pixel_and_say_what_they_are(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.resize(*DESKTOP)
    style = "[...new Set([...document.querySelectorAll('.pixels')].map((i) => getComputedStyle(i).imageRendering))]"
    assert browser.run(style) == ["pixelated"]
    words = browser.run("[...document.querySelectorAll('.picture > img')].map((i) => i.alt)")
    assert all(len(alternative) > 30 for alternative in words)
    assert browser.run("document.querySelector('.picture > img').clientWidth") > 250


def test_on_paper_pictures_and_figures_are_there(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.visible(".picture") == 6
        charts = browser.run("document.querySelectorAll('.study .chart').length")
        assert charts == 4
        assert (
            browser.visible(".study-figures table") == 3 + charts
        )  # the figures of three studies, and behind each chart
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_intervals_of_many_points_are_a_band_and_of_few_a_line_each(browser: Browser, tmp_path: Path) -> None:
    many = [place / 40 for place in range(40)]
    dense = replace(curve("seed"), name="training loss", x=many, y=many, low=many, high=[y + 0.1 for y in many])
    page = written([header(planned=[]), study("paper/transfer", curves=(dense, curve("few")))], tmp_path)
    browser.open(page)
    bands = "[...document.querySelectorAll('#paper .plot-area')].map((a) => a.querySelectorAll('[data-part=band] path').length)"
    assert browser.run(bands) == [1, 0]
