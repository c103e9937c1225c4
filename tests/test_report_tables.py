"""The tables of the written page: under each heading stands its own figure, in its unit, with what speaks against it."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_charts import BUSY, CEILINGS, cell, kernel, limits, memory, scaling
from sample_runs import header, run_of

from vitbench import units
from vitbench.batch_search import BatchSearch
from vitbench.records import Memory, Record
from vitbench.reports import model, render

SHARE = 0.25  # of the ceiling of matrix products
MIB = 2**20
TAKEN = Memory(
    allocated_bytes=11 * MIB,
    reserved_bytes=12 * MIB,
    process_bytes=13 * MIB,
    process_before_bytes=1,
    device_bytes=14 * MIB,
    parameters_bytes=15 * MIB,
    gradients_bytes=16 * MIB,
    optimizer_bytes=17 * MIB,
    activations_bytes=18 * MIB,
    temporaries_bytes=19 * MIB,
    parameters_expected_bytes=20 * MIB,
    optimizer_expected_bytes=21 * MIB,
    activations_expected_bytes=22 * MIB,
)
FOUND = BatchSearch(tried=(1, 2, 4), best=3, largest_fitting=5, smallest_refused=7, stopped="memory ran out")


class Tables(HTMLParser):
    """The cells of every table as text, by the name of the region that it scrolls in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self._table: list[list[str]] = []
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("aria-label")
        if tag == "div" and dict(attrs).get("role") == "region" and name:
            self._table = self.rows.setdefault(name, [])
        if tag == "tr":
            self._table.append([])
        if tag in {"th", "td"}:
            self._table[-1].append("")
            self._open = True
        if self._open and tag in {"br", "small"}:
            self._table[-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in {"th", "td"}

    def handle_data(self, data: str) -> None:
        if self._open:
            self._table[-1][-1] += data

    def of(self, name: str) -> list[dict[str, str]]:
        """The rows below the first, by heading."""
        head, *rows = self.rows[name]
        return [dict(zip(map(_line, head), map(_line, row), strict=True)) for row in rows]


def _line(text: str) -> str:
    return re.sub(r"[^\S\u00a0\u202f]+", " ", text).strip()


def records() -> list[Record]:
    one, other = cell("timm", 4), cell("torchvision", 1, converged=False, evidence=BUSY)
    ceiling = CEILINGS.products[0].flops_per_s
    assert one.roofline
    assert ceiling
    slower = replace(one, roofline=replace(one.roofline, flops_per_s=SHARE * ceiling, intensity=1e3))
    body = [
        slower,
        replace(other, samples_s=[place / 1000 for place in range(1, 1001)]),
        replace(memory("timm", 8), device="cuda:0", memory=TAKEN),
        kernel("flash", "bfloat16", 50e-6, 4e-3, 2e-2),
        kernel("wrong", "float16", 25e-6, 0.3, 2e-3),
        replace(cell("timm", 3, cell="search"), batch_search=FOUND),
        limits(),
        scaling("timm"),
        replace(scaling("vit_pytorch", "fsdp2"), scaling=None, outcome="crashed", reason="worker 1: killed"),
    ]
    return [header(planned=[]), *body]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(render.render(model.build([run_of(records(), tmp_path_factory.mktemp("run"))])))


def test_a_measurement_has_each_figure_under_its_heading(tables: Tables) -> None:
    first, second = tables.of("Table of measurements")
    record = cell("timm", 4)
    latency, low, high = record.latency_s, record.latency_low_s, record.latency_high_s
    assert latency
    assert low
    assert high
    spread = (4 / low - 4 / high) / 2 / (4 / latency)
    assert first["Batch"] == "4"
    assert first["Images/s"] == f"{units.number(4 / latency)} ± {units.percent(spread)}"
    assert first["Median latency 95 % interval"] == f"{units.seconds(latency)} {units.seconds_interval(low, high)}"
    assert first["TFLOP/s"].startswith(units.number(SHARE * 0.4))
    assert first["Of ceiling"] == "25 % matrix product"
    assert first["Parameters GMACs an image"] == "5,717,416 1.26"
    assert "not converged" in second["Images/s"]
    assert second["Conditions"].startswith("INVALID others used 40 %")


def test_percentiles_are_those_of_the_samples(tables: Tables) -> None:
    (row,) = tables.of("Table of latency percentiles")
    told = {name: " ".join(row[name].split()[:2]) for name in ("p50", "p90", "p99")}
    assert told == {"p50": "500 ms", "p90": "900 ms", "p99": "990 ms"}
    assert row["Samples"] == "1,000"


def test_memory_has_each_class_under_its_heading(tables: Tables) -> None:
    (row,) = tables.of("Table of memory")
    sizes = {
        "Allocated": "11.0 MiB", "Reserved": "12.0 MiB", "Process": "13.0 MiB", "Device": "14.0 MiB", "Weights": "15.0 MiB",
        "Gradients": "16.0 MiB", "Optimizer": "17.0 MiB", "Activations closed form": "18.0 MiB 22.0 MiB",
        "Temporaries": "19.0 MiB",
    }  # fmt: skip
    assert {name: row[name] for name in sizes} == sizes


def test_several_workers_have_efficiency_and_communication_below_the_one_alone(tables: Tables) -> None:
    alone, one, two, lost = tables.of("Table of several workers")
    assert [row["Workers"] for row in (alone, one, two, lost)] == ["1 alone", "1", "2", "–"]
    assert alone["Images/s 95 % interval"] == "100 80.0 – 100"
    assert alone["Conditions"].endswith("parameters that get no gradient: 2")
    assert two["Images/s 95 % interval"] == "160 160 – 160"
    assert (one["Efficiency"], two["Efficiency"]) == ("100 % 100 – 100 %", "80 % 80.0 – 100 %")
    assert (one["Communication"], two["Communication"]) == ("–", "10 % 10.0 – 10.0 %")
    assert lost["Conditions"] == "crashed: worker 1: killed"


def test_a_kernel_has_its_error_and_its_bound_and_a_warning_where_it_is_beyond(tables: Tables, tmp_path: Path) -> None:
    right, wrong = (row for row in tables.of("Table of attention kernels: " + _title(tables)))
    assert (right["Error"], right["Bound"]) == ("0.00400", "0.0200")
    assert (wrong["Error"], wrong["Bound"]) == ("0.300", "0.00200")
    assert right["Time 95 % interval"].startswith("50.0 µs")
    assert right["TFLOP/s"] == units.number(7_630_159_872 / 50e-6 / 1e12)
    page = render.render(model.build([run_of(records(), tmp_path)]))
    assert len(re.findall(r'<span class="warning"><svg[^>]*>.{0,80}</svg>0\.300</span>', page)) == 1


def _title(tables: Tables) -> str:
    (name,) = [name for name in tables.rows if name.startswith("Table of attention kernels: ")]
    return name.removeprefix("Table of attention kernels: ")


def test_a_search_tells_the_best_batch_from_the_largest(tables: Tables) -> None:
    (row,) = tables.of("Table of searches for a batch")
    figures = (row["Best batch"], row["Largest tried that fits"], row["Does not fit"], row["Ended"])
    assert figures == ("3", "5", "7", "memory ran out")


def test_a_report_of_several_workers_alone_is_about_them(tmp_path: Path) -> None:
    page = render.render(model.build([run_of([header(planned=[]), scaling("timm")], tmp_path)]))
    assert "<title>vitbench: Training by several workers</title>" in page
    assert 'but <a href="#scaling">training by several workers</a>.' in page
    assert "Nothing was measured" not in page
