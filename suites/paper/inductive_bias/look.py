"""What is measured of one model as it is at the moment: how its feature maps move, from how far it hears, how far it is heard."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.errors import NotSupported, RequirementFailed
from vitbench.looks import finite
from vitbench.suites.paper.inductive_bias.definitions import (
    distances,
    equivariance_error,
    heard,
    mean_distance,
    moved,
    moved_map,
    receptive_field,
)
from vitbench.suites.paper.inductive_bias.subjects import ROUND, Subject

CELL = 4  # pixels: a patch of the miniature, and a cell of the ResNet's first maps


@dataclass(frozen=True, kw_only=True)
class Bias:
    """Of one model in one variant; lists over depth have one entry a layer, the first before any block."""

    by_shift: Sequence[float]  # error of the last map, images moved by 1, 2, … pixels
    by_depth_whole: Sequence[float]  # error by depth, moved by a multiple of every cell
    by_depth_single: Sequence[float]  # by one pixel
    heard_by_distance: Sequence[tuple[float, float]]  # of the first block: pixels, share of the largest change
    least_heard: float  # of the first block: the smallest change anywhere, over the largest


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Effective receptive fields of the cell in the middle."""

    maps: Sequence[Tensor]  # one a layer, (H, W), the largest value 1
    reach: Sequence[float]  # pixels, one a layer


def largest_shift(subject: Subject) -> int:
    """Pixels of the whole shift: two patches, which is a multiple of the ResNet's largest cell.

    Raises:
        NotSupported: the images are too small to be moved by as much and still be told apart.
    """
    if subject.side < 2 * _WHOLE:
        raise NotSupported(f"images of {subject.side} pixels are too small to be moved by {_WHOLE}")
    return _WHOLE


def bias(subject: Subject, images: Tensor, variant: str) -> Bias:
    """How much translation and locality are built in.

    Raises:
        NotSupported: the images are too small, or the variant cannot be had.
        RequirementFailed: a feature map holds NaN.
    """
    whole = largest_shift(subject)
    still = _finite_maps(subject, images, variant)
    errors = {pixels: _errors(subject, images, variant, still, pixels) for pixels in range(1, whole + 1)}
    change = _heard_from_a_corner(subject, images, variant)
    return Bias(
        by_shift=[errors[pixels][-1] for pixels in errors],
        by_depth_whole=errors[whole],
        by_depth_single=errors[1],
        heard_by_distance=_by_distance(change, subject.side, around=variant == ROUND),
        least_heard=change.min().item(),
    )


def fields(subject: Subject, images: Tensor, variant: str) -> Fields:
    """From how far each layer's middle cell hears, by gradients.

    Raises:
        RequirementFailed: a layer's output carries no gradient, or one that is not finite.
    """
    traced = images.clone().requires_grad_(True)
    maps, reach = [], []
    for number, features in enumerate(subject.maps(traced, variant, grad=True)):
        if not features.requires_grad:
            raise RequirementFailed(f"the output of layer {number} carries no gradient to the images")
        cell = (features.shape[1] // 2, features.shape[2] // 2)
        field = receptive_field(finite(_gradient(features[:, cell[0], cell[1]], traced), f"gradient of layer {number}"))
        size = (subject.side / features.shape[1], subject.side / features.shape[2])
        centre = ((cell[0] + 0.5) * size[0], (cell[1] + 0.5) * size[1])
        maps.append(field / field.max())
        reach.append(mean_distance(field, distances((subject.side, subject.side), (1, 1), centre)))
    return Fields(maps=maps, reach=reach)


def others_heard(subject: Subject, images: Tensor, variant: str) -> float:
    """In any layer, the largest change at another cell than the one whose patch of the image changes, over that one's."""
    worst = 0.0
    for before, after in zip(*_before_and_after(subject, images, variant), strict=True):
        change = heard(before, after)
        change[0, 0] = 0
        worst = max(worst, change.max().item())
    return worst


def _gradient(cell: Tensor, images: Tensor) -> Tensor:
    """Of a random direction of a cell's features, the same for every model of that width. (B, D) -> (B, C, H, W)."""
    direction = torch.randn(cell.shape[1], generator=torch.Generator().manual_seed(0)).to(cell)
    (gradient,) = torch.autograd.grad((cell @ direction).sum(), images, retain_graph=True)
    return gradient


def _errors(subject: Subject, images: Tensor, variant: str, still: Sequence[Tensor], pixels: int) -> list[float]:
    """By layer; the mean over images, and over moving down and moving to the right."""
    found = []
    for way in ((pixels, 0), (0, pixels)):
        after = _finite_maps(subject, moved(images, way), variant)
        for before, now in zip(still, after, strict=True):
            cells = (way[0] * now.shape[1] / subject.side, way[1] * now.shape[2] / subject.side)
            found.append(equivariance_error(now, moved_map(before, cells)).mean().item())
    layers = len(still)
    return [(down + right) / 2 for down, right in zip(found[:layers], found[layers:], strict=True)]


def _before_and_after(subject: Subject, images: Tensor, variant: str) -> tuple[list[Tensor], list[Tensor]]:
    """Maps of the images, and of the same with the first patch's pixels negated."""
    changed = images.clone()
    changed[:, :, :CELL, :CELL] = -images[:, :, :CELL, :CELL]
    return _finite_maps(subject, images, variant), _finite_maps(subject, changed, variant)


def _heard_from_a_corner(subject: Subject, images: Tensor, variant: str) -> Tensor:
    """After the first block. -> (rows, columns)."""
    before, after = _before_and_after(subject, images, variant)
    first = 1 if len(before) > 1 else 0
    return heard(before[first], after[first])


def _by_distance(change: Tensor, side: int, *, around: bool) -> list[tuple[float, float]]:
    """Pixels from the changed patch, and the mean change there; distances are rounded to whole cells.

    Around, the image goes on at its opposite edge, so that the patch is near from there too.
    """
    size = side / change.shape[0]
    centres = [(y * side + size / 2, x * side + size / 2) for y in (0, 1) for x in (0, 1)][: 4 if around else 1]
    map_size = (change.shape[0], change.shape[1])
    apart = torch.stack([distances(map_size, (size, size), centre) for centre in centres]).amin(dim=0)
    whole = (apart / size).round()
    return [(one.item() * size, change[whole == one].mean().item()) for one in whole.unique()]


def _finite_maps(subject: Subject, images: Tensor, variant: str) -> list[Tensor]:
    return [finite(one, f"feature map {number}") for number, one in enumerate(subject.maps(images, variant))]


_WHOLE = 2 * CELL
