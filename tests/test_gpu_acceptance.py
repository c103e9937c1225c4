"""The acceptance on a GPU, as far as a machine without one can show it: its judgement, its list, and a rehearsal."""

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from sample_runs import header, measurement, requirement, run_of, verdict_of

from vitbench.records import MeasurementRecord, Outcome
from vitbench.requirement import Status, Verdict
from vitbench.results import read

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "gpu_acceptance.py"


@pytest.fixture(scope="module")
def acceptance() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_acceptance", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_acceptance"] = module
    spec.loader.exec_module(module)
    return module


def names(acceptance: ModuleType) -> set[str]:
    by_tests = acceptance.declared_by_tests(ROOT / "tests")
    assert len(by_tests) == len(set(by_tests)) > 15
    return {*by_tests, *acceptance.OF_RECORDS, *acceptance.OF_VERDICTS}


def test_every_claim_stands_in_the_documents_list_and_the_list_has_no_other(acceptance: ModuleType) -> None:
    table = (ROOT / "docs" / "gpu-status.md").read_text(encoding="utf-8")
    listed = [line.split(" | ")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    assert {name for cell in listed for name in re.findall(r"`([\w-]+)`", cell)} == names(acceptance)


def test_every_test_that_needs_a_device_carries_a_claim(acceptance: ModuleType) -> None:
    (file,) = acceptance.gpu_tests(ROOT / "tests")
    text = file.read_text(encoding="utf-8")
    tests = re.findall(r"((?:^@.*\n)+)def (test_\w+)", text, re.MULTILINE)
    assert len(tests) == text.count("\ndef test_")
    assert [name for decorators, name in tests if "@claim(" not in decorators] == []


JUNIT = """<testsuites><testsuite>
<testcase name="a"><properties><property name="claim" value="one"/></properties></testcase>
<testcase name="b"><properties><property name="claim" value="one"/></properties><failure message="off by 2">…</failure></testcase>
<testcase name="c"><properties><property name="claim" value="one"/></properties><skipped message="none here"/></testcase>
<testcase name="d"><properties><property name="claim" value="two"/></properties><skipped message="none here"/></testcase>
<testcase name="e"><properties><property name="claim" value="three"/></properties></testcase>
<testcase name="f"><properties><property name="claim" value="four"/></properties><error message="at teardown"/></testcase>
<testcase name="g"/>
</testsuite></testsuites>"""


def test_of_several_tests_with_one_claim_the_worst_counts(acceptance: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    assert acceptance.claims_of_tests(file) == []
    file.write_text(JUNIT, encoding="utf-8")
    found = {claim.name: (claim.result, claim.why) for claim in acceptance.claims_of_tests(file)}
    assert found == {
        "one": ("FAIL", "b: off by 2"),
        "two": ("NOT RUN", "d: none here"),
        "three": ("PASS", ""),
        "four": ("FAIL", "f: at teardown"),
    }


def on_a_gpu(cell: str, **changes: object) -> MeasurementRecord:
    found = measurement(cell=cell, suite="throughput", task="training", device="cuda:0", mode="eager", dtype="float32")
    return replace(found, **changes)  # type: ignore[arg-type]


def judged(acceptance: ModuleType, folder: Path, *records: MeasurementRecord) -> dict[str, tuple[str, str]]:
    measured = run_of([header(), *records], folder)
    return {claim.name: (claim.result, claim.why) for claim in acceptance.claims_of_runs(None, measured)}


def test_a_cell_that_was_measured_shows_its_claim_and_one_that_went_wrong_fails_it(
    acceptance: ModuleType, tmp_path: Path
) -> None:
    good, bad = on_a_gpu("good"), on_a_gpu("bad", outcome=Outcome.CRASHED, reason="SIGSEGV", samples_s=())
    assert judged(acceptance, tmp_path, good)["throughput-training"] == ("PASS", "1 cells")
    assert judged(acceptance, tmp_path, good, bad)["throughput-training"] == ("FAIL", "bad: crashed SIGSEGV")
    assert judged(acceptance, tmp_path, good)["throughput-compile"] == ("NOT RUN", "no such cell was run")


def test_what_is_not_supported_is_no_failure_and_no_proof(acceptance: ModuleType, tmp_path: Path) -> None:
    refused = on_a_gpu("x", outcome=Outcome.NOT_SUPPORTED, reason="no tensor cores", samples_s=(), dtype="tf32")
    assert judged(acceptance, tmp_path, refused)["throughput-tf32"] == ("NOT RUN", "no tensor cores")


def test_a_cell_on_the_cpu_shows_nothing_of_a_gpu(acceptance: ModuleType, tmp_path: Path) -> None:
    found = judged(acceptance, tmp_path, on_a_gpu("x", device="cpu"))
    assert {result for result, _ in found.values()} == {"NOT RUN"}


def test_a_timing_that_nothing_watched_fails_its_claim(acceptance: ModuleType, tmp_path: Path) -> None:
    found = judged(acceptance, tmp_path, on_a_gpu("x", evidence=None))
    assert found["evidence-in-every-record"] == ("FAIL", "not watched: x")


@pytest.mark.parametrize(
    ("verdict", "expected"), [(Verdict.CONFORMS, "PASS"), (Verdict.DOES_NOT_CONFORM, "FAIL"), (None, "NOT RUN")]
)
def test_the_reference_has_to_conform_on_the_device(
    verdict: Verdict | None, expected: str, acceptance: ModuleType, tmp_path: Path
) -> None:
    one = requirement("reference", 0, status=Status.PASSED)
    records = [] if verdict is None else [replace(verdict_of([one]), verdict=verdict)]
    run = run_of([header(environment={"device": "cuda:0"}), *records], tmp_path)
    found = {claim.name: claim.result for claim in acceptance.claims_of_runs(run, None)}
    assert found["conformance-reference"] == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_rehearsal_on_the_cpu_writes_everything_and_says_what_it_had_no_time_for(
    acceptance: ModuleType, tmp_path: Path
) -> None:
    script = [str(ROOT / "scripts" / "gpu_acceptance.sh"), "--rehearse", "--budget", "25", "--output", str(tmp_path)]
    ended = subprocess.run(script, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    runs = {"conformance/results.jsonl", "measurements/results.jsonl"}
    assert written - {"junit.xml"} == {"claims.md", "shed.txt", "report.html", "log.txt", *runs}
    page = (tmp_path / "claims.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w-]+)` \| ([A-Z ]+) \|", page, re.MULTILINE))
    assert listed == dict.fromkeys(names(acceptance), "NOT RUN")
    shed = (tmp_path / "shed.txt").read_text(encoding="utf-8").splitlines()
    for name in runs:
        run = read(tmp_path / name)
        recorded = {one.cell for one in (*run.verdicts, *run.measurements, *run.memory)}
        assert recorded | {cell for cell in run.header.planned if cell in shed} == set(run.header.planned)
        assert not recorded & set(shed)
    assert "## Not run for want of time" in page


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck here")
def test_shell_scripts_are_sound() -> None:
    subprocess.run(["shellcheck", *map(str, (ROOT / "scripts").glob("*.sh"))], check=True)
