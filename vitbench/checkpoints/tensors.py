"""safetensors files: a header of names, dtypes, shapes and places, which the library holds against the file; then bytes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitbench.checkpoints.errors import CheckpointUnusable
from vitbench.checkpoints.stored import Stored

_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}


def entries(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """Every tensor by its name, unread, and the file's metadata.

    Raises:
        CheckpointUnusable: no safetensors file, cut, or with a tensor that is not of floating-point numbers.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            found = {}
            for name in file.keys():  # noqa: SIM118  # no mapping
                part = file.get_slice(name)
                found[name] = _entry(path, name, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError) as error:
        raise _unusable(path, error) from error
    return found, metadata


def _entry(path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> Stored:
    if dtype not in _DTYPES:
        raise CheckpointUnusable(f"{path}: {name} is {dtype}, expected one of {', '.join(_DTYPES)}")
    return Stored(shape, _DTYPES[dtype], partial(_read, path, name))


def _read(path: Path, name: str) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise _unusable(path, error) from error
    return tensor


def _unusable(path: Path, error: Exception) -> CheckpointUnusable:
    if isinstance(error, FileNotFoundError):
        return CheckpointUnusable(f"cannot read {path}: there is no such file")
    return CheckpointUnusable(f"{path} is no safetensors file, or it is cut or damaged: {' '.join(str(error).split())}")


def packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file; a memory of its own for each tensor, which the format asks for."""
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, dict(metadata))
