"""A diagnosis in plain words."""

import math
from collections import Counter
from collections.abc import Sequence

from vitbench.deviations.deviation import Rewriting
from vitbench.diagnosis.answers import Answer
from vitbench.diagnosis.search import Found
from vitbench.diagnosis.stages import Place

_TOPICS = {"logits": "logits", "gradients": "gradients", "positions": "resized positions"}


def sentence_of(causes: Sequence[Rewriting], place: Place) -> str:
    """What it is, or at least where."""
    if not causes:
        return (
            f"diverges from the paper's ViT first at this stage: {place.stage}; no deviation known here has its answers"
        )
    named = "; or with ".join(cause.summary for cause in causes)
    several = " (no answer tells these apart)" if len(causes) > 1 else ""
    return f"matches the paper's ViT with {named}{several}"


def agreeing(given: Sequence[Answer]) -> str:
    """Why there is no diagnosis where nothing asked diverges."""
    if not given:
        return "it answers nothing that it was asked, so nothing can be compared"
    return (
        f"it computes what the paper's ViT computes in {_counted(given)}; what it fails lies elsewhere, in what it "
        "refuses or accepts, or in sizes that were not asked"
    )


def evidence_of(causes: Sequence[Rewriting], given: Sequence[Answer], found: Found, *, float32_inside: bool) -> str:
    """What the sentence rests on."""
    off = max((answer.error for answer in given if answer.diverges), default=0.0)
    paper = "of another shape, or not numbers" if math.isinf(off) else f"up to {off:.2g} of the largest value off"
    diverging = sum(answer.diverges for answer in given)
    if causes:
        exactly = f"to within {found.error:.1g} of the largest value" if found.error else "to the last bit"
        return f"it gives all of {_counted(given)} {exactly}; in {diverging} the paper's are {paper}"
    why = f"{found.tried:,} deviations and pairs of them were tried"
    if float32_inside:
        why = "it computes in float32 inside, whose rounding hides what tells deviations apart: none was tried"
    elif found.out_of_time:
        why += ", then the time was over"
    return f"{diverging} of {_counted(given)} are not the paper's ({paper}); {why}"


def _counted(given: Sequence[Answer]) -> str:
    counts = Counter(answer.question.topic for answer in given)
    parts = [f"{counts[topic]} of {words}" for topic, words in _TOPICS.items() if counts[topic]]
    return f"{len(given)} answers ({', '.join(parts)})"
