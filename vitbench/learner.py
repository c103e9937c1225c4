"""What the paper's studies train: a candidate's Vision Transformer, or the ResNet that the paper compares it with."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vitbench.adapter import NotSupported, ViTConfig
from vitbench.arrays import as_tensor
from vitbench.candidate import Candidate
from vitbench.datasets import Labelled
from vitbench.errors import OutputCut, RequirementFailed, VitbenchError
from vitbench.reference.parameters import authors_weights
from vitbench.reference.recipes import Recipe
from vitbench.reference.resnet import ResNet, ResNetConfig
from vitbench.training import Course, TrainingDiverged, nothing, train

Result = TypeVar("Result")


class Learner(Protocol):
    """A model with a head of so many classes, ready to be trained."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    def logits(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""

    def representation(self, images: Tensor) -> Tensor:
        """What the head receives, in evaluation. (B, C, H, W) -> (B, D).

        Raises:
            NotSupported: it is not shown.
            RequirementFailed: what is shown is none.
        """

    def with_new_head(self, classes: int, image_size: tuple[int, int], /) -> "Learner":
        """The same weights with a single linear layer of zeros for a head (section 3.2), at another resolution.

        Raises:
            NotSupported: the weights cannot be taken out, or the resolution cannot be changed.
        """

    def guarded(self, what: str, run: Callable[[], Result], /) -> Result:
        """What ``run()`` returns; in foreign code nothing that it changes outlasts it."""


class ViTLearner:
    """A candidate's ViT, with the weights that every candidate of these sizes starts from.

    It has the pre-training head of section 3.1, an MLP, where the candidate has one.
    Raises:
        NotSupported: the candidate has no such model, takes no weights, or cannot be trained by torch.
    """

    def __init__(self, candidate: Candidate, config: ViTConfig, seed: int, *, pretraining: bool = False) -> None:
        self.candidate = candidate
        self.config = _with_head(candidate, config) if pretraining else config
        model = candidate.build(self.config, torch.float32)
        candidate.call("load", model, authors_weights(self.config, candidate.conventions, seed))
        self.module = _trainable(model)

    def logits(self, images: Tensor) -> Tensor:
        """By the adapter, as it stands."""
        return self.candidate.adapter.logits(self.module, images)

    def representation(self, images: Tensor) -> Tensor:
        """By the hook of that name.

        Raises:
            RequirementFailed: the candidate's own code failed, or gave something of another shape.
        """
        self.module.eval()
        found = as_tensor(self.candidate.call("representation", self.module, images), "representation()")
        if found.shape != (len(images), self.config.width):
            raise RequirementFailed(
                f"representation() returned shape {tuple(found.shape)}, expected (B, D) = {(len(images), self.config.width)}"
            )
        return found

    def with_new_head(self, classes: int, image_size: tuple[int, int]) -> "ViTLearner":
        """By ``export``, ``load`` and, to another resolution, ``at_image_size``."""
        resized = image_size != self.config.image_size
        require_hooks(self.candidate, "export", *(["at_image_size"] if resized else []))
        config = replace(self.config, head="linear", num_classes=classes)
        state = {name: weight for name, weight in self.exported().items() if not name.startswith("head.")}
        state |= {"head.weight": torch.zeros(classes, config.width), "head.bias": torch.zeros(classes)}
        if not self.candidate.conventions.head_bias:
            del state["head.bias"]
        model = self.candidate.build(config, torch.float32)
        self.candidate.call("load", model, state)
        swapped = self._beside(config, model)
        return swapped.at_image_size(image_size) if resized else swapped

    def at_image_size(self, image_size: tuple[int, int]) -> "ViTLearner":
        """The same weights at another resolution, its head included.

        Raises:
            NotSupported: the candidate does not change its image size.
        """
        model = self.candidate.call("at_image_size", self.module, image_size)
        return self._beside(replace(self.config, image_size=image_size), model)

    def _beside(self, config: ViTConfig, model: Any) -> "ViTLearner":
        other = copy.copy(self)
        other.config, other.module = config, _trainable(model)
        return other

    def exported(self) -> dict[str, Tensor]:
        """Its weights by their canonical names."""
        exported = self.candidate.call("export", self.module)
        return {str(name): as_tensor(weight, "export()") for name, weight in exported.items()}

    def guarded(self, what: str, run: Callable[[], Result]) -> Result:
        """What it raises is the candidate's."""
        return self.candidate.guarded(what, run, grad=True)


class ResNetLearner:
    """The reference's ResNet, whose head is one layer at pre-training too, as in the paper's BiT."""

    def __init__(self, config: ResNetConfig, classes: int, seed: int, device: str) -> None:
        self.module = ResNet(config, classes, seed).to(device)

    def logits(self, images: Tensor) -> Tensor:
        """As it stands."""
        logits: Tensor = self.module(images)
        return logits

    def representation(self, images: Tensor) -> Tensor:
        """The mean of the last cells."""
        self.module.eval()
        with torch.no_grad():
            return self.module.representation(images)

    def with_new_head(self, classes: int, _image_size: tuple[int, int]) -> "ResNetLearner":
        """Its convolutions take images of any size."""
        other = copy.copy(self)
        other.module = copy.deepcopy(self.module)
        head = nn.Linear(other.module.head.in_features, classes).to(other.module.head.weight)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        other.module.head = head
        return other

    def guarded(self, _what: str, run: Callable[[], Result]) -> Result:
        """It is no foreign code."""
        return run()


_GIVEN = ("image_size", "patch_size", "num_classes")  # by the images, and what is looked at


def as_designed(candidate: Candidate, config: ViTConfig) -> ViTConfig:
    """The configuration, as near as the candidate comes: of another width or MLP, but for the images of the study.

    Raises:
        NotSupported: the candidate has models for other images, patches or classes only.
    """
    found = candidate.within_reach(config)
    for name in _GIVEN:
        asked, there_is = getattr(config, name), getattr(found, name)
        if asked != there_is:
            raise NotSupported(
                f"{candidate.name} has no model of {name} {asked}, which the study needs; its nearest has {there_is}"
            )
    return found


def require_hooks(candidate: Candidate, *hooks: str) -> None:
    """Refuse a candidate before hours are spent on what it cannot bring to an end.

    Raises:
        NotSupported: it does not offer one of these hooks.
    """
    for hook in hooks:
        if not candidate.offers(hook):
            raise NotSupported(f"{candidate.name} has no {hook}()")


def teach(
    learner: Learner,
    data: Labelled,
    recipe: Recipe,
    seed: int,
    *,
    keep: Path | None = None,
    told: Callable[[int], None] = nothing,
) -> Course:
    """Train it, in train mode, and leave it in evaluation.

    Raises:
        TrainingDiverged, OutputCut: as ``train``.
        CandidateRaised: anything that its own code raised.
    """
    ours: list[VitbenchError] = []

    def run() -> Course | None:
        learner.module.train()
        try:
            return train(learner.module, learner.logits, data, recipe, seed, keep=keep, told=told)
        except (TrainingDiverged, OutputCut) as error:  # no fault of the candidate's code
            ours.append(error)
            return None
        finally:
            learner.module.eval()

    course = learner.guarded("training", run)
    if course is None:
        raise ours[0]
    return course


def _with_head(candidate: Candidate, config: ViTConfig) -> ViTConfig:
    """The pre-training head where the candidate has it, else one linear layer."""
    with_mlp = replace(config, head="mlp")
    try:
        candidate.build(with_mlp, torch.float32)
    except NotSupported:
        return config
    return with_mlp


def _trainable(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise NotSupported(f"its model is a {type(model).__name__}, no torch module that a torch optimizer trains")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise NotSupported("none of its parameters asks for a gradient")
    return model.eval()
