"""``.npz`` files: zip archives of numpy arrays, read with ``allow_pickle=False`` and by their headers first."""

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from vitbench.checkpoints.errors import CheckpointUnusable
from vitbench.checkpoints.stored import FLOATS, Stored

GRID = (
    "vitbench/grid"  # rows and columns of positions; written only where they are no square, which nobody else can tell
)
_KNOWN_VERSIONS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_UNSUSPICIOUS = 2**30  # bytes that an archive may unpack to, however small it is
_LARGEST_RATIO = 20  # beyond that; weights compress by a tenth
_STEP = 16 * 2**20


def entries(path: Path) -> dict[str, Stored]:
    """Every array of the archive by its name, unread.

    Raises:
        CheckpointUnusable: no archive, cut, or with an entry that is no array of floating-point numbers.
    """
    with _opened(path) as archive:
        members = archive.infolist()
        _require_plausible(path, members)
        found = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in found:
                what = "twice" if name in found else "which is no array (.npy)"
                raise CheckpointUnusable(f"{path} holds {member.filename!r} {what}; it is no checkpoint of a ViT")
            found[name] = _entry(path, archive, member)
        return found


def grid(path: Path) -> tuple[int, int] | None:
    """The grid of positions, where this package wrote one that is no square."""
    with _opened(path) as archive:
        if f"{GRID}.npy" not in archive.namelist():
            return None
        member = archive.getinfo(f"{GRID}.npy")
        dtype, shape, start = _header(path, archive, member)
        if dtype.kind not in "iu" or shape != (2,):
            raise CheckpointUnusable(f"{path}: {GRID} must be two whole numbers, got {dtype} of shape {shape}")
        data = archive.read(member)
        if len(data) != start + 2 * dtype.itemsize:
            raise CheckpointUnusable(
                f"{path}: {GRID} must be two whole numbers, got {len(data) - start} bytes; it is damaged"
            )
        rows, columns = (int(n) for n in np.frombuffer(data[-2 * dtype.itemsize :], dtype))
    return rows, columns


def write(file: IO[bytes], arrays: Mapping[str, Tensor], grid: tuple[int, int] | None) -> None:
    """An uncompressed archive of the arrays, by name; the same arrays make the same bytes.

    Raises:
        CheckpointUnusable: a dtype that numpy does not have.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in sorted(arrays.items()):
            if tensor.dtype == torch.bfloat16:
                raise CheckpointUnusable(f"{name} is bfloat16, which numpy does not have; save as .safetensors instead")
            _add(archive, name, tensor.detach().cpu().contiguous().numpy())
        if grid is not None:
            _add(archive, GRID, np.array(grid, dtype="<i8"))


def _add(archive: zipfile.ZipFile, name: str, array: "np.ndarray[Any, Any]") -> None:
    member = zipfile.ZipInfo(f"{name}.npy")  # with zip's earliest date, whenever it is written
    with archive.open(member, "w", force_zip64=True) as file:
        npy.write_array(file, array, allow_pickle=False)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise CheckpointUnusable(f"{path} is no .npz file, or it is cut or damaged: {error}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise CheckpointUnusable(f"{path} is cut or damaged: {error}") from error
    except (NotImplementedError, RuntimeError) as error:  # of a method of compression, or of encryption
        raise CheckpointUnusable(f"{path} cannot be unpacked: {error}") from error
    except OSError as error:
        raise CheckpointUnusable(f"cannot read {path}: {error.strerror or error}") from error


def _require_plausible(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """A small archive that says it holds a large model is refused unread."""
    size, total = path.stat().st_size, sum(member.file_size for member in members)
    if total > max(_UNSUSPICIOUS, _LARGEST_RATIO * size):
        raise CheckpointUnusable(
            f"{path} has {size} bytes and says that it unpacks to {total}; weights do not compress like that"
        )
    stored = [member for member in members if member.compress_type == zipfile.ZIP_STORED]
    if any(member.file_size != member.compress_size for member in stored) or sum(m.file_size for m in stored) > size:
        raise CheckpointUnusable(f"{path} has {size} bytes and says that more are stored in it; it is damaged")


def _entry(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Stored:
    dtype, shape, start = _header(path, archive, member)
    name = member.filename.removesuffix(".npy")
    if name == GRID:
        return Stored(shape, "", partial(_refused, name))
    if dtype.name not in FLOATS:
        hint = "; bfloat16 is stored like that, save it as float32" if dtype.kind == "V" else ""
        raise CheckpointUnusable(f"{path}: {name} is {dtype}, expected one of {', '.join(FLOATS)}{hint}")
    expected = math.prod(shape) * dtype.itemsize
    if member.file_size - start != expected:
        raise CheckpointUnusable(
            f"{path}: {name} says that it has shape {shape} of {dtype}, {expected} bytes, "
            f"and there are {member.file_size - start}; it is cut or damaged"
        )
    return Stored(shape, dtype.name, partial(_read, path, member.filename))


def _refused(name: str) -> Tensor:
    raise CheckpointUnusable(f"{name} is no weight")


def _header(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> tuple["np.dtype[Any]", tuple[int, ...], int]:
    """dtype, shape and the place where the data begins; nothing of the data is read."""
    try:
        with archive.open(member) as file:
            version = npy.read_magic(file)
            if version not in _KNOWN_VERSIONS:
                raise CheckpointUnusable(f"{path}: {member.filename} is of version {version} of numpy's format")
            shape, _, dtype = _KNOWN_VERSIONS[version](file)
            start = file.tell()
    except (ValueError, SyntaxError, TokenError) as error:  # numpy tokenizes what it cannot parse
        raise CheckpointUnusable(f"{path}: {member.filename} is no numpy array: {_first_line(error)}") from error
    if dtype.hasobject:
        raise CheckpointUnusable(
            f"{path}: {member.filename} holds pickled Python objects, which can run any code when they are read; refused"
        )
    if any(type(length) is not int or length < 0 for length in shape):  # numpy takes True for a length
        raise CheckpointUnusable(f"{path}: {member.filename} says that it has shape {shape}; it is damaged")
    return dtype, shape, start


def _read(path: Path, member: str) -> Tensor:
    with _opened(path) as archive, archive.open(member) as file:
        buffer = io.BytesIO()
        while chunk := file.read(_STEP):
            buffer.write(chunk)
        buffer.seek(0)
        array = npy.read_array(buffer, allow_pickle=False)
    return torch.from_numpy(np.array(array.astype(array.dtype.newbyteorder("=")), order="C"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
