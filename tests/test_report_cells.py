"""Figures that are no samples: how long a cell's start took, and what its pass consists of."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from sample_charts import cell, counted, measured
from sample_runs import header, run_of

from vitbench.records import Record
from vitbench.reports import model, render


def text_of(records: list[Record], folder: Path) -> str:
    """What the report says, on one line."""
    page = render.render(model.build([run_of(records, folder)]))
    bare = re.sub(r"<(script|style)>.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(bare).split())


def test_the_start_of_a_cell_has_each_of_its_times_and_says_that_they_have_no_spread(tmp_path: Path) -> None:
    one = replace(cell("timm", 4), cold_start_s=3.21, build_s=0.5, first_forward_s=0.12, compile_s=None)
    text = text_of([header(), one], tmp_path)
    assert "Start-up 1 cell" in text
    assert "so without a spread" in text
    assert "inference, Ti/16@224 float32, eager, cpu 4 3.21 s 500 ms 120 ms – 12" in text


def test_a_cell_whose_start_was_not_timed_is_not_listed(tmp_path: Path) -> None:
    one = replace(cell("timm", 4), cold_start_s=None, build_s=None, first_forward_s=None, compile_s=None)
    assert "Start-up" not in text_of([header(), one], tmp_path)


def test_counts_have_their_sum_the_most_frequent_operators_and_what_attends(tmp_path: Path) -> None:
    text = text_of(measured(), tmp_path)
    assert "4 390 10.0 GFLOP 0 scaled_dot_product_attention view 300, linear 48, add 30" in text
    assert "– – – failed : TypeError: no" in text


def test_attention_that_is_written_out_is_said_to_be(tmp_path: Path) -> None:
    one = counted("timm")
    assert one.counts is not None
    text = text_of([header(), replace(one, counts=replace(one.counts, attention=[], graph_breaks=None))], tmp_path)
    assert "10.0 GFLOP – products and softmax" in text


@pytest.mark.parametrize("several", [1, 2])
def test_rows_say_their_run_where_there_are_several(several: int, tmp_path: Path) -> None:
    runs = [run_of(measured(), tmp_path / name) for name in ("before", "after")[:several]]
    report = model.build(runs)
    assert len(report.counts) == 3 * several
    page = render.render(report)
    assert page.count("<tr") > 30
    assert ('<th scope="col">Run</th>' in page) == (several > 1)


def test_a_run_that_only_counted_does_not_say_that_nothing_was_measured(tmp_path: Path) -> None:
    text = text_of([header(), counted("timm")], tmp_path)
    assert "No throughput was measured." in text
    assert "Nothing was measured" not in text
