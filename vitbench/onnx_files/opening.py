"""An ONNX file, read so that it cannot do harm: nothing outside its folder, nothing larger than it is, nothing that loops."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from vitbench.errors import AdapterBroken, AdapterNotFound

LARGEST_BYTES = 2**31 - 1  # what a protobuf can hold, and with it every weight once it is in memory
LARGEST_VALUES = 2**28  # of one tensor on the way: far more than a batch of H/14 makes
_SHAPES = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Reshape": 1, "Range": 1, "Resize": 3, "Pad": 1}
"""Operators that make as much as they are told to, and the input that tells them."""
_SUBGRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def opened(path: Path) -> Any:
    """The file's model, with every weight in memory.

    Raises:
        AdapterNotFound: there is no such file.
        AdapterBroken: it is no ONNX file, or not one that can be run without risk; the text says what was found.
    """
    if not path.is_file():
        raise AdapterNotFound(f"--impl {str(path)!r}: there is no such file")
    if path.stat().st_size > LARGEST_BYTES:
        raise _broken(path, f"of {path.stat().st_size} bytes, expected at most {LARGEST_BYTES}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise _broken(path, "is no ONNX file: it cannot be parsed") from error
    if not model.graph.node or not model.graph.output:
        raise _broken(path, "is no ONNX file: it holds no graph")
    _refuse_what_could_loop(model, path)
    taken = 0
    for tensor in _tensors(model):
        taken += _read_in(tensor, path)
        if taken > LARGEST_BYTES:
            raise _broken(path, f"holds more than {LARGEST_BYTES} bytes of weights")
    _refuse_what_would_grow(model, path)
    return model


def _broken(path: Path, what: str) -> AdapterBroken:
    return AdapterBroken(f"{path.name} {what}")


def _refuse_what_could_loop(model: Any, path: Path) -> None:
    for node in model.graph.node:
        if any(attribute.type in _SUBGRAPHS for attribute in node.attribute):
            raise _broken(path, f"has a {node.op_type} with a graph of its own, which no exported ViT needs; not run")
        if node.domain not in ("", "ai.onnx"):
            raise _broken(path, f"needs {node.domain}::{node.op_type}; operators of ONNX itself are run, and no others")
    if model.functions:
        raise _broken(path, "has functions of its own; inline them first (onnx.inliner.inline_local_functions)")


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def _read_in(tensor: Any, path: Path) -> int:
    """Put a tensor's data where its dimensions say that they are. -> bytes."""
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"holds {tensor.name!r} of the unknown type {tensor.data_type}") from error
    if any(side < 0 for side in tensor.dims):
        raise _broken(path, f"holds {tensor.name!r} with a negative dimension")
    size = prod(tensor.dims) * dtype.itemsize
    if size > LARGEST_BYTES:
        raise _broken(path, f"claims {size} bytes for {tensor.name!r}, expected at most {LARGEST_BYTES}")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        data = _external(tensor, size, path)
        del tensor.external_data[:]
        tensor.data_location, tensor.raw_data = onnx.TensorProto.DEFAULT, data
    elif tensor.raw_data and len(tensor.raw_data) != size:
        raise _broken(path, f"claims {size} bytes for {tensor.name!r} and holds {len(tensor.raw_data)}")
    return size


def _external(tensor: Any, size: int, path: Path) -> bytes:
    """What lies in another file, if that is in the same folder or below, and is long enough."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.resolve().parent
    try:
        offset, length = int(told.get("offset", 0)), int(told.get("length", size))
        beside = (folder / told["location"]).resolve()
    except (KeyError, ValueError, OSError) as error:
        raise _broken(path, f"does not say where the data of {tensor.name!r} are") from error
    if not beside.is_relative_to(folder):  # links followed
        raise _broken(path, f"has the data of {tensor.name!r} outside of its folder, at {told['location']!r}; not read")
    if not beside.is_file():
        raise _broken(path, f"has the data of {tensor.name!r} in {told['location']!r}, which is not there")
    if offset < 0 or length != size or offset + length > beside.stat().st_size:
        raise _broken(
            path,
            f"claims {size} bytes for {tensor.name!r} from byte {offset} of {told['location']!r}, which is no such part "
            f"of its {beside.stat().st_size} bytes",
        )
    with beside.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _refuse_what_would_grow(model: Any, path: Path) -> None:
    """A shape that is written down and asks for more memory than any ViT takes."""
    small = {tensor.name: tensor for tensor in model.graph.initializer if prod(tensor.dims) <= 16}  # noqa: PLR2004
    for node in model.graph.node:
        if node.op_type == "Constant":
            small |= {name: a.t for name in node.output for a in node.attribute if a.name == "value"}
        place = _SHAPES.get(node.op_type)
        if place is None or len(node.input) <= place or node.input[place] not in small:
            continue
        shape = numpy_helper.to_array(small[node.input[place]]).ravel()
        values = prod(abs(int(side)) for side in shape if side)
        if values > LARGEST_VALUES:
            raise _broken(path, f"has a {node.op_type} of {values} values, expected at most {LARGEST_VALUES}; not run")
