"""What the study measures, each as a function of feature maps: how they move, what they hear, and from how far.

Source: section 3.1, "Inductive bias": "In CNNs, locality, two-dimensional neighborhood structure, and translation
equivariance are baked into each layer throughout the whole model. In ViT, only MLP layers are local and translationally
equivariant, while the self-attention layers are global."
Shapes: B images of C x H x W pixels; a feature map of rows x columns cells with D features each.
"""

from math import floor

import torch
from torch import Tensor


def moved(images: Tensor, pixels: tuple[int, int]) -> Tensor:
    """The images, so many pixels further down and to the right; what leaves at one edge comes in at the other."""
    return torch.roll(images, pixels, dims=(-2, -1))


def moved_map(features: Tensor, cells: tuple[float, float]) -> Tensor:
    """A feature map moved like the image; between two cells, the straight line between their features.

    Shapes: (B, rows, columns, D), kept.
    """
    for dimension, distance in enumerate(cells, 1):
        whole = floor(distance)
        part = distance - whole
        features = torch.roll(features, whole, dims=dimension)
        if part:
            features = (1 - part) * features + part * torch.roll(features, 1, dims=dimension)
    return features


def equivariance_error(found: Tensor, expected: Tensor) -> Tensor:
    """How unlike two feature maps are: 0 where they are the same, 1 where they have nothing in common but their means.

    The root of the squared difference, over that of both maps' squared deviations from their means over the cells.

    Shapes: twice (B, rows, columns, D) -> (B).
    """
    spread = sum(_squares(one - one.mean(dim=(1, 2), keepdim=True)) for one in (found, expected))
    return (_squares(found - expected) / spread).sqrt()


def distances(map_size: tuple[int, int], cell_size: tuple[float, float], centre: tuple[float, float]) -> Tensor:
    """Pixels from a place in the image (y, x) to the centre of every cell. Shapes: -> (rows, columns)."""
    rows, columns = (
        (torch.arange(n, dtype=torch.float64) + 0.5) * size for n, size in zip(map_size, cell_size, strict=True)
    )
    return torch.hypot(rows[:, None] - centre[0], columns[None, :] - centre[1])


def mean_distance(field: Tensor, apart: Tensor) -> float:
    """Pixels from the centre, the mean over a field's pixels weighted by it. Shapes: twice (H, W) -> ()."""
    return ((field * apart).sum() / field.sum()).item()


def receptive_field(gradient: Tensor) -> Tensor:
    """The effective receptive field: the size of the gradient at every pixel, over channels, the mean over images.

    Shapes: (B, C, H, W) -> (H, W).
    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", 2016.
    """
    return gradient.double().square().sum(dim=1).sqrt().mean(dim=0)


def heard(before: Tensor, after: Tensor) -> Tensor:
    """By how much each cell changes, over the change of the cell that changes the most; the mean over images.

    Shapes: twice (B, rows, columns, D) -> (rows, columns).
    """
    change = (after - before).double().square().sum(dim=-1).sqrt()
    return (change / change.amax(dim=(1, 2), keepdim=True)).mean(dim=0)


def _squares(x: Tensor) -> Tensor:
    return x.double().square().sum(dim=(1, 2, 3))
