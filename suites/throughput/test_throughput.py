"""Throughput by pytest-benchmark: ``pytest suites/throughput --impl timm --benchmark-json out.json``."""

from typing import Any

import pytest

from vitbench.benchmark_items import planned_cell
from vitbench.benchmarks import extra_info, reasons_without_traceback, teller, timed
from vitbench.conditions.watch import watching
from vitbench.exclusive import exclusively
from vitbench.suites.throughput.measure import EFFORT, prepared


@pytest.mark.cells("throughput")
@pytest.mark.filterwarnings("default", "ignore:Benchmark fixture was not used at all")  # it has no word for a failure
def test_throughput(benchmark: Any, pytestconfig: pytest.Config, cell: str) -> None:
    """The same cell as ``vitbench.run``'s: model, weights, images, threads and what comes before each sample."""
    point = planned_cell(pytestconfig, cell)
    alone = exclusively(point.device, f"cell {cell}", tell=teller(pytestconfig))
    with reasons_without_traceback(), alone, prepared(point) as ready:
        with watching(point.device) as watch:
            timing = timed(benchmark, pytestconfig, ready, EFFORT[point.preset])
        if timing is not None:
            benchmark.extra_info.update(extra_info(ready.record(timing, watch.evidence(timing, point.batch))))
