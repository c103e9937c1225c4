"""What a graph computes with its weights: a list of projections and norms, in the order of the forward pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from vitbench.onnx_files.graph import Graph

Positions = NDArray[np.int32]
"""Where in a constant, laid out in a row, each number of a canonical parameter stands; in its canonical shape."""


@dataclass(frozen=True)
class Linear:
    """x W^T + b. ``weight`` holds places in the constant, (out, in), or (D, C, P_h, P_w) of a convolution."""

    name: str  # of the constant
    weight: Positions
    bias: str | None  # the constant's name
    into: str  # the value that it takes
    out: str  # the value that it gives, with the bias
    at: int  # in the order of evaluation
    patch: bool = False  # a convolution of patches


@dataclass(frozen=True)
class Norm:
    """A LayerNorm."""

    weight: str
    bias: str
    into: str
    out: str
    at: int
    epsilon: float


@dataclass(frozen=True)
class Added:
    """A constant that is added to, or stands beside, tokens: positions (1, N+1, D), a class token (1, 1, D)."""

    name: str
    shape: tuple[int, ...]
    node: NodeProto
    out: str
    at: int


Layer = Linear | Norm | Added


def layers(graph: Graph) -> list[Layer]:
    """Every operator of the graph that has weights, and that a Vision Transformer may have."""
    return [layer for node in graph.nodes for layer in _of(node, graph)]


def _of(node: NodeProto, graph: Graph) -> Iterator[Layer]:
    at = graph.order[id(node)]
    match node.op_type:
        case "Conv" if graph.is_weight(node.input[1]):
            name = node.input[1]
            bias = node.input[2] if len(node.input) > 2 else None  # noqa: PLR2004
            yield Linear(name, _places(graph, name), bias, node.input[0], node.output[0], at, patch=True)
        case "LayerNormalization" if graph.is_weight(node.input[1]):
            yield Norm(
                node.input[1], node.input[2], node.input[0], node.output[0], at, graph.attribute(node, "epsilon", 1e-5)
            )
        case "MatMul" | "Gemm":
            yield from _linear(node, graph, at)
        case "Mul":
            yield from _norm_written_out(node, graph, at)
        case "Add" | "Expand" | "Concat" | "Tile":
            yield from _added(node, graph, at)


def _linear(node: NodeProto, graph: Graph, at: int) -> Iterator[Linear]:
    name = node.input[1]
    if not graph.is_weight(name) or graph.constants[name].ndim != 2:  # noqa: PLR2004
        return
    places = _places(graph, name)
    if node.op_type == "Gemm":
        bias = node.input[2] if len(node.input) > 2 else None  # noqa: PLR2004
        yield Linear(
            name, places if graph.attribute(node, "transB", 0) else places.T, bias, node.input[0], node.output[0], at
        )
        return
    bias, out = _bias_after(node.output[0], places.shape[1], graph)
    yield Linear(name, places.T, bias, node.input[0], out, at)


def _bias_after(value: str, width: int, graph: Graph) -> tuple[str | None, str]:
    """The bias that is added to a product next, if one is."""
    for node in graph.consumers[value]:
        found = graph.weight_of(node) if node.op_type == "Add" else None
        if found and found[1].shape == (width,):
            return node.input[found[0]], node.output[0]
    return None, value


def _norm_written_out(node: NodeProto, graph: Graph, at: int) -> Iterator[Norm]:
    """(x - mean) / sqrt(variance + epsilon) * gain + bias, operator by operator."""
    found = graph.weight_of(node)
    if not found or found[1].ndim != 1:
        return
    divided = graph.producers.get(node.input[1 - found[0]])
    centred = graph.producers.get(divided.input[0]) if divided is not None and divided.op_type == "Div" else None
    bias, out = _bias_after(node.output[0], len(found[1]), graph)
    if divided is None or centred is None or centred.op_type != "Sub" or bias is None:
        return
    root = graph.producers.get(divided.input[1])
    summed = graph.producers.get(root.input[0]) if root is not None and root.op_type == "Sqrt" else None
    epsilons = [graph.constants[name] for name in summed.input if name in graph.constants] if summed is not None else []
    if len(epsilons) == 1 and epsilons[0].size == 1:
        yield Norm(node.input[found[0]], bias, centred.input[0], out, at, float(epsilons[0].item()))


def _added(node: NodeProto, graph: Graph, at: int) -> Iterator[Added]:
    for name in node.input:
        if graph.is_weight(name) and graph.constants[name].ndim in (2, 3):
            yield Added(name, graph.constants[name].shape, node, node.output[0], at)


def _places(graph: Graph, name: str) -> Positions:
    value: NDArray[Any] = graph.constants[name]
    return np.arange(value.size, dtype=np.int32).reshape(value.shape)
