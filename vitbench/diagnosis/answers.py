"""A candidate's answers beside the reference's, and whether a deviation gives the same."""

import math
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass

from torch import Tensor

from vitbench.candidate import Candidate
from vitbench.deviations.deviation import Rewriting
from vitbench.diagnosis.compared import FLOAT32_INSIDE_RELATIVE, SEMANTICS_RELATIVE, relative_error
from vitbench.diagnosis.questions import OfModel, Question, Resized, Table
from vitbench.errors import HarnessError, NotSupported, RequirementFailed

_LARGE = 20_000  # pixels of a batch: what takes so long that few deviations can be tried on it


@dataclass(frozen=True)
class Answer:
    """What a candidate answered, and how far that is from the paper's model."""

    question: Question
    found: Tensor
    error: float  # as a part of the largest value of the paper's answer
    tolerance: float  # what is rounding

    @property
    def diverges(self) -> bool:
        """Whether it is another answer than the paper's."""
        return not self.error <= self.tolerance

    @property
    def costly(self) -> bool:
        """Whether it takes long to try a deviation on it."""
        return isinstance(self.question, OfModel) and self.question.images.numel() > _LARGE


def answers(
    candidate: Candidate,
    questions: Iterable[Question],
    *,
    until: Callable[[], bool] = lambda: False,
    silent: MutableMapping[str, str] | None = None,
) -> Iterator[Answer]:
    """The candidate's answers; what it cannot be asked, and what it raises on, is left out.

    Args:
        until: whether the time is over.
        silent: gets the reason why a question of a topic has no answer, what it raises rather than what it declines;
            that positions cannot be resized is no reason for anything.
    """
    by_float32 = False  # positions are resized in float32, whatever the table's dtype
    for question in questions:
        if until():
            return
        try:
            found = question.asked(candidate)
        except (NotSupported, RequirementFailed) as unanswered:
            raised = isinstance(unanswered, RequirementFailed)
            if silent is not None and (raised or question.topic not in (*silent, "positions")):
                silent[question.topic] = str(unanswered)
            continue
        error = relative_error(found, question.expected())
        by_float32 = by_float32 or (error > SEMANTICS_RELATIVE and _resized_by_float32(candidate, question, found))
        rounded = candidate.float32_inside or (by_float32 and question.topic == "positions")
        yield Answer(question, found, error, FLOAT32_INSIDE_RELATIVE if rounded else SEMANTICS_RELATIVE)


def repeats(candidate: Candidate, answer: Answer) -> bool:
    """Whether it is given again, twice, by models made anew."""
    return all(
        relative_error(again.found, answer.found) <= answer.tolerance
        for again in answers(candidate, [answer.question] * 2)
    )


def _resized_by_float32(candidate: Candidate, question: Question, found: Tensor) -> bool:
    if isinstance(question, Table):
        return question.by_float32(found)
    return isinstance(question, Resized) and question.by_float32(candidate)


def error_of(rewriting: Rewriting, answer: Answer) -> float:
    """How far the reference so rewritten is from what the candidate answered; infinite where it raises."""
    with rewriting.applied():
        try:
            expected = answer.question.expected()
        except HarnessError:
            raise
        except Exception:  # noqa: BLE001  # a deviation may break the reference on what the candidate can do
            return math.inf
    return relative_error(answer.found, expected)


def worst_error(rewriting: Rewriting, found: Iterable[Answer]) -> float | None:
    """How far the reference so rewritten is at most from these answers; None where it does not give one of them."""
    worst = 0.0
    for answer in found:
        error = error_of(rewriting, answer)
        if not error <= answer.tolerance:
            return None
        worst = max(worst, error)
    return worst


def most_telling(found: Iterable[Answer]) -> list[Answer]:
    """Cheap ones before costly ones, and those that diverge before those that do not."""
    return sorted(found, key=lambda answer: (answer.costly, not answer.diverges))
