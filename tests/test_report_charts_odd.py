"""Charts of odd figures: one, none, all the same, not finite, of very different sizes, and of many implementations."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import DESKTOP, PHONE, Browser, chromium, needs_chromium
from sample_charts import cell, kernel, limits, memory
from sample_runs import header, run_of

from vitbench.records import MeasurementRecord, Record
from vitbench.reports import model, render

CHART_DATA = r'<script type="application/json" id="chart-data">(.*?)</script>'
ODD = (math.nan, math.inf, -math.inf, 0.0, -1.0, 5e-324, 1.7e308)


def with_latency(record: MeasurementRecord, seconds: float) -> MeasurementRecord:
    """The same cell with another time, in every figure that comes from it."""
    return replace(
        record,
        latency_s=seconds,
        latency_low_s=seconds,
        latency_high_s=seconds,
        throughput_images_per_s=record.batch / seconds if seconds else math.inf,
        samples_s=[seconds] * 20,
        roofline=record.roofline and replace(record.roofline, flops_per_s=1e9 / seconds if seconds else math.inf),
    )


def one() -> list[Record]:
    """A single figure of everything."""
    return [cell("timm", 1), memory("timm", 1), kernel("math", "float32", 1e-3, 1e-6, 1e-6), limits()]


def none() -> list[Record]:
    """Cells without any figure."""
    bare = replace(cell("timm", 1), latency_s=None, throughput_images_per_s=None, samples_s=(), roofline=None)
    return [bare, replace(bare, batch=4, cell="another")]


def the_same() -> list[Record]:
    """Every figure equal, each interval a point."""
    cells = [with_latency(cell(name, batch), 0.01) for name in ("a", "b", "c") for batch in (1, 4)]
    kernels = [kernel(name, "float32", 1e-3, 1e-6, 1e-6) for name in ("x", "y", "z")]
    return [*cells, *kernels, *(memory(name, 1) for name in ("a", "b")), limits()]


def not_finite() -> list[Record]:
    """What is no figure, beside what is."""
    cells = [with_latency(cell(f"odd {value}", batch), value) for value in ODD for batch in (1, 4)]
    kernels = [kernel(f"odd {value}", "float32", 1e-3, value, 1e-6) for value in ODD]
    sizes = [
        replace(record, memory=replace(record.memory, allocated_bytes=value, activations_bytes=value))
        for value in ODD
        if (record := memory(f"odd {value}", 1)).memory
    ]
    return [cell("timm", 1), cell("timm", 4), *cells, *kernels, *sizes, limits()]


def of_all_sizes() -> list[Record]:
    """From a billionth to a billion."""
    powers = (1e-9, 1e-4, 1.0, 1e9)
    cells = [with_latency(cell(f"{power:g}", batch), power) for power in powers for batch in (1, 4)]
    return [*cells, *(kernel(f"{power:g}", "float32", power, power, 1.0) for power in powers), limits()]


def of_many() -> list[Record]:
    """Twelve implementations with names of every length."""
    names = [f"implementation_{'x' * (4 * number)}" for number in range(12)]
    cells = [cell(name, batch) for name in names for batch in (1, 4)]
    kernels = [kernel(name, "float32", 1e-3 + i / 1e4, 1e-6 / (i + 1), 1e-6) for i, name in enumerate(names)]
    return [*cells, *(memory(name, 1) for name in names), *kernels, limits()]


KINDS = (one, none, the_same, not_finite, of_all_sizes, of_many)


def page_of(kind: Any, folder: Path) -> str:
    """Two runs, so that there are ratios too."""
    before = [header(), *kind()]
    after = [
        with_latency(r, r.latency_s * 2) if isinstance(r, MeasurementRecord) and r.latency_s else r for r in before
    ]
    return render.render(model.build([run_of(before, folder / "before"), run_of(after, folder / "after")]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_axis_is_finite_and_holds_every_figure(kind: Any, tmp_path: Path) -> None:
    found = re.search(CHART_DATA, page_of(kind, tmp_path))
    drawn = json.loads(found[1], parse_constant=pytest.fail) if found else []
    assert bool(drawn) == (kind is not none)
    for chart in drawn:
        for name in {"x", "y", "axis"} & {name for name, value in chart.items() if isinstance(value, dict)}:
            axis = chart[name]
            assert axis["low"] < axis["high"]
            assert axis["low"] > 0 or not axis["log"]
            assert axis["ticks"]
            assert all(axis["low"] <= tick["at"] * (1 + 1e-9) for tick in axis["ticks"])
        points = [point for one in chart.get("series", ()) for point in one["points"]]
        assert all(chart["x"]["low"] <= point["x"] <= chart["x"]["high"] for point in points)
        assert all(chart["y"]["low"] <= point["y"] <= chart["y"]["high"] for point in points)
        assert chart["kind"] != "series" or points


def test_what_is_left_out_of_twelve_is_named_and_in_the_table(tmp_path: Path) -> None:
    page = page_of(of_many, tmp_path)
    assert page.count("in the table") >= 4
    assert page.count('<tr id="cell-') == 2 * 24


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the module."""
    with chromium() as one_browser:
        yield one_browser


@needs_chromium
@pytest.mark.parametrize("kind", KINDS)
def test_odd_figures_are_drawn_without_complaint_and_within_the_page(
    kind: Any, browser: Browser, tmp_path: Path
) -> None:
    target = tmp_path / "page.html"
    target.write_text(page_of(kind, tmp_path), encoding="utf-8")
    browser.open(target)
    broken = """[...document.querySelectorAll('.plot-area > svg *')].filter((part) =>
        [...part.attributes].some(({value}) => /NaN|Infinity|undefined|null/.test(value))).length"""
    beyond = """Math.max(0, ...[...document.querySelectorAll('.plot-area > svg')].flatMap((chart) => {
        const outer = chart.getBoundingClientRect();
        return [...chart.querySelectorAll('text')].map((text) => text.getBoundingClientRect()).flatMap((box) => [
            box.right - outer.right, outer.left - box.left, outer.top - box.top, box.bottom - outer.bottom]); }))"""
    for size in (DESKTOP, PHONE):
        browser.resize(*size)
        browser.wait(
            lambda width=size[0]: browser.run("document.querySelector('.plot-area svg')?.clientWidth ?? 0") <= width
        )
        assert browser.run(broken) == 0
        assert browser.run(beyond) <= 1
        assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    drawn = "[...document.querySelectorAll('.plot-area')].filter((area) => area.firstChild === null).length"
    assert browser.run(drawn) == 0
    assert browser.complaints() == []
