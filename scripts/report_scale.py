"""How long the report of very many records takes to render, how large it is, and how quick it is in Chromium.

    python scripts/report_scale.py --records 20000

Each kind of run is made up (tests/sample_runs.py, tests/sample_charts.py): requirements of many implementations, cells of
many conditions, cells of one condition, and both mixed. Reading and rendering are seconds of one core, so that a busy machine
changes them little. What Chromium takes, where it is installed, is wall clock on whatever else the machine was doing: until the page is loaded and first painted, until it stands at its end after a scroll, and
until a search is shown.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from chromium import CHROMIUM, DRIVER, chromium, webdriver
from sample_charts import cell, limits
from sample_runs import header, large, write

from vitbench.records import MeasurementRecord, Record
from vitbench.reports import model, render
from vitbench.results import read

SAMPLES = 100  # of a cell
IMPLEMENTATIONS, BATCHES, SIDES = (
    ("reference", "timm", "torchvision", "transformers"),
    (1, 4, 16, 64),
    range(32, 432, 16),
)
_SEARCH = """
    const done = arguments[arguments.length - 1];
    const box = document.querySelector("#filters input, .pages input");
    box.value = "13";
    box.dispatchEvent(new Event("input", { bubbles: true }));
    const table = box.closest(".pages")?.nextElementSibling;
    const shown = () => requestAnimationFrame(() => setTimeout(done));
    if (table) table.addEventListener("paged", shown, { once: true });
    else shown();
"""
_SCROLL = (
    "scrollTo(0, document.body.scrollHeight); requestAnimationFrame(() => setTimeout(arguments[arguments.length - 1]))"
)


@dataclass(frozen=True)
class Seen:
    """A page in Chromium; seconds."""

    load_s: float
    first_paint_s: float
    scroll_s: float
    search_s: float
    elements: int


def main() -> int:
    """Render each kind of run and say what it took."""
    options = _parser().parse_args()
    kinds = _kinds(options.records)
    print(
        f"{'records':<24} {'results':>9} {'read':>7} {'render':>7} {'page':>9} {'load':>7} {'paint':>7} {'scroll':>7} {'search':>7} {'elements':>9}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for kind in options.kind or kinds:
            results = write(kinds[kind](), folder / f"{kind}.jsonl")
            page = results.with_suffix(".html")
            started_s = time.process_time()
            run = read(results)
            read_s = time.process_time()
            size = render.write(model.build([run]), page)
            took = f"{read_s - started_s:5.1f} s {time.process_time() - read_s:5.1f} s"
            told = f"{kind:<24} {results.stat().st_size / 1e6:6.1f} MB {took} {size / 1e6:6.1f} MB"
            print(f"{told} {_told(_seen(page)) if webdriver and CHROMIUM and DRIVER else 'no Chromium'}", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000, help="records of a run (default: 20000)")
    parser.add_argument("--kind", action="append", choices=list(_kinds(0)), help="repeatable (default: all)")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where results and pages are left (default: nowhere)"
    )
    return parser


def _kinds(records: int) -> dict[str, Callable[[], list[Record]]]:
    return {
        "requirements-of-100": lambda: large(records // 100, 100),
        "requirements-of-one": lambda: large(records, 1),
        "cells": lambda: _run(_cells(records)),
        "cells-of-one-condition": lambda: _run(_alike(records)),
        "mixed": lambda: [*large(records // 100, 50), *_cells(records // 2), limits()],
    }


def _run(cells: Iterator[MeasurementRecord]) -> list[Record]:
    body = list(cells)
    return [header(planned=[one.cell for one in body]), *body, limits()]


def _cells(number: int) -> Iterator[MeasurementRecord]:
    """Of four implementations at four batches and 25 sizes, in as many modes as that takes."""
    kinds = [
        cell(name, batch, side, SAMPLES, cell=f"{name} {batch} {side}")
        for side in SIDES
        for batch in BATCHES
        for name in IMPLEMENTATIONS
    ]
    modes = (
        replace(one, cell=f"{one.cell} {place}", mode=f"mode {place}")
        for place in range(number // len(kinds) + 1)
        for one in kinds
    )
    return islice(modes, number)


def _alike(number: int) -> Iterator[MeasurementRecord]:
    """Each of an implementation of its own, on one set of conditions."""
    one = cell("timm", 4, sampled=SAMPLES)
    return (replace(one, cell=f"cell {place}", implementation=f"impl {place}") for place in range(number))


def _seen(page: Path) -> Seen:
    with chromium() as browser:
        browser.resize(1280, 900)
        load_s = _timed(lambda: browser.driver.get(page.as_uri()))
        return Seen(
            load_s=load_s,
            first_paint_s=browser.run("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000,
            elements=browser.run("document.getElementsByTagName('*').length"),
            scroll_s=_timed(lambda: browser.driver.execute_async_script(_SCROLL)),
            search_s=_timed(lambda: browser.driver.execute_async_script(_SEARCH)),
        )


def _told(seen: Seen) -> str:
    seconds = (seen.load_s, seen.first_paint_s, seen.scroll_s, seen.search_s)
    return f"{' '.join(f'{value:5.2f} s' for value in seconds)} {seen.elements:9,}"


def _timed(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
