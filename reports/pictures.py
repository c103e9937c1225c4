"""Small arrays as pictures: PNG files made of the standard library, as ``data:`` addresses that the page's policy admits."""

import base64
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vitbench.study import NamedArray

Colour = tuple[int, int, int, int]
"""Red, green, blue and opacity, 0 to 255."""
Pixels = list[list[Colour]]
"""Rows of an image."""

CLEAR: Colour = (0, 0, 0, 0)
_GAP = 1  # pixels between tiles
_MOST_PIXELS = 400_000  # of a picture; an array that is larger is no picture
# matplotlib's viridis (CC0), at nine places: even steps of it look even, in grey too.
_VIRIDIS = (
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of the page, shown larger than it is, each pixel a square."""

    title: str
    address: str  # data:image/png;base64,…
    alternative: str  # for who cannot see it
    width: int  # pixels of the file
    height: int
    scale: tuple[str, str] | None = (
        None  # what the darkest and the brightest colour mean; None: colours are the image's
    )


class NoPicture(ValueError):
    """An array is damaged, of another shape than expected, or holds nothing that could be drawn."""


def numbers_of(array: NamedArray, dimensions: int) -> list[float]:
    """The numbers of an array of so many dimensions.

    Raises:
        NoPicture: see there.
    """
    try:
        numbers = array.numbers
    except ValueError as error:
        raise NoPicture(str(error)) from error
    if len(array.shape) != dimensions or not numbers or len(numbers) > _MOST_PIXELS:
        raise NoPicture(f"array {array.name!r} has shape {list(array.shape)}, expected {dimensions} dimensions")
    return numbers


def heat(value: float) -> Colour:
    """A value from 0 to 1 as a colour; what is no number is clear."""
    if not math.isfinite(value):
        return CLEAR
    place = min(max(value, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    below = min(int(place), len(_VIRIDIS) - 2)
    part = place - below
    low, high = _VIRIDIS[below], _VIRIDIS[below + 1]
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    return red, green, blue, 255


def stretched(values: Sequence[float]) -> Callable[[float], float]:
    """From the least to the largest of the finite values, to 0 to 1; one value alone is in the middle."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return lambda value: (value - low) / (high - low) if high > low else 0.5


def in_colour(channels: Sequence[Sequence[float]], width: int) -> Pixels:
    """Three channels, or one for grey, of values from 0 to 1, each a flat list of rows."""
    red, green, blue = channels if len(channels) == 3 else [channels[0]] * 3  # noqa: PLR2004
    flat = [_opaque(*rgb) for rgb in zip(red, green, blue, strict=True)]
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def in_heat(values: Sequence[float], width: int) -> Pixels:
    """Values from 0 to 1, a flat list of rows."""
    return [[heat(value) for value in values[start : start + width]] for start in range(0, len(values), width)]


def tiled(tiles: Sequence[Pixels], columns: int) -> Pixels:
    """Tiles of one size side by side, so many in a row, with a clear gap between them."""
    height, width = len(tiles[0]), len(tiles[0][0])
    rows: Pixels = []
    for start in range(0, len(tiles), columns):
        beside = tiles[start : start + columns]
        rows += [[CLEAR] * ((width + _GAP) * columns - _GAP) for _ in range(_GAP if rows else 0)]
        for y in range(height):
            row: list[Colour] = []
            for tile in beside:
                row += [CLEAR] * (_GAP if row else 0) + tile[y]
            rows.append(row + [CLEAR] * ((width + _GAP) * columns - _GAP - len(row)))
    return rows


def png(pixels: Pixels) -> str:
    """The image as a PNG file in a ``data:`` address.

    Source: the PNG specification, third edition: signature, then IHDR (8 bits a sample, colour with opacity), IDAT, IEND.
    """
    height, width = len(pixels), len(pixels[0])
    raw = b"".join(b"\0" + bytes(sample for colour in row for sample in colour) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def picture(title: str, pixels: Pixels, alternative: str, scale: tuple[str, str] | None = None) -> Picture:
    """The image, ready for the page."""
    return Picture(
        title=title,
        address=png(pixels),
        alternative=alternative,
        width=len(pixels[0]),
        height=len(pixels),
        scale=scale,
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _opaque(*values: float) -> Colour:
    """A colour that is no number is clear."""
    if not all(map(math.isfinite, values)):
        return CLEAR
    red, green, blue = (round(255 * min(max(value, 0.0), 1.0)) for value in values)
    return red, green, blue, 255


SCALE = png([[heat(step / 63) for step in range(64)]])
"""From the darkest colour to the brightest."""
