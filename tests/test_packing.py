"""Results within a page: gzip for short ones; for long ones the samples apart, and every byte back again."""

import gzip
import json
from base64 import b64decode
from itertools import chain
from pathlib import Path
from random import Random

import pytest
from chromium import Browser, chromium, needs_chromium
from sample_charts import many_cells
from sample_runs import run_of, write

from vitbench.reports import model, packing, render


def line(samples: object, before: str = "timm") -> str:
    """A record that holds little else."""
    return json.dumps({"cell": before, "samples_s": samples, "outcome": "MEASURED"}, ensure_ascii=False)


def long(*lists: object) -> bytes:
    """Results with these lists, and enough others that plain gzip is long."""
    random = Random(0)
    others = [[random.randrange(10**7, 10**8) / 1e9 for _ in range(1000)] for _ in range(60)]
    return "\n".join(line(samples) for samples in chain(lists, others)).encode() + b"\n"


LISTS = {
    "nanoseconds": [0.034512345, 1e-09, 2.0, 0.0, 5.8e-05, 0.0001, 0.000123456],
    "nanoseconds times 1e-9": [ns * 1e-9 for ns in (31532119, 29627475, 28657334)],
    "longer than four bytes tell": [0.001, 4.3],
    "all digits of a double": [0.1 + 0.2, 1 / 3],
    "whole numbers": [1, 2, 3],
    "null": [0.1, None],
    "a fraction of a nanosecond": [1e-10],
    "negative": [-0.001, 0.002],
    "huge": [1e300],
    "none": [],
    "no list": "a text",
}


@pytest.mark.parametrize("samples", LISTS.values(), ids=LISTS)
def test_what_is_packed_comes_back_byte_for_byte(samples: object) -> None:
    content = long(samples, [0.5])
    found = packing.packed(content)
    assert found.tight
    assert packing.unpacked(found) == content


@pytest.mark.parametrize(
    "odd", ["half a \ud83d pair", "\u2028 other line ends", '"samples_s": [0.1, 0.2]', "\u0000", "😀"]
)
def test_text_beside_the_samples_comes_back_too(odd: str) -> None:
    content = long([0.1]) + line([0.25, 0.5], odd).encode(errors="surrogatepass")
    assert packing.unpacked(packing.packed(content)) == content


def test_a_file_with_the_byte_that_marks_gaps_is_packed_as_it_is() -> None:
    content = long([0.1]) + b"\0"
    found = packing.packed(content)
    assert not found.tight
    assert packing.unpacked(found) == content


def test_a_short_file_is_plain_gzip_that_any_browser_saves() -> None:
    content = line([0.1, 0.2]).encode()
    found = packing.packed(content)
    assert not found.tight
    assert gzip.decompress(b64decode(found.content)) == content


def test_samples_apart_take_less_than_two_thirds_of_their_text(tmp_path: Path) -> None:
    content = write(many_cells(200, 400), tmp_path / "run.jsonl").read_bytes()
    assert len(packing.packed(content).content) < len(gzip.compress(content)) * 4 / 3 * 2 / 3


@needs_chromium
def test_the_page_gives_back_packed_results_byte_for_byte(tmp_path: Path) -> None:
    run = run_of(many_cells(1), tmp_path)
    run.path.write_bytes(run.path.read_bytes() + long(*LISTS.values()))
    page = tmp_path / "report.html"
    render.write(model.build([run]), page)
    downloads = tmp_path / "downloads"
    with chromium() as browser:
        browser.open(page)
        browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        saved(browser, downloads / "run.jsonl", run.path)


def saved(browser: Browser, target: Path, source: Path) -> None:
    """Press the button, and compare."""
    browser.find("button.download").click()
    assert browser.wait(lambda: target.exists() and target.stat().st_size == source.stat().st_size)
    assert target.read_bytes() == source.read_bytes()
    assert browser.complaints() == []
