"""A diagnosis in plain words."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from vitbench.deviations.deviation import Rewriting
from vitbench.diagnosis.answers import Answer
from vitbench.diagnosis.compared import SEMANTICS_RELATIVE
from vitbench.diagnosis.search import Found
from vitbench.diagnosis.stages import Place

_TOPICS = {"logits": "logits", "gradients": "gradients", "positions": "resized positions"}


def sentence_of(causes: Sequence[Rewriting], place: Place, found: Found) -> str:
    """What it is, or at least where."""
    if not causes:
        known = (
            "no deviation known here has its answers" if found.singles else "not every deviation known here was tried"
        )
        known = "no single deviation known here has its answers" if found.singles and found.out_of_time else known
        known = known if found.tried else "no deviation was tried"
        return f"diverges from the paper's ViT first at this stage: {place}; {known}"
    named = "; or with ".join(cause.summary for cause in causes)
    several = " (no answer tells these apart)" if len(causes) > 1 else ""
    unlike = "" if found.as_shown else ", in its answers, though not in the stages that it shows"
    return f"matches the paper's ViT with {named}{several}{unlike}"


def agreeing(given: Sequence[Answer], silent: Mapping[str, str]) -> str:
    """Why there is no diagnosis where nothing asked diverges.

    Args:
        silent: by topic, why a question has no answer.
    """
    if not given:
        why = f": {next(iter(silent.values()))}" if silent else ""
        return f"it answers nothing that it was asked, so nothing can be compared{why}"
    rounded = ", as far as the float32 inside it lets see" if any(_is_loose(answer) for answer in given) else ""
    counts = Counter(answer.question.topic for answer in given)
    mute = [
        f"asked for {_TOPICS[topic]}, it has no answer: {why}; " for topic, why in silent.items() if not counts[topic]
    ]
    where = "may lie there, or in what it" if mute else "lies elsewhere, in what it"
    return (
        f"it computes what the paper's ViT computes in {_counted(given)}{rounded}; {''.join(mute)}what it fails "
        f"{where} refuses or accepts, or in sizes that were not asked"
    )


def unsteady() -> str:
    """Why there is no diagnosis where the same question gets other answers."""
    return (
        "asked the same again, it answers otherwise, so nothing can be compared: it is random in evaluation mode, or "
        "changed by being asked, or has a parameter that load() does not fill"
    )


def _is_loose(answer: Answer) -> bool:
    return answer.question.topic == "logits" and answer.tolerance > SEMANTICS_RELATIVE


def evidence_of(causes: Sequence[Rewriting], given: Sequence[Answer], found: Found, *, float32_inside: bool) -> str:
    """What the sentence rests on."""
    off = max((answer.error for answer in given if answer.diverges), default=0.0)
    paper = (
        "of another shape or dtype, or not numbers" if math.isinf(off) else f"up to {off:.2g} of the largest value off"
    )
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
