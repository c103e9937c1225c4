"""Deviations of the resizing of position embeddings."""

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import positions, vit
from vitbench.reference.config import PositionResize

_resize_grid, _split, _at_image_size = positions.resize_grid, positions.split_class_row, vit.ViT.at_image_size


def _one_row_short(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    return _resize_grid(image, (max(new_grid[0] - 1, 1), new_grid[1]), kind)


def _always_smoothed(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    blurred = 0.9 * image + 0.1 * image.mean(dim=(2, 3), keepdim=True)
    return _resize_grid(blurred, new_grid, kind)


def _zero_border(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
    larger = _resize_grid(padded, (new_grid[0] + 2, new_grid[1] + 2), kind)
    return larger[:, :, 1:-1, 1:-1]


def _equal_count_kept(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    if image.shape[2] * image.shape[3] == new_grid[0] * new_grid[1]:
        return image.flatten(2).unflatten(2, new_grid)
    return _resize_grid(image, new_grid, kind)


def _axes_swapped(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    swapped = _resize_grid(image, (new_grid[1], new_grid[0]), kind)
    return swapped.flatten(2).unflatten(2, new_grid)


def _one_axis_bicubic(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    tall = _resize_grid(image, (new_grid[0], image.shape[3]), kind)
    return _resize_grid(tall, new_grid, "bicubic_corners")


def _by_float_factor(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    factors = torch.tensor(new_grid).float() / torch.tensor(image.shape[2:])
    rows, columns = (int(old * factor) for old, factor in zip(image.shape[2:], factors.tolist(), strict=True))
    return _resize_grid(image, (rows, columns), kind)


def _nearest(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    return torch.nn.functional.interpolate(image, size=new_grid, mode="nearest-exact")


def _half_detached(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    return _resize_grid(0.5 * (image + image.detach()), new_grid, kind)


def _mean_at_one(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    return image.mean(dim=(2, 3), keepdim=True) if new_grid == (1, 1) else _resize_grid(image, new_grid, kind)


def _nearest_when_large(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    return (_nearest if max(new_grid) > 32 else _resize_grid)(image, new_grid, kind)  # noqa: PLR2004


def _drifting(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    ramp = torch.linspace(0, 0.1, new_grid[1], dtype=image.dtype)
    resized = _resize_grid(image, new_grid, kind)
    return resized + ramp * (resized - resized.mean(dim=3, keepdim=True))


def _single_precision(table: Tensor, *, class_row: bool) -> tuple[Tensor, Tensor]:
    return _split(table.float(), class_row=class_row)


def _half_promoted(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    return _resize_grid(image.to(torch.promote_types(image.dtype, torch.float32)), new_grid, kind)


def _square_assumed(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    if image.shape[2] != image.shape[3]:
        raise ValueError("position grid is not square")
    return _resize_grid(image, new_grid, kind)


def _class_row_leaks(table: Tensor, *, class_row: bool) -> tuple[Tensor, Tensor]:
    prefix, patches = _split(table, class_row=class_row)
    return prefix, patches + 0.01 * prefix


def _head_reset(self: vit.ViT, image_size: tuple[int, int]) -> vit.ViT:
    resized = _at_image_size(self, image_size)
    torch.nn.init.zeros_(resized.get_parameter("head.weight"))
    return resized


DEVIATIONS = (
    Deviation(
        id="resize-one-row-short",
        summary="resized positions one row short",
        remedy="compute the new grid as H / P_h by W / P_w, and give it to the interpolation whole",
        replaces={"positions.resize_grid": _one_row_short},
        breaks="VIT-POS-SIZE",
    ),
    Deviation(
        id="resize-smooths",
        summary="positions smoothed even where their grid stays",
        remedy="interpolate the table itself, unsmoothed",
        replaces={"positions.resize_grid": _always_smoothed},
        breaks="VIT-POS-IDENTITY",
    ),
    Deviation(
        id="resize-zero-border",
        summary="positions taken as zero outside of the grid",
        remedy="interpolate up to the border without padding by zeros",
        replaces={"positions.resize_grid": _zero_border},
        breaks="VIT-POS-CONSTANT",
    ),
    Deviation(
        id="resize-class-row-leaks",
        summary="the class token's row mixed into the patches'",
        remedy="take the class token's row off before the patches' rows are resized, and put it back unchanged",
        replaces={"positions.split_class_row": _class_row_leaks},
        breaks="VIT-POS-CLASS-ROW",
    ),
    Deviation(
        id="resize-kernel",
        summary="bicubic interpolation of positions where bilinear is declared",
        remedy='declare position_resize="bicubic" in `conventions`, or interpolate by bilinear_corners',
        replaces={"positions.resize_grid": lambda image, grid, kind: _resize_grid(image, grid, "bicubic")},
        breaks="VIT-POS-RESIZE",
        known_from="mlx-vlm #2266",
    ),
    Deviation(
        id="resize-antialias",
        summary="antialiasing of positions, undeclared",
        remedy='declare position_resize="bilinear_antialias" in `conventions`, or pass antialias=False',
        replaces={"positions.resize_grid": lambda image, grid, kind: _resize_grid(image, grid, "bilinear_antialias")},
        breaks="VIT-POS-RESIZE",
        known_from="mlx-vlm #1243",
    ),
    Deviation(
        id="resize-equal-count-kept",
        summary="positions kept where the number of patches stays, whatever the grid",
        remedy="compare the grids, not the numbers of patches, before the table is kept as it is",
        replaces={"positions.resize_grid": _equal_count_kept},
        breaks="VIT-POS-EQUAL-COUNT",
        known_from="timm #2737, open_clip",
    ),
    Deviation(
        id="resize-axes-swapped",
        summary="height and width of the position grid exchanged",
        remedy="pass the new grid as (rows, columns)",
        replaces={"positions.resize_grid": _axes_swapped},
        breaks="VIT-POS-TRANSPOSE",
        known_from="transformers RT-DETR #41380",
    ),
    Deviation(
        id="resize-kernels-mixed",
        summary="one kernel along the height and another along the width",
        remedy="interpolate both axes by one kernel",
        replaces={"positions.resize_grid": _one_axis_bicubic},
        breaks="VIT-POS-TRANSPOSE",
    ),
    Deviation(
        id="resize-drifts",
        summary="positions off by more and more from left to right",
        remedy="interpolate to the new columns evenly: look at the coordinates along the width",
        replaces={"positions.resize_grid": _drifting},
        breaks="VIT-POS-MIRROR",
    ),
    Deviation(
        id="resize-by-float-factor",
        summary="new sizes computed by a float32 factor, and one short now and then",
        remedy="pass the new size (size=), not a factor (scale_factor=)",
        replaces={"positions.resize_grid": _by_float_factor},
        breaks="VIT-POS-SWEEP",
    ),
    Deviation(
        id="resize-nearest-when-large",
        summary="the nearest position on large grids",
        remedy="interpolate to large grids as to small ones",
        replaces={"positions.resize_grid": _nearest_when_large},
        breaks="VIT-POS-SWEEP",
    ),
    Deviation(
        id="resize-mean-to-one",
        summary="the mean of all positions for a single patch",
        remedy="interpolate to a single patch as to several",
        replaces={"positions.resize_grid": _mean_at_one},
        breaks="VIT-POS-SWEEP",
    ),
    Deviation(
        id="resize-nearest",
        summary="the nearest position instead of an interpolated one",
        remedy="interpolate between positions: the mode is still that of nearest neighbours",
        replaces={"positions.resize_grid": _nearest},
        breaks="VIT-POS-RAMP",
    ),
    Deviation(
        id="resize-turned-around",
        summary="positions turned by half a circle",
        remedy="keep the grid's orientation: take the flip out",
        replaces={"positions.resize_grid": lambda image, *rest: _resize_grid(image, *rest).flip(2, 3)},
        breaks="VIT-POS-ORIENTATION",
    ),
    Deviation(
        id="resize-half-detached",
        summary="half of the gradient lost on its way into the table",
        remedy="interpolate with the graph: look for detach()",
        replaces={"positions.resize_grid": _half_detached},
        breaks="VIT-POS-GRADIENT",
    ),
    Deviation(
        id="resize-float32",
        summary="resized positions in float32, whatever the table's dtype",
        remedy="return the resized table in the dtype of the table",
        replaces={"positions.split_class_row": _single_precision},
        breaks="VIT-POS-DTYPE",
        known_from="mlx-vlm #1243",
    ),
    Deviation(
        id="resize-half-promoted",
        summary="resized half-precision positions in float32",
        replaces={"positions.resize_grid": _half_promoted},
        breaks="VIT-POS-HALF",
        known_from="pytorch #175489",
    ),
    Deviation(
        id="resize-square-assumed",
        summary="a square grid of positions assumed",
        replaces={"positions.resize_grid": _square_assumed},
        breaks="VIT-POS-RECTANGULAR",
        known_from="timm #2190",
    ),
    Deviation(
        id="resize-resets-head",
        summary="the head reset at another resolution",
        remedy="keep the head when the image size changes",
        replaces={"vit.ViT.at_image_size": _head_reset},
        breaks="VIT-POS-MODEL",
    ),
)
