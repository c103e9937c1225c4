"""How the paper trains: optimizer, learning rate over the steps, weight decay, dropout and clipping, as its tables say.

Source: section 4.1, "Training & Fine-tuning", and appendix B.1 with Table 3 (pre-training) and Table 4 (fine-tuning).
What the tables leave out is taken from the authors' code, google-research/vision_transformer, and marked so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import Literal, get_args

import torch
from torch import nn

from vitbench.reference.config import ConfigurationError

OptimizerName = Literal["adam", "sgd"]
Decay = Literal["linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train a model; every field but the steps is a number of the paper's.

    Raises:
        ConfigurationError: a value that no training can have; the text names the field.
    """

    optimizer: OptimizerName = "adam"
    learning_rate: float  # the base, reached at the end of the warm-up
    decay: Decay
    steps: int  # of the optimizer, the warm-up included
    warmup_steps: int
    batch: int
    weight_decay: float = 0.0  # of Adam; decoupled, as AdamW has it: a step takes learning rate x weight decay off
    dropout: float = 0.0
    clip_norm: float | None = None  # the global norm that gradients are scaled down to
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam; section 4.1
    momentum: float = 0.9  # of SGD; appendix B.1.1

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", OptimizerName), ("decay", Decay)):
            value, known = getattr(self, name), get_args(choices)
            if value not in known:
                raise ConfigurationError(f"{name} must be one of {', '.join(known)}, got {value!r} (Recipe)")
        for name, least in (("steps", 1), ("warmup_steps", 0), ("batch", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigurationError(f"{name} must be a whole number of at least {least}, got {value!r} (Recipe)")
        if self.warmup_steps >= self.steps:
            raise ConfigurationError(
                f"warmup_steps {self.warmup_steps} leaves nothing of steps {self.steps} to decay in (Recipe); use fewer"
            )
        if self.optimizer == "sgd" and self.weight_decay:
            raise ConfigurationError(f"weight_decay {self.weight_decay!r} is Adam's; the paper's SGD has none (Recipe)")
        if not self.learning_rate > 0:
            raise ConfigurationError(f"learning_rate must be positive, got {self.learning_rate!r} (Recipe)")


# --- Table 3: pre-training -------------------------------------------------------------------------------------

PRETRAINING_BATCH, PRETRAINING_WARMUP_STEPS, PRETRAINING_RESOLUTION = 4096, 10_000, 224
_IMAGES = {"JFT-300M": 303_000_000, "ImageNet-21k": 14_000_000, "ImageNet": 1_300_000}  # section 4.1


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """One row of Table 3; where it has two numbers of epochs, the larger."""

    models: str  # as the paper writes them
    dataset: str
    epochs: int
    learning_rate: float
    decay: Decay
    weight_decay: float
    dropout: float

    @property
    def recipe(self) -> Recipe:
        """The row with what the caption says of all: batch, warm-up, and clipping at norm 1 on ImageNet."""
        return Recipe(
            optimizer="adam",
            learning_rate=self.learning_rate,
            decay=self.decay,
            steps=round(self.epochs * _IMAGES[self.dataset] / PRETRAINING_BATCH),
            warmup_steps=PRETRAINING_WARMUP_STEPS,
            batch=PRETRAINING_BATCH,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            clip_norm=1.0 if self.dataset == "ImageNet" else None,
        )


def _row(
    models: str, dataset: str, epochs: int, learning_rate: float, decay: Decay, weight_decay: float, dropout: float
) -> Pretraining:
    return Pretraining(
        models=models,
        dataset=dataset,
        epochs=epochs,
        learning_rate=learning_rate,
        decay=decay,
        weight_decay=weight_decay,
        dropout=dropout,
    )


TABLE_3 = (
    #    models             dataset    epochs  base LR  LR decay  weight decay  dropout
    _row("ViT-B/{16,32}", "JFT-300M", 7, 8e-4, "linear", 0.1, 0.0),
    _row("ViT-L/32", "JFT-300M", 7, 6e-4, "linear", 0.1, 0.0),
    _row("ViT-L/16", "JFT-300M", 14, 4e-4, "linear", 0.1, 0.0),
    _row("ViT-H/14", "JFT-300M", 14, 3e-4, "linear", 0.1, 0.0),
    _row("R50x{1,2}", "JFT-300M", 7, 1e-3, "linear", 0.1, 0.0),
    _row("R101x1", "JFT-300M", 7, 8e-4, "linear", 0.1, 0.0),
    _row("R152x{1,2}", "JFT-300M", 7, 6e-4, "linear", 0.1, 0.0),
    _row("R50+ViT-B/{16,32}", "JFT-300M", 7, 8e-4, "linear", 0.1, 0.0),
    _row("R50+ViT-L/32", "JFT-300M", 7, 2e-4, "linear", 0.1, 0.0),
    _row("R50+ViT-L/16", "JFT-300M", 14, 4e-4, "linear", 0.1, 0.0),
    _row("ViT-B/{16,32}", "ImageNet-21k", 90, 1e-3, "linear", 0.03, 0.1),
    _row("ViT-L/{16,32}", "ImageNet-21k", 90, 1e-3, "linear", 0.03, 0.1),
    _row("ViT-*", "ImageNet", 300, 3e-3, "cosine", 0.3, 0.1),
)

# --- Table 4: fine-tuning --------------------------------------------------------------------------------------

FINE_TUNING_BATCH, FINE_TUNING_RESOLUTION = 512, 384
_FINE_TUNING_WARMUP_STEPS = 500  # the authors' code, configs/common.py; the paper names none
_SHORTEST_WARMUP = 10  # steps to one of warm-up, where 500 would be all of them


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """One row of Table 4, with the learning rates among which the paper chooses on a part of the training set."""

    dataset: str
    steps: int
    learning_rates: tuple[float, ...]

    def recipe(self, learning_rate: float) -> Recipe:
        """The row with what the caption says of all: cosine decay, no weight decay, clipping at norm 1."""
        return Recipe(
            optimizer="sgd",
            learning_rate=learning_rate,
            decay="cosine",
            steps=self.steps,
            warmup_steps=min(_FINE_TUNING_WARMUP_STEPS, self.steps // _SHORTEST_WARMUP),
            batch=FINE_TUNING_BATCH,
            clip_norm=1.0,
        )


_SMALL_SETS = (0.001, 0.003, 0.01, 0.03)
TABLE_4 = (
    FineTuning(dataset="ImageNet", steps=20_000, learning_rates=(0.003, 0.01, 0.03, 0.06)),
    FineTuning(dataset="CIFAR100", steps=10_000, learning_rates=_SMALL_SETS),
    FineTuning(dataset="CIFAR10", steps=10_000, learning_rates=_SMALL_SETS),
    FineTuning(dataset="Oxford-IIIT Pets", steps=500, learning_rates=_SMALL_SETS),
    FineTuning(dataset="Oxford Flowers-102", steps=500, learning_rates=_SMALL_SETS),
    FineTuning(dataset="VTAB (19 tasks)", steps=2_500, learning_rates=(0.01,)),
)


def pretraining(models: str, dataset: str) -> Pretraining:
    """The row of Table 3 for these models, as the paper writes them, and this data set.

    Raises:
        ConfigurationError: there is none; the text lists those there are.
    """
    for row in TABLE_3:
        if (row.models, row.dataset) == (models, dataset):
            return row
    known = "; ".join(f"{row.models} on {row.dataset}" for row in TABLE_3)
    raise ConfigurationError(f"Table 3 has no row for {models} on {dataset}; it has {known}")


# --- one step --------------------------------------------------------------------------------------------------


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of a step, the first being 0: linearly up from 0 to the base, then linearly or by a half cosine to 0.

    Source: Tables 3 and 4 name the shapes; the formula is the authors' code's, whose linear decay ends at 1e-5.
    """
    progress = (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps)
    progress = min(max(progress, 0.0), 1.0)
    rest = 1 - progress if recipe.decay == "linear" else (1 + cos(pi * progress)) / 2
    warmed = min(1.0, step / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return recipe.learning_rate * rest * warmed


def optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay, or SGD with momentum, as the recipe says; of every parameter alike."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay)


def update(recipe: Recipe, made: torch.optim.Optimizer, step: int) -> None:
    """The gradients, clipped, to new parameters, at the learning rate of this step; the gradients are let go."""
    parameters = [parameter for group in made.param_groups for parameter in group["params"]]
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
    for group in made.param_groups:
        group["lr"] = learning_rate(recipe, step)
    made.step()
    made.zero_grad(set_to_none=True)
