"""What checks draw: configurations small enough to run by the thousand, and odd enough to tell defects apart.

The first value of each list is the simplest to hypothesis, and thus what it shrinks to. It is deliberately not
degenerate: a rectangular grid, rectangular patches, two channels, two heads, an MLP that is not four times as wide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from vitbench.reference.config import Head, Pool, ViTConfig

SEVERAL_PATCHES = ((2, 3), (3, 2), (2, 2), (1, 4), (3, 4))
GRIDS = ((2, 3), (3, 2), (2, 2), (1, 4), (4, 1), (3, 4), (1, 1), (5, 3))
PATCHES = ((2, 3), (3, 2), (2, 2), (4, 4), (1, 1), (5, 3))
LARGE_PATCHES = ((2, 3), (3, 2), (4, 4), (5, 3))  # larger than a pixel, so that an image can fail to divide
MAP_PATCHES = ((1, 1), (2, 2), (1, 2), (2, 1))  # cells of a hybrid's feature map; one in the paper
SEVERAL_CELLS = ((2, 2), (2, 1))  # which stay several where patches have to be squares
CHANNELS = (2, 3, 1, 4)
HEADS = (2, 3, 1, 4)
HEAD_DIMS = (4, 3, 5, 8)
MLP_DIMS = (7, 16, 5, 24)
DEPTHS = (2, 1, 3)
CLASSES = (3, 5, 2)
BATCHES = (2, 3, 1, 4)

# Grids between which positions are resized, and pairs of equal token count in different shapes.
SOURCE_GRIDS = ((2, 3), (3, 3), (4, 2), (1, 5), (4, 4), (7, 5), (6, 1), (14, 14), (11, 13))
RECTANGULAR_GRIDS = ((2, 3), (4, 2), (1, 5), (7, 5), (6, 1))
TARGET_GRIDS = ((3, 5), (4, 4), (2, 2), (5, 3), (1, 7), (6, 8), (3, 2), (7, 1))
LARGE_SIDES = (1, 7, 13, 24, 37, 61, 96)  # new sides at which a size computed by a float factor comes out one short
RAMP_SIDES = ((3, 9), (5, 15), (14, 7), (12, 27), (15, 35))  # every kernel keeps a ramp at three places or more
TABLE_WIDTHS = (3, 8, 40)
EQUAL_COUNT_GRIDS = (
    ((2, 8), (4, 4)),
    ((4, 4), (2, 8)),
    ((2, 3), (3, 2)),
    ((3, 4), (2, 6)),
    ((1, 4), (2, 2)),
    ((9, 1), (3, 3)),
)


@dataclass(frozen=True)
class Case:
    """One example: a configuration, a batch size, and the seed of weights and images."""

    config: ViTConfig
    batch: int
    seed: int

    def images(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Normal random images of the case's seed. Shapes: (B, C, H, W)."""
        return random_images((self.batch, self.config.channels, *self.config.image_size), self.seed, dtype)

    def __str__(self) -> str:
        c = self.config
        extras = "".join(
            f", {name} {value}"
            for name, value in (("stem", c.stem), ("head", c.head), ("pool", c.pool), *_rates(c))
            if value not in ("patch", "linear", "class_token", 0.0)
        )
        return (
            f"image {_by(c.image_size)}, patch {_by(c.patch_size)}, channels {c.channels}, width {c.width}, "
            f"depth {c.depth}, heads {c.num_heads}, mlp {c.mlp_dim}, classes {c.num_classes}{extras}; "
            f"batch {self.batch}, seed {self.seed}"
        )


MANY_TOKENS = Case(
    ViTConfig(
        image_size=(96, 100), patch_size=(4, 4), channels=3, width=144, depth=2, num_heads=2, mlp_dim=24, num_classes=5
    ),
    batch=1,
    seed=1,
)
"""As large as models in use: 24 x 25 patches, beyond those of 384 pixels, and heads of 72, beyond 64 and no power of two."""

MANY_BLOCKS = Case(
    ViTConfig(
        image_size=(20, 34),
        patch_size=(20, 17),
        channels=5,
        width=80,
        depth=12,
        num_heads=20,
        mlp_dim=24,
        num_classes=1,
    ),
    batch=65,
    seed=1,
)
"""As deep as B, with more heads than L, which are not of 64, patches beyond 16, and a batch beyond 64; for a single class."""


@dataclass(frozen=True)
class ResizeCase:
    """One example of resizing a position table."""

    grid: tuple[int, int]
    new_grid: tuple[int, int]
    width: int
    seed: int

    def squared(self) -> "ResizeCase":
        """The same between square grids, for candidates that know no others."""
        side, new_side = max(self.grid), max(self.new_grid)
        new_side += side == new_side  # still another grid
        return replace(self, grid=(side, side), new_grid=(new_side, new_side))

    def __str__(self) -> str:
        return f"grid {_by(self.grid)} to {_by(self.new_grid)}, width {self.width}, seed {self.seed}"


def random_images(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal random numbers of a seed, the same on every device. Shapes: as given."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


_SEEDS = st.integers(0, 2**16)


def vit_cases(
    *,
    head: Head = "linear",
    pool: Pool = "class_token",
    grids: Sequence[tuple[int, int]] = GRIDS,
    patches: Sequence[tuple[int, int]] = PATCHES,
    heads: Sequence[int] = HEADS,
    depths: Sequence[int] = DEPTHS,
    batches: Sequence[int] = BATCHES,
    classes: Sequence[int] = CLASSES,
    mlp_dims: Sequence[int] = MLP_DIMS,
    dropouts: Sequence[float] = (0.0,),
) -> st.SearchStrategy[Case]:
    """Configurations over every size that a Vision Transformer has."""
    choices = (grids, patches, heads, HEAD_DIMS, CHANNELS, depths, mlp_dims, classes, dropouts, batches)

    def case(drawn: Sequence[Any]) -> Case:
        grid, patch, num_heads, head_dim, channels, depth, mlp_dim, num_classes, rate, batch, seed = drawn
        config = ViTConfig(
            image_size=(grid[0] * patch[0], grid[1] * patch[1]),
            patch_size=patch,
            channels=channels,
            width=num_heads * head_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_dim=mlp_dim,
            num_classes=num_classes,
            head=head,
            pool=pool,
            dropout=rate,
            attention_dropout=rate,
        )
        return Case(config, batch, seed)

    # One tuple, and no @composite: that would make its strategies anew for each of thousands of examples.
    return st.tuples(*map(st.sampled_from, choices), _SEEDS).map(case)


def hybrid_cases(*, patches: Sequence[tuple[int, int]] = MAP_PATCHES) -> st.SearchStrategy[Case]:
    """Hybrids of several images: patches of one cell and of several, of feature maps that are mostly no squares."""
    plain = vit_cases(grids=((1, 2), (2, 1), (1, 1)), patches=patches, depths=(1, 2), batches=(2, 3))
    return plain.map(lambda case: replace(case, config=as_hybrid(case.config)))


@st.composite
def resize_cases(
    draw: st.DrawFn, *, sources: Sequence[tuple[int, int]] = SOURCE_GRIDS, smallest_side: int = 1
) -> ResizeCase:
    """Grids of different token counts; ``smallest_side`` bounds the new grid's rows and columns."""
    grid = draw(st.sampled_from(sources))
    targets = [new for new in TARGET_GRIDS if new[0] * new[1] != grid[0] * grid[1] and min(new) >= smallest_side]
    return ResizeCase(grid, draw(st.sampled_from(targets)), draw(st.sampled_from(TABLE_WIDTHS)), draw(_SEEDS))


@st.composite
def equal_count_cases(draw: st.DrawFn) -> ResizeCase:
    """Grids of the same token count in another shape, where a shortcut on the count goes wrong."""
    grid, new_grid = draw(st.sampled_from(EQUAL_COUNT_GRIDS))
    return ResizeCase(grid, new_grid, draw(st.sampled_from(TABLE_WIDTHS)), draw(_SEEDS))


_CELL = 32
"""Pixels per cell of the coarsest feature map in the paper, after stage 4 of a ResNet. Patches that divide it divide
the finer maps of other stems too."""


def as_hybrid(config: ViTConfig) -> ViTConfig:
    """The same ViT over a feature map instead of pixels: images of at least as many cells as it had pixels."""
    height, width = config.image_size
    return replace(config, stem="hybrid", image_size=(height * _CELL, width * _CELL))


def without_stem(config: ViTConfig) -> ViTConfig:
    """The inverse of ``as_hybrid``."""
    height, width = config.image_size
    return replace(config, stem="patch", image_size=(height // _CELL, width // _CELL))


# Simplifications for candidates that declare a feature out of reach: each turns any case into one without it.


def square_patch(config: ViTConfig) -> ViTConfig:
    """Square patches, the grid kept."""
    side = config.patch_size[0]
    return replace(config, patch_size=(side, side), image_size=(config.grid[0] * side, config.grid[1] * side))


def square_image(config: ViTConfig) -> ViTConfig:
    """A square image of square patches, with as many rows as before (at least two)."""
    rows, side = max(config.grid[0], 2), config.patch_size[0]
    return replace(config, patch_size=(side, side), image_size=(rows * side, rows * side))


def three_channels(config: ViTConfig) -> ViTConfig:
    """Colour images."""
    return replace(config, channels=3)


def several_heads(config: ViTConfig) -> ViTConfig:
    """At least two heads; a single head becomes two of the same size."""
    if config.num_heads > 1:
        return config
    return replace(config, num_heads=2, width=2 * config.width)


def several_pixels(config: ViTConfig) -> ViTConfig:
    """Patches of at least four numbers: a LayerNorm over one or two of them hides what is in the image."""
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    if config.channels * patch_h * patch_w >= _FEWEST_NUMBERS:
        return config
    patch_h, patch_w = 2 * patch_h, 2 * patch_w
    return replace(config, patch_size=(patch_h, patch_w), image_size=(rows * patch_h, columns * patch_w))


def four_widths(config: ViTConfig) -> ViTConfig:
    """An MLP of four times the width, as every published model has."""
    return replace(config, mlp_dim=4 * config.width)


def without_dropout(config: ViTConfig) -> ViTConfig:
    """No dropout of any kind."""
    return replace(config, dropout=0.0, attention_dropout=0.0)


def nearest(config: ViTConfig, there_are: Sequence[ViTConfig]) -> ViTConfig:
    """Of the configurations of a candidate that has no others, the one that has most fields in common.

    One of another head, pooling, stem or rate is another kind of model, of which a check would tell nothing: where there is
    none of the kind, the configuration stays as it is, for the candidate to refuse.
    """
    same_kind = [one for one in there_are if all(getattr(one, name) == getattr(config, name) for name in _KIND)]
    alike = [sum(value == getattr(config, name) for name, value in vars(one).items()) for one in same_kind]
    return same_kind[alike.index(max(alike))] if same_kind else config


_KIND = ("head", "pool", "stem", "dropout", "attention_dropout", "drop_path")

_FEWEST_NUMBERS = 4


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]}×{pair[1]}"


def _rates(config: ViTConfig) -> Iterator[tuple[str, float]]:
    names = ("dropout", "attention_dropout", "drop_path")
    return ((name, getattr(config, name)) for name in names)
