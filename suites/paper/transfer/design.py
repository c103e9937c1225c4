"""How large the study of transfer is, and what is pre-trained and fine-tuned on what."""

from dataclasses import dataclass, replace
from typing import Any

from vitbench.candidate import Candidate
from vitbench.datasets import Dataset, Labelled
from vitbench.idx import DataUnusable
from vitbench.learner import as_designed
from vitbench.reference.config import ViTConfig
from vitbench.reference.recipes import TABLE_4, Recipe, pretraining

_UPSTREAM = 0.6  # of the classes
_TEST_AT_MOST = 2000  # images
_SMALL = 16  # pixels: smaller images are not made smaller still for the pre-training
_ROWS = 8  # of patches, about, at pre-training, where images are large


@dataclass(frozen=True, kw_only=True)
class Design:
    """Sizes, steps and images of one preset."""

    width: int
    depth: int
    seeds: int
    steps: int  # of pre-training
    batch: int
    fine_steps: int  # of fine-tuning, and of training from scratch
    fine_batch: int
    fine_images: int  # labelled images of the classes that are fine-tuned on

    @property
    def pretraining(self) -> Recipe:
        """Table 3's for ViTs on ImageNet, but for steps, batch and dropout; the data are small."""
        recipe = pretraining("ViT-*", "ImageNet").recipe
        return replace(recipe, steps=self.steps, warmup_steps=self.steps // 10, batch=self.batch, dropout=0.0)

    @property
    def fine_tuning(self) -> Recipe:
        """Table 4's, at the largest rate that it tries for small sets, but for steps and batch."""
        row = next(row for row in TABLE_4 if row.dataset == "CIFAR10")
        recipe = row.recipe(max(row.learning_rates))
        return replace(recipe, steps=self.fine_steps, warmup_steps=self.fine_steps // 10, batch=self.fine_batch)

    @property
    def from_scratch(self) -> Recipe:
        """As long as the fine-tuning and on the same images, by the pre-training's optimizer: SGD would hardly move it."""
        return replace(
            self.pretraining, steps=self.fine_steps, warmup_steps=self.fine_steps // 10, batch=self.fine_batch
        )

    @property
    def all_steps(self) -> int:
        """Of every seed together."""
        return self.seeds * (self.steps + 2 * self.fine_steps)


DESIGNS = {
    "quick": Design(width=32, depth=2, seeds=3, steps=150, batch=64, fine_steps=60, fine_batch=32, fine_images=100),
    "standard": Design(width=64, depth=4, seeds=5, steps=600, batch=64, fine_steps=200, fine_batch=64, fine_images=200),
    "full": Design(width=192, depth=6, seeds=5, steps=3000, batch=256, fine_steps=500, fine_batch=128, fine_images=400),
}


@dataclass(frozen=True, eq=False)
class Task:
    """Classes to be told apart, at one resolution."""

    classes: int
    image_size: tuple[int, int]
    train: Labelled
    test: Labelled


@dataclass(frozen=True, eq=False)
class Tasks:
    """The first classes at the lower resolution, and at the higher; the others at the higher."""

    upstream: Task
    enlarged: Task
    downstream: Task
    patch_size: tuple[int, int]


def tasks(data: Dataset, channels: int, device: str) -> Tasks:
    """Two parts of the classes; images of 16 pixels or less are enlarged by half, larger ones are halved before.

    Raises:
        DataUnusable: there are too few classes, or too few pixels.
    """
    first, rest = data.split(_UPSTREAM)
    lower, higher, patch = zip(*(_side(length) for length in data.image_size), strict=True)
    return Tasks(
        _task(data, first, lower, channels, device),
        _task(data, first, higher, channels, device),
        _task(data, rest, higher, channels, device),
        patch,
    )


def _side(length: int) -> tuple[int, int, int]:
    """Pixels along one side at pre-training and at fine-tuning, and of a patch."""
    at_first, then = (length, length * 3 // 2) if length <= _SMALL else (length // 2, length)
    patch = max(2, at_first // _ROWS)
    if at_first < 2 * patch:
        raise DataUnusable(f"images of {length} pixels along a side are too small to be cut into patches of {patch}")
    return at_first - at_first % patch, then - then % patch, patch


def _task(data: Dataset, classes: range, image_size: tuple[int, ...], channels: int, device: str) -> Task:
    height, width = image_size
    train, test = (
        half.of_classes(classes).resized((height, width)).coloured(channels).to(device)
        for half in (data.train, data.test)
    )
    return Task(len(classes), (height, width), train, test.at_most(_TEST_AT_MOST))


def config(design: Design, data: Dataset, candidate: Candidate) -> ViTConfig:
    """The model at pre-training, as near to the design as the candidate comes."""
    lower, _, patch = zip(*(_side(length) for length in data.image_size), strict=True)
    asked = ViTConfig(
        image_size=(lower[0], lower[1]),
        patch_size=(patch[0], patch[1]),
        channels=data.channels,
        width=design.width,
        depth=design.depth,
        num_heads=max(1, design.width // 16),
        mlp_dim=2 * design.width,
        num_classes=round(_UPSTREAM * data.classes),
    )
    return as_designed(candidate, asked)


def described(design: Design, config: ViTConfig, found: Tasks, head: str) -> dict[str, Any]:
    """For the record's settings."""
    return {
        "pre-training": f"{found.upstream.classes} classes, {len(found.upstream.train)} images of {_size(found.upstream)}",
        "fine-tuning": f"{found.downstream.classes} other classes, {design.fine_images} images of {_size(found.downstream)}",
        "patch": f"{config.patch_size[0]}×{config.patch_size[1]}",
        "width": config.width,
        "blocks": config.depth,
        "heads": config.num_heads,
        "pre-training head": "one hidden layer" if head == "mlp" else "linear",
        "pre-training steps": f"{design.steps} of {design.batch} images, Adam, {design.pretraining.learning_rate:g}",
        "fine-tuning steps": f"{design.fine_steps} of {design.fine_batch} images, SGD, {design.fine_tuning.learning_rate:g}",
        "judged on": f"{len(found.upstream.test)} and {len(found.downstream.test)} test images",
        "from scratch": "as long, on the same images, by the pre-training's optimizer",
    }


def _size(task: Task) -> str:
    return f"{task.image_size[0]}×{task.image_size[1]}"
