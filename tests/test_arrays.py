"""What a candidate returns becomes a tensor of the harness's own, whichever framework it is of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from vitbench.arrays import as_tensor
from vitbench.errors import RequirementFailed


class Array:
    """An array of another framework, of which ``__array__`` is all that is known."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.value


NUMBERS = np.arange(6.0).reshape(2, 3)
READ_ONLY = NUMBERS.copy()
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    "value",
    [
        torch.from_numpy(NUMBERS),
        torch.from_numpy(NUMBERS).requires_grad_(),
        nn.Parameter(torch.from_numpy(NUMBERS)),
        NUMBERS,
        READ_ONLY,
        NUMBERS.copy(order="F"),
        NUMBERS[::-1][::-1],
        NUMBERS[:, ::-1].copy()[:, ::-1],
        NUMBERS.astype(">f8"),
        Array(NUMBERS),
        Array(READ_ONLY),
    ],
    ids=[
        "tensor", "with history", "parameter", "numpy", "read-only", "column-major", "view", "negative strides",
        "big-endian", "__array__", "__array__ read-only",
    ],
)  # fmt: skip
def test_arrays_of_any_framework_become_tensors(value: Any) -> None:
    tensor = as_tensor(value, "logits()")
    assert type(tensor) is Tensor
    assert (tensor.dtype, tensor.requires_grad, tensor.device.type) == (torch.float64, False, "cpu")
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_arrays_keep_their_dtype(dtype: str) -> None:
    assert as_tensor(np.ones(2, dtype), "logits()").dtype == getattr(torch, dtype)


@pytest.mark.parametrize("wrap", [torch.from_numpy, lambda a: a, Array], ids=["tensor", "numpy", "__array__"])
def test_a_result_is_a_copy_since_a_candidate_may_reuse_its_memory(wrap: Callable[[Any], Any]) -> None:
    memory = NUMBERS.copy()
    kept = as_tensor(wrap(memory), "logits()")
    memory[:] = -1
    assert kept.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "logits() returned a NoneType, expected a tensor"),
        ([1.0, 2.0], "logits() returned a list, expected a tensor"),
        ("cat", "logits() returned a str, expected a tensor"),
        ({"logits": NUMBERS}, "logits() returned a dict, expected a tensor"),
        ((torch.ones(1),), "logits() returned a tuple, expected a tensor"),
        (torch.ones(2, 2).to_sparse(), "logits() returned a tensor in layout sparse_coo, expected a dense one"),
        (torch.ones(2, device="meta"), "logits() returned a tensor on the meta device, expected a dense one"),
        (
            FakeTensorMode().from_tensor(torch.ones(2)),
            "logits() returned a tensor without data, which a tracer has left in the model, expected a dense one",
        ),
    ],
)
def test_what_is_no_tensor_is_told_by_its_type(value: Any, told: str) -> None:
    with pytest.raises(RequirementFailed) as caught:
        as_tensor(value, "logits()")
    assert str(caught.value) == told


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array(["a"]), Array("text"), Array([1.0])],
    ids=["objects", "strings", "no array", "a list"],
)
def test_an_array_of_anything_but_numbers_is_the_candidates_failure(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(RequirementFailed, match=rf"^logits\(\) returned a {kind} that is no array of numbers: "):
        as_tensor(value, "logits()")
