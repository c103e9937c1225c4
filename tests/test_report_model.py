"""What the report says is derived from results alone, and says what they say."""

from dataclasses import replace
from pathlib import Path

import pytest
from sample_runs import (
    REQUIREMENTS,
    VERSIONS,
    header,
    judged,
    large,
    measurement,
    measurements,
    nowhere,
    records,
    requirement,
    run_of,
    unfinished,
    verdict_of,
)

from vitbench.conditions.record import Evidence, Validity
from vitbench.errors import ResultsUnreadable
from vitbench.matrix import run_labels
from vitbench.records import Footer, Record, RequirementRecord, VerdictRecord
from vitbench.reports import model, render
from vitbench.requirement import Level, Status, Verdict

FOOTER = Footer(finished_at="2026-11-22T15:50:44+00:00", status="complete", duration_s=762.4)


def report_of(records: list[Record], folder: Path) -> model.Report:
    """The model of one run."""
    return model.build([run_of(records, folder)])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> model.Report:
    """The model of the sample."""
    return report_of(records(), tmp_path_factory.mktemp("sample"))


def test_every_implementation_has_a_verdict_with_its_version(report: model.Report) -> None:
    said = {judgement.label: (judgement.version, judgement.verdict) for judgement in report.judgements}
    assert said == {
        "reference": ("0.1.0", "CONFORMS"),
        "timm": ("1.0.31", "DOES NOT CONFORM"),
        "torchvision": ("0.29.1", "CONFORMS"),
        "transformers": ("5.23.0", "HARNESS ERROR"),
        "vit_pytorch": ("1.26.0", "INCOMPLETE"),
    }


def test_a_verdict_names_the_requirements_that_decide_it(report: model.Report) -> None:
    timm = report.judgements[1]
    (group,) = timm.deciding
    assert (group.mark.word, [fault.id for fault in group.faults]) == (
        "failed",
        ["VIT-POS-EQUAL-COUNT", "VIT-POS-TRANSPOSE", "VIT-HEAD-INIT"],
    )
    assert str(timm.must) == "45/47 passed, 2 failed"


def test_what_can_be_left_out_is_counted_apart_from_the_musts(report: model.Report) -> None:
    assert [(lesser.level, str(lesser.tally)) for lesser in report.judgements[1].lesser] == [
        ("SHOULD", "4/6 passed, 1 failed, 1 not offered"),
        ("MAY", "2/2 passed"),
    ]


def test_a_known_failure_is_named_as_one(report: model.Report) -> None:
    groups = report.judgements[3].deciding
    assert [(group.mark.word, group.faults[0].id) for group in groups] == [
        ("failed", "VIT-NORM-EPSILON"),
        ("known failure", "VIT-PATCH-INDIVISIBLE"),
        ("harness error", "VIT-PATCH-SHAPE-RECTANGULAR"),
    ]


def test_the_bar_of_a_verdict_shows_every_must_once(report: model.Report) -> None:
    bars = [judgement.must_bar for judgement in report.judgements]
    assert [[(part.key, part.start, part.count) for part in bar] for bar in bars] == [
        [("passed", 0, 47)],
        [("passed", 0, 45), ("failed", 45, 2)],
        [("passed", 0, 47)],
        [("passed", 0, 45), ("failed", 45, 2)],
        [("passed", 0, 41), ("not-offered", 41, 6)],
    ]


def test_areas_and_requirements_with_failures_come_first(report: model.Report) -> None:
    assert [area.name for area in report.matrix.areas[:4]] == ["POS", "NORM", "HEAD", "PATCH"]
    assert [row.id for row in report.matrix.areas[0].rows[:2]] == ["VIT-POS-EQUAL-COUNT", "VIT-POS-TRANSPOSE"]


def test_every_requirement_is_in_the_matrix_once(report: model.Report) -> None:
    assert sorted(row.id for area in report.matrix.areas for row in area.rows) == sorted(one[0] for one in REQUIREMENTS)
    assert report.matrix.total == len(REQUIREMENTS)


def test_an_area_counts_what_each_implementation_passed(report: model.Report) -> None:
    positions = report.matrix.areas[0]
    assert dict(zip(VERSIONS, positions.passed, strict=True)) == {
        "reference": 10,
        "timm": 8,
        "torchvision": 9,
        "transformers": 10,
        "vit_pytorch": 6,
    }
    assert [(mark.word, number) for mark, number in positions.counts] == [("failed", 2), ("not offered", 4)]


def test_a_failure_carries_its_evidence_and_the_worst_comes_first(report: model.Report) -> None:
    row = report.matrix.areas[0].rows[0]
    failed, absent = row.evidence
    assert (failed.column.label, failed.mark.key) == ("timm", "failed")
    assert (absent.column.label, absent.mark.key) == ("vit_pytorch", "not-offered")
    assert failed.record is not None
    assert failed.record.worst_margin == pytest.approx(3.1e9)


def test_a_requirement_that_one_implementation_lacks_is_not_judged_there(tmp_path: Path) -> None:
    both = [*judged("timm"), requirement("timm"), verdict_of([requirement("other", 0)]), requirement("other", 0)]
    table = report_of([header(), *both], tmp_path).matrix
    words = {outcome.mark.word for area in table.areas for row in area.rows for outcome in row.outcomes[1:]}
    assert words == {"passed", "not judged"}


def test_a_status_of_a_later_version_is_shown_by_its_own_word(tmp_path: Path) -> None:
    one = replace(requirement(), status="FLAKY_TODAY")  # type: ignore[arg-type]  # as a newer writer might
    (area,) = report_of([header(), one], tmp_path).matrix.areas
    assert area.rows[0].outcomes[0].mark.word == "flaky today"


def test_what_was_measured_under_other_conditions_than_the_headline_is_led_to(tmp_path: Path) -> None:
    cells = [
        measurement("timm", 0.1, 4),
        measurement("reference", 0.1, 4),
        measurement("torchvision", 0.1, 4, model="Ti/16@64"),
    ]
    report = model.build([run_of([header(), *cells], tmp_path)])
    rows = {one.implementation: (one.measurement, one.elsewhere) for one in report.judgements}
    (here, nothing), (missing, other) = rows["timm"], rows["torchvision"]
    assert here is not None
    assert (nothing, missing) == (None, None)
    assert other is not None
    page = render.render(report)
    assert f'href="#{other.anchor}">measured under other conditions</a>' in page
    assert f'<tr id="{other.anchor}"' in page
    assert "not measured" not in page


def test_the_headline_compares_what_most_implementations_were_measured_under(report: model.Report) -> None:
    assert report.headline is not None
    assert report.headline.title.startswith("inference, Ti/16@224, float32, batch 4, eager, cpu")
    assert [row.implementation for row in report.headline.rows] == list(VERSIONS)


def test_throughput_has_the_interval_of_the_latency(report: model.Report) -> None:
    figure = report.judgements[1].measurement
    assert figure is not None
    assert figure.throughput.median == pytest.approx(4 / 0.0468)
    assert figure.throughput.low == pytest.approx(4 / (0.0468 * 1.014))
    assert figure.throughput.high == pytest.approx(4 / (0.0468 * 0.988))
    assert figure.throughput.spread == pytest.approx((1 / 0.988 - 1 / 1.014) / 2)


def test_a_chart_leaves_out_what_has_no_figure_and_says_so(report: model.Report) -> None:
    inference, training = report.charts.bars
    assert [bar.label for bar in inference.bars] == ["reference", "timm", "torchvision", "transformers"]
    assert [(bar.label, bar.note) for bar in inference.bars if not bar.sure] == [("transformers", "not converged")]
    assert inference.left_out == ("vit_pytorch: timed out",)
    assert training.left_out == ("transformers: out of memory",)


@pytest.mark.parametrize(
    ("verdict", "converged", "note"),
    [
        (Validity.VALID, True, ""),
        (Validity.INVALID, True, "INVALID"),
        (Validity.UNWATCHED, True, "UNWATCHED"),
        (Validity.INVALID, False, "not converged, INVALID"),
    ],
)
def test_a_bar_whose_figure_cannot_be_believed_is_marked(
    verdict: Validity, converged: bool, note: str, tmp_path: Path
) -> None:
    seen = Evidence(verdict=verdict, reasons=[], notes=[], window_s=2.0, readings=4)
    (chart,) = report_of([header(), measurement(evidence=seen, converged=converged)], tmp_path).charts.bars
    assert [(bar.note, bar.sure) for bar in chart.bars] == [(note, not note)]


def test_charts_are_titled_by_what_tells_them_apart(report: model.Report) -> None:
    assert [chart.title for chart in report.charts.bars] == [
        "Throughput: inference, batch 4",
        "Throughput: training, batch 8",
    ]
    assert "Ti/16@224" in report.shared_conditions


def test_missing_figures_make_no_chart(tmp_path: Path) -> None:
    bare = report_of([header(), nowhere(measurement())], tmp_path)
    assert bare.charts.all == ()
    assert [row.absence for group in bare.comparisons for row in group.rows] == ["no usable figure"]


def test_a_complete_run_is_complete(report: model.Report) -> None:
    assert report.complete
    assert report.title == "2 of 5 implementations conform"


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    report = report_of(unfinished(), tmp_path)
    (run,) = report.runs
    assert not report.complete
    assert run.ending == "The results have no footer: the run was stopped or crashed, or is still going on."
    assert {cell.cell: cell.state for cell in run.missing} == {
        "conformance/transformers": "stopped after 12 requirements, without a verdict",
        "conformance/vit_pytorch": "no result",
        **{record.cell: "no result" for record in measurements()},
    }
    assert report.title == "2 of 3 implementations conform so far"


def test_a_run_with_a_footer_is_not_complete_while_a_planned_cell_has_no_result(tmp_path: Path) -> None:
    report = report_of([header(planned=["conformance/timm", "lost"]), *judged("timm"), FOOTER], tmp_path)
    assert [cell.cell for cell in report.runs[0].missing] == ["lost"]
    assert not report.complete


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    report = report_of([header(planned=[]), replace(FOOTER, status="interrupted")], tmp_path)
    assert report.runs[0].ending == "The run ended early; its footer says “interrupted”."


def test_requirements_without_a_verdict_are_no_verdict(tmp_path: Path) -> None:
    report = report_of([header(), *judged("timm")[:3]], tmp_path)
    (only,) = report.judgements
    assert (only.verdict, only.reason) == ("NO VERDICT", "the results hold 3 requirements of it and no verdict")
    assert report.title == "Nothing was judged"


def test_what_was_only_measured_is_not_judged(tmp_path: Path) -> None:
    report = report_of([header(), *measurements()], tmp_path)
    assert {judgement.verdict for judgement in report.judgements} == {"NOT JUDGED"}
    assert report.title == "5 implementations measured, none judged"
    assert {one.reason for one in report.judgements} == {
        "measured only; the conformance suite tells whether what was timed computes a ViT"
    }


def test_no_records_make_an_empty_report(tmp_path: Path) -> None:
    report = report_of([header(planned=[], environment={})], tmp_path)
    assert (report.judgements, report.matrix.areas, report.comparisons, report.environment) == ((), (), (), ())


def test_one_implementation_is_named_in_the_title(tmp_path: Path) -> None:
    report = report_of([header(), *judged("timm")], tmp_path)
    assert report.title == "timm does not conform"


def test_a_smoke_stage_failure_keeps_its_reason(tmp_path: Path) -> None:
    broken = [record for record in judged("timm") if isinstance(record, VerdictRecord)]
    report = report_of([header(), replace(broken[0], verdict=Verdict.ADAPTER_BROKEN, reason="no build()")], tmp_path)
    assert report.judgements[0].reason == "no build()"
    assert report.title == "timm could not be judged: its adapter is broken"


def test_a_resumed_cell_counts_by_its_last_record(tmp_path: Path) -> None:
    first, last = requirement(status=Status.FAILED), requirement(status=Status.PASSED)
    table = report_of([header(), first, last], tmp_path).matrix
    assert [outcome.mark.key for area in table.areas for row in area.rows for outcome in row.outcomes] == ["passed"]


def test_the_environment_is_flat_and_unknown_keys_are_kept(report: model.Report) -> None:
    facts = {fact.name: fact.values for fact in report.environment}
    assert facts["packages.timm"] == ("1.0.31",)
    assert facts["flags.deterministic"] == ("no",)
    assert facts["affinity"] == ("0, 1",)
    assert facts["memory_bytes"] == ("23.5 GiB",)
    assert facts["device_name"] == (None,)


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        (None, []),
        ([], []),
        ("a machine", ["environment"]),
        ({"gpus": [{"name": "A"}, {"name": "B"}]}, ["gpus.0.name", "gpus.1.name"]),
    ],
)
def test_an_environment_of_any_shape_is_tolerated(environment: object, names: list[str], tmp_path: Path) -> None:
    report = report_of([header(environment=environment), *judged("timm")], tmp_path)
    assert [fact.name for fact in report.environment] == names


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    runs = [run_of(records(), tmp_path / name, "results.jsonl") for name in ("base", "head")]
    report = model.build(runs)
    assert [run.label for run in report.runs] == ["base", "head"]
    assert report.matrix.columns[0].label == "reference, base"
    assert len(report.matrix.columns) == 2 * len(VERSIONS)
    assert report.matrix.total == len(REQUIREMENTS)
    assert report.title == "4 of 10 candidates in 2 runs conform"


def test_an_implementation_before_and_after_is_told_apart_by_its_version(tmp_path: Path) -> None:
    ones = [requirement()]
    runs = [
        run_of([header(), *ones, verdict_of(ones, version=version)], tmp_path, f"{version}.jsonl")
        for version in ("1.0.30", "1.0.31")
    ]
    judged = model.build(runs).judgements
    assert [(judgement.label, judgement.versioned) for judgement in judged] == [
        ("timm 1.0.30", True),
        ("timm 1.0.31", True),
    ]


def test_one_implementation_in_several_runs_is_not_called_several(tmp_path: Path) -> None:
    runs = [run_of([header(), *judged("timm")], tmp_path, f"{number}.jsonl") for number in (1, 2)]
    assert model.build(runs).title.startswith("timm conforms in none of 2 runs")


def test_implementations_judged_in_a_run_each_keep_their_names(tmp_path: Path) -> None:
    runs = [run_of([header(), *judged(name)], tmp_path, f"{name}.jsonl") for name in ("timm", "torchvision")]
    columns = model.build(runs).matrix.columns
    assert [(column.label, column.version) for column in columns] == [("timm", "1.0.31"), ("torchvision", "0.29.1")]


def test_the_same_file_twice_still_has_two_labels(tmp_path: Path) -> None:
    run = run_of(records(), tmp_path)
    assert [column.label for column in model.build([run, run]).matrix.columns][::5] == [
        "reference, run.jsonl (1)",
        "reference, run.jsonl (2)",
    ]
    assert run_labels([run, run]) == ["run.jsonl (1)", "run.jsonl (2)"]


def test_implementations_stand_in_the_order_of_the_plan_however_they_finished(tmp_path: Path) -> None:
    finished = [record for name in reversed(VERSIONS) for record in judged(name)]
    report = report_of([header(), *finished], tmp_path)
    assert [column.implementation for column in report.matrix.columns] == list(VERSIONS)
    assert [judgement.implementation for judgement in report.judgements] == list(VERSIONS)


def test_one_implementation_in_two_cells_has_two_columns(tmp_path: Path) -> None:
    here, there = (requirement(cell=f"conformance/timm/{device}") for device in ("cpu", "cuda"))
    columns = report_of([header(), here, there], tmp_path).matrix.columns
    assert [column.label for column in columns] == ["timm, conformance/timm/cpu", "timm, conformance/timm/cuda"]


def test_an_id_that_could_not_be_an_anchor_gets_another(tmp_path: Path) -> None:
    odd = requirement(id='"><img src=x>', level=Level.MUST)
    (area,) = report_of([header(), odd], tmp_path).matrix.areas
    assert area.rows[0].anchor == "requirement-1"


def test_the_source_is_kept_byte_for_byte(tmp_path: Path) -> None:
    run = run_of(unfinished(), tmp_path)
    with run.path.open("ab") as file:
        file.write(b'{"kind": "verd')
    (source,) = model.build([run]).sources
    assert source.content == run.path.read_bytes()


def test_a_file_that_has_gone_is_an_error_with_its_name(tmp_path: Path) -> None:
    run = run_of(records(), tmp_path)
    run.path.unlink()
    with pytest.raises(ResultsUnreadable, match=r"cannot read results .*run\.jsonl: No such file"):
        model.build([run])


def test_many_records_are_laid_out_in_columns(tmp_path: Path) -> None:
    everything = large(requirements=40, implementations=12)
    table = report_of(everything, tmp_path).matrix
    assert len(table.columns) == 12
    assert sum(len(row.outcomes) for area in table.areas for row in area.rows) == sum(
        isinstance(record, RequirementRecord) for record in everything
    )
