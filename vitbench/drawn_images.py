"""Images that need no download: one shape each, of random place, size, angle and colours. Its kind is its class.

A seed draws the same images on every machine, up to the rounding of its arithmetic. Parts of a shape lie in several
patches, so that a model must learn where its patches are to tell the classes apart.
"""

from collections.abc import Callable, Sequence
from math import pi

import torch
from torch import Tensor

from vitbench.datasets import Labelled

Place = tuple[Tensor, Tensor]  # x and y of every pixel, each (B, H, W), from the shape's centre in units of its radius


def drawn(count: int, size: int, seed: int) -> Labelled:
    """So many images of ``size`` × ``size`` pixels.

    Shapes: -> (B, 3, size, size) and (B).
    """
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    labels = torch.randint(len(KINDS), (count,), generator=generator)
    radius = between(_SMALLEST, _LARGEST, 1, 1)
    centre_x, centre_y = (between(-_OFF_CENTRE, _OFF_CENTRE, 1, 1) for _ in range(2))
    angle = between(0, _TILT, 1, 1)
    colours = between(-_TINT, _TINT, 2, 3) + torch.tensor([_BRIGHT, -_BRIGHT]).reshape(
        1, 2, 1
    )  # of shape and background
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    x, y = (x - centre_x) / radius, (y - centre_y) / radius  # (B, H, W)
    x, y = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    distances = torch.stack([kind((x, y)) for kind in KINDS.values()], dim=1)  # (B, kinds, H, W)
    distance = distances[torch.arange(count), labels] * radius * size  # pixels from the shape's edge, inside below zero
    covered = torch.clamp(0.5 - distance, 0, 1).unsqueeze(1)  # (B, 1, H, W): the share of each pixel inside
    shape, ground = colours[:, 0, :, None, None], colours[:, 1, :, None, None]
    noise = _NOISE * torch.randn(count, 3, size, size, generator=generator)
    return Labelled(ground + covered * (shape - ground) + noise, labels)


def _box(half_width: float, half_height: float) -> Callable[[Place], Tensor]:
    return lambda place: torch.maximum(place[0].abs() - half_width, place[1].abs() - half_height)


def _disc(place: Place) -> Tensor:
    return torch.hypot(*place) - 0.8


def _ring(place: Place) -> Tensor:
    return (torch.hypot(*place) - 0.75).abs() - 0.2


def _triangle(place: Place) -> Tensor:
    x, y = place
    return torch.maximum(-y - 0.5, 0.866 * x.abs() + 0.5 * y - 0.45)  # its three sides, 0.5 from the centre about


def _cross(place: Place) -> Tensor:
    return torch.minimum(_box(0.9, 0.22)(place), _box(0.22, 0.9)(place))


KINDS: dict[str, Callable[[Place], Tensor]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _box(0.7, 0.7),
    "triangle": _triangle,
    "cross": _cross,
    "wide bar": _box(0.95, 0.25),
    "tall bar": _box(0.25, 0.95),
}
"""By name, how far a place lies outside the shape."""

CLASSES: Sequence[str] = tuple(KINDS)
_SMALLEST, _LARGEST = 0.16, 0.25  # radius, in sides of the image
_TILT = pi / 12  # radians, at most; more would turn one bar into the other
_OFF_CENTRE = 0.25  # sides of the image, at most
_BRIGHT, _TINT = 0.5, 0.5  # of each colour: mean, and how far from it at most
_NOISE = 0.05  # standard deviation
