"""What options become: models, cells and their keys."""

from dataclasses import fields, replace

import pytest

from vitbench import plan as planning
from vitbench import suite
from vitbench.errors import HarnessError, UsageError
from vitbench.models import canonical, model_config
from vitbench.options import Options
from vitbench.plan import Cell, plan, widest_first
from vitbench.reference.config import ConfigurationError

OPTIONS = Options(implementations=("reference", "timm"), named=True)
CELL = Cell(suite="throughput", implementation="timm", task="inference", model="Ti/16@64", dtype="float32", batch=8)


def test_each_implementation_gets_a_cell_of_each_suite_and_the_device_its_own() -> None:
    assert [(cell.suite, cell.implementation) for cell in plan(OPTIONS)] == [
        ("conformance", "reference"),
        ("conformance", "timm"),
        ("limits", "torch"),
        *[("throughput", name) for _ in ("inference", "training") for name in ("reference", "timm")],
    ]


def test_only_the_suites_asked_for_are_planned() -> None:
    assert {cell.suite for cell in plan(replace(OPTIONS, suites=("throughput",)))} == {"throughput"}


def test_models_and_batches_replace_those_of_the_preset() -> None:
    options = replace(OPTIONS, suites=("throughput",), models=("S/16@32", "B/16@32"), batches=(1, 2))
    assert [(cell.task, cell.model, cell.batch, cell.implementation) for cell in plan(options)] == [
        (task, model, batch, name)
        for task in ("inference", "training")
        for model in options.models
        for batch in options.batches
        for name in ("reference", "timm")
    ]


def test_only_measurements_ask_to_run_alone() -> None:
    assert {(cell.suite, cell.timed) for cell in plan(OPTIONS)} == {
        ("conformance", False),
        ("limits", True),
        ("throughput", True),
    }


@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_every_preset_plans_models_that_can_be(preset: str, device: str) -> None:
    cells = plan(replace(OPTIONS, preset=preset, device=device))
    assert {cell.device for cell in cells} == {device}
    assert all(canonical(cell.model) == cell.model for cell in cells if cell.model)


def test_a_larger_preset_plans_no_fewer_cells() -> None:
    sizes = [len(plan(replace(OPTIONS, preset=preset))) for preset in ("quick", "standard", "full")]
    assert sizes == sorted(sizes)


def test_threads_seed_and_time_limit_reach_every_cell() -> None:
    cells = plan(replace(OPTIONS, threads=3, seed=7, time_limit_s=12.0))
    assert {(cell.threads, cell.seed, cell.time_limit_s) for cell in cells} == {(3, 7, 12.0)}


def test_a_key_reads_as_a_description() -> None:
    assert CELL.key == "throughput inference timm Ti/16@64 float32 batch=8 cpu threads=1 quick seed=0"
    assert Cell(suite="conformance", implementation="timm").key == "conformance timm cpu threads=1 quick seed=0"


def test_every_field_that_makes_another_cell_makes_another_key() -> None:
    unlike = {"batch": 9, "threads": 9, "seed": 9}
    same = {"name", "timed", "time_limit_s", "keep", "trace"}  # how it runs and is called, not what it is
    keys = [replace(CELL, **{f.name: unlike.get(f.name, "other")}).key for f in fields(Cell) if f.name not in same]
    assert len({CELL.key, *keys}) == len(keys) + 1


def test_a_cell_survives_json_and_fields_of_a_newer_version() -> None:
    assert Cell.from_json(CELL.to_json() | {"altitude_m": 3.0}) == CELL


def test_two_cells_of_one_key_are_an_error_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = replace(suite.load("throughput"), plan=lambda options: [CELL, CELL])
    monkeypatch.setattr(planning, "load", lambda name: twice)
    with pytest.raises(HarnessError, match="two cells of one key"):
        plan(replace(OPTIONS, suites=("throughput",)))


def test_suites_are_found_where_they_lie() -> None:
    assert {"conformance", "throughput"} <= set(suite.names())
    assert suite.load("throughput").name == "throughput"


def test_an_unknown_suite_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no suite 'speed'; there are .*conformance, .*throughput"):
        suite.load("speed")


def test_a_model_is_a_variant_with_overrides() -> None:
    config = model_config("S/16@224, num_heads=4 ,depth=6")
    assert (config.width, config.num_heads, config.depth, config.image_size) == (384, 4, 6, (224, 224))


def test_sizes_can_be_rectangular_and_words_and_rates_stay_what_they_are() -> None:
    config = model_config("Ti/16@64,image_size=32x64,patch_size=8x16,pool=mean,dropout=0.1")
    assert (config.image_size, config.patch_size, config.pool, config.dropout) == ((32, 64), (8, 16), "mean", 0.1)


def test_one_model_has_one_spelling() -> None:
    assert canonical("B/16") == canonical(" B/16@224 ") == "B/16@224"
    assert canonical("B/16, depth = 2") == "B/16@224,depth=2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ti/15@224", "patch_size 15 does not divide image_size 224"),
        ("Ti/16@224,num_heads=5", "num_heads 5 does not divide width 192"),
        ("XL/16", "'XL/16' is no variant"),
        ("Ti/16,colour=red", "'colour=red' is no override; write FIELD=VALUE with a field of image_size"),
        ("Ti/16,depth", "'depth' is no override"),
        ("Ti/16,depth=many", "'many' is no whole number"),
        ("Ti/16,image_size=1x2x3", "'1x2x3' is no size in pixels"),
        ("Ti/16,dropout=all", "'all' is no number from 0 to below 1"),
        ("Ti/16,pool=max", "pool must be one of class_token, mean"),
        ("Ti/16,stem=hybrid", "'Ti/16,stem=hybrid' is a hybrid, and each implementation has a CNN of its own"),
        ("", "'' is no variant"),
    ],
)
def test_a_model_that_cannot_be_says_why(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        model_config(text)
    assert message in str(error.value)


def test_what_shows_the_most_of_what_was_not_shown_comes_first() -> None:
    def cell(**point: object) -> Cell:
        return Cell(suite="throughput", **{"implementation": "a", "batch": 1, "mode": "eager"} | point)  # type: ignore[arg-type]

    plain, batch, both, other, again = (
        cell(),
        cell(batch=2),
        cell(batch=2, mode="compile"),
        cell(implementation="b", batch=2),
        cell(implementation="b", batch=2, mode="compile"),
    )
    assert widest_first([plain, batch, both, other, again]) == [plain, again, batch, both, other]
    assert widest_first([]) == []


def test_the_same_value_shows_something_in_each_suite() -> None:
    cells = [Cell(suite=suite, implementation="a", seed=seed) for suite in ("memory", "throughput") for seed in (0, 1)]
    assert [one.suite for one in widest_first(cells)] == ["memory", "throughput", "memory", "throughput"]


def test_the_papers_suites_study_the_reference_unless_implementations_are_named() -> None:
    options = replace(OPTIONS, named=False, suites=tuple(suite.groups()["paper"]))
    assert {cell.implementation for cell in plan(options)} == {"reference", "ResNet"}
    named = plan(replace(options, named=True))
    assert {cell.suite for cell in named if cell.implementation == "timm"} == set(options.suites)
