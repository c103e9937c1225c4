"""IDX files, as MNIST and Fashion-MNIST come: a magic number, the sizes, then bytes; plain or compressed by gzip.

Source: http://yann.lecun.com/exdb/mnist, "THE IDX FILE FORMAT": two zero bytes, 8 for unsigned bytes, the number of
dimensions; each dimension as a big-endian 32-bit number; the data, the last dimension running fastest.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vitbench.errors import UsageError

_UNSIGNED_BYTES = 8
_TYPES = {8: "unsigned bytes", 9: "signed bytes", 11: "shorts", 12: "integers", 13: "floats", 14: "doubles"}
_GZIP = b"\x1f\x8b"
_DEFLATE_AT_MOST = 1032  # bytes that one compressed byte can stand for
_UNSUSPICIOUS = 2**30  # bytes that a compressed file may unpack to, however small it is; twenty times MNIST
_LARGEST_RATIO = 100  # beyond that; images hardly compress to a tenth
_LARGEST = 8 * 2**30  # bytes


class DataUnusable(UsageError):
    """A file of images or labels is missing, cut, of another kind or contradicts another."""


FILES = {  # what each is called at its beginning, and how many dimensions it has
    "training images": ("train-images", 3),
    "training labels": ("train-labels", 1),
    "test images": ("t10k-images", 3),
    "test labels": ("t10k-labels", 1),
}


def idx_file(folder: Path, part: str) -> Path:
    """The file of a part of the data, by any of the names that such files have, compressed or not.

    Raises:
        DataUnusable: there is none, and the text lists the names; or the folder cannot be looked into.
    """
    start, dimensions = FILES[part]
    names = [f"{start}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    try:
        found = [folder / name for name in names if (folder / name).is_file()]
    except OSError as error:  # a folder that nobody may look into, or a name that none can have
        raise DataUnusable(f"cannot look into {str(folder)[:200]}: {error.strerror or error}") from error
    if not found:
        raise DataUnusable(f"{folder} has no {part}: none of {', '.join(names)}; --data takes a folder as MNIST's")
    return found[0]


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes of an IDX file, in its shape. Its sizes are held against the file's before anything is allocated.

    Raises:
        DataUnusable: it cannot be read, is no IDX file of so many dimensions, or not of the size that it says.
    """
    with _opened(path) as (file, at_most):
        shape = _shape(path, _exactly(path, file, 4), file, dimensions)
        expected = math.prod(shape)
        if expected > min(at_most, _LARGEST):
            raise DataUnusable(
                f"{path} says that it holds {' × '.join(map(str, shape))} = {expected} bytes, "
                f"more than its {path.stat().st_size} bytes can; it is damaged"
            )
        data = file.read(expected + 1)
    if len(data) != expected:
        more = "more" if len(data) > expected else f"only {len(data)}"
        raise DataUnusable(
            f"{path} is cut or damaged: its header says {' × '.join(map(str, shape))} = {expected} bytes, "
            f"and there are {more}"
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The file, decompressed where it is gzip's, and how many bytes it can hold at most."""
    try:
        with path.open("rb") as plain:
            compressed = plain.read(2) == _GZIP
            plain.seek(0)
            size = path.stat().st_size
            if not compressed:
                yield plain, size
                return
            with gzip.GzipFile(fileobj=plain) as file:
                yield file, min(size * _DEFLATE_AT_MOST, max(_UNSUSPICIOUS, size * _LARGEST_RATIO))  # type: ignore[misc]  # it reads as any file does
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataUnusable(f"{path} is cut or damaged: {error}") from error
    except OSError as error:
        raise DataUnusable(f"cannot read {path}: {error.strerror or error}") from error


def _shape(path: Path, magic: bytes, file: IO[bytes], dimensions: int) -> tuple[int, ...]:
    zeros, kind, found = struct.unpack(">HBB", magic)
    if zeros or kind not in _TYPES:
        raise DataUnusable(
            f"{path} is no IDX file: it begins with {magic.hex(' ')}, expected 00 00 08 {dimensions:02x}"
        )
    if kind != _UNSIGNED_BYTES or found != dimensions:
        raise DataUnusable(
            f"{path} holds {_TYPES[kind]} in {found} dimensions, expected unsigned bytes in {dimensions}; "
            f"images have 3 (number, height, width), labels 1"
        )
    return struct.unpack(f">{dimensions}I", _exactly(path, file, 4 * dimensions))


def _exactly(path: Path, file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise DataUnusable(f"{path} is cut: it ends within its header; fetch it again")
    return data
