"""The diagnosis at the end of a conformance run: of what failed, and by the checks that it failed."""

import importlib
from collections.abc import Iterable, Sequence

from vitbench.candidate import Candidate
from vitbench.check import collect
from vitbench.diagnosis.diagnose import Failures, diagnose
from vitbench.diagnosis.known import applies
from vitbench.diagnosis.record import Diagnosis
from vitbench.records import RequirementRecord
from vitbench.requirement import Status
from vitbench.specification import REQUIREMENTS


def failed(records: Iterable[RequirementRecord]) -> list[str]:
    """The requirements that failed and are not known to fail; none of them where a diagnosis speaks to none."""
    found = [record.id for record in records if record.status is Status.FAILED and record.id in REQUIREMENTS]
    return found if any(applies(REQUIREMENTS[id_]) for id_ in found) else []


def diagnosis(candidate: Candidate, requirements: Sequence[str], seed: int) -> Diagnosis:
    """Of a candidate that failed these requirements."""
    # By its name: the checks stand on a floor above.
    checks = collect(importlib.import_module("vitbench.suites.conformance"))
    known = {id_: checks[id_] for id_ in requirements if id_ in checks}
    return diagnose(candidate, Failures(count=len(requirements), checks=known, seed=seed))
