"""The first stage that diverges, by logits alone: weights with which only some stages can show, and the others pass through.

A probe that agrees clears the stages that it exercises; one that does not accuses them. Only canonical weights are needed
for that, so any adapter can be asked.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.diagnosis.compared import relative_error
from vitbench.diagnosis.stages import Part, Place, Stage, in_order
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.probes import BRANCH_OUTPUTS, equal_tokens
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import exercised_weights
from vitbench.trial import Trial, Weights

ATTENTION_OUTPUT = ("attention.output.weight", "attention.output.bias")
MLP_OUTPUT = ("mlp.fc2.weight", "mlp.fc2.bias")

_ORDER, _BLOCKS = Stage(Part.ORDER), Stage(Part.BLOCKS)
_PATCHES, _TOKENS, _NORM, _HEAD = Stage(Part.PATCHES), Stage(Part.TOKENS), Stage(Part.NORM), Stage(Part.HEAD)


@dataclass(frozen=True)
class Probe:
    """New values for some weights, and the stages that can still show."""

    changes: Mapping[str, Tensor]
    exercises: frozenset[Stage]


def by_probes(
    trial: Trial, images: Tensor, suspects: list[Stage], tolerance: float, late: Callable[[], bool]
) -> Place | None:
    """The first of the suspects that the probes accuse; None where the candidate answers none of them, or not in time.

    Raises:
        NotSupported, RequirementFailed: the candidate cannot be asked.
    """
    if not _transparent(trial, images, tolerance):
        blocks = [stage for stage in suspects if stage.block is not None]
        if blocks:
            return Place(stage=blocks[0], by="probes", error=None)
    cleared, accused = set[Stage](), list[tuple[frozenset[Stage], float]]()
    for probe in probes(trial.weights, trial.config, trial.conventions):
        if late():
            return None
        asked = trial.with_weights(probe.changes)
        try:
            error = relative_error(asked.logits(images), asked.reference_on(images).logits)
        except (NotSupported, RequirementFailed):
            continue
        if error <= tolerance:
            cleared |= probe.exercises
        else:
            accused.append((probe.exercises, error))
    return _accused(suspects, cleared, accused)


def _accused(suspects: list[Stage], cleared: set[Stage], accused: list[tuple[frozenset[Stage], float]]) -> Place | None:
    """The first suspect in every probe that failed and in none that did not; else in the narrowest that failed."""
    if not accused:
        return None
    common = frozenset.intersection(*(stages for stages, _ in accused)) - cleared
    narrowest, error = min(accused, key=lambda found: len(found[0] - cleared) or len(found[0]))
    for stages in (common, narrowest - cleared):
        found = [stage for stage in (*suspects, _ORDER, _BLOCKS) if stage in stages]
        if found:
            before = suspects[: suspects.index(found[0])] if found[0] in suspects else []
            return Place(stage=found[0], by="probes", error=error, alone=cleared.issuperset(before))
    return None


def _transparent(trial: Trial, images: Tensor, tolerance: float) -> bool:
    """Whether blocks whose branches add nothing let all pass, whatever their other weights are."""
    try:
        before = trial.zeroed(*BRANCH_OUTPUTS).logits(images)
        other_tokens = trial.zeroed(*BRANCH_OUTPUTS, "class_token", "position_embedding").logits(images)
        if relative_error(other_tokens, before) <= tolerance:
            return False  # nothing comes through
        others = exercised_weights(trial.config, trial.conventions, trial.case.seed + 7)
        changed = {n: w for n, w in others.items() if n.startswith("blocks.") and not n.endswith(BRANCH_OUTPUTS)}
        changed |= {n: torch.zeros_like(w) for n, w in trial.weights.items() if n.endswith(BRANCH_OUTPUTS)}
        return relative_error(trial.with_weights(changed).logits(images), before) <= tolerance
    except (NotSupported, RequirementFailed):
        return True  # of which nothing is known


def probes(weights: Weights, config: ViTConfig, conventions: Conventions) -> Iterator[Probe]:
    """From the head, which every other probe needs, to the whole model."""
    silent = {n: torch.zeros_like(w) for n, w in weights.items() if n.endswith(BRANCH_OUTPUTS)}
    behind = {_NORM, _HEAD}
    yield Probe({"norm.weight": torch.zeros_like(weights["norm.weight"])}, frozenset({_HEAD}))
    class_row = conventions.class_token_has_position
    yield Probe(equal_tokens(weights, class_row=class_row), frozenset(behind))
    dark = _dark(weights)
    yield Probe({**silent, **dark}, frozenset({_TOKENS, *behind}))
    for i in range(config.depth):
        for part, outputs in ((Part.MLP, MLP_OUTPUT), (Part.ATTENTION, ATTENTION_OUTPUT)):
            only = {n: w for n, w in silent.items() if not n.endswith(tuple(f"blocks.{i}.{o}" for o in outputs))}
            yield Probe({**only, **dark}, frozenset({_TOKENS, Stage(part, i), *behind}))
    yield from _of_images(weights, silent, config, class_row=class_row)


def _of_images(
    weights: Weights, silent: Mapping[str, Tensor], config: ViTConfig, *, class_row: bool
) -> Iterator[Probe]:
    """Images seen through the first block's attention: without positions that differ, with them; then the whole."""
    first = tuple(f"blocks.0.{output}" for output in ATTENTION_OUTPUT)
    only = {n: w for n, w in silent.items() if not n.endswith(first)}
    table = weights["position_embedding"].clone()
    table[:, int(class_row) :] = table[:, -1:]
    seen = {_PATCHES, Stage(Part.ATTENTION, 0), _NORM, _HEAD}
    yield Probe({**only, "position_embedding": table}, frozenset(seen))
    yield Probe(only, frozenset({*seen, _TOKENS, _ORDER}))
    yield Probe({}, frozenset({*in_order(config.depth), _ORDER, _BLOCKS}))


def _dark(weights: Weights) -> dict[str, Tensor]:
    """Weights with which no image can be seen."""
    names = ("patch_embedding.weight", "patch_embedding.output_norm.weight")
    return {n: torch.zeros_like(w) for n, w in weights.items() if n in names}
