"""The published schema of results: it describes what is written, all of it, and nothing else."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import sample_runs
from jsonschema import Draft202012Validator

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.batch_search import BatchSearch
from vitbench.diagnosis.record import Cause, Diagnosis
from vitbench.measurement import unmeasured
from vitbench.plan import Cell
from vitbench.records import (
    SCHEMA_VERSION,
    Counts,
    Footer,
    Header,
    MeasurementRecord,
    Memory,
    Outcome,
    Ran,
    Record,
    RequirementRecord,
    StudyRecord,
    VerdictRecord,
)
from vitbench.requirement import Level, Status, Tally, Verdict
from vitbench.results import to_line
from vitbench.scaling import Agreement, Figure, Point, Scaling
from vitbench.session import ConformanceSession, Options
from vitbench.study import Curve, Missing, NamedArray, Scalar
from vitbench.suite import Ending
from vitbench.suites.throughput import measure as throughput
from vitbench.timer import Effort
from vitbench.timer_check import TimerCheck
from vitbench.traces.record import AllocationRow, KernelRow, ModuleRow, OperatorRow, StepPart, Tables, TraceRecord

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "docs" / "results.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)
KINDS: dict[str, type[Any]] = {
    record.kind: record
    for record in (Header, RequirementRecord, VerdictRecord, MeasurementRecord, StudyRecord, TraceRecord, Ran, Footer)
}
PARTS: dict[str, type[Any]] = {
    "tally": Tally,
    "counts": Counts,
    "scaling": Scaling,
    "point": Point,
    "figure": Figure,
    "optional_figure": Figure,
    "agreement": Agreement,
    "memory": Memory,
    "tables": Tables,
    "step_part": StepPart,
    "operator_row": OperatorRow,
    "kernel_row": KernelRow,
    "module_row": ModuleRow,
    "allocation_row": AllocationRow,
    "timer_check": TimerCheck,
    "batch_search": BatchSearch,
    "scalar": Scalar,
    "curve": Curve,
    "named_array": NamedArray,
    "missing": Missing,
    "diagnosis": Diagnosis,
    "cause": Cause,
}
ENUMS: dict[tuple[str, str], type[StrEnum]] = {
    ("requirement", "level"): Level,
    ("requirement", "status"): Status,
    ("verdict", "verdict"): Verdict,
    ("measurement", "outcome"): Outcome,
    ("study", "outcome"): Outcome,
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def errors(data: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(data)]


def line(record: Record) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(to_line(record))
    return data


def a_record_of(kind: str) -> dict[str, Any]:
    return next(line(record) for record in sample_runs.records() if record.kind == kind)


def definition(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA["$defs"][kind]
    return found


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A subschema with its reference put in."""
    if "$ref" not in part:
        return part
    name = part["$ref"].removeprefix("#/$defs/")
    return {**SCHEMA["$defs"][name], **part}


# --- the schema itself ---


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_kind_is_described_and_named() -> None:
    assert SCHEMA["properties"]["kind"]["enum"] == list(KINDS)
    assert [part["$ref"] for part in SCHEMA["oneOf"]] == [f"#/$defs/{kind}" for kind in KINDS]
    assert set(get_args(Record)) == set(KINDS.values())


@EVERY_KIND
def test_a_kinds_properties_are_its_records_fields(kind: str) -> None:
    names = ["kind", *(field.name for field in fields(KINDS[kind]))]
    assert sorted(definition(kind)["properties"]) == sorted(names)
    assert definition(kind)["properties"]["kind"] == {"const": kind}


@EVERY_KIND
def test_required_is_what_a_record_cannot_be_made_without(kind: str) -> None:
    """And what tells kind and version of a line, which the writer fills in."""
    needed = {f.name for f in fields(KINDS[kind]) if f.default is MISSING and f.default_factory is MISSING}
    assert set(definition(kind)["required"]) == needed | {"kind"} | ({"schema_version"} if kind == "header" else set())


@pytest.mark.parametrize(("name", "part"), PARTS.items())
def test_a_part_of_a_record_is_described_as_it_is(name: str, part: type[Any]) -> None:
    names = {field.name for field in fields(part)}
    assert set(definition(name)["properties"]) == set(definition(name)["required"]) == names
    hints = get_type_hints(part)
    for field in fields(part):
        described = resolved(definition(name)["properties"][field.name])
        assert ("null" in described["type"]) == (type(None) in get_args(hints[field.name])), field.name


@pytest.mark.parametrize(("place", "words"), ENUMS.items(), ids=[".".join(place) for place in ENUMS])
def test_enumerations_list_every_word(place: tuple[str, str], words: type[StrEnum]) -> None:
    kind, name = place
    assert definition(kind)["properties"][name]["enum"] == [word.value for word in words]


def test_every_enumeration_of_a_record_is_listed() -> None:
    found = {
        (kind, name)
        for kind, record in KINDS.items()
        for name, hint in get_type_hints(record).items()
        if isinstance(hint, type) and issubclass(hint, StrEnum)
    }
    assert found == set(ENUMS)


@EVERY_KIND
def test_a_field_is_nullable_exactly_where_its_type_is(kind: str) -> None:
    hints = get_type_hints(KINDS[kind])
    for field in fields(KINDS[kind]):
        described = resolved(definition(kind)["properties"][field.name])
        types = described.get("type", [])
        assert ("null" in types) == (type(None) in get_args(hints[field.name])), field.name


def test_the_version_described_is_the_version_written() -> None:
    assert definition("header")["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


def test_definitions_are_all_used() -> None:
    text = json.dumps(SCHEMA)
    assert [name for name in SCHEMA["$defs"] if f'"#/$defs/{name}"' not in text] == []


# --- lines ---


def test_every_line_of_a_whole_run_is_valid() -> None:
    records = sample_runs.records()
    assert {record.kind for record in records} == set(KINDS)
    assert {str(index): errors(line(record)) for index, record in enumerate(records) if errors(line(record))} == {}


def test_every_line_of_a_run_whose_texts_are_hostile_is_valid() -> None:
    assert [errors(line(record)) for record in sample_runs.hostile('</script>"\n\x00{}')] == [[]] * 7


@pytest.mark.usefixtures("one_thread")
def test_lines_of_a_real_run_are_valid(tmp_path: Path) -> None:
    """The suite's own session, on two requirements of the reference."""
    from checks import judged  # the suite's checks, imported when needed

    path = tmp_path / "run.jsonl"
    options = Options(impl="reference", device="cpu", preset="quick", seed=0, results=path, cell=None)
    session = ConformanceSession(options, selected=None)
    session.begin(session.introduced())
    for requirement in ("VIT-PATCH-COUNT", "VIT-HEAD-LOGITS"):
        session.add(session.record(judged(requirement, session.candidate)))
    assert session.finish() is None  # a selection has no verdict
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    assert [data["kind"] for data in lines] == ["header", "requirement", "requirement", "footer"]
    assert [errors(data) for data in [*lines, line(session._verdict())]] == [[]] * 5
    assert isinstance(session.candidate.adapter, ReferenceAdapter)


@pytest.mark.usefixtures("one_thread")
def test_lines_of_real_measurements_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that succeeds, and what is recorded of one that does not."""
    effort = Effort(relative_width=100.0, least_samples=3, least_s=0.0, most_s=20.0, most_warmup_s=0.0)
    monkeypatch.setattr(throughput, "EFFORT", {"quick": effort})
    cell = Cell(
        suite="throughput",
        implementation="reference",
        task="inference",
        model="Ti/16@32,depth=1,width=48,num_classes=7",
        dtype="float32",
        batch=2,
        mode="eager",
        timed=True,
    )
    measured = line(throughput.measure(cell))
    lost = line(unmeasured(cell, Ending(outcome=Outcome.CRASHED, reason="killed by SIGSEGV", duration_s=1.0)))
    assert (measured["outcome"], lost["outcome"]) == ("measured", "crashed")
    assert [errors(measured), errors(lost)] == [[], []]


@EVERY_KIND
def test_a_key_of_a_newer_writer_is_valid(kind: str) -> None:
    assert errors(a_record_of(kind) | {"added_later": {"deep": [1]}}) == []


@EVERY_KIND
def test_a_line_without_a_required_field_is_not_valid(kind: str) -> None:
    for name in definition(kind)["required"]:
        data = a_record_of(kind)
        del data[name]
        assert errors(data), name


@EVERY_KIND
def test_a_value_of_another_type_is_not_valid(kind: str) -> None:
    """A list of lists is what no field takes."""
    for name in definition(kind)["properties"]:
        assert errors(a_record_of(kind) | {name: [[None]]}), name


@pytest.mark.parametrize(("place", "words"), ENUMS.items(), ids=[".".join(place) for place in ENUMS])
def test_each_word_of_an_enumeration_is_valid_and_no_other(place: tuple[str, str], words: type[StrEnum]) -> None:
    kind, name = place
    assert [errors(a_record_of(kind) | {name: word.value}) for word in words] == [[]] * len(words)
    assert errors(a_record_of(kind) | {name: "OTHER"})
    assert errors(a_record_of(kind) | {name: next(iter(words)).value.swapcase()})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("header", {"schema_version": SCHEMA_VERSION + 1}),
        ("header", {"command": ["pytest", 3]}),
        ("header", {"seed": 0.5}),
        ("requirement", {"examples": -1}),
        ("requirement", {"worst_margin": -0.1}),
        ("requirement", {"worst_margin": "NaN"}),
        ("requirement", {"reason": None}),
        ("verdict", {"must": {"total": 1}}),
        ("verdict", {"must": {"total": 1, "passed": 1.5, "failed": 0, "not_offered": 0, "errors": 0}}),
        ("measurement", {"samples_s": [0.1, "0.2"]}),
        ("measurement", {"latency_s": -0.1}),
        ("measurement", {"converged": 1}),
        ("study", {"curves": [{"name": "only"}]}),
        ("study", {"seeds": ["0"]}),
        ("footer", {"status": "finished"}),
        ("footer", {"kind": "header"}),
        ("footer", {"kind": "plan"}),
    ],
)
def test_a_line_that_no_writer_makes_is_not_valid(kind: str, change: dict[str, Any]) -> None:
    assert errors(a_record_of(kind)) == []
    assert errors(a_record_of(kind) | change)
