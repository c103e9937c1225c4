"""A tensor in a file, before it is read: what the file's header says of it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

FLOATS = {"float16": 2, "float32": 4, "float64": 8, "bfloat16": 2}
"""Bytes of each number that a weight may be stored as."""


@dataclass(frozen=True)
class Stored:
    """Shape and dtype of one entry, found without reading it."""

    shape: tuple[int, ...]
    dtype: str  # of FLOATS
    read: Callable[[], Tensor]
