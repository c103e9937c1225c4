"""What a requirement is, and the words in which a candidate is judged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from vitbench.errors import HarnessError


class Level(StrEnum):
    """Whether what a requirement speaks of can be left out, in the sense of RFC 2119; what is there has to be right."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Tier(StrEnum):
    """How a requirement is judged; no tier has a tolerance that a user sets."""

    EXACT = "E"  # shapes, dtypes, counts, finiteness, repeatability
    SEMANTICS = "S"  # float64 with exercised weights
    NUMERICS = "N"  # another dtype, by the error that the same dtype costs the reference


class Status(StrEnum):
    """The outcome of one requirement for one candidate."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_OFFERED = "NOT_OFFERED"
    KNOWN_FAILURE = "KNOWN_FAILURE"
    ERROR = "ERROR"  # the harness itself


class Verdict(StrEnum):
    """The outcome of all requirements for one candidate."""

    CONFORMS = "CONFORMS"
    DOES_NOT_CONFORM = "DOES NOT CONFORM"
    INCOMPLETE = "INCOMPLETE"  # nothing failed, but a MUST was not offered or not judged
    ADAPTER_BROKEN = "ADAPTER BROKEN"
    HARNESS_ERROR = "HARNESS ERROR"

    @property
    def exit_code(self) -> int:
        """In pytest's meaning of exit codes: 0 passed, 1 failed, 3 internal error, 4 usage error."""
        codes = {Verdict.CONFORMS: 0, Verdict.HARNESS_ERROR: 3, Verdict.ADAPTER_BROKEN: 4}
        return codes.get(self, 1)


AREAS = (
    "PATCH",
    "TOKEN",
    "BLOCK",
    "ATTN",
    "MLP",
    "NORM",
    "HEAD",
    "POS",
    "HYBRID",
    "TRAIN",
    "NUM",
    "PURE",
    "PATH",
    "STATE",
    "CONFIG",
    "KERNEL",
)

Subject = Literal["model", "kernel"]
"""What a requirement is asked of: a Vision Transformer, or an attention kernel alone."""

_ID = re.compile(rf"VIT-({'|'.join(AREAS)})(-[A-Z0-9]+)+")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One statement that a Vision Transformer can meet or miss; its id is never reused.

    Raises:
        HarnessError: the id is no slug of a known area, or the statement uses another level's word.
    """

    id: str
    level: Level
    statement: str  # one sentence with the level's word in it, in lower case
    rationale: str  # why it matters, with what went wrong where it was missed
    source: str  # paper equation or section, or issue links
    hooks: Sequence[str] = ()  # optional hooks without which it cannot be judged
    tier: Tier = Tier.SEMANTICS
    since: str = "0.1"

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise HarnessError(f"requirement id {self.id!r} is no VIT-AREA-NAME of the areas {', '.join(AREAS)}")
        if f" {self.level.value.lower()} " not in self.statement:
            raise HarnessError(f"{self.id}: the statement must say {self.level.value.lower()!r}: {self.statement!r}")

    @property
    def area(self) -> str:
        """PATCH, TOKEN, …: the part of the model it speaks of."""
        return self.id.split("-")[1]

    @property
    def subject(self) -> Subject:
        """What it is asked of."""
        return "kernel" if self.area == "KERNEL" else "model"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many requirements of each level came out how; the total is fixed by the specification."""

    total: int
    passed: int
    failed: int
    not_offered: int
    errors: int

    def __str__(self) -> str:
        parts = [f"{self.passed}/{self.total} passed"]
        for count, word in (
            (self.failed, "failed"),
            (self.not_offered, "not offered"),
            (self.errors, "harness error" if self.errors == 1 else "harness errors"),
        ):
            if count:
                parts.append(f"{count} {word}")
        missing = self.total - self.passed - self.failed - self.not_offered - self.errors
        if missing:
            parts.append(f"{missing} not judged")
        return ", ".join(parts)


def tally(statuses: Sequence[tuple[Level, Status]], level: Level, total: int) -> Tally:
    """Count the outcomes of one level against the number of requirements that level has."""
    of_level = [status for its_level, status in statuses if its_level == level]
    return Tally(
        total=total,
        passed=of_level.count(Status.PASSED),
        failed=of_level.count(Status.FAILED) + of_level.count(Status.KNOWN_FAILURE),
        not_offered=of_level.count(Status.NOT_OFFERED),
        errors=of_level.count(Status.ERROR),
    )


def failed_besides(should: Tally, may: Tally) -> str:
    """What decides a verdict beside the MUSTs, as it follows their count: ``; 1 SHOULD failed; 2 MAY failed``."""
    besides = ((should.failed, Level.SHOULD), (may.failed, Level.MAY))
    return "".join(f"; {failed} {level} failed" for failed, level in besides if failed)


def verdict(must: Tally, *optional: Tally) -> Verdict:
    """One word for the candidate: every MUST has to pass, not only those that ran, and nothing else may be wrong.

    What a SHOULD or a MAY speaks of can be left out. What is offered has to be right.
    """
    every = (must, *optional)
    if any(tally.errors for tally in every):
        return Verdict.HARNESS_ERROR
    if any(tally.failed for tally in every):
        return Verdict.DOES_NOT_CONFORM
    return Verdict.CONFORMS if must.passed == must.total else Verdict.INCOMPLETE
