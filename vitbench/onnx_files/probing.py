"""Which number of a projection becomes which feature of which head, found by asking the graph.

However a model packs query, key and value, splits heads and merges them, it only moves numbers about. So every token is made the
same, by norms without gain, and every output of the projections a number of its own: what arrives at the attention tells where it
came from.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitbench.onnx_files.graph import Graph
from vitbench.onnx_files.layers import Linear, Norm
from vitbench.onnx_files.reading import AttentionBlock, NoViT, Parts, Place, image_shape
from vitbench.onnx_files.session import shown


def places_of(graph: Graph, parts: Parts) -> tuple[dict[str, Place], int]:
    """Where each canonical parameter is, and the number of heads.

    Raises:
        NoViT: what arrives at an attention is no reordering of what the projections made.
    """
    numbered, ones = (_asked(graph, parts, count=count) for count in (True, False))
    places = _around(graph, parts) | {"patch_embedding.weight": _patches(graph, parts)}
    heads = 0
    for i, block in enumerate(parts.blocks):
        found, heads = _block(graph, block, i, numbered, ones)
        places |= {f"blocks.{i}.{name}": place for name, place in found.items()}
    return places, heads


def _around(graph: Graph, parts: Parts) -> dict[str, Place]:
    """What needs no asking."""
    width = len(graph.constants[parts.norm.weight])
    rows = prod(parts.positions.shape[:-1])
    places = {
        "class_token": _all(graph, parts.class_token.name, (1, 1, width)),
        "position_embedding": _all(graph, parts.positions.name, (1, rows, width)),
    }
    pairs: list[tuple[str, Linear | Norm]] = [
        ("patch_embedding", parts.patch),
        ("head", parts.head),
        ("norm", parts.norm),
    ]
    pairs += [("pre_norm", parts.pre_norm)] if parts.pre_norm else []
    pairs += [("head.hidden", parts.hidden)] if parts.hidden else []
    for i, block in enumerate(parts.blocks):
        pairs += [(f"blocks.{i}.norm1", block.norm1), (f"blocks.{i}.norm2", block.norm2)]
        pairs += [(f"blocks.{i}.mlp.fc1", block.fc1), (f"blocks.{i}.mlp.fc2", block.fc2)]
    for name, part in pairs:
        if isinstance(part, Linear):
            places[f"{name}.weight"] = (part.name, part.weight)
        else:
            places[f"{name}.weight"] = _all(graph, part.weight)
        if part.bias is not None:
            places[f"{name}.bias"] = _all(graph, part.bias)
    return places


def _patches(graph: Graph, parts: Parts) -> Place:
    """Where (D, C, P_h, P_w) is; of a projection of flattened patches, the pixels tell, each of which is a number."""
    if parts.patch.patch:
        return parts.patch.name, parts.patch.weight
    batch, *shape = image_shape(graph)
    pixels = np.arange(1, prod(shape) + 1).reshape(1, *shape)
    tap = parts.patch.into
    values = shown(graph, {}, [tap], np.repeat(pixels, batch or 1, axis=0))[tap]
    first = np.rint(values.reshape(-1, values.shape[-1])[0]).astype(np.int64) - 1  # the pixels of the first patch
    channel, row, column = np.unravel_index(np.clip(first, 0, prod(shape) - 1), shape)
    sides = shape[0], int(row.max()) + 1, int(column.max()) + 1
    if prod(sides) != len(first) or len(set(first)) != len(first):
        raise NoViT(
            "is no Vision Transformer that can be read: its first projection takes no flattened patches of pixels"
        )
    place = np.empty((len(parts.patch.weight), *sides), np.int32)
    place[:, channel, row, column] = parts.patch.weight
    return parts.patch.name, place


def _all(graph: Graph, name: str, shape: tuple[int, ...] = (-1,)) -> Place:
    return name, np.arange(graph.constants[name].size, dtype=np.int32).reshape(shape)


def _asked(graph: Graph, parts: Parts, *, count: bool) -> Any:
    """The attentions' inputs and outputs, where outputs of projections are numbered, or all one."""
    weights: dict[str, NDArray[Any]] = {}
    taps: list[str] = []
    for block in parts.blocks:
        norm = graph.constants[block.norm1.bias]
        weights[block.norm1.weight] = np.zeros_like(norm)
        weights[block.norm1.bias] = np.eye(len(norm), dtype=norm.dtype)[0]  # each token is the first unit vector
        first = 1
        for linear in block.projections:
            outputs = len(linear.weight)
            values = np.zeros(graph.constants[linear.name].size, graph.constants[linear.name].dtype)
            values[linear.weight[:, 0]] = np.arange(first, first + outputs) if count else 1
            weights[linear.name] = values.reshape(graph.constants[linear.name].shape)
            if linear.bias is not None:
                weights[linear.bias] = np.zeros_like(graph.constants[linear.bias])
            first += outputs
        taps += [*block.scores, block.value, block.output.into]
    batch, *shape = image_shape(graph)
    return shown(graph, weights, taps, np.zeros((batch or 1, *shape)))


def _block(graph: Graph, block: AttentionBlock, i: int, numbered: Any, ones: Any) -> tuple[dict[str, Place], int]:
    width = len(graph.constants[block.norm1.bias])
    units: dict[str, NDArray[Any]] = {}
    for part, tap in zip(("query", "key", "value"), (*block.scores, block.value), strict=True):
        units[part] = _without_tokens(numbered[tap] / ones[tap], tap)
    heads = width // units["value"].shape[-1]
    units = {part: np.rint(found.reshape(-1)[:width]) for part, found in units.items()}
    merged = np.rint((numbered[block.output.into] / ones[block.output.into]).reshape(-1, width)[0])
    count = sum(len(linear.weight) for linear in block.projections)
    arrived = np.sort(np.concatenate(list(units.values())))
    if not np.array_equal(arrived, np.arange(1, count + 1)) or not np.array_equal(
        np.sort(merged), np.sort(units["value"])
    ):
        raise NoViT(
            f"is no Vision Transformer that can be read: query, key and value of block {i} are no {count} outputs of its "
            "projections, each once"
        )
    found: dict[str, Place] = {}
    for part, numbers in units.items():
        rows = numbers.astype(np.int64) - 1
        linear, offset = _holding(block.projections, int(rows[0]))
        found[f"attention.{part}.weight"] = linear.name, linear.weight[rows - offset]
        if linear.bias is not None:
            found[f"attention.{part}.bias"] = linear.bias, (rows - offset).astype(np.int32)
    order = [int(np.flatnonzero(merged == unit)[0]) for unit in units["value"]]
    found["attention.output.weight"] = block.output.name, block.output.weight[:, order]
    if block.output.bias is not None:
        found["attention.output.bias"] = _all(graph, block.output.bias)
    return found, heads


def _holding(projections: Sequence[Linear], row: int) -> tuple[Linear, int]:
    """The projection that makes an output, and the number of its first one."""
    offset = 0
    for linear in projections:
        if row < offset + len(linear.weight):
            return linear, offset
        offset += len(linear.weight)
    raise NoViT("is no Vision Transformer that can be read: an attention takes what no projection makes")


def _without_tokens(values: NDArray[Any], tap: str) -> NDArray[Any]:
    """One token's numbers: (…, h, D_h). All tokens are the same, so theirs is the axis along which nothing changes."""
    for axis in (values.ndim - 2, values.ndim - 1, *range(values.ndim - 2)):
        if values.shape[axis] > 1 and np.all(values == np.take(values, [0], axis)):
            return np.take(values, 0, axis)
    raise NoViT(f"is no Vision Transformer that can be read: {tap!r} differs between tokens that are the same")
