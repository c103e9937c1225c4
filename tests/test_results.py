"""A results file: what is written is read again, and what is damaged, foreign or still being written is told apart."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from vitbench.errors import OutputUnwritable, ResultsUnreadable
from vitbench.records import (
    SCHEMA_VERSION,
    Footer,
    Header,
    MeasurementRecord,
    Outcome,
    Record,
    RequirementRecord,
    VerdictRecord,
)
from vitbench.requirement import Level, Status, Tally, Verdict
from vitbench.results import Follower, ResultsWriter, append, from_line, read, to_line

HEADER = Header(
    vitbench_version="0.1",
    started_at="2026-11-22T15:38:02+00:00",
    command=["pytest", "--impl", "mine"],
    preset="quick",
    seed=7,
    environment={"torch": "2.14.1", "cuda": None, "packages": {"timm": "1.0.31"}},
    planned=["a", "b"],
)
REQUIREMENT = RequirementRecord(
    cell="a",
    implementation="mine",
    id="VIT-ATTN-SCALE",
    area="ATTN",
    level=Level.MUST,
    statement="Attention weights must be scaled.",
    status=Status.FAILED,
    examples=3,
    unsupported=1,
    worst_margin=2.5,
    reason="wrong by 1/√2 — “größer”",
    example="image 4×9",
    reproduce="pytest -k VIT-ATTN-SCALE",
    duration_s=0.25,
)
COUNTS = Tally(total=4, passed=1, failed=1, not_offered=1, errors=0)
VERDICT = VerdictRecord(
    cell="a",
    implementation="mine",
    version="1.0",
    verdict=Verdict.DOES_NOT_CONFORM,
    must=COUNTS,
    should=replace(COUNTS, total=5),
    may=replace(COUNTS, total=6),
    conventions={"layer_norm_eps": 1e-6, "qkv_bias": True},
    reason="",
    duration_s=3.5,
)
MEASUREMENT = MeasurementRecord(
    cell="b",
    implementation="mine",
    version="1.0",
    suite="throughput",
    task="inference",
    model="Ti/16@64",
    device="cpu",
    device_name="a processor",
    dtype="float32",
    batch=4,
    mode="eager",
    threads=1,
    outcome=Outcome.MEASURED,
    parameters=5_717_416,
    latency_s=0.035,
    converged=False,
    samples_s=[0.034, 0.035, 0.036],
    kernels_ran=[],
)
FOOTER = Footer(finished_at="2026-11-22T15:50:44+00:00", status="complete", duration_s=762.0)
RECORDS: dict[str, Record] = {r.kind: r for r in (HEADER, REQUIREMENT, VERDICT, MEASUREMENT, FOOTER)}
EVERY = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)


def write(path: Path, *records: Record) -> Path:
    with ResultsWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path


# --- records and lines ---


@EVERY
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    again = from_line(to_line(record))
    assert again == record
    assert [type(value) for value in asdict(again).values()] == [type(value) for value in asdict(record).values()]


def test_words_are_read_as_members_of_their_enumerations() -> None:
    requirement, verdict, measurement = (from_line(to_line(r)) for r in (REQUIREMENT, VERDICT, MEASUREMENT))
    assert isinstance(requirement, RequirementRecord)
    assert isinstance(verdict, VerdictRecord)
    assert isinstance(measurement, MeasurementRecord)
    assert (requirement.level, requirement.status) == (Level.MUST, Status.FAILED)
    assert isinstance(requirement.level, Level)
    assert isinstance(requirement.status, Status)
    assert isinstance(verdict.verdict, Verdict)
    assert isinstance(verdict.must, Tally)
    assert isinstance(measurement.outcome, Outcome)


@EVERY
def test_a_record_is_one_line_that_begins_with_its_kind(record: Record) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert line.startswith(f'{{"kind": "{record.kind}", ')


def test_a_line_break_within_a_text_does_not_break_the_line() -> None:
    record = replace(REQUIREMENT, reason="one\ntwo\r\nthree\u2028four\x85five\x0csix")
    assert "\n" not in to_line(record)
    assert from_line(to_line(record)) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_become_null_at_any_depth(value: float) -> None:
    measured = json.loads(to_line(replace(MEASUREMENT, latency_s=value, samples_s=[1.0, value])))
    assert (measured["latency_s"], measured["samples_s"]) == (None, [1.0, None])
    deep = json.loads(to_line(replace(HEADER, environment={"a": {"b": [value, {"c": (value,)}]}})))
    assert deep["environment"] == {"a": {"b": [None, {"c": [None]}]}}


def test_a_margin_that_is_not_finite_is_null() -> None:
    assert json.loads(to_line(replace(REQUIREMENT, worst_margin=math.nan)))["worst_margin"] is None


@EVERY
def test_keys_of_a_newer_writer_are_passed_over(record: Record) -> None:
    data = json.loads(to_line(record)) | {"added_later": [1, 2], "must_not": None}
    assert from_line(json.dumps(data)) == record


def test_counts_of_a_newer_writer_are_passed_over() -> None:
    data = json.loads(to_line(VERDICT))
    data["must"]["waived"] = 2
    assert from_line(json.dumps(data)) == VERDICT


def test_a_word_of_a_newer_writer_is_kept_as_text() -> None:
    found: Any = from_line(json.dumps(json.loads(to_line(REQUIREMENT)) | {"status": "WAIVED"}))
    assert found.status == "WAIVED"


@EVERY
def test_a_record_without_a_field_that_has_no_default_is_refused_by_name(record: Record) -> None:
    name = fields(record)[0].name
    data = json.loads(to_line(record))
    del data[name]
    with pytest.raises(ValueError, match=rf"^{record.kind} record lacks a field: .*'{name}'"):
        from_line(json.dumps(data))


def test_fields_that_were_added_with_a_default_may_be_missing() -> None:
    data = json.loads(to_line(MEASUREMENT))
    del data["memory_layouts"], data["reason"]
    assert from_line(json.dumps(data)) == MEASUREMENT


@pytest.mark.parametrize(
    "line",
    [
        "", "null", "3", "[]", "{}", '"header"', '{"kind": null}', '{"kind": "plan"}', '{"kind": []}', '{"kind": {}}',
        '{"kind": "header"}', '{"kind": "header", ', "not json", to_line(VERDICT)[:-1], to_line(VERDICT)[:40],
        json.dumps(json.loads(to_line(VERDICT)) | {"must": 3}),
        json.dumps(json.loads(to_line(VERDICT)) | {"must": {"total": 3}}),
        json.dumps(json.loads(to_line(VERDICT)) | {"must": None}),
        json.dumps(json.loads(to_line(MEASUREMENT)) | {"latency_s": 10**400}),
        json.dumps(json.loads(to_line(MEASUREMENT)) | {"batch": 10**400}),
        json.dumps(json.loads(to_line(MEASUREMENT)) | {"samples_s": [0.1, -(10**400)]}),
    ],
)  # fmt: skip
def test_what_is_no_record_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # json's text, or ours
        from_line(line)


# --- files ---


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = read(write(tmp_path / "run.jsonl", *RECORDS.values()))
    assert (run.header, run.footer, run.complete, run.damaged_lines) == (HEADER, FOOTER, True, 0)
    assert (run.requirements, run.verdicts, run.measurements) == ([REQUIREMENT], [VERDICT], [MEASUREMENT])


def test_records_keep_their_order(tmp_path: Path) -> None:
    several = [replace(REQUIREMENT, id=f"VIT-ATTN-{n}") for n in range(5)]
    run = read(write(tmp_path / "run.jsonl", HEADER, *several, FOOTER))
    assert run.requirements == several


def test_of_two_records_of_a_measured_cell_the_last_counts(tmp_path: Path) -> None:
    amended = replace(MEASUREMENT, reason="told afterwards")
    other = replace(MEASUREMENT, cell="c")
    assert read(write(tmp_path / "run.jsonl", HEADER, MEASUREMENT, other, amended)).measurements == [amended, other]


def test_other_line_separators_within_a_text_survive_a_file(tmp_path: Path) -> None:
    odd = replace(REQUIREMENT, reason="a\u2028b\x85c\x1cd")
    run = read(write(tmp_path / "run.jsonl", HEADER, odd))
    assert (run.requirements, run.damaged_lines) == ([odd], 0)


def test_a_file_without_its_footer_is_incomplete(tmp_path: Path) -> None:
    run = read(write(tmp_path / "run.jsonl", HEADER, REQUIREMENT))
    assert (run.footer, run.complete) == (None, False)


def test_an_interrupted_run_is_incomplete(tmp_path: Path) -> None:
    run = read(write(tmp_path / "run.jsonl", HEADER, replace(FOOTER, status="interrupted")))
    assert not run.complete


def test_a_last_line_that_was_cut_is_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", HEADER, REQUIREMENT, VERDICT)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    run = read(path)
    assert (run.requirements, run.verdicts, run.damaged_lines) == ([REQUIREMENT], [], 1)


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_file_cut_anywhere_in_its_last_line_is_still_read(tmp_path: Path, cut: int) -> None:
    """Also within a character of several bytes."""
    odd = replace(REQUIREMENT, reproduce="größer — “√”" * 3, duration_s=1.0)
    path = write(tmp_path / "run.jsonl", HEADER, odd)
    path.write_bytes(path.read_bytes()[: -1 - cut])
    run = read(path)
    assert (run.header, run.requirements, run.damaged_lines) == (HEADER, [], 1)


def test_a_damaged_line_in_the_middle_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(f"{to_line(HEADER)}\n{to_line(REQUIREMENT)[:50]}\n\n{to_line(VERDICT)}\n", encoding="utf-8")
    run = read(path)
    assert (run.verdicts, run.damaged_lines) == ([VERDICT], 1)


def refused(path: Path) -> str:
    with pytest.raises(ResultsUnreadable) as caught:
        read(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_missing_file_is_told_with_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "far.jsonl"
    assert refused(path) == f"cannot read results {path}: No such file or directory"
    assert refused(tmp_path) == f"cannot read results {tmp_path}: Is a directory"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"hello\n", b"{}\n[]\n", to_line(REQUIREMENT).encode(), b"\x00\xff"])
def test_a_file_without_a_header_is_no_results_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    told = f"{path} is no vitbench results file: it has no header line (vitbench.run writes one)"
    assert refused(path) == told


def test_a_newer_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", replace(HEADER, schema_version=SCHEMA_VERSION + 1))
    assert refused(path) == (
        f"{path} has schema version {SCHEMA_VERSION + 1}, this vitbench reads up to {SCHEMA_VERSION}; upgrade vitbench"
    )


def test_a_file_that_is_not_utf_8_throughout_is_still_read(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", HEADER, REQUIREMENT)
    path.write_bytes(path.read_bytes().replace(b"image 4", b"image \xff"))
    assert [record.example for record in read(path).requirements] == ["image \ufffd×9"]


# --- writing ---


def test_each_record_is_on_disk_before_the_next_is_made(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with ResultsWriter(path) as writer:
        for count, record in enumerate(RECORDS.values(), start=1):
            writer.write(record)
            assert len(path.read_text(encoding="utf-8").splitlines()) == count


def test_folders_are_made_for_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "b" / "run.jsonl", HEADER)
    assert read(path).header == HEADER


def test_a_text_with_half_a_character_pair_can_be_written_and_read(tmp_path: Path) -> None:
    """From a foreign message or a file name that is not UTF-8."""
    run = read(write(tmp_path / "run.jsonl", HEADER, replace(REQUIREMENT, reason="odd \udc80 name")))
    assert [record.reason for record in run.requirements] == ["odd \udc80 name"]


def test_a_place_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    for path in (blocker / "run.jsonl", tmp_path):
        with pytest.raises(OutputUnwritable, match=r"^cannot write .*; choose another place with --output$"):
            write(path, HEADER)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_is_told_and_does_not_hide_it_at_the_end() -> None:
    with pytest.raises(OutputUnwritable, match=r"^cannot go on writing /dev/full: No space left on device$"):
        write(Path("/dev/full"), HEADER)


# --- following ---


def test_a_follower_sees_each_record_once(tmp_path: Path) -> None:
    path = tmp_path / "cell.jsonl"
    follower = Follower(path)
    assert follower.new() == []  # not there yet
    append(path, REQUIREMENT)
    append(path, VERDICT)
    assert follower.new() == [REQUIREMENT, VERDICT]
    assert follower.new() == []
    append(path, MEASUREMENT)
    assert follower.new() == [MEASUREMENT]


def test_a_follower_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "cell.jsonl"
    follower = Follower(path)
    line = (to_line(REQUIREMENT) + "\n").encode()
    seen = []
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(line), 7):  # also within a character
            file.write(line[start : start + 7])
            seen.append(len(follower.new()))
    assert seen == [0] * (len(seen) - 1) + [1]


def test_a_follower_takes_whole_lines_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "cell.jsonl"
    follower = Follower(path)
    half = to_line(VERDICT)
    path.write_text(to_line(REQUIREMENT) + "\n" + half[:50], encoding="utf-8")
    assert follower.new() == [REQUIREMENT]
    with path.open("a", encoding="utf-8") as file:
        file.write(half[50:] + "\n")
    assert follower.new() == [VERDICT]


def test_a_follower_passes_over_lines_that_are_no_records(tmp_path: Path) -> None:
    path = tmp_path / "cell.jsonl"
    path.write_bytes(b"warning: something\n\xff\xfe\n[]\n" + to_line(FOOTER).encode() + b"\n")
    assert Follower(path).new() == [FOOTER]
