"""Deviations in the use of parameters: one that is loaded and left out, counts twice, or stands in another's place."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within

_vision_transformer = vit.vision_transformer


Change = Callable[[dict[str, Tensor], ViTConfig], Weights]


@dataclass(frozen=True)
class OtherWeights:
    """The whole model with other weights than it was given."""

    change: Change

    def __call__(
        self,
        images: Tensor,
        weights: Weights,
        config: ViTConfig,
        conventions: Conventions,
        mode: vit.Mode | None = None,
    ) -> Tensor:
        return _vision_transformer(images, self.change(dict(weights), config), config, conventions, mode)

    def after(self, first: "OtherWeights") -> "OtherWeights":
        """Both changes, one after the other."""
        return OtherWeights(lambda weights, config: self.change(dict(first.change(weights, config)), config))


def _with_weights(change: Change) -> dict[str, Any]:
    return {"vit.vision_transformer": OtherWeights(change)}


def _each(ending: str, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Every parameter changed whose name ends so."""
    return _with_weights(
        lambda weights, _: {name: change(w) if name.endswith(ending) else w for name, w in weights.items()}
    )


def _without(ending: str) -> dict[str, Any]:
    return _each(ending, torch.zeros_like)


def _final_norm(leaf: str, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return _with_weights(lambda weights, _: {**weights, f"norm.{leaf}": change(weights[f"norm.{leaf}"])})


def _positions(change: Callable[[Tensor, ViTConfig], Tensor]) -> dict[str, Any]:
    """The patches' rows of the position table changed. (1, N, D) -> (1, N, D)."""

    def changed(weights: dict[str, Tensor], config: ViTConfig) -> Weights:
        table = weights["position_embedding"]
        return {**weights, "position_embedding": torch.cat([table[:, :1], change(table[:, 1:], config)], dim=1)}

    return _with_weights(changed)


def _norms_exchanged(weights: dict[str, Tensor], _: ViTConfig) -> Weights:
    other = {".norm1.": ".norm2.", ".norm2.": ".norm1."}
    return {name: weights[re.sub(r"\.norm[12]\.", lambda found: other[found[0]], name)] for name in weights}


def _from_block(source: Callable[[int, int], int]) -> dict[str, Any]:
    """Each block with the parameters of another."""

    def moved(weights: dict[str, Tensor], config: ViTConfig) -> Weights:
        found = dict(weights)
        for i in range(config.depth):
            there = within(weights, f"blocks.{source(i, config.depth)}")
            found |= {f"blocks.{i}.{name}": w for name, w in there.items()}
        return found

    return _with_weights(moved)


def _read_head_major(weights: dict[str, Tensor], config: ViTConfig) -> Weights:
    """A packed qkv written as (3, h, D_h) and read as (h, 3, D_h)."""
    found = dict(weights)
    for i in range(config.depth):
        for leaf in ("weight", "bias"):
            names = [f"blocks.{i}.attention.{part}.{leaf}" for part in ("query", "key", "value")]
            if names[0] in weights:
                packed = torch.cat([weights[name] for name in names]).unflatten(0, (config.num_heads, 3, -1))
                found |= {name: packed[:, part].flatten(0, 1) for part, name in enumerate(names)}
    return found


DEVIATIONS = (
    Deviation(
        id="patch-bias-missing",
        summary="the patch projection's bias left out",
        remedy="declare patch_bias=False in `conventions`, or give the patch projection its bias; check load()",
        replaces=_without("patch_embedding.bias"),
        breaks="VIT-PATCH-PROJECTION",
    ),
    Deviation(
        id="patch-bias-twice",
        summary="the patch projection's bias added twice",
        remedy="add the patch projection's bias once",
        replaces=_each("patch_embedding.bias", lambda bias: 2 * bias),
        breaks="VIT-PATCH-PROJECTION",
    ),
    Deviation(
        id="patch-kernel-flipped",
        summary="the patch kernel turned by 180 degrees, as a true convolution has it",
        remedy="do not flip the kernel: in load(), or use cross-correlation as torch's Conv2d does",
        replaces=_each("patch_embedding.weight", lambda kernel: kernel.flip(2, 3)),
        breaks="VIT-PATCH-PROJECTION",
    ),
    Deviation(
        id="channels-reversed",
        summary="the channels in reverse order (BGR for RGB)",
        remedy="take the channels in the order given, or reverse the projection's weight in load()",
        replaces=_each("patch_embedding.weight", lambda kernel: kernel.flip(1)),
        breaks="VIT-PATCH-PROJECTION",
    ),
    Deviation(
        id="class-token-missing",
        summary="zeros for the class token",
        remedy="use the class token that is loaded; check that load() fills it",
        replaces=_without("class_token"),
        breaks="VIT-TOKEN-POSITION",
    ),
    Deviation(
        id="positions-reversed",
        summary="the patches' positions in reverse order",
        remedy="give the patches their positions in raster order",
        replaces=_positions(lambda rows, _: rows.flip(1)),
        breaks="VIT-TOKEN-POSITION",
    ),
    Deviation(
        id="positions-column-major",
        summary="the position table read column by column",
        remedy="read the position table row by row, as (rows, columns)",
        replaces=_positions(lambda rows, config: rows.unflatten(1, config.grid[::-1]).transpose(1, 2).flatten(1, 2)),
        breaks="VIT-TOKEN-POSITION",
    ),
    Deviation(
        id="positions-one-late",
        summary="the first patch's position on the second, and so on",
        remedy="give the n-th patch the n-th position: row n + 1 of the table, the class token's being row 0",
        replaces=_positions(lambda rows, _: rows.roll(1, dims=1)),
        breaks="VIT-TOKEN-POSITION",
    ),
    Deviation(
        id="positions-along-rows-only",
        summary="every row of patches with the first row's positions",
        remedy="give each row of patches its own positions",
        replaces=_positions(lambda rows, config: rows[:, : config.grid[1]].repeat(1, config.grid[0], 1)),
        breaks="VIT-TOKEN-POSITION",
    ),
    Deviation(
        id="query-bias-missing",
        summary="no bias on the queries, undeclared",
        remedy="give the query projection its bias; check that load() fills it",
        replaces=_without("query.bias"),
        breaks="VIT-ATTN-SCALE",
    ),
    Deviation(
        id="value-bias-missing",
        summary="no bias on the values, undeclared",
        remedy="give the value projection its bias; check that load() fills it",
        replaces=_without("value.bias"),
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="attention-output-bias-missing",
        summary="the output projection of attention without its bias",
        remedy="give the output projection of attention its bias; check that load() fills it",
        replaces=_without("attention.output.bias"),
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="attention-output-transposed",
        summary="the output projection of attention transposed on load",
        remedy="load the output projection as it is: canonical weights are (out, in)",
        replaces=_each("attention.output.weight", lambda weight: weight.T),
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="attention-read-head-major",
        summary="a packed qkv projection read head by head where it was written part by part",
        remedy="pack query, key and value part by part, (3, heads, D_h), in load(), or read them head by head",
        replaces=_with_weights(_read_head_major),
        breaks="VIT-ATTN-SCALE",
        known_from="libai #146, vLLM #42803",
    ),
    Deviation(
        id="mlp-first-bias-missing",
        summary="the MLP's first layer without its bias",
        remedy="give the MLP's first layer its bias; check that load() fills it",
        replaces=_without("mlp.fc1.bias"),
        breaks="VIT-MLP-ACTIVATION",
    ),
    Deviation(
        id="mlp-second-bias-missing",
        summary="the MLP's second layer without its bias",
        remedy="give the MLP's second layer its bias; check that load() fills it",
        replaces=_without("mlp.fc2.bias"),
        breaks="VIT-MLP-ACTIVATION",
    ),
    Deviation(
        id="norms-exchanged",
        summary="the two LayerNorms of each block in each other's place",
        remedy="normalise by norm1 before attention and by norm2 before the MLP; check load()",
        replaces=_with_weights(_norms_exchanged),
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="block-norm-bias-missing",
        summary="LayerNorm within the blocks without its shift",
        remedy="give norm1 its bias; check that load() fills it",
        replaces=_without("norm1.bias"),
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="norm-gain-from-zero",
        summary="gains taken as 1 + weight, as some RMSNorms have it",
        remedy="multiply by the final LayerNorm's weight itself, not by 1 + weight; check load()",
        replaces=_final_norm("weight", lambda gain: 1 + gain),
        breaks="VIT-NORM-FINAL",
    ),
    Deviation(
        id="norm-final-bias-missing",
        summary="the final LayerNorm without its shift",
        remedy="give the final LayerNorm its bias; check that load() fills it",
        replaces=_final_norm("bias", torch.zeros_like),
        breaks="VIT-NORM-FINAL",
    ),
    Deviation(
        id="blocks-shared",
        summary="the first block's parameters in every block",
        remedy="build each block anew: [Block() for _ in range(depth)], not [Block()] * depth; check load()",
        replaces=_from_block(lambda i, depth: 0),
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="blocks-reversed",
        summary="the blocks in reverse order",
        remedy="run the blocks from first to last; check their order in load()",
        replaces=_from_block(lambda i, depth: depth - 1 - i),
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="head-hidden-bias-missing",
        summary="the pre-training head's hidden layer without its bias",
        remedy="give the pre-training head's hidden layer its bias; check that load() fills it",
        replaces=_without("head.hidden.bias"),
        breaks="VIT-HEAD-HIDDEN",
    ),
)
