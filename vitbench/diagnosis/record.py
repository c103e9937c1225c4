"""What is told of a diagnosis, and kept in the results."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A deviation that gives every answer that the implementation gave."""

    id: str
    summary: str  # completes "matches the paper's ViT with …"
    remedy: str  # what to change


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Why an implementation fails: in one sentence, with what that rests on."""

    sentence: str
    evidence: str
    causes: Sequence[Cause] = field(default_factory=tuple)  # all that fit equally; none: no known deviation does
    stage: str = ""  # the first that diverges; empty where none does
    found_by: str = ""  # taps, probes, answers, or the deviation that was named
    failed: int  # requirements that the implementation failed
    explained: Sequence[str] = field(default_factory=tuple)  # of these, what the named deviation fails too
    unexplained: Sequence[str] = field(default_factory=tuple)  # what it passes
    tried: int  # deviations, and pairs of them
    out_of_time: bool
    budget_s: float
    duration_s: float
