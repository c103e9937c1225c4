"""What a gate found, as one typed value for every way of showing it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vitbench.gating.decision import EXIT_CODES, GRAVEST_FIRST, Decision, gravest


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cell, metric or requirement."""

    name: str
    decision: Decision
    text: str  # one sentence: what was found, against what
    change: float | None = None  # relative: 0.02 is 2 % more
    low: float | None = None
    high: float | None = None
    pairs: int | None = None
    least_detectable: float | None = None  # the smallest relative slowdown that would have been found


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one gate."""

    tier: str  # exact, paired, history
    title: str  # what was compared with what
    findings: Sequence[Finding]
    notes: Sequence[str] = ()  # what a reader has to know before believing it
    details: Mapping[str, Any] = field(
        default_factory=dict
    )  # settings, and data that figures can be computed from again

    @property
    def decision(self) -> Decision:
        """Of the whole."""
        return gravest(finding.decision for finding in self.findings)

    @property
    def listed(self) -> list[Finding]:
        """What stops a change first; where nothing was found, a finding that says so, since that is no pass."""
        return ordered(self.findings or [Finding(name="gate", decision=self.decision, text=self.sentence)])

    @property
    def worse(self) -> bool:
        """Whether it is for certain slower, larger or wrong."""
        return self.decision in {Decision.REGRESSION, Decision.INCORRECT}

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return EXIT_CODES[self.decision]

    @property
    def sentence(self) -> str:
        """Why, in one line."""
        decision = self.decision
        if not self.findings:
            return "nothing was there to be compared"
        first = [finding for finding in self.findings if finding.decision is decision]
        if decision is Decision.PASS:
            return f"{len(first)} compared, none worse"
        more = f", and {len(first) - 1} more" if len(first) > 1 else ""
        return f"{first[0].name}: {first[0].text}{more}"

    def to_json(self) -> str:
        """For other programs."""
        whole = {"decision": self.decision, "exit_code": self.exit_code, "sentence": self.sentence} | asdict(self)
        return json.dumps(_finite(whole), indent=1, allow_nan=False) + "\n"


def percent(relative: float, *, signed: bool = True) -> str:
    """``+1.3 %``; one digit below 10 %, two significant ones above."""
    shown = f"{100 * relative:+.1f}" if signed else f"{100 * relative:.1f}"
    return f"{shown} %".replace("-", "−")


def as_relative(log_ratio: float) -> float:
    """A log ratio as a relative change; infinite where no float holds it."""
    try:
        return math.expm1(log_ratio)
    except OverflowError:
        return math.inf


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """What stops a change first."""
    return sorted(findings, key=lambda finding: GRAVEST_FIRST.index(finding.decision))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
