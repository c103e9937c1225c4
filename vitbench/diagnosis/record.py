"""What is told of a diagnosis, and kept in the results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from vitbench.wording import plural

BUDGET_S = 10.0
"""For all of a diagnosis, in processor time, so that the same is found on a busy machine. A passing run takes nothing of it."""


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
    out_of_time: bool = False
    budget_s: float
    duration_s: float = 0.0

    @classmethod
    def none(cls, why: str, **more: Any) -> Self:
        """Of an implementation whose failures have no cause that could be named or placed."""
        return cls(sentence=f"none: {why}", evidence="", tried=0, **more)

    @property
    def remedy(self) -> str:
        """What to change; of causes that nothing tells apart, for each."""
        return "; or ".join(cause.remedy for cause in self.causes)

    @property
    def extent(self) -> str:
        """How many failures the cause named accounts for; empty where none is named."""
        if not self.causes:
            return ""
        untried = self.failed - len(self.explained) - len(self.unexplained)
        rest = f"; not {', '.join(self.unexplained)}" if self.unexplained else ""
        rest += f"; {plural(untried, 'failure')} not tried" if untried else ""
        return f"{len(self.explained)} of {plural(self.failed, 'failure')}{rest}"

    @property
    def cost(self) -> str:
        """What it took."""
        ended = "; the part of it for searching was over before all was tried" if self.out_of_time else ""
        tried = plural(self.tried, "deviation")
        return f"{self.duration_s:.1f} s of processor time, of {self.budget_s:g} s at most; {tried} tried{ended}"

    def parts(self) -> Iterator[tuple[str, str]]:
        """Everything behind the sentence, each with the word for it; of a diagnosis that names and places nothing, nothing."""
        if not (self.causes or self.stage or self.out_of_time):
            return iter(())
        evidence = "; ".join(
            filter(None, (self.evidence, self.stage and f"the first stage that diverges: {self.stage}"))
        )
        named = (("to do", self.remedy), ("explains", self.extent), ("evidence", evidence), ("took", self.cost))
        return (part for part in named if part[1])


def from_json(data: Mapping[str, Any]) -> Diagnosis:
    """What ``dataclasses.asdict`` made of one."""
    return Diagnosis(**{**data, "causes": [Cause(**cause) for cause in data["causes"]]})
