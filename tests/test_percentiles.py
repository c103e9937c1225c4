"""Percentiles of latency at batch 1: what is given of how many samples, on the terminal and in the report."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vitbench import report, summary
from vitbench.measurement import record
from vitbench.percentiles import latencies, percentiles
from vitbench.plan import Cell
from vitbench.records import Footer, Header, MeasurementRecord, Outcome
from vitbench.results import ResultsWriter, Run, read

CELL = Cell(
    suite="throughput",
    implementation="timm",
    task="inference",
    model="Ti/16@64",
    dtype="float32",
    batch=1,
    mode="eager",
)


def measured(samples: int, **changes: object) -> MeasurementRecord:
    """A cell whose samples are 1 ms, 2 ms, … up to their number."""
    taken = tuple(i * 1e-3 for i in range(1, samples + 1))
    return replace(record(CELL, Outcome.MEASURED, latency_s=1.0, samples_s=taken), **changes)  # type: ignore[arg-type]


def test_each_is_given_where_a_sample_may_lie_beyond_it() -> None:
    def given(samples: int) -> list[str]:
        return [one.name for one in percentiles(measured(samples).samples_s) if one.latency_s is not None]

    assert given(9) == ["p50"]
    assert given(10) == given(99) == ["p50", "p90"]
    assert given(100) == ["p50", "p90", "p99"]


def test_they_are_samples_and_their_intervals_too() -> None:
    middle, most, nearly_all = percentiles(measured(400).samples_s)
    assert (middle.latency_s, most.latency_s, nearly_all.latency_s) == pytest.approx((0.2005, 0.36, 0.396))
    assert nearly_all.interval is not None
    assert nearly_all.interval.low < 0.396 < nearly_all.interval.high
    assert percentiles(measured(100).samples_s)[2].interval is None


@pytest.mark.parametrize(
    "other",
    [measured(100, batch=8), measured(100, task="training"), measured(0)],
    ids=["a larger batch", "training", "no samples"],
)
def test_only_inference_of_one_image_has_them(other: MeasurementRecord) -> None:
    assert latencies([other]) == []


@pytest.fixture
def run(tmp_path: Path) -> Run:
    records = (measured(120), measured(50, cell="b", implementation="mine"), measured(120, cell="c", batch=8))
    header = Header(
        vitbench_version="1", started_at="2026-11-23T02:00:00+00:00", command=["x"], preset="quick", seed=0,
        environment={}, planned=[one.cell for one in records],
    )  # fmt: skip
    with ResultsWriter(tmp_path / "r.jsonl") as writer:
        for one in (
            header,
            *records,
            Footer(finished_at="2026-11-23T02:01:00+00:00", status="complete", duration_s=9.0),
        ):
            writer.write(one)
    return read(tmp_path / "r.jsonl")


def shown(run: Run, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    summary.show(run, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_the_terminal_says_on_how_many_samples_they_rest(run: Run) -> None:
    lines = shown(run, 100)
    start = lines.index("Latency at batch 1  Implementation  dtype    Mode       p50      p90     p99  Samples")
    assert lines[start + 1 : start + 3] == [
        "Ti/16@64            timm            float32  eager  60.5 ms   108 ms  119 ms      120",
        "Ti/16@64            mine            float32  eager  25.5 ms  45.0 ms       –       50",
    ]


def test_a_narrow_terminal_has_lines(run: Run) -> None:
    assert any("p50 60.5 ms, p90 108 ms, p99 119 ms" in line.replace("\n", " ") for line in shown(run, 79))


def test_the_report_says_what_a_missing_one_would_take(run: Run, tmp_path: Path) -> None:
    report.write_report([run.path], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Latency at batch 1" in page
    assert "119 ms" in page
    assert "takes 100 samples" in page
