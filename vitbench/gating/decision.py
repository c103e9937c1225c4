"""What a gate comes to, and the exit code of each."""

from collections.abc import Iterable
from enum import StrEnum

from vitbench.errors import VitbenchError


class Decision(StrEnum):
    """For one cell, or for all of them together."""

    PASS = "PASS"  # noqa: S105  # not a password
    REGRESSION = "REGRESSION"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_BASELINE = "NO BASELINE"
    NOTHING_MEASURED = "NOTHING MEASURED"
    INCORRECT = "INCORRECT"


EXIT_CODES = {
    Decision.PASS: 0,
    Decision.REGRESSION: 1,
    Decision.INCONCLUSIVE: 3,
    Decision.NO_BASELINE: 4,
    Decision.NOTHING_MEASURED: 5,
    Decision.INCORRECT: 6,
}
"""2 is a usage error's, as everywhere."""

GRAVEST_FIRST = (
    Decision.INCORRECT,
    Decision.REGRESSION,
    Decision.NO_BASELINE,
    Decision.NOTHING_MEASURED,
    Decision.INCONCLUSIVE,
    Decision.PASS,
)


def gravest(decisions: Iterable[Decision]) -> Decision:
    """That of the whole: what a person has to look at first. Without any, nothing was measured, which is no pass."""
    found = set(decisions)
    return next((decision for decision in GRAVEST_FIRST if decision in found), Decision.NOTHING_MEASURED)


class BaseUnavailable(VitbenchError):
    """There is nothing to compare with: the text says what is missing."""

    exit_code = EXIT_CODES[Decision.NO_BASELINE]


class NothingMeasured(VitbenchError):
    """There is nothing to judge: the text says why."""

    exit_code = EXIT_CODES[Decision.NOTHING_MEASURED]
