"""The report of the paper's studies: its charts and pictures, what is missing, and what hostile records do to it."""

import base64
import json
import math
import re
import struct
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from sample_runs import header, hostile, run_of, write
from sample_studies import curve, studies, study

from vitbench.records import Outcome, StudyRecord
from vitbench.reports.model import build
from vitbench.reports.pictures import CLEAR, NoPicture, heat, in_colour, in_heat, numbers_of, png, stretched, tiled
from vitbench.reports.render import render
from vitbench.reports.studies import Study
from vitbench.reports.study_charts import study_charts
from vitbench.reports.study_pictures import FIELD, FILTERS, IMAGES, POSITIONS, ROLLOUT
from vitbench.reports.study_tables import CurveRow
from vitbench.reports.study_texts import TEXTS
from vitbench.results import read, to_line
from vitbench.study import NamedArray, Scalar
from vitbench.suite import names


def of(folder: Path, *records: StudyRecord) -> tuple[Study, ...]:
    return build([run_of([header(planned=[]), *records], folder)]).studies


def array(name: str, shape: tuple[int, ...], series: str = "trained") -> NamedArray:
    count = 1
    for side in shape:
        count *= side
    numbers = [place % 7 / 7 for place in range(count)]
    return NamedArray.of(name, [str(axis) for axis in range(len(shape))], shape, numbers, series=series)


def decoded(address: str) -> tuple[int, int, bytes]:
    """Width, height and the raw rows of a PNG file in a data: address."""
    kind, _, text = address.partition(",")
    assert kind == "data:image/png;base64"
    file = base64.b64decode(text, validate=True)
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    parts, place = {}, 8
    while place < len(file):
        (length,) = struct.unpack(">I", file[place : place + 4])
        name, data = file[place + 4 : place + 8], file[place + 8 : place + 8 + length]
        assert struct.unpack(">I", file[place + 8 + length : place + 12 + length]) == (zlib.crc32(name + data),)
        parts[name], place = data, place + 12 + length
    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert rest == [8, 6, 0, 0, 0]
    return width, height, zlib.decompress(parts[b"IDAT"])


# --- tables ---


def test_every_chart_has_its_figures_in_a_table(tmp_path: Path) -> None:
    (one,) = of(tmp_path, study())
    (table,) = one.tables
    assert (table.title, table.x, table.y) == ("Accuracy while training", "step", "accuracy")
    assert table.columns == ("fine-tuned", "from scratch")
    assert table.rows == (
        CurveRow(x="0", values=("0.100 (0.0800 – 0.120)",) * 2),
        CurveRow(x="200", values=("0.900 (0.850 – 0.950)",) * 2),
    )


def test_many_places_have_evenly_spaced_rows_and_the_table_says_so(tmp_path: Path) -> None:
    places = tuple(range(1000))
    long = replace(curve("trained"), x=places, y=tuple(float(x) for x in places), low=(), high=())
    (one,) = of(tmp_path, study(curves=(long,)))
    (table,) = one.tables
    rows = [row.x for row in table.rows]
    assert (rows[0], rows[-1], len(rows), table.places) == ("0", "999", 40, 1000)
    page = render(build([run_of([header(planned=[]), study(curves=(long,))], tmp_path)]))
    assert "at 40 of 1,000 places; all are in the results" in page


# --- pictures ---


def test_a_png_holds_the_pixels_row_by_row() -> None:
    red, blue = (255, 0, 0, 255), (0, 0, 255, 255)
    assert decoded(png([[red, blue], [CLEAR, red]])) == (2, 2, bytes([0, *red, *blue, 0, *CLEAR, *red]))


def test_heat_goes_from_dark_to_bright_and_has_no_colour_for_what_is_no_number() -> None:
    light = [sum(heat(step / 20)[:3]) for step in range(21)]
    assert light == sorted(light)
    assert heat(-1) == heat(0) == (68, 1, 84, 255)
    assert heat(2) == heat(1) == (253, 231, 37, 255)
    assert heat(float("nan")) == CLEAR


def test_tiles_lie_side_by_side_with_clear_gaps() -> None:
    one, other = in_colour([[1.0, 0.0]], 1), in_heat([0.0, 0.0], 1)
    assert one == [[(255, 255, 255, 255)], [(0, 0, 0, 255)]]
    rows = tiled([one, other, one], 2)
    assert (len(rows), len(rows[0])) == (5, 3)
    assert rows[0] == [one[0][0], CLEAR, other[0][0]]
    assert rows[2] == [CLEAR] * 3
    assert rows[3] == [one[0][0], CLEAR, CLEAR]


def test_stretching_leaves_out_what_is_no_number() -> None:
    scale = stretched([1.0, 3.0, float("nan")])
    assert [scale(value) for value in (1.0, 2.0, 3.0)] == [0, 0.5, 1]
    assert stretched([5.0])(5.0) == 0.5


@pytest.mark.parametrize("damaged", [{"values": "%"}, {"shape": (3, 3)}, {"shape": (2, 3), "axes": ("x",)}])
def test_a_damaged_array_is_no_picture(damaged: dict[str, object]) -> None:
    with pytest.raises(NoPicture):
        numbers_of(replace(array("a", (2, 3)), **damaged), 2)  # type: ignore[arg-type]
    with pytest.raises(NoPicture):
        numbers_of(array("a", (2, 3)), 3)


def test_every_kind_of_array_has_its_picture(tmp_path: Path) -> None:
    arrays = (
        array(FILTERS, (9, 3, 4, 4)),
        array(POSITIONS, (2, 3, 2, 3)),
        array(IMAGES, (2, 3, 8, 8)),
        array(ROLLOUT, (2, 2, 2)),
        array(FIELD, (3, 8, 8)),
        array("of another kind", (2, 2)),
    )
    (found,) = of(tmp_path, study("paper/inner_views", arrays=arrays))
    sizes = {gallery.name: decoded(gallery.pictures[0].address)[:2] for gallery in found.galleries}
    assert sizes == {FILTERS: (34, 9), POSITIONS: (11, 5), ROLLOUT: (35, 8), FIELD: (26, 8)}


def test_a_rollout_without_its_images_or_of_another_number_of_them_is_not_drawn(tmp_path: Path) -> None:
    alone = study("paper/inner_views", arrays=(array(ROLLOUT, (2, 2, 2)),))
    others = study(
        "paper/inner_views", "mine", cell="other", arrays=(array(IMAGES, (3, 3, 4, 4)), array(ROLLOUT, (2, 2, 2)))
    )
    (found,) = of(tmp_path, alone, others)
    assert found.galleries == ()


# --- the section ---


def test_every_suite_of_the_papers_has_its_texts() -> None:
    assert {name for name in names() if name.startswith("paper/")} <= set(TEXTS)


def test_studies_stand_in_the_papers_order_with_their_figures(tmp_path: Path) -> None:
    found = of(tmp_path, study("paper/inner_views"), study("paper/transfer"), study("paper/unheard_of"))
    assert [one.suite for one in found] == ["paper/transfer", "paper/inner_views", "paper/unheard_of"]
    (fine_tuned, scratch) = found[0].rows
    (value,) = fine_tuned.values
    assert value is not None
    assert (value.text, value.interval, value.seeds) == ("0.910", "0.880 – 0.940", 3)
    assert scratch.values[0] is not None
    assert scratch.values[0].text == "not finite"
    assert found[0].settings == (
        ("timm", "width 64, depth 4, steps 300, optimizer {'name': 'Adam', 'betas': [0.9, 0.999]}"),
    )


def test_an_interval_of_another_kind_than_the_usual_says_so(tmp_path: Path) -> None:
    odd = Scalar(name="no worse from", value=300.0, low=200.0, high=500.0, interval="95 %, by bootstrap", unit="images")
    scalars = (*study().scalars, odd)
    (found,) = of(tmp_path, study(scalars=scalars))
    assert found.interval == "95 % of the mean, by Student's t"
    assert [row.note for row in found.rows] == ["", "the loss was NaN at step 12", "interval: 95 %, by bootstrap"]


def test_curves_of_one_name_are_one_chart_with_gaps_where_nothing_is(tmp_path: Path) -> None:
    (found,) = of(tmp_path, study())
    (chart,) = found.charts
    assert chart.title == "Accuracy while training"
    assert [one.label for one in chart.series] == ["fine-tuned", "from scratch"]
    assert [(point.x, point.y, point.low, point.high) for point in chart.series[0].points] == [
        (0, 0.1, 0.08, 0.12),
        (200, 0.9, 0.85, 0.95),
    ]
    assert chart.remarks == ("Intervals: 95 % of the mean, by Student's t, of 3 seeds.",)


def test_two_times_of_a_chart_stand_side_by_side_on_the_same_axes(tmp_path: Path) -> None:
    name = "receptive field by depth"
    lines = [
        replace(curve(when), name=name, y=(0.1, 0.2, most)) for when, most in (("at the start", 3.0), ("trained", 9.0))
    ]
    resnet = study("paper/inductive_bias", "ResNet", cell="resnet", curves=tuple(lines))
    (found,) = of(tmp_path, resnet, study("paper/inductive_bias", curves=tuple(lines)))
    first, second = found.charts
    assert [chart.title for chart in found.charts] == [
        "Receptive field by depth, at the start",
        "Receptive field by depth, trained",
    ]
    assert (first.x, first.y) == (second.x, second.y)
    assert [one.label for one in first.series] == ["timm", "ResNet"]  # who is compared with stands last
    assert found.columns == ("timm", "ResNet")
    assert first.remarks
    assert not second.remarks


def test_of_too_many_lines_those_to_compare_with_are_kept(tmp_path: Path) -> None:
    records = [study("paper/inductive_bias", name, cell=name) for name in ("a", "b", "c", "d", "ResNet")]
    (found,) = of(tmp_path, *records)
    (chart,) = found.charts
    assert [one.label for one in chart.series][-3:] == ["c, from scratch", "ResNet, fine-tuned", "ResNet, from scratch"]
    assert len(chart.series) == 8
    assert chart.left_out == ("d, fine-tuned: in the results", "d, from scratch: in the results")


def test_implementations_with_many_lines_each_have_charts_of_their_own_on_the_same_axes(tmp_path: Path) -> None:
    name = "Linear few-shot accuracy (Experiment 2)"
    lines = [replace(curve(f"ViT {width}"), name=name, y=(0.1, 0.2, width / 100)) for width in (16, 32, 48)]
    records = [study("paper/data_scaling", one, cell=one, curves=tuple(lines)) for one in ("a", "b", "c")]
    (found,) = of(tmp_path, *records)
    assert [chart.title for chart in found.charts] == [f"{name}, {one}" for one in "abc"]
    assert [[one.label for one in chart.series] for chart in found.charts] == [["ViT 16", "ViT 32", "ViT 48"]] * 3
    assert len({(chart.x, chart.y) for chart in found.charts}) == 1
    assert [bool(chart.remarks) for chart in found.charts] == [True, False, False]
    (together,) = of(tmp_path, *records[:2])
    assert [len(chart.series) for chart in together.charts] == [6]


def test_two_times_with_a_line_each_are_one_chart(tmp_path: Path) -> None:
    lines = [replace(curve(when), name="training loss") for when in ("at the start", "trained")]
    (found,) = of(tmp_path, study("paper/inner_views", curves=tuple(lines)))
    assert [[one.label for one in chart.series] for chart in found.charts] == [["at the start", "trained"]]


def test_sizes_that_lie_far_apart_get_a_logarithmic_axis_and_what_is_negative_has_room(tmp_path: Path) -> None:
    sizes = replace(curve("ViT"), x=(500, 5000, 60000), y=(-0.2, 0.5, 0.9), low=(), high=())
    (found,) = of(tmp_path, study("paper/data_scaling", curves=(sizes,)))
    (chart,) = found.charts
    assert chart.x.log
    assert chart.y.low < -0.2
    assert chart.y.high > 0.9


def test_attention_distances_are_a_mark_a_head_beside_even_attention(tmp_path: Path) -> None:
    arrays = (array("attention distance", (1, 2, 3)), array("attention distance", (1, 2, 3), "at the start"))
    even = (Scalar(name="attention distance", value=16.5, series="of even attention", unit="pixels"),)
    (found,) = of(tmp_path, study("paper/inner_views", arrays=arrays, scalars=even, curves=()))
    (chart,) = found.charts
    assert [point.x for point in chart.series[0].points] == [1, 1, 1, 2, 2, 2]
    assert not chart.joined
    assert [(guide.label, guide.points[0][1]) for guide in chart.guides] == [("even attention", 16.5)]
    assert chart.y.high > 16.5


def test_what_was_not_offered_or_not_measured_is_said_with_the_hook(tmp_path: Path) -> None:
    run = run_of([header(planned=[]), *studies()], tmp_path)
    page = render(build([run]))
    assert "attention rollout" in page
    assert "(needs <code>attention()</code>): <bdi>adapter offers no attention()</bdi>" in page
    assert "Not measured of" in page
    assert "no at_image_size()" in page


def test_a_report_of_studies_alone_is_about_them(tmp_path: Path) -> None:
    report = build([run_of([header(planned=[]), study()], tmp_path)])
    assert report.title == "The paper in miniature"
    page = render(report)
    assert 'id="requirements"' not in page
    assert 'id="throughput"' not in page
    assert '<a href="#paper">studies of the paper\'s kind</a>' in page


def test_a_report_without_studies_has_no_section_of_them(tmp_path: Path) -> None:
    assert 'id="paper"' not in render(build([run_of([header(planned=[])], tmp_path)]))


@pytest.mark.parametrize(
    "text", ["</script><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "\x00\u202e" * 40, "x" * 10_000]
)
def test_hostile_studies_make_a_page_that_holds_them_as_text(text: str, tmp_path: Path) -> None:
    page = render(build([run_of(hostile(text), tmp_path)]))
    assert "<img src=x" not in page
    assert "<bdi>49</bdi>" not in page


def test_runs_side_by_side_are_told_apart(tmp_path: Path) -> None:
    runs = [run_of([header(planned=[]), study()], tmp_path, f"{name}.jsonl") for name in ("before", "after")]
    (found,) = build(runs).studies
    assert found.columns == ("timm (before.jsonl)", "timm (after.jsonl)")


def test_a_cell_that_failed_has_no_column(tmp_path: Path) -> None:
    lost = study(implementation="broken", cell="broken", outcome=Outcome.FAILED, reason="the loss is nan at step 3")
    (found,) = of(tmp_path, study(), lost)
    assert found.columns == ("timm",)
    assert [(one.who, one.what, one.reason) for one in found.absences if one.who == "broken"] == [
        ("broken", "failed", "the loss is nan at step 3")
    ]


# --- what is odd ---


@pytest.mark.parametrize(
    "figures",
    [
        {"y": (-1e308, 1e308, 0.0)},
        {"y": (1e17, 1e17, 1e17)},
        {"x": (1e-300, 1e300, 1.0)},
        {"x": (-1e308, 0.0, 1e308)},
        {"low": (-math.inf, math.nan, 0.0), "high": (math.inf, math.nan, 1.0)},
        {"x": (10**300,) * 3, "y": (10**300,) * 3},
    ],
)
def test_a_curve_of_odd_figures_leaves_data_that_a_browser_reads(tmp_path: Path, figures: dict[str, object]) -> None:
    line = json.dumps(json.loads(to_line(study())) | {"curves": [asdict(curve("a")) | figures, asdict(curve("b"))]})
    path = write([header(planned=[])], tmp_path / "run.jsonl")
    path.write_text(f"{path.read_text()}{line}\n")
    page = render(build([read(path)]))
    data = re.search(r'id="chart-data">(.*?)</script>', page, re.DOTALL)
    assert data
    assert "b" in [one["label"] for one in json.loads(data[1], parse_constant=pytest.fail)[0]["series"]]


def test_what_is_not_drawn_is_said_in_its_place(tmp_path: Path) -> None:
    nothing = replace(curve("empty"), name="nothing", y=(None, None, None))
    broken = NamedArray(name=POSITIONS, axes=("a",), shape=(2,), values="no base64")
    lost = replace(curve("lost"), y=(None, None, None))
    charts = [replace(curve("one"), name=f"chart {number}") for number in range(13)]
    (found,) = of(tmp_path, study(curves=(nothing, curve("kept"), lost, *charts), arrays=(broken,)))
    assert found.charts[0].left_out == ("lost: no usable figure",)
    assert found.left_out[:3] == ("nothing: no usable figure", "Chart 11: in the results", "Chart 12: in the results")
    assert found.left_out[3].startswith(f"timm, {POSITIONS}: ")
    page = render(build([run_of([header(planned=[]), study(curves=(nothing,))], tmp_path)]))
    assert "Not shown: <bdi>nothing: no usable figure</bdi>" in page


def test_a_long_curve_keeps_its_end(tmp_path: Path) -> None:
    steps = tuple(range(5000))
    (found,) = of(tmp_path, study(curves=(replace(curve("long"), x=steps, y=steps, low=(), high=()),), arrays=()))
    points = found.charts[0].series[0].points
    assert (len(points), points[0].x, points[-1].x) == (2000, 0, 4999)


def test_more_implementations_than_columns_and_more_settings_than_room_are_counted(tmp_path: Path) -> None:
    many = {f"setting {number}": number for number in range(30)}
    names = [f"model {number}" for number in range(14)]
    (found,) = of(tmp_path, *(study(implementation=name, cell=name, settings=many) for name in names))
    assert found.left_out[-2:] == ("figures of model 12: in the results", "figures of model 13: in the results")
    assert found.settings[0][1].endswith("setting 23 23, and 6 more")


def test_settings_of_another_shape_are_shown_as_they_are(tmp_path: Path) -> None:
    (found,) = of(tmp_path, study(settings=["a", 10**400]))
    assert found.settings[0][1].startswith("['a', 1000")


def test_an_array_whose_shape_is_damaged_takes_no_time(tmp_path: Path) -> None:
    endless = NamedArray(
        name="attention distance", axes=("a", "b", "c"), shape=(0, 10**12, 5), values="", series="trained"
    )
    assert of(tmp_path, study(arrays=(endless,)))[0].charts


def test_distances_of_nothing_have_an_axis_all_the_same(tmp_path: Path) -> None:
    zeros = NamedArray.of("attention distance", ("a", "b", "c"), (1, 2, 2), [0.0] * 4, series="trained")
    (found,) = of(
        tmp_path, study(arrays=(zeros,), scalars=(Scalar(name="d", value=math.inf, series="of even attention"),))
    )
    assert found.charts[0].y.high > 0


@pytest.mark.parametrize(
    "numbers",
    [
        (1e308, -1e308, 1e308),
        (math.inf, -math.inf, math.nan),
        (5e-324, 0.0, 1e-320),
        (1e50, 1e50, 1e50),
        (0.0, 0.0, 0.0),
        (-3.0, -2.0, -1.0),
    ],
)
def test_curves_of_any_numbers_have_axes(numbers: tuple[float, ...]) -> None:
    odd = replace(curve("odd"), x=numbers, y=numbers, low=numbers, high=numbers)
    record = study(curves=(odd, replace(curve("sane"), x=numbers)), arrays=())
    charts, _ = study_charts("odd", [record], lambda one: one.implementation)
    for chart in charts:
        assert chart.x.low < chart.x.high
        assert chart.y.low < chart.y.high
        assert all(math.isfinite(tick.at) for axis in (chart.x, chart.y) for tick in axis.ticks)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (7, 1, 1, 1), (1, 4, 2, 2), (3, 2, 1, 1)])
def test_arrays_of_any_shape_are_pictures_or_none(shape: tuple[int, ...], tmp_path: Path) -> None:
    odd = (array(FILTERS, shape), array(POSITIONS, shape), array(IMAGES, shape), array(ROLLOUT, shape[:3]))
    (found,) = of(tmp_path, study("paper/inner_views", arrays=odd))
    for gallery in found.galleries:
        for one in gallery.pictures:
            width, height, raw = decoded(one.address)
            assert len(raw) == height * (1 + 4 * width)
