"""Resizing of position embeddings, each kernel against scipy or against its formula written out."""

from math import ceil, floor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from vitbench.reference.positions import RESIZE_KERNELS, resize_grid, resize_position_embedding, split_class_row

KINDS = tuple(RESIZE_KERNELS)
GRIDS = [((2, 3), (3, 5)), ((4, 4), (2, 8)), ((3, 3), (7, 7)), ((7, 5), (3, 2)), ((1, 5), (4, 4)), ((6, 1), (2, 3))]
RELATIVE = 1e-12  # of float64, where both sides are computed in it


def table_of(grid: tuple[int, int], width: int = 3, seed: int = 0) -> Tensor:
    """A random table with a class row. (1, N+1, D)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, grid[0] * grid[1] + 1, width, generator=generator, dtype=torch.float64)


def rows_on_grid(table: Tensor, grid: tuple[int, int]) -> NDArray[np.float64]:
    """The patches' rows as an image. (rows, columns, D)."""
    rows: NDArray[np.float64] = table[0, 1:].reshape(*grid, -1).numpy()
    return rows


def resized_on_grid(table: Tensor, grid: tuple[int, int], new: tuple[int, int], kind: Any) -> NDArray[np.float64]:
    return rows_on_grid(resize_position_embedding(table, grid, new, kind), new)


# --- an implementation of our own, from the kernels' formulas ---


def triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def cubic(x: float, a: float) -> float:
    """Keys 1981, with his free parameter."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def interpolation_matrix(size: int, new: int, kind: str) -> NDArray[np.float64]:
    """The weights with which each of ``new`` samples takes the ``size`` old ones, along one axis."""
    corners, antialias = kind.endswith("corners"), kind.endswith("antialias")
    a = -0.5 if antialias else -0.75
    reach = 2 if kind.startswith("bicubic") else 1
    matrix = np.zeros((new, size))
    for i in range(new):
        if corners:
            centre, stretch = (i * (size - 1) / (new - 1) if new > 1 else 0.0), 1.0
        else:
            centre, stretch = (i + 0.5) * size / new - 0.5, max(size / new, 1.0) if antialias else 1.0
        taps = range(floor(centre - reach * stretch), ceil(centre + reach * stretch) + 1)
        weights = [cubic((j - centre) / stretch, a) if reach == 2 else triangle((j - centre) / stretch) for j in taps]
        if antialias:  # samples outside are left out, and the rest made up to one
            weights = [w if 0 <= j < size else 0.0 for j, w in zip(taps, weights, strict=True)]
            weights = [w / sum(weights) for w in weights]
        for j, weight in zip(taps, weights, strict=True):
            matrix[i, min(max(j, 0), size - 1)] += weight  # without antialias the border is repeated
    return matrix


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("grid", "new"), GRIDS)
def test_resizes_as_the_kernels_formula_says(kind: str, grid: tuple[int, int], new: tuple[int, int]) -> None:
    table = table_of(grid)
    down, across = (interpolation_matrix(grid[i], new[i], kind) for i in (0, 1))
    expected = np.einsum("ir,jc,rcd->ijd", down, across, rows_on_grid(table, grid))
    found = resized_on_grid(table, grid, new, kind)
    assert np.abs(found - expected).max() <= RELATIVE * np.abs(expected).max()


def test_the_kernels_differ_from_each_other() -> None:
    """Else one implementation could serve for all, and the tests above would not tell."""
    found = [resized_on_grid(table_of((7, 5)), (7, 5), (3, 7), kind) for kind in KINDS]
    gaps = [np.abs(a - b).max() for i, a in enumerate(found) for b in found[:i]]
    assert len(gaps) == 15
    assert min(gaps) > 1e-2


@pytest.mark.parametrize(("grid", "new"), [(grid, new) for grid, new in GRIDS if min(new) > 1])
def test_the_authors_kernel_is_scipys_zoom_of_order_one(grid: tuple[int, int], new: tuple[int, int]) -> None:
    """The code of the paper: scipy.ndimage.zoom(posemb_grid, zoom, order=1)."""
    table = table_of(grid)
    zoom = (new[0] / grid[0], new[1] / grid[1], 1)
    expected = ndimage.zoom(rows_on_grid(table, grid), zoom, order=1)
    found = resized_on_grid(table, grid, new, "bilinear_corners")
    assert expected.shape == found.shape == (*new, 3)
    assert np.abs(found - expected).max() <= RELATIVE * np.abs(expected).max()


def test_bilinear_interpolation_of_two_values_as_by_hand() -> None:
    table = torch.tensor([[[9.0], [0.0], [3.0]]], dtype=torch.float64)  # class row, then a grid of 1 x 2
    expected = {
        "bilinear": [0, 0.75, 2.25, 3],  # samples at -0.25, 0.25, 0.75 and 1.25, the border repeated
        "bilinear_antialias": [0, 0.75, 2.25, 3],  # nothing to smooth when the grid grows
        "bilinear_corners": [0, 1, 2, 3],
    }
    for kind, values in expected.items():
        found = resize_position_embedding(table, (1, 2), (1, 4), kind)  # type: ignore[arg-type]
        assert found[0, :, 0].tolist() == pytest.approx([9, *values], abs=1e-15), kind


def test_antialiasing_takes_the_mean_of_what_a_larger_cell_covers() -> None:
    """Four values to two: a triangle of reach 2 around 0.5 and 2.5, weights 3:3:1 over 7 at the border."""
    table = torch.tensor([[[9.0], [7.0], [0.0], [0.0], [14.0]]], dtype=torch.float64)
    found = resize_position_embedding(table, (1, 4), (1, 2), "bilinear_antialias")
    assert found[0, :, 0].tolist() == pytest.approx([9, 3, 6], abs=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(2, 3), (4, 4), (1, 5), (1, 1)])
def test_the_same_grid_keeps_every_value(kind: Any, grid: tuple[int, int]) -> None:
    table = table_of(grid)
    torch.testing.assert_close(resize_position_embedding(table, grid, grid, kind), table, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_stays_constant(kind: Any) -> None:
    table = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64).expand(1, 13, 3)
    for new in ((2, 8), (5, 7), (1, 1)):
        found = resize_position_embedding(table, (3, 4), new, kind)
        expected = table[:, :1].expand(1, new[0] * new[1] + 1, 3)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["bilinear_corners", "bicubic_corners"])
def test_with_aligned_corners_the_corners_keep_their_values(kind: Any) -> None:
    table = table_of((3, 4))
    before, after = rows_on_grid(table, (3, 4)), resized_on_grid(table, (3, 4), (5, 7), kind)
    assert np.abs(after[[0, 0, -1, -1], [0, -1, 0, -1]] - before[[0, 0, -1, -1], [0, -1, 0, -1]]).max() < 1e-14


def test_with_aligned_corners_a_ramp_stays_a_ramp() -> None:
    """Value = row + 10 column, over 3 x 4 cells; at 5 x 7 the steps are halved."""
    r, c = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    table = torch.cat([torch.zeros(1, 1, 1), (r + 10 * c).reshape(1, 12, 1)], dim=1).double()
    found = resized_on_grid(table, (3, 4), (5, 7), "bilinear_corners")[:, :, 0]
    assert found.tolist() == [[row / 2 + 5 * column for column in range(7)] for row in range(5)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_ramp_keeps_its_slope_away_from_the_border(kind: Any) -> None:
    """Interpolation of any order that reproduces lines: doubled, a slope of 1 is one of 1/2 (corners: 11/23)."""
    table = torch.cat([torch.zeros(1), torch.arange(12.0)]).reshape(1, 13, 1).double()
    middle = resized_on_grid(table, (1, 12), (1, 24), kind)[0, 8:16, 0]
    slope = 11 / 23 if kind.endswith("corners") else 1 / 2
    # torch's bicubic of a = -0.75 does not reproduce lines: its slope swings around the right one
    allowed = 0.1 if kind in ("bicubic", "bicubic_corners") else 1e-12
    assert np.diff(middle) == pytest.approx([slope] * 7, abs=allowed)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_are_not_exchanged(kind: Any) -> None:
    """A table that varies with the row alone does so at any size, and likewise the column."""
    by_row = torch.arange(3.0).repeat_interleave(3)
    table = torch.cat([torch.zeros(1), by_row]).reshape(1, 10, 1).double()
    found = resized_on_grid(table, (3, 3), (5, 7), kind)[:, :, 0]
    assert np.ptp(found, axis=1).max() < 1e-14
    assert np.ptp(found, axis=0).min() > 1.5


def test_an_equal_count_of_patches_is_resized_like_any_other() -> None:
    table = torch.cat([torch.zeros(1), torch.arange(8.0)]).reshape(1, 9, 1).double()  # 2 x 4
    found = resized_on_grid(table, (2, 4), (4, 2), "bilinear_corners")[:, :, 0]
    assert found == pytest.approx(np.array([[0, 3], [4 / 3, 13 / 3], [8 / 3, 17 / 3], [4, 7]]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_row_is_carried_over_and_does_not_leak(kind: Any) -> None:
    table = table_of((2, 3))
    altered = torch.cat([table[:, :1] + 100, table[:, 1:]], dim=1)
    found, again = (resize_position_embedding(t, (2, 3), (4, 5), kind) for t in (table, altered))
    assert torch.equal(found[:, :1], table[:, :1])
    assert torch.equal(again[:, :1], altered[:, :1])
    assert torch.equal(again[:, 1:], found[:, 1:])


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_class_row_the_patches_are_all_there_is(kind: Any) -> None:
    table = table_of((2, 3))
    found = resize_position_embedding(table[:, 1:], (2, 3), (4, 5), kind, class_row=False)
    assert found.shape == (1, 20, 3)
    assert torch.equal(found, resize_position_embedding(table, (2, 3), (4, 5), kind)[:, 1:])


def test_splits_off_the_class_row_where_there_is_one() -> None:
    table = table_of((2, 3))
    assert [tuple(part.shape) for part in split_class_row(table, class_row=True)] == [(1, 1, 3), (1, 6, 3)]
    assert [tuple(part.shape) for part in split_class_row(table, class_row=False)] == [(1, 0, 3), (1, 7, 3)]


def test_a_table_of_another_grid_is_refused() -> None:
    with pytest.raises(RuntimeError, match="unflatten"):
        resize_position_embedding(table_of((2, 3)), (2, 4), (3, 3), "bilinear")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_a_half_precision_table_is_resized_in_float32_and_rounded_once(kind: Any, dtype: torch.dtype) -> None:
    table = table_of((3, 4)).to(dtype)
    found = resize_position_embedding(table, (3, 4), (5, 2), kind)
    assert found.dtype == dtype
    assert torch.equal(found, resize_position_embedding(table.float(), (3, 4), (5, 2), kind).to(dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["float32", "float64"]
)
def test_a_table_keeps_its_dtype_and_that_dtypes_precision(kind: Any, dtype: torch.dtype, error: float) -> None:
    table = table_of((3, 4)).to(dtype)
    found = resize_position_embedding(table, (3, 4), (5, 2), kind)
    down, across = (interpolation_matrix(old, new, kind) for old, new in ((3, 5), (4, 2)))
    expected = np.einsum("ir,jc,rcd->ijd", down, across, rows_on_grid(table.double(), (3, 4)))
    assert found.dtype == dtype
    assert np.abs(rows_on_grid(found.double(), (5, 2)) - expected).max() <= error


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_through_with_the_weights_of_the_interpolation(kind: Any) -> None:
    """The sum of all new values depends on each old one by the sum of its weights."""
    table = table_of((3, 4)).requires_grad_()
    resize_position_embedding(table, (3, 4), (5, 2), kind).sum().backward()
    down, across = (interpolation_matrix(old, new, kind).sum(axis=0) for old, new in ((3, 5), (4, 2)))
    expected = np.concatenate([[1.0], np.outer(down, across).flatten()])
    assert table.grad is not None
    assert table.grad[0, :, 0].numpy() == pytest.approx(expected, abs=1e-13)


def test_features_do_not_mix() -> None:
    image = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    image[:, 1] = 1
    for kind in KINDS:
        found = resize_grid(image, (3, 5), kind)
        assert found.shape == (1, 3, 3, 5)
        assert not found[:, [0, 2]].any()
        assert found[:, 1].min() > 0.9
