"""The small Vision Transformer that two of the paper's studies train and look into, of any candidate alike.

Every candidate that takes weights starts from the same ones and sees the same images in the same order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.adapter import Model
from vitbench.candidate import Candidate
from vitbench.cases import Case
from vitbench.datasets import Labelled
from vitbench.drawn_images import CLASSES, drawn
from vitbench.errors import NotSupported
from vitbench.learner import as_designed
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, authors_weights
from vitbench.reference.recipes import Recipe, pretraining
from vitbench.training import TrainingDiverged, accuracy, train
from vitbench.trial import Trial

JUDGED = 512  # images, of another seed than those trained on


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """Sizes of the model, and how long it is trained."""

    side: int = 32  # pixels
    patch: int = 4
    width: int = 48
    depth: int = 4
    heads: int = 4
    steps: int
    batch: int = 32
    images: int = 8192  # to train on

    @property
    def config(self) -> ViTConfig:
        """Of square images and patches; the MLP is twice as wide as the tokens."""
        return ViTConfig(
            image_size=(self.side, self.side),
            patch_size=(self.patch, self.patch),
            width=self.width,
            depth=self.depth,
            num_heads=self.heads,
            mlp_dim=2 * self.width,
            num_classes=len(CLASSES),
        )

    @property
    def recipe(self) -> Recipe:
        """The paper's for ImageNet, but for the steps and the batch; without dropout, which not every candidate has."""
        return replace(
            pretraining("ViT-*", "ImageNet").recipe,
            steps=self.steps,
            warmup_steps=self.steps // 10,
            batch=self.batch,
            dropout=0.0,
        )

    def lessons(self, seed: int) -> Labelled:
        """The images to train on."""
        return drawn(self.images, self.side, seed)

    def unseen(self, count: int = JUDGED) -> Labelled:
        """Images to judge by and to look at, the same for every seed of training."""
        return drawn(count, self.side, _UNSEEN)

    def described(self, config: ViTConfig) -> dict[str, Any]:
        """For the record's settings; the configuration is what a candidate made of this one."""
        return {
            "image": f"{self.side}×{self.side}",
            "patch": f"{self.patch}×{self.patch}",
            "width": config.width,
            "blocks": config.depth,
            "heads": config.num_heads,
            "MLP width": config.mlp_dim,
            "optimizer": "Adam",
            "weight decay": self.recipe.weight_decay,
            "learning rate": self.recipe.learning_rate,
            "steps": self.steps,
            "batch": self.batch,
        }

    @property
    def data(self) -> str:
        """What is trained and judged on."""
        return f"drawn shapes of {len(CLASSES)} kinds, {self.images} to train on and {JUDGED} to judge by"


FirstWeights = Callable[[ViTConfig, Conventions, int], Weights]
"""Configuration, conventions and seed to weights to start from."""
_UNSEEN = 1_000_003  # a seed that no training has


class Pupil:
    """A candidate's miniature: as it starts, and trained in place when it is told to.

    Raises:
        NotSupported: the candidate has no model for these images.
    """

    def __init__(
        self, candidate: Candidate, miniature: Miniature, seed: int, first: FirstWeights = authors_weights
    ) -> None:
        self.candidate, self.miniature, self.seed = candidate, miniature, seed
        self.config = as_designed(candidate, miniature.config)
        torch.manual_seed(seed)  # what a model draws that takes no weights
        self.trial = Trial(candidate, Case(self.config, 1, seed), {}, torch.float32)
        self.model: Model = self.trial.model
        self.start: Weights | None = first(self.config, candidate.conventions, seed)
        try:
            candidate.call("load", self.model, self.start)
        except NotSupported:
            self.start = None  # it keeps its own

    def train(self) -> list[float]:
        """The loss of every step.

        Raises:
            NotSupported: the model is no torch module, or its logits carry no gradient.
            TrainingDiverged: the loss is not finite.
        """
        module = self.model
        if not isinstance(module, nn.Module):
            raise NotSupported(f"its model is a {type(module).__name__}, no torch module that a torch optimizer trains")
        if not any(parameter.requires_grad for parameter in module.parameters()):
            raise NotSupported("none of its parameters asks for a gradient")
        lessons = self.miniature.lessons(self.seed).to(str(self.candidate.device))
        logits = partial(self.candidate.adapter.logits, module)
        torch.manual_seed(self.seed)

        def trained() -> list[float] | TrainingDiverged:
            module.train()
            try:
                return train(module, logits, lessons, self.miniature.recipe, self.seed).losses
            except TrainingDiverged as diverged:
                return diverged  # which is a finding, and no error of the candidate's code
            finally:
                module.eval()

        losses = self.candidate.guarded("training", trained, grad=True)
        if isinstance(losses, TrainingDiverged):
            raise losses
        return losses

    def accuracy(self) -> float:
        """The share of unseen images that it tells rightly."""
        return accuracy(self.trial.logits, self.miniature.unseen())


def with_small_filters(config: ViTConfig, conventions: Conventions, seed: int) -> dict[str, Tensor]:
    """The authors' first weights, but for the filters, which start as small as positions do.

    At the authors' size so short a training leaves filters as they were, and a look at them would show the random numbers
    that they started from.
    """
    weights = authors_weights(config, conventions, seed)
    filters = weights["patch_embedding.weight"]
    weights["patch_embedding.weight"] = filters * (_SMALL * filters[0].numel() ** 0.5)
    return weights


def smoothed(losses: Sequence[float], points: int) -> tuple[list[float], list[float]]:
    """Steps and losses for a curve: the mean of each of so many stretches of steps, at its middle."""
    length = max(1, len(losses) // points)
    stretches = [losses[start : start + length] for start in range(0, len(losses) - length + 1, length)]
    steps = [number * length + (length + 1) / 2 for number in range(len(stretches))]
    return steps, [sum(stretch) / length for stretch in stretches]


_SMALL = 0.02  # standard deviation
