"""Arrays that a candidate returns, taken over as torch tensors."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from vitbench.errors import RequirementFailed, one_line


def as_tensor(value: Any, what: str) -> Tensor:
    """A result as a torch tensor on the CPU, taken over by DLPack or as an array where it is none.

    A copy, since a candidate may write its next answer into the same memory.

    Raises:
        RequirementFailed: it is no array of numbers, or has no plain data.
    """
    tensor = value if isinstance(value, Tensor) else _taken_over(value, what)
    fake = type(tensor).__name__ == "FakeTensor"  # by its name: importing the class takes a second
    if tensor.layout != torch.strided or tensor.is_meta or fake:
        kind = "on the meta device" if tensor.is_meta else f"in layout {short(tensor.layout)}"
        kind = "without data, which a tracer has left in the model" if fake else kind
        raise RequirementFailed(f"{what} returned a tensor {kind}, expected a dense one")
    return tensor.detach().to("cpu", copy=True)


def _taken_over(value: Any, what: str) -> Tensor:
    """A foreign array, by way of numpy where its strides or byte order are not for DLPack."""
    if hasattr(value, "__dlpack__"):
        with suppress(BufferError, RuntimeError, TypeError):
            return torch.utils.dlpack.from_dlpack(value)
    elif not hasattr(value, "__array__"):
        raise RequirementFailed(f"{what} returned a {type(value).__name__}, expected a tensor")
    import numpy as np  # noqa: PLC0415  # only foreign frameworks need it

    try:
        array = np.asarray(value)
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))  # a copy that is writable
    except Exception as error:
        raise RequirementFailed(
            f"{what} returned a {type(value).__name__} that is no array of numbers: {one_line(error)}"
        ) from error


def short(kind: torch.dtype | torch.layout) -> str:
    """A dtype's or layout's own name: ``float32`` for ``torch.float32``."""
    return str(kind).removeprefix("torch.")
