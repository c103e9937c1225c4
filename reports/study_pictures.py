"""What the studies' arrays look like: filters, similarities of positions, attention on images, receptive fields."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt

from vitbench import units
from vitbench.records import StudyRecord
from vitbench.reports.pictures import (
    NoPicture,
    Picture,
    Pixels,
    in_colour,
    in_heat,
    numbers_of,
    picture,
    stretched,
    tiled,
)
from vitbench.study import NamedArray
from vitbench.wording import abridged

FILTERS, SHARES, POSITIONS, IMAGES, ROLLOUT, FIELD = (
    "filters of the patch embedding",
    "share of the filters' variance",
    "similarity of position embeddings",
    "images",
    "attention rollout",
    "effective receptive field",
)
_COLUMNS = 7  # of filters, as in Figure 7
_DARKEST = 0.12  # of an image, where no attention comes from


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures of one kind, of one implementation."""

    name: str  # the array's
    implementation: str
    pictures: tuple[Picture, ...]


def galleries(
    records: Sequence[StudyRecord], label: Callable[[StudyRecord], str]
) -> tuple[tuple[Gallery, ...], tuple[str, ...]]:
    """By kind, then by implementation; and which arrays cannot be drawn, and why."""
    found: list[Gallery] = []
    absences: list[str] = []
    for name, draw in _DRAWINGS.items():
        for record in records:
            pictures: list[Picture] = []
            for array in record.arrays:
                try:
                    pictures += draw(array, record) if array.name == name else []
                except NoPicture as error:
                    absences.append(f"{label(record)}, {name}: {abridged(error, 120)}")
            if pictures:
                found.append(Gallery(name=name, implementation=label(record), pictures=tuple(pictures)))
    return tuple(found), tuple(absences)


Drawing = Callable[[NamedArray, StudyRecord], list[Picture]]


def _filters(array: NamedArray, record: StudyRecord) -> list[Picture]:
    """Each component stretched to the range of colours that there is, as it has no scale of its own."""
    numbers = numbers_of(array, 4)
    count, channels, _height, width = array.shape
    tiles = []
    for flat in _parts(numbers, count):
        scale = stretched(flat)
        tiles.append(in_colour([[scale(value) for value in one] for one in _parts(flat, channels)], width))
    shares = next((one.numbers for one in record.arrays if one.name == SHARES and len(one.shape) == 1), [])
    told = f", {units.percent(sum(shares[:count]))} of their variance" if shares else ""
    alternative = f"{count} tiles of {array.shape[2]} × {width} pixels: components of the filters{told}, the first at the top left"
    return [picture(f"{count} components{told}", tiled(tiles, min(count, _COLUMNS)), alternative)]


def _positions(array: NamedArray, _record: StudyRecord) -> list[Picture]:
    """From -1 to 1, whatever the largest and the smallest are."""
    numbers = numbers_of(array, 4)
    rows, columns = array.shape[0], array.shape[1]
    tiles = [in_heat([(value + 1) / 2 for value in flat], columns) for flat in _parts(numbers, rows * columns)]
    alternative = (
        f"{rows} × {columns} tiles, one for each patch where it lies, of {rows} × {columns} squares: its position's similarity "
        "with that of every patch"
    )
    return [picture(array.series or "similarity", tiled(tiles, columns), alternative, ("−1", "1"))]


def _rollout(array: NamedArray, record: StudyRecord) -> list[Picture]:
    """Each image, beside it the same as dark as little attention comes from it; the most from anywhere is full light."""
    maps = numbers_of(array, 3)
    images = next((one for one in record.arrays if one.name == IMAGES), None)
    if images is None:
        raise NoPicture("a rollout without its images")
    pixels = numbers_of(images, 4)
    count, channels, height, width = images.shape
    if count != array.shape[0]:
        raise NoPicture(f"{array.shape[0]} rollouts of {count} images")
    scale = stretched(pixels)
    tiles: list[Pixels] = []
    for flat, seen in zip(_parts(pixels, count), _parts(maps, count), strict=True):
        light = [_DARKEST + (1 - _DARKEST) * value for value in _enlarged(seen, array.shape[1:], (height, width))]
        colours = [[scale(value) for value in one] for one in _parts(flat, channels)]
        tiles.append(in_colour(colours, width))
        tiles.append(in_colour([[a * b for a, b in zip(one, light, strict=True)] for one in colours], width))
    alternative = f"{count} pairs: an image, and the same with light where the class token's attention comes from"
    return [picture("image and attention, in pairs", tiled(tiles, 4), alternative)]


def _fields(array: NamedArray, _record: StudyRecord) -> list[Picture]:
    """The square root, so that what is faint is seen; a tile a layer."""
    numbers = numbers_of(array, 3)
    layers, _height, width = array.shape
    tiles = [in_heat([sqrt(max(value, 0)) for value in flat], width) for flat in _parts(numbers, layers)]
    alternative = (
        f"{layers} tiles, one a layer from the first to the last: the image, bright where the middle cell hears it"
    )
    return [picture(array.series, tiled(tiles, layers), alternative, ("0", "most"))]


def _parts(flat: Sequence[float], count: int) -> list[Sequence[float]]:
    length = len(flat) // count if count else 0
    if not length:
        raise NoPicture("nothing to draw")
    return [flat[start : start + length] for start in range(0, length * count, length)]


def _enlarged(values: Sequence[float], size: Sequence[int], new_size: tuple[int, int]) -> list[float]:
    """Bilinear between the centres of cells, the largest value 1."""
    (rows, columns), (height, width), most = size, new_size, max(values, default=0.0)
    if not most > 0 or prod(size) != len(values):
        raise NoPicture("a rollout of nothing")

    def at(place: float, cells: int) -> tuple[int, int, float]:
        where = min(max(place, 0.0), cells - 1.0)
        below = min(int(where), cells - 1)
        return below, min(below + 1, cells - 1), where - below

    found = []
    for y in range(height):
        top, bottom, down = at((y + 0.5) * rows / height - 0.5, rows)
        for x in range(width):
            left, right, across = at((x + 0.5) * columns / width - 0.5, columns)
            upper = values[top * columns + left] * (1 - across) + values[top * columns + right] * across
            lower = values[bottom * columns + left] * (1 - across) + values[bottom * columns + right] * across
            found.append((upper * (1 - down) + lower * down) / most)
    return found


_DRAWINGS: dict[str, Drawing] = {FILTERS: _filters, POSITIONS: _positions, ROLLOUT: _rollout, FIELD: _fields}
