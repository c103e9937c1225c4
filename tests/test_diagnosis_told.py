"""Where a diagnosis stands: at the end of the run, in the results, in JUnit XML and in the report."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console
from sample_runs import diagnosis, judged, records, run_of, verdict_of

from vitbench.diagnosis.record import Diagnosis, from_json
from vitbench.exports import junit
from vitbench.records import Record, RequirementRecord, VerdictRecord
from vitbench.reports import model, render
from vitbench.results import from_line, to_line
from vitbench.scorecard import scorecard
from vitbench.summary import show

SUITE = ("--pyargs", "vitbench.suites.conformance", "-p", "no:cacheprovider")
MUTANT = """
from vitbench.deviations import BANK, DeviantAdapter

class Mine(DeviantAdapter):
    def __init__(self):
        super().__init__(BANK["norm-epsilon-1e-5"])
        self.name = "mine"

adapter = Mine()
"""
SENTENCE = "matches the paper's ViT with LayerNorm epsilon 1e-5 for the declared 1e-6"
REMEDY = "declare layer_norm_eps=1e-5 in `conventions`, or pass eps=1e-6"


@pytest.fixture
def diagnosed() -> list[Record]:
    """A whole run in which one implementation was diagnosed."""
    cells = [one for one in judged("timm") if isinstance(one, RequirementRecord)]
    others = [one for one in records() if getattr(one, "implementation", "") != "timm"]
    return [others[0], *cells, verdict_of(cells, diagnosis=diagnosis()), *others[1:]]


def test_a_run_that_fails_ends_with_its_cause_before_what_follows_from_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(adapter=MUTANT)
    asked = "VIT-NORM-EPSILON or VIT-HEAD-LINEAR or VIT-HEAD-LOGITS"
    result = pytester.runpytest_inprocess(
        *SUITE, "--impl", "adapter.py:adapter", "-k", asked, "--junitxml", "junit.xml"
    )
    result.stdout.fnmatch_lines(
        [
            f"DIAGNOSIS    {SENTENCE}",
            f"  to do:     {REMEDY}",
            "  explains:  2 of 2 failures",
            "  evidence:  it gives all of * answers * to the last bit; in * the paper's are * off; the first stage that "
            "diverges: block 0: attention",
            "  took:      * s of processor time, of 10 s at most; * deviations tried",
            "FAILED       MUST   VIT-HEAD-LOGITS*",
            "FAILED       MUST   VIT-NORM-EPSILON*",
        ]
    )
    assert result.ret == 1
    properties = ET.parse(pytester.path / "junit.xml").iterfind(".//property[@name='diagnosis']")
    assert [one.get("value") for one in properties] == [SENTENCE]


def test_a_run_that_passes_looks_for_no_cause(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("vitbench.plugin.ConformanceChecks._cause", never)
    result = pytester.runpytest_inprocess(*SUITE, "--impl", "reference", "-k", "VIT-PATCH-COUNT")
    result.stdout.no_fnmatch_line("DIAGNOSIS*")
    assert result.ret == 0


def test_no_cause_is_looked_for_where_none_is_wanted(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(adapter=MUTANT)
    options = ("--impl", "adapter.py:adapter", "-k", "VIT-NORM-EPSILON", "--no-diagnosis")
    pytester.runpytest_inprocess(*SUITE, *options).stdout.no_fnmatch_line("DIAGNOSIS*")


def test_a_diagnosis_survives_the_results(diagnosed: list[Record], tmp_path: Path) -> None:
    found = run_of(diagnosed, tmp_path).verdicts[0].diagnosis
    assert isinstance(found, Diagnosis)
    assert found == diagnosis()


def test_results_of_before_there_were_diagnoses_are_read() -> None:
    verdict = verdict_of([one for one in judged("timm") if isinstance(one, RequirementRecord)])
    line = json.loads(to_line(verdict))
    del line["diagnosis"]
    older = from_line(json.dumps(line))
    assert isinstance(older, VerdictRecord)
    assert older.diagnosis is None


def test_a_diagnosis_travels_as_json() -> None:
    assert from_json(json.loads(to_line(verdict_with(diagnosis())))["diagnosis"]) == diagnosis()


def verdict_with(found: Diagnosis) -> VerdictRecord:
    return verdict_of([one for one in judged("timm") if isinstance(one, RequirementRecord)], diagnosis=found)


def test_junit_says_the_cause_in_a_property_and_in_the_suites_output(diagnosed: list[Record], tmp_path: Path) -> None:
    root = ET.fromstring(junit.render(scorecard([run_of(diagnosed, tmp_path)])))
    suite = next(one for one in root if one.get("name") == "timm")
    assert [p.get("value") for p in suite.iterfind("properties/property[@name='diagnosis']")] == [SENTENCE]
    assert f"diagnosis: {SENTENCE}\n  to do: {REMEDY}\n" in (suite.findtext("system-out") or "")
    others = [one for one in root if one.get("name") != "timm"]
    assert not any(one.find("properties/property[@name='diagnosis']") is not None for one in others)


def test_the_report_says_the_cause_before_the_failures(diagnosed: list[Record], tmp_path: Path) -> None:
    page = render.render(model.build([run_of(diagnosed, tmp_path)]))
    assert page.index(SENTENCE.replace("'", "&#39;")) < page.index('class="faults"')
    assert "2 of 3 failures; not VIT-PATCH-INDIVISIBLE" in page


def test_the_summary_of_a_run_says_the_cause(diagnosed: list[Record], tmp_path: Path) -> None:
    console = Console(record=True, width=200, file=StringIO())
    show(run_of(diagnosed, tmp_path), console)
    text = console.export_text()
    assert f"timm: diagnosis: {SENTENCE}\n" in text
    assert f"explains 2 of 3 failures; not VIT-PATCH-INDIVISIBLE; to do: {REMEDY}" in text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "2 of 3 failures; not VIT-PATCH-INDIVISIBLE"),
        ({"unexplained": []}, "2 of 3 failures; 1 failure not tried"),
        ({"causes": []}, ""),
    ],
)
def test_how_many_failures_a_cause_explains(changes: dict[str, object], text: str) -> None:
    assert replace(diagnosis(), **changes).extent == text  # type: ignore[arg-type]


def test_a_search_that_ran_out_of_time_says_so() -> None:
    told = diagnosis(out_of_time=True).cost
    assert told == (
        "1.6 s of processor time, of 10 s at most; 165 deviations tried; the part of it for searching was over before all was tried"
    )
