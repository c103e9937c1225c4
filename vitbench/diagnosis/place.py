"""The first stage at which a candidate diverges from the reference."""

from collections.abc import Callable

import torch

from vitbench.candidate import Candidate
from vitbench.diagnosis.blind import by_probes
from vitbench.diagnosis.questions import Logits, Question
from vitbench.diagnosis.stages import Part, Place, Stage
from vitbench.diagnosis.taps import by_taps
from vitbench.errors import NotSupported, RequirementFailed


def first_divergence(
    candidate: Candidate,
    question: Question,
    error: float,
    tolerance: float,
    late: Callable[[], bool] = lambda: False,
) -> Place:
    """The first stage that diverges where the answer to a question does.

    The taps that an adapter offers narrow it down; probes decide what they leave open.

    Args:
        error: of the answer.
        tolerance: what is rounding, as a part of the largest expected value.
        late: whether the time is over; then no probe is tried any more.
    """
    if not isinstance(question, Logits):
        part = Part.GRADIENTS if question.topic == "gradients" else Part.POSITIONS
        return Place(stage=Stage(part), by="answers", error=error)
    whole = Place(stage=Stage(Part.UNKNOWN), by="answers", error=error)
    if not bool(torch.isfinite(question.images).all()):
        return whole
    try:
        trial = question.trial(candidate)
        suspects, shown = by_taps(trial, question.images, tolerance)
        if shown is not None and len(suspects) == 1:
            return shown
        if not suspects:  # every stage agrees that is shown, and the logits do not
            suspects = [Stage(Part.HEAD)]
        if len(suspects) == 1:
            return Place(stage=suspects[0], by="taps", error=error)
        return by_probes(trial, question.images, suspects, tolerance, late) or shown or whole
    except (NotSupported, RequirementFailed):
        return whole
