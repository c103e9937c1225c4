"""How large the study of data sizes is: models, subsets, steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vitbench.candidate import Candidate
from vitbench.datasets import Dataset, Labelled
from vitbench.learner import Learner, ResNetLearner, ViTLearner, as_designed
from vitbench.reference.config import ViTConfig
from vitbench.reference.recipes import TABLE_4, Recipe, pretraining
from vitbench.reference.resnet import RESNETS

SHOTS = 10  # of each class, for the linear regression
DRAWS = 5  # of these shots; their mean counts
_PATCH = 4  # pixels, and what the ResNets' root makes a cell of
_SMALLEST = 16  # pixels along a side; smaller images are enlarged
_UPSTREAM = 0.6  # of the classes
_TEST_AT_MOST = 2000  # images


@dataclass(frozen=True, kw_only=True)
class Design:
    """Sizes, subsets and steps of one preset."""

    vits: tuple[tuple[int, int], ...]  # width and depth
    resnets: tuple[str, ...]
    sizes: tuple[int, ...]  # images to pre-train on; those beyond what there is become all that there is
    seeds: int
    steps: int
    batch: int
    fine_steps: int
    fine_batch: int
    fine_images: int

    @property
    def pretraining(self) -> Recipe:
        """Table 3's for ViTs on ImageNet, for all models and subsets alike, but for steps, batch and dropout."""
        recipe = pretraining("ViT-*", "ImageNet").recipe
        return replace(recipe, steps=self.steps, warmup_steps=self.steps // 10, batch=self.batch, dropout=0.0)

    @property
    def fine_tuning(self) -> Recipe:
        """Table 4's, at the largest rate that it tries for small sets, but for steps and batch."""
        row = next(row for row in TABLE_4 if row.dataset == "CIFAR10")
        recipe = row.recipe(max(row.learning_rates))
        return replace(recipe, steps=self.fine_steps, warmup_steps=self.fine_steps // 10, batch=self.fine_batch)

    def subsets(self, available: int) -> tuple[int, ...]:
        """The sizes that there are images for, the largest being all of them if more were asked for."""
        return tuple(sorted({min(size, available) for size in self.sizes}))


DESIGNS = {
    "quick": Design(
        vits=((16, 1), (32, 2), (48, 3)),
        resnets=("R8x1/8", "R8x1/4"),
        sizes=(50, 200, 800),
        seeds=3,
        steps=150,
        batch=32,
        fine_steps=40,
        fine_batch=32,
        fine_images=100,
    ),
    "standard": Design(
        vits=((32, 2), (64, 4), (96, 6)),
        resnets=("R8x1/4", "R14x1/4"),
        sizes=(50, 100, 200, 400, 800, 1600, 6400),
        seeds=5,
        steps=400,
        batch=64,
        fine_steps=100,
        fine_batch=64,
        fine_images=200,
    ),
    "full": Design(
        vits=((64, 4), (128, 6), (192, 8)),
        resnets=("R14x1/4", "R14x1/2"),
        sizes=(500, 2000, 8000, 60_000),
        seeds=3,
        steps=600,
        batch=256,
        fine_steps=100,
        fine_batch=128,
        fine_images=400,
    ),
}


@dataclass(frozen=True, eq=False)
class Task:
    """Classes to be told apart."""

    classes: int
    train: Labelled
    test: Labelled


@dataclass(frozen=True, eq=False)
class Tasks:
    """The classes that models are pre-trained on, and others that they are transferred to."""

    upstream: Task
    downstream: Task
    image_size: tuple[int, int]
    channels: int


def tasks(data: Dataset, channels: int, device: str) -> Tasks:
    """Two parts of the classes, in images that both architectures can cut up.

    Raises:
        DataUnusable: there are too few classes.
    """
    size = image_size(data)
    upstream, downstream = (_task(data, part, size, channels, device) for part in data.split(_UPSTREAM))
    return Tasks(upstream, downstream, size, channels)


def image_size(data: Dataset) -> tuple[int, int]:
    """The data's own, or the smallest that is enlarged to; a multiple of the patch."""
    height, width = (max(length, _SMALLEST) // _PATCH * _PATCH for length in data.image_size)
    return height, width


def _task(data: Dataset, classes: range, size: tuple[int, int], channels: int, device: str) -> Task:
    train, test = (
        half.of_classes(classes).resized(size).coloured(channels).to(device) for half in (data.train, data.test)
    )
    return Task(len(classes), train, test.at_most(_TEST_AT_MOST))


Build = Callable[[int], Learner]
"""A seed -> a model with a pre-training head, untrained."""


def vits(design: Design, candidate: Candidate, data: Dataset) -> dict[str, ViTConfig]:
    """By name, the sizes of the ViTs, as near to the design as the candidate comes; the name says what they are.

    Raises:
        NotSupported: the candidate has no models for such images.
    """
    asked = [
        ViTConfig(
            image_size=image_size(data),
            patch_size=(_PATCH, _PATCH),
            channels=data.channels,
            width=width,
            depth=depth,
            num_heads=max(1, width // 16),
            mlp_dim=2 * width,
            num_classes=round(_UPSTREAM * data.classes),
        )
        for width, depth in design.vits
    ]
    reached = [as_designed(candidate, config) for config in asked]
    return {f"ViT {config.width}×{config.depth}": config for config in reached}


def models(design: Design, candidate: Candidate, configs: dict[str, ViTConfig], found: Tasks) -> dict[str, Build]:
    """By name, every model of the study, the smallest first."""

    def vit(config: ViTConfig) -> Build:
        return lambda seed: ViTLearner(candidate, config, seed, pretraining=True)

    def resnet(name: str) -> Build:
        config = replace(RESNETS[name], channels=found.channels)
        return lambda seed: ResNetLearner(config, found.upstream.classes, seed, str(candidate.device))

    return {name: vit(config) for name, config in configs.items()} | {name: resnet(name) for name in design.resnets}


def described(design: Design, found: Tasks, parameters: dict[str, int]) -> dict[str, Any]:
    """For the record's settings."""
    height, width = found.image_size
    return {
        "image": f"{height}×{width}",
        "patch": f"{_PATCH}×{_PATCH}",
        "pre-training": f"{found.upstream.classes} classes",
        "pre-training steps": f"{design.steps} of {design.batch} images, Adam, {design.pretraining.learning_rate:g}, "
        "of every subset as many, without early stopping",
        "few-shot": f"{SHOTS} images of each of {found.downstream.classes} other classes, {DRAWS} draws",
        "fine-tuning": f"{design.fine_images} images of these classes",
        "fine-tuning steps": f"{design.fine_steps} of {design.fine_batch} images, SGD, {design.fine_tuning.learning_rate:g}",
        "judged on": f"{len(found.upstream.test)} and {len(found.downstream.test)} test images",
        "ResNets": "the reference's, with group normalisation and standardised filters",
        **{f"parameters of {name}": count for name, count in parameters.items()},
    }
