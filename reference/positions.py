"""Position embeddings at another resolution: resized in two dimensions, by their place in the image.

Source: section 3.2: "We therefore perform 2D interpolation of the pre-trained position embeddings, according to
their location in the original image." The kernel is left open; each package has its own (``PositionResize``).
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vitbench.reference.config import PositionResize

# kernel, align_corners, antialias. torch's bicubic has a = -0.75, its antialiased bicubic a = -0.5 (as Pillow's).
RESIZE_KERNELS: dict[PositionResize, tuple[str, bool, bool]] = {
    "bilinear": ("bilinear", False, False),
    "bilinear_antialias": ("bilinear", False, True),
    "bilinear_corners": ("bilinear", True, False),
    "bicubic": ("bicubic", False, False),
    "bicubic_antialias": ("bicubic", False, True),
    "bicubic_corners": ("bicubic", True, False),
}


def resize_position_embedding(
    table: Tensor,
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    kind: PositionResize,
    *,
    class_row: bool = True,
) -> Tensor:
    """Resize the patches' rows from ``grid`` to ``new_grid``; the class token's row is kept as it is.

    Shapes: (1, N+1, D) -> (1, N'+1, D), patches in raster order; without ``class_row`` (1, N, D) -> (1, N', D).
    """
    prefix, patches = split_class_row(table, class_row=class_row)  # (1, 1, D), (1, N, D)
    image = patches.unflatten(1, grid).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    resized = resize_grid(image, new_grid, kind)  # (1, D, new rows, new columns)
    return torch.cat([prefix, resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def split_class_row(table: Tensor, *, class_row: bool) -> tuple[Tensor, Tensor]:
    """The class token's row, (1, 0 or 1, D), and the patches' rows, (1, N, D)."""
    first = 1 if class_row else 0
    return table[:, :first], table[:, first:]


def resize_grid(image: Tensor, new_grid: tuple[int, int], kind: PositionResize) -> Tensor:
    """One 2-D interpolation over both axes, in float32 at least: torch has no half-precision kernel everywhere.

    Shapes: (1, D, rows, columns) -> (1, D, new rows, new columns).
    """
    kernel, align_corners, antialias = RESIZE_KERNELS[kind]
    precise = image.to(torch.promote_types(image.dtype, torch.float32))
    resized = interpolate(precise, size=new_grid, mode=kernel, align_corners=align_corners, antialias=antialias)
    return resized.to(image.dtype)
