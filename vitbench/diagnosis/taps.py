"""The first stage that diverges, by what an adapter shows of its model."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vitbench.candidate import Candidate
from vitbench.diagnosis.compared import relative_error
from vitbench.diagnosis.stages import Part, Place, Stage, in_order
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.reference.stages import Stages
from vitbench.trial import Trial

MLP_OUTPUT = ("mlp.fc2.weight", "mlp.fc2.bias")


def by_taps(trial: Trial, images: Tensor, tolerance: float) -> tuple[list[Stage], Place | None]:
    """Which stages the taps leave under suspicion, and the place where what they show differs first, if it does.

    The stages lie behind the last tap that agrees, up to the first that does not. What an adapter does not offer,
    or cannot show, narrows nothing.
    """
    stages = in_order(trial.config.depth)
    last_right = -1
    for stage, error in _shown(trial, images):
        place = stages.index(stage)
        if not error <= tolerance:
            return stages[last_right + 1 : place + 1], Place(stage=stage, by="taps", error=error)
        last_right = max(last_right, place)
    return stages[last_right + 1 :], None


def _shown(trial: Trial, images: Tensor) -> Iterator[tuple[Stage, float]]:
    """Each stage that a tap shows, in order, and how far it is from the reference's."""
    expected, candidate = trial.reference_on(images), trial.candidate
    if candidate.offers("patch_tokens"):
        yield from _one(Stage(Part.PATCHES), lambda: trial.patch_tokens(images), expected.patch_tokens)
    if candidate.offers("tokens"):
        yield from _one(Stage(Part.TOKENS), lambda: trial.tokens(images), expected.tokens)
    if candidate.offers("block_outputs"):
        yield from _blocks(trial, images, expected)
    if candidate.offers("representation"):
        yield from _one(Stage(Part.NORM), lambda: trial.representation(images), expected.representation)


def _one(stage: Stage, shown: Callable[[], Tensor], expected: Tensor) -> Iterator[tuple[Stage, float]]:
    try:
        yield stage, relative_error(shown(), expected)
    except RequirementFailed:  # of another shape, say: more, or fewer tokens
        yield stage, float("inf")
    except NotSupported:
        return


def _blocks(trial: Trial, images: Tensor, expected: Stages) -> Iterator[tuple[Stage, float]]:
    """Behind each block; of the one that differs, behind its attention too, which a silent MLP lets through."""
    try:
        outputs = trial.block_outputs(images)
    except RequirementFailed:
        outputs = [torch.empty(0)] * trial.config.depth
    except NotSupported:
        return
    for i, (found, right) in enumerate(zip(outputs, expected.block_outputs, strict=True)):
        error = relative_error(found, right)
        if error > _SURELY:
            yield from _attention(trial, i, images)
        yield Stage(Part.MLP, i), error


_SURELY = 1e-10  # less is rounding, and nothing need be looked at within the block


def _attention(trial: Trial, i: int, images: Tensor) -> Iterator[tuple[Stage, float]]:
    silent = trial.zeroed(*MLP_OUTPUT)
    try:
        found = silent.block_outputs(images)[i]
    except (NotSupported, RequirementFailed):
        return
    yield Stage(Part.ATTENTION, i), relative_error(found, silent.reference_on(images).block_outputs[i])


def offered(candidate: Candidate) -> bool:
    """Whether the adapter shows any stage at all."""
    return any(candidate.offers(hook) for hook in ("patch_tokens", "tokens", "block_outputs", "representation"))
