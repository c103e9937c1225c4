"""What charts show is what was measured: curves, distributions, the Pareto front, stacks and roofs."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sample_charts import MIB, SPEEDS, cell, kernel, many_cells, measured, memory
from sample_runs import header, hostile, measurement, run_of

from vitbench.records import MeasurementRecord, Outcome, Record
from vitbench.reports import model, render
from vitbench.reports.charts import Charts
from vitbench.reports.distributions import quantiles
from vitbench.reports.pareto import pareto_front
from vitbench.reports.ratios import MOST_RATIOS, RatioChart
from vitbench.reports.series import MOST_SERIES, linear_ticks, log_axis, log_ticks, ticks
from vitbench.units import data_size, number, seconds

CHART_DATA = r'<script type="application/json" id="chart-data">(.*?)</script>'


def charts_of(records: list[Record], folder: Path) -> Charts:
    return model.build([run_of(records, folder)]).charts


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return charts_of(measured(), tmp_path_factory.mktemp("sample"))


# --- throughput against batch and size ---


def test_a_curve_has_a_point_with_its_interval_for_each_batch(charts: Charts) -> None:
    curve = charts.curves[0]
    assert curve.title == "Throughput against the batch: Ti/16@224"
    assert [one.label for one in curve.series] == list(SPEEDS)
    timm = curve.series[1]
    assert [point.x for point in timm.points] == [1, 4, 16, 64]
    latency_s = 0.006 + 0.0085 * 4
    assert timm.points[1].y == pytest.approx(4 / latency_s)
    assert timm.points[1].low == pytest.approx(4 / (latency_s * 1.014))
    assert timm.points[1].high == pytest.approx(4 / (latency_s * 0.988))
    assert timm.points[1].text == "batch 4: 100 images/s (98.6 – 101)"


def test_a_curve_marks_what_cannot_be_believed_and_names_what_has_no_figure(charts: Charts) -> None:
    curve = charts.curves[0]
    doubtful = [(one.label, p.x, p.note) for one in curve.series for p in one.points if p.note]
    assert doubtful == [("timm", 16, "INVALID")]
    assert curve.left_out == ("transformers at batch 64: out of memory",)
    assert "Hollow" in curve.remarks[0]


def test_sizes_of_one_family_make_a_curve(charts: Charts) -> None:
    (curve,) = charts.curves[1:]
    assert curve.title == "Throughput against the size: Ti/16, batch 4"
    assert {point.x for one in curve.series for point in one.points} == {96, 224, 384}
    assert [tick.text for tick in curve.x.ticks] == ["96", "224", "384"]


def test_one_batch_and_one_size_make_no_curve(tmp_path: Path) -> None:
    assert charts_of([header(), cell("timm", 4), cell("reference", 4)], tmp_path).curves == ()


def test_other_conditions_are_another_curve(tmp_path: Path) -> None:
    cells = [
        cell("timm", batch, cell=f"{batch} {mode}", mode=mode) for batch in (1, 2) for mode in ("eager", "compile")
    ]
    curves = charts_of([header(), *cells], tmp_path).curves
    assert [(curve.title, len(curve.series)) for curve in curves] == [
        ("Throughput against the batch: eager", 1),
        ("Throughput against the batch: compile", 1),
    ]


def test_no_more_series_are_drawn_than_there_are_colours(tmp_path: Path) -> None:
    cells = [cell(f"candidate_{number}", batch) for number in range(10) for batch in (1, 2)]
    curve = charts_of([header(), *cells], tmp_path).curves[0]
    assert len(curve.series) == MOST_SERIES
    assert curve.left_out == ("candidate_8: in the table", "candidate_9: in the table")


# --- what a chart says of itself where it stands alone ---


def test_a_caption_has_the_conditions_of_what_is_drawn_from_every_run(tmp_path: Path) -> None:
    runs = [
        run_of(
            [header(environment={"torch": "2.14.1"}), cell("timm", 4, device_name=device, threads=threads)],
            tmp_path / device,
        )
        for device, threads in (("one", 1), ("other", 8))
    ]
    report = model.build(runs)
    told = report.captions["ratios"][0]
    assert (
        "inference; Ti/16@224; float32; batch 4; eager; cpu (one), cpu (other); 1 thread, 8 threads; torch 2.14.1; "
        in told
    )
    assert "cpu (one); 1 thread; " in report.captions["throughput-1"][0]
    assert set(report.captions) == {chart.id for chart in report.drawn}


def test_a_caption_counts_the_values_of_a_condition_that_has_very_many(tmp_path: Path) -> None:
    cells = [cell("timm", batch) for batch in range(1, 9)]
    report = model.build([run_of([header(), *cells], tmp_path)])
    assert "; batch 1 and 7 others; " in report.captions["against-batch-1"][0]


# --- latency ---


def test_quantiles_are_observed_samples_from_the_least_to_the_largest() -> None:
    assert quantiles([3.0, 1.0, 2.0, 5.0, 4.0]) == [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.75, 4.0), (1.0, 5.0)]


def test_quantiles_of_many_samples_are_the_percentiles() -> None:
    found = quantiles([float(number) for number in range(1, 1001)])
    assert len(found) == 101
    assert (found[0], found[50], found[99], found[100]) == ((0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0))


def test_latency_at_batch_1_has_a_curve_for_each_implementation(charts: Charts) -> None:
    (chart,) = charts.latencies
    assert [one.label for one in chart.series] == list(SPEEDS)
    timm = chart.series[1].points
    assert len(timm) == 101
    assert all(earlier.y <= later.y for earlier, later in pairwise(timm))
    assert timm[99].text.startswith("99 %: ")
    assert timm[99].text.endswith(" ms")


def test_samples_that_are_no_times_are_no_points(tmp_path: Path) -> None:
    odd = cell("timm", 1, samples_s=[0.01, -1.0, 0.0, 0.02])
    (chart,) = charts_of([header(), odd], tmp_path).latencies
    assert [point.y for point in chart.series[0].points] == [0.01, 0.02]


# --- attention ---


def test_the_front_is_what_nothing_betters_in_both() -> None:
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (3.0, 3.0), (2.0, 2.5), (2.0, 2.0), (4.0, 1.0)]
    assert pareto_front(points) == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert pareto_front([]) == []


def test_a_wrong_kernel_is_marked_and_not_on_the_front(charts: Charts) -> None:
    (chart,) = charts.attention
    points = [(one.label, point) for one in chart.series for point in one.points]
    assert {(label, p.mark) for label, p in points if p.best} == {
        ("math", "f32"),
        ("efficient", "f32"),
        ("flash", "bf16"),
        ("efficient", "f16"),
    }
    assert [(label, p.note) for label, p in points if p.beyond] == [("wrong", "error beyond its bound")]
    assert chart.guides[0].points[0] == (50e-6, 4e-3)
    assert chart.guides[0].points[-1] == (900e-6, 2e-7)


def test_a_kernel_without_a_place_on_logarithmic_axes_is_named(charts: Charts) -> None:
    (chart,) = charts.attention
    assert chart.left_out == (
        "exact, float32: no error at all, which a logarithmic axis cannot show",
        "cudnn, float16: not supported",
    )


def test_hovering_over_a_kernel_says_time_error_and_bound(charts: Charts) -> None:
    (chart,) = charts.attention
    flash = next(one for one in chart.series if one.label == "flash")
    assert flash.points[0].text == "bfloat16: 50.0 µs (49.4 – 50.7 µs)\nerror 0.00400, bound 0.0200"


def test_kernels_come_in_the_same_order_in_every_comparison(tmp_path: Path) -> None:
    times = {"forward": {"math": 2e-3, "flash": 1e-3}, "forward+backward": {"math": 3e-3, "flash": 4e-3}}
    cells = [
        kernel(name, "float32", time_s, 1e-7, 1e-6, direction=direction, cell=f"{name} {direction}")
        for direction, kernels in times.items()
        for name, time_s in kernels.items()
    ]
    charts = charts_of([header(), *cells], tmp_path).attention
    assert [[one.label for one in chart.series] for chart in charts] == [["flash", "math"]] * 2


def test_one_kernel_makes_no_chart(tmp_path: Path) -> None:
    assert charts_of([header(), kernel("math", "float32", 1e-3, 1e-7, 1e-6)], tmp_path).attention == ()


# --- memory ---


def test_a_stack_has_every_class_in_order_and_the_peak(charts: Charts) -> None:
    training = charts.memory[-1]
    assert training.classes == ("weights", "gradients", "optimizer", "activations", "temporaries")
    assert [stack.label for stack in training.stacks] == ["b1 timm", "b1 torchvision", "b8 timm", "b8 torchvision"]
    eight = training.stacks[2]
    assert [part.bytes / MIB for part in eight.parts] == [22, 22, 44, 248, 72]
    assert [part.text for part in eight.parts] == ["22.0 MiB", "22.0 MiB", "44.0 MiB", "248 MiB", "72.0 MiB"]
    assert (eight.peak / MIB, eight.text) == (402, "402 MiB")
    assert training.axis.high == 408 * MIB
    assert [tick.text for tick in training.axis.ticks] == ["0 B", "128 MiB", "256 MiB", "384 MiB"]


def test_inference_and_training_have_a_chart_each(charts: Charts) -> None:
    assert [(chart.title, len(chart.stacks)) for chart in charts.memory] == [
        ("Memory: inference", 1),
        ("Memory: training", 4),
    ]


def test_a_cell_without_memory_is_named(tmp_path: Path) -> None:
    lost = replace(memory("reference", 8), memory=None, outcome=Outcome.OUT_OF_MEMORY)
    (chart,) = charts_of([header(), memory("timm", 8), lost], tmp_path).memory
    assert chart.left_out == ("b8 reference: out of memory",)


# --- roofline ---


def test_roofs_are_those_measured_in_the_run(charts: Charts) -> None:
    (chart,) = charts.rooflines
    slope, level = chart.guides
    assert (slope.label, level.label) == ("memory 10.0 GB/s", "float32 400 GFLOP/s")
    assert slope.points[0] == (chart.x.low, pytest.approx(chart.x.low * 1e10))
    assert slope.points[1] == level.points[0] == (40.0, 4e11)
    assert level.points[1] == (chart.x.high, 4e11)
    assert chart.remarks[0] == "Dashed: measured in this run."


def test_a_cell_stands_at_its_intensity_and_rate(charts: Charts) -> None:
    (chart,) = charts.rooflines
    timm = next(one for one in chart.series if one.label == "timm")
    one = timm.points[0]
    assert one.x == pytest.approx(2.5e9 / 27e6)
    assert one.y == pytest.approx(2.5e9 / 0.0145)
    assert one.text.endswith("172 GFLOP/s at 92.6 FLOPs a byte\n43 % of matrix product")


def test_without_a_roof_there_is_no_roofline(tmp_path: Path) -> None:
    assert charts_of([header(), cell("timm", 4)], tmp_path).rooflines == ()


# --- axes ---


def test_ticks_are_round_numbers_without_zeros_at_their_end() -> None:
    assert linear_ticks(0.0, 10.0) == [0, 2, 4, 6, 8, 10]
    assert log_ticks(1e-6, 1e-2) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
    assert log_ticks(0.01, 0.3) == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert [tick.text for tick in ticks(log_ticks(4.1e-5, 1.1e-3), seconds)] == [
        "50 µs", "100 µs", "200 µs", "500 µs", "1 ms",
    ]  # fmt: skip
    assert [tick.text for tick in ticks([1e-6, 1.1e-6, 1e-3, 1e10], number)] == ["10⁻⁶", "1.1·10⁻⁶", "0.001", "10¹⁰"]
    assert [tick.text for tick in ticks([0, 1.5 * 2**30, 200 * 2**20], data_size)] == ["0 B", "1.5 GiB", "200 MiB"]


def test_an_axis_of_one_value_has_room_and_ticks() -> None:
    axis = log_axis("time", [0.03], seconds)
    assert axis.low < 0.03 < axis.high
    assert len(axis.ticks) > 1


# --- runs against the first ---


def slower(records: list[Record], factor: float) -> list[Record]:
    """The same run, with every time so many times as long."""
    return [
        replace(
            one,
            latency_s=one.latency_s * factor,
            latency_low_s=(one.latency_low_s or 0) * factor,
            latency_high_s=(one.latency_high_s or 0) * factor,
        )
        if isinstance(one, MeasurementRecord) and one.latency_s
        else one
        for one in records
    ]


def ratios_of(after: list[Record], folder: Path, before: list[Record] | None = None) -> RatioChart:
    runs = [run_of(records, folder / name) for name, records in (("before", before or measured()), ("after", after))]
    (chart,) = model.build(runs).charts.ratios
    return chart


def test_ratios_stand_on_a_logarithmic_axis_that_has_one_and_every_interval(tmp_path: Path) -> None:
    chart = ratios_of(slower(measured(), 1.25), tmp_path)
    assert {point.word for point in chart.points} == {"slower"}
    assert chart.points[0].value == pytest.approx(1.25)
    assert chart.points[0].low == pytest.approx(1.25 * 0.988 / 1.014)
    assert chart.points[0].told == "1.25× (1.22 – 1.28): slower\n21.8 ms before, 27.2 ms now"
    assert chart.axis.log
    assert chart.axis.low < 1 < max(point.high or 0 for point in chart.points) < chart.axis.high
    assert 1 in [tick.at for tick in chart.axis.ticks]
    assert len({point.label for point in chart.points}) == len(chart.points)


def test_a_ratio_that_cannot_be_believed_says_why(tmp_path: Path) -> None:
    notes = {point.label: point.note for point in ratios_of(measured(), tmp_path).points}
    assert notes["timm, Ti/16@224, batch 16"] == "INVALID"
    assert notes["efficient, attention, float16"] == "not converged"


def test_of_many_ratios_those_furthest_from_one_are_drawn_and_the_others_counted(tmp_path: Path) -> None:
    many = many_cells(60)
    after = [*many[:-2], *slower(many[-2:-1], 2.0), many[-1]]
    chart = ratios_of(after, tmp_path, many)
    assert len(chart.points) == MOST_RATIOS
    assert chart.points[-1].word == "slower"
    assert chart.left_out == ("20 cells nearer to 1: in the table",)


def test_runs_that_share_no_cell_have_no_ratios(tmp_path: Path) -> None:
    runs = [run_of([header(), cell(name, 1)], tmp_path / name) for name in ("timm", "reference")]
    assert model.build(runs).charts.ratios == ()


# --- the page ---


def test_colours_of_series_are_told_apart_by_colour_blind_readers_and_from_the_paper() -> None:
    css = (render.TEMPLATES / "charts.css").read_text(encoding="utf-8")
    found = re.findall(r"--series-(\d): light-dark\((#\w{6}), (#\w{6})\)", css)
    assert [int(number) for number, _, _ in found] == list(range(1, MOST_SERIES + 1))
    for theme, paper in ((1, "#fdfcfa"), (2, "#151513")):
        colours = [entry[theme] for entry in found]
        assert min(contrast(colour, paper) for colour in colours) >= 3
        for deficiency in DEFICIENCIES.values():
            seen = [lab(deficiency, colour) for colour in colours]
            nearest = min(math.dist(one, other) for i, one in enumerate(seen) for other in seen[:i])
            assert nearest >= 8


def test_pages_of_hostile_text_and_odd_figures_hold_valid_data(tmp_path: Path) -> None:
    odd = [
        cell("timm", 1, latency_low_s=math.nan, latency_high_s=math.inf),
        cell("timm", 2, throughput_images_per_s=-1.0),
        kernel("math", "float32", 1e-3, math.nan, 1e-6),
        kernel("flash", "float32", 1e-3, 1e-6, 1e-6, latency_low_s=math.nan),
        kernel("other", "float32", 2e-3, 1e-7, 1e-6),
    ]
    page = render.render(model.build([run_of([*hostile("</script><b>"), *odd], tmp_path)]))
    (data,) = re.findall(CHART_DATA, page)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert {chart["kind"] for chart in json.loads(data, parse_constant=refuse)} >= {"bars", "series"}


@pytest.mark.parametrize("sampled", [100, 400])
def test_five_hundred_cells_make_a_page_below_two_megabytes(sampled: int, tmp_path: Path) -> None:
    page = render.render(model.build([run_of(many_cells(500, sampled), tmp_path)]))
    assert len(page.encode()) < 2_000_000
    (data,) = re.findall(CHART_DATA, page)
    assert len(data.encode()) < 350_000


def test_a_scorecard_has_neither_charts_nor_their_library(tmp_path: Path) -> None:
    page = render.render(model.build([run_of([header(), measurement()], tmp_path)]), scorecard=True)
    assert "chart-data" not in page
    assert len(page) < 350_000


# --- how colours are seen ---

DEFICIENCIES = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Of linear RGB; Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009), severity 1.0."""


def linear(colour: str) -> list[float]:
    """The linear RGB of an sRGB colour."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: str, other: str) -> float:
    """As WCAG has it."""
    bright, dark = sorted(
        (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True)) for colour in (one, other)),
        reverse=True,
    )
    return (bright + 0.05) / (dark + 0.05)


def lab(deficiency: tuple[tuple[float, ...], ...], colour: str) -> tuple[float, float, float]:
    """CIELAB of a colour as it is seen."""
    rgb = [min(1.0, max(0.0, sum(w * c for w, c in zip(row, linear(colour), strict=True)))) for row in deficiency]
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        ratio ** (1 / 3)
        if (ratio := sum(w * c for w, c in zip(row, rgb, strict=True)) / of) > 0.008856
        else 7.787 * ratio + 4 / 29
        for row, of in zip(to_xyz, white, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)
