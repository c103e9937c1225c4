"""What verdicts on real packages have in common, and how they are had."""

from collections.abc import Iterable

import pytest

from vitbench.records import RequirementRecord, VerdictRecord
from vitbench.results import read

SQUARES_ONLY = {"VIT-POS-RECTANGULAR", "VIT-POS-EQUAL-COUNT"}
RESIZE = {
    "VIT-POS-SIZE",
    "VIT-POS-IDENTITY",
    "VIT-POS-CONSTANT",
    "VIT-POS-CLASS-ROW",
    "VIT-POS-RESIZE",
    "VIT-POS-SWEEP",
    "VIT-POS-ORIENTATION",
    "VIT-POS-RAMP",
    "VIT-POS-MIRROR",
    "VIT-POS-TRANSPOSE",
    "VIT-POS-DTYPE",
    *SQUARES_ONLY,
}
"""What cannot be judged of a package that resizes no position table."""


def judged(pytester: pytest.Pytester, name: str) -> tuple[VerdictRecord, set[str], set[str], int]:
    """A quick run: its verdict, what failed at any level, which MUSTs are not offered, and pytest's exit code."""
    arguments = ["--pyargs", "vitbench.suites.conformance", "--impl", name, "--results", "run.jsonl"]
    result = pytester.runpytest_subprocess(*arguments, "-p", "no:cacheprovider", "--no-diagnosis")
    run = read(pytester.path / "run.jsonl")
    (verdict,) = run.verdicts
    missing = [record for record in run.requirements if record.status == "NOT_OFFERED" and record.level == "MUST"]
    return verdict, _ids(r for r in run.requirements if r.status == "FAILED"), _ids(missing), int(result.ret)


def _ids(records: Iterable[RequirementRecord]) -> set[str]:
    return {record.id for record in records}
