"""What a study records: one cell of a suite ``paper/…``, as numbers, arrays and curves that a report can draw.

A study says what was measured, with its seeds and intervals; whether the paper saw the same is for its reader to judge.
"""

import base64
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """One number, over all seeds."""

    name: str  # as a table has it: accuracy after fine-tuning
    value: float | None  # the mean over the seeds; null where it is not finite
    series: str = ""  # of what, where a study compares several: ViT 64×6, without positions
    unit: str = ""  # pixels, images, …; empty: a share or a ratio
    spread: float | None = None  # standard deviation over the seeds; null of one seed
    low: float | None = None  # of the interval
    high: float | None = None
    interval: str = ""  # what interval it is: 95 % of the mean, by Student's t
    seeds: int = 1  # how many, or how many images or places it is the mean of, as the note says
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a chart; curves of one chart have the same name and axes."""

    name: str  # of the chart
    series: str  # of the line
    x_axis: str  # what is measured along it, with its unit
    y_axis: str
    x: Sequence[float]
    y: Sequence[float | None]  # null where it is not finite
    low: Sequence[float | None] = ()  # of the interval; as long as y, or empty
    high: Sequence[float | None] = ()
    interval: str = ""  # what interval it is
    seeds: int = 1
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class NamedArray:
    """A small array, as float32; ``numpy.frombuffer(base64.b64decode(values), "<f4").reshape(shape)`` reads it again."""

    name: str
    axes: Sequence[str]  # one name a dimension: block, head, row, column
    shape: Sequence[int]
    values: str  # base64 of little-endian float32 numbers, the last axis running fastest; NaN and infinity as they are
    series: str = ""
    unit: str = ""
    note: str = ""

    @classmethod
    def of(
        cls, name: str, axes: Sequence[str], shape: Sequence[int], numbers: Iterable[float], **rest: str
    ) -> "NamedArray":
        """Pack the numbers.

        Raises:
            ValueError: there are more or fewer than the shape holds, or another number of axes.
        """
        packed = list(numbers)
        if len(packed) != math.prod(shape) or len(axes) != len(shape):
            raise ValueError(f"array {name!r}: {len(packed)} numbers and axes {list(axes)} for shape {list(shape)}")
        values = base64.b64encode(struct.pack(f"<{len(packed)}f", *packed)).decode()
        return cls(name=name, axes=list(axes), shape=list(shape), values=values, **rest)

    @property
    def numbers(self) -> list[float]:
        """The numbers, the last axis running fastest.

        Raises:
            ValueError: they are damaged: no base64, or not as many as the shape holds.
        """
        data = base64.b64decode(self.values, validate=True)
        count = math.prod(self.shape)
        if len(data) != 4 * count or len(self.axes) != len(self.shape) or min(self.shape, default=0) < 0:
            raise ValueError(f"array {self.name!r} holds {len(data)} bytes for shape {list(self.shape)}")
        return list(struct.unpack(f"<{count}f", data))


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A part of a study that could not be measured of this implementation."""

    what: str  # the part: mean attention distance
    hook: str  # the method of the adapter that it needs; empty where it is something else
    reason: str
