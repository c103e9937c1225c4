"""A Vision Transformer found in a graph: its configuration, and where each canonical parameter and each stage is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from vitbench.adapter import Conventions, ViTConfig
from vitbench.errors import AdapterBroken
from vitbench.onnx_files.graph import Graph
from vitbench.onnx_files.layers import Added, Layer, Linear, Norm, Positions, layers

Place = tuple[str, Positions]
"""A constant, and where in it each number of a canonical parameter is."""


class NoViT(AdapterBroken):
    """The graph is none that can be read as a Vision Transformer; the text says what was missing."""


@dataclass(frozen=True)
class AttentionBlock:
    """The parts of a block, by what they are for."""

    norm1: Norm
    projections: Sequence[Linear]  # of query, key and value, in one or in three
    output: Linear
    norm2: Norm
    fc1: Linear
    fc2: Linear
    softmax: str  # the attention weights
    scores: tuple[str, str]  # the two factors of the scores
    value: str  # what the attention weights are multiplied with


@dataclass(frozen=True)
class Parts:
    """A graph's Vision Transformer, part by part."""

    patch: Linear
    class_token: Added
    positions: Added
    pre_norm: Norm | None
    blocks: Sequence[AttentionBlock]
    norm: Norm
    hidden: Linear | None
    head: Linear
    patch_tokens: str | None


def parts_of(graph: Graph) -> Parts:
    """The parts in the order in which every pre-norm Vision Transformer uses them.

    Raises:
        NoViT: an operator is missing, too many, or of another kind than the order asks for.
    """
    found = layers(graph)
    maps: list[Any] = [layer for layer in found if isinstance(layer, Linear | Norm)]
    if not maps or not isinstance(maps[0], Linear):
        raise NoViT(
            f"is no Vision Transformer: its first operator with weights is {_named(maps[:1])}, expected patches"
        )
    patch, rest = maps[0], maps[1:]
    class_token, positions = _token_and_positions([one for one in found if isinstance(one, Added)])
    pre_norm = None
    if [type(one) for one in rest[:2]] == [Norm, Norm]:
        pre_norm, rest = rest[0], rest[1:]
    blocks: list[AttentionBlock] = []
    while len(rest) >= 6 and isinstance(rest[0], Norm) and any(isinstance(one, Norm) for one in rest[1:]):  # noqa: PLR2004
        block, rest = _block(rest, graph, len(blocks))
        blocks.append(block)
    if not blocks or not rest or not isinstance(rest[0], Norm) or not 2 <= len(rest) <= 3:  # noqa: PLR2004
        raise NoViT(
            f"is no Vision Transformer: after {len(blocks)} encoder blocks come {_named(rest)}, expected a norm and a head"
        )
    final, *heads = rest
    if not all(isinstance(one, Linear) for one in heads):
        raise NoViT(f"is no Vision Transformer: its head is {_named(heads)}, expected one projection or two")
    hidden = heads[0] if len(heads) > 1 else None
    return Parts(patch, class_token, positions, pre_norm, blocks, final, hidden, heads[-1], _beside(class_token, graph))


def _block(rest: Sequence[Any], graph: Graph, number: int) -> tuple[AttentionBlock, list[Any]]:
    until = next(i for i, one in enumerate(rest) if i and isinstance(one, Norm))
    norm1, (*projections, output), norm2 = rest[0], rest[1:until], rest[until]
    mlp = list(rest[until + 1 : until + 3])
    if len(projections) not in (1, 3) or [type(one) for one in mlp] != [Linear, Linear]:
        raise NoViT(
            f"is no Vision Transformer: its block {number} is made of {_named(rest[: until + 3])}, expected a norm, "
            "query, key, value and output, a norm and two projections"
        )
    softmax, scores, value = _attention(graph, norm1.at, norm2.at, number)
    return AttentionBlock(norm1, projections, output, norm2, mlp[0], mlp[1], softmax, scores, value), list(
        rest[until + 3 :]
    )


def _attention(graph: Graph, first: int, last: int, number: int) -> tuple[str, tuple[str, str], str]:
    """The one softmax of a block, the product that it is of, and what it is multiplied with."""
    within = [node for node in graph.nodes[first:last] if node.op_type == "Softmax"]
    if len(within) != 1:
        raise NoViT(
            f"is no Vision Transformer that can be read: block {number} has {len(within)} softmaxes, expected one"
        )
    above = _product(graph, first, [within[0].input[0]], upwards=True)
    below = _product(graph, first, [within[0].output[0]], upwards=False)
    if above is None or below is None:
        raise NoViT(
            f"is no Vision Transformer that can be read: block {number} has a softmax that stands between no two products"
        )
    (scores, _), (mixing, way) = above, below
    return within[0].output[0], (scores.input[0], scores.input[1]), mixing.input[1 - list(mixing.input).index(way)]


def _product(graph: Graph, first: int, values: list[str], *, upwards: bool) -> tuple[Any, str] | None:
    """The nearest product of two values, neither a weight, from a value on; and the value by which it was reached."""
    seen: set[str] = set()
    while values:
        value = values.pop(0)
        nodes = [graph.producers[value]] if upwards and value in graph.producers else []
        for node in nodes if upwards else graph.consumers[value]:
            if node.op_type == "MatMul" and graph.weight_of(node) is None:
                return node, value
            following = [*node.input] if upwards else [*node.output]
            if graph.order[id(node)] > first:
                values += [name for name in following if name not in seen]
            seen.update(following)
    return None


def _token_and_positions(found: Sequence[Added]) -> tuple[Added, Added]:
    """The class token has one row, the positions have many."""
    tokens = [one for one in found if prod(one.shape[:-1]) == 1 and len(one.shape) == 3 and one.node.op_type != "Add"]  # noqa: PLR2004
    tables = [one for one in found if prod(one.shape[:-1]) > 1 and one.node.op_type == "Add"]
    if len(tokens) != 1 or len(tables) != 1:
        raise NoViT(
            f"is no Vision Transformer that can be read: {len(tokens)} class tokens and {len(tables)} tables of positions, "
            "expected one of each"
        )
    return tokens[0], tables[0]


def _beside(class_token: Added, graph: Graph) -> str | None:
    """What the class token is put before: the patches' tokens."""
    value, node = class_token.out, class_token.node
    while node.op_type != "Concat":
        following = graph.consumers[value]
        if len(following) != 1:
            return None
        node = following[0]
        if node.op_type == "Concat":
            return next((str(name) for name in node.input if name != value), None)
        value = node.output[0]
    return next((str(name) for name in node.input if name != class_token.name), None)


def _named(found: Sequence[Layer]) -> str:
    return ", ".join(type(one).__name__.lower() for one in found) or "nothing"


def sizes(graph: Graph, parts: Parts, heads: int, patch_size: tuple[int, int]) -> tuple[ViTConfig, int | None]:
    """The configuration that the shapes imply, pooled by the class token, and the batch, if it is fixed."""
    batch, channels, *image_size = image_shape(graph)
    width, depth = len(graph.constants[parts.norm.weight]), len(parts.blocks)
    return (
        ViTConfig(
            image_size=(image_size[0], image_size[1]),
            patch_size=patch_size,
            channels=channels,
            width=width,
            depth=depth,
            num_heads=heads,
            mlp_dim=parts.blocks[0].fc1.weight.shape[0],
            num_classes=parts.head.weight.shape[0],
            head="linear" if parts.hidden is None else "mlp",
        ),
        batch,
    )


def image_shape(graph: Graph) -> tuple[Any, ...]:
    """(B or None, C, H, W) of the only input."""
    if len(graph.inputs) != 1:
        raise NoViT(f"takes {len(graph.inputs)} inputs, expected images alone")
    dims = graph.inputs[0].type.tensor_type.shape.dim
    shape = [one.dim_value or None for one in dims]
    if len(shape) != 4 or None in shape[1:]:  # noqa: PLR2004
        shown = "×".join(str(one.dim_value or one.dim_param or "?") for one in dims) or "no shape"
        raise NoViT(
            f"takes images of {shown}, expected (B, C, H, W) with C, H and W fixed; export it with a fixed image size"
        )
    return tuple(shape)


def conventions_of(graph: Graph, parts: Parts, config: ViTConfig) -> Conventions:
    """The choices that are written in the file.

    Raises:
        NoViT: norms of several epsilons, which float32 would hide from every check but that of the last norm.
    """
    norms = [parts.norm, *(norm for block in parts.blocks for norm in (block.norm1, block.norm2))]
    epsilons = {_digits(norm.epsilon) for norm in norms}
    if len(epsilons) > 1:
        raise NoViT(
            f"has norms with the epsilons {', '.join(f'{one:g}' for one in sorted(epsilons))}, expected one for all"
        )
    rows = prod(parts.positions.shape[:-1])
    return Conventions(
        layer_norm_eps=_digits(parts.norm.epsilon),
        activation=_activation(graph, parts),
        qkv_bias=all(one.bias is not None for one in parts.blocks[0].projections),
        class_token_has_position=rows == config.num_tokens,
        patch_bias=parts.patch.bias is not None,
        head_bias=parts.head.bias is not None,
        head_activation=_head_activation(graph, parts),
        pre_norm=parts.pre_norm is not None,
        head_init="random" if np.any(graph.constants[parts.head.name]) else "zero",
    )


def _digits(epsilon: float) -> float:
    """Files hold it in float32: 9.99999997e-07 was 1e-06."""
    return float(f"{epsilon:.6g}")


def _between(graph: Graph, first: Linear, last: Linear) -> set[str]:
    return {node.op_type for node in graph.nodes[first.at + 1 : last.at]}


def _activation(graph: Graph, parts: Parts) -> Any:
    """By the operators between the two layers of the MLP."""
    first, last = parts.blocks[0].fc1, parts.blocks[0].fc2
    kinds = _between(graph, first, last)
    approximate = [
        graph.attribute(node, "approximate", b"none")
        for node in graph.nodes[first.at : last.at]
        if node.op_type == "Gelu"
    ]
    if approximate:
        return "gelu_tanh" if approximate[0] == b"tanh" else "gelu"
    if "Sigmoid" in kinds:
        return "quick_gelu"
    return "gelu_tanh" if "Tanh" in kinds else "gelu"


def _head_activation(graph: Graph, parts: Parts) -> Any:
    if parts.hidden is None:
        return "tanh"
    kinds = _between(graph, parts.hidden, parts.head)
    return "tanh" if "Tanh" in kinds and "Pow" not in kinds else "relu" if "Relu" in kinds else "gelu"
