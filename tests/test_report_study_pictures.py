"""What the studies' pictures show, pixel by pixel: their scales are those that the page says."""

from pathlib import Path

from sample_studies import study
from test_report_studies import decoded, of

from vitbench.reports.pictures import heat
from vitbench.reports.study_pictures import FIELD, IMAGES, POSITIONS, ROLLOUT
from vitbench.study import NamedArray

Pixel = tuple[int, int, int, int]


def drawn(folder: Path, name: str, *arrays: NamedArray) -> list[list[Pixel]]:
    """The rows of the picture of that name."""
    (found,) = of(folder, study("paper/inner_views", arrays=arrays))
    (gallery,) = [one for one in found.galleries if one.name == name]
    width, height, data = decoded(gallery.pictures[0].address)
    rows = [data[row * (4 * width + 1) + 1 : (row + 1) * (4 * width + 1)] for row in range(height)]
    return [[tuple(row[at : at + 4]) for at in range(0, len(row), 4)] for row in rows]


def packed(name: str, shape: tuple[int, ...], *numbers: float) -> NamedArray:
    return NamedArray.of(name, [str(axis) for axis in range(len(shape))], shape, numbers, series="trained")


def test_similarity_goes_from_minus_1_to_1_whatever_there_is(tmp_path: Path) -> None:
    (row,) = drawn(tmp_path, POSITIONS, packed(POSITIONS, (1, 2, 1, 2), 1, -1, 0, 0.5))
    assert [row[0], row[1], row[3], row[4]] == [heat(1), heat(0), heat(0.5), heat(0.75)]


def test_a_receptive_field_is_drawn_by_its_square_root(tmp_path: Path) -> None:
    (row,) = drawn(tmp_path, FIELD, packed(FIELD, (1, 1, 3), 1, 0.25, 0))
    assert row == [heat(1), heat(0.5), heat(0)]


def test_an_image_is_as_light_as_attention_comes_from_it_the_most_in_full(tmp_path: Path) -> None:
    images = packed(IMAGES, (1, 1, 1, 4), 1, 1, 1, -1)
    (row,) = drawn(tmp_path, ROLLOUT, images, packed(ROLLOUT, (1, 1, 2), 0.2, 0.0))
    image, lit = [pixel[0] for pixel in row[:4]], [pixel[0] for pixel in row[5:]]
    assert image == [255, 255, 255, 0]
    assert lit[0] == 255  # beyond the centre of the patch that the most comes from
    assert 255 > lit[1] > lit[2] > 0
    assert lit[3] == 0
