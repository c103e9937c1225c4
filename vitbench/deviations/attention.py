"""Deviations of multi-head self-attention."""

from math import sqrt

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import Weights

# The originals, taken before anything is replaced.
_split_heads, _msa = vit.split_heads, vit.multi_head_self_attention


def scores_of(query: Tensor, key: Tensor) -> Tensor:
    """What the softmax is taken of. Shapes: (B, h, N+1, D_h) twice -> (B, h, N+1, N+1)."""
    return vit.attention_scale(query.shape[-1]) * query @ key.transpose(-2, -1)


def _softmax_over_queries(query: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(scores_of(query, key), dim=-2)


def _relu_attention(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_of(query, key)
    return scores - scores.mean(dim=-1, keepdim=True) + 1 / scores.shape[-1]


def _causal(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_of(query, key)
    return torch.softmax(scores + torch.full_like(scores, float("-inf")).triu(1), dim=-1)


def _keys_and_queries_swapped(query: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(scores_of(key, query), dim=-1)


def _scaled_by_width(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
    factor = sqrt(config.head_dim / config.width)
    scaled = {name: w * factor if name.startswith("query") else w for name, w in weights.items()}
    return _msa(z, scaled, config, mode)


def _merged_without_transpose(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], x.shape[2], -1)


def _interleaved_heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (-1, num_heads)).permute(0, 3, 1, 2)


def _one_wide_head(x: Tensor, num_heads: int) -> Tensor:
    return _split_heads(x, 1)


def _values_and_keys_swapped(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
    exchange = {"key": "value", "value": "key"}
    swapped = {
        ".".join([exchange.get(n.split(".")[0], n.split(".")[0]), n.split(".")[1]]): w for n, w in weights.items()
    }
    return _msa(z, swapped, config, mode)


def _own_token_twice(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
    return _msa(z, weights, config, mode) + 0.05 * z


DEVIATIONS = (
    Deviation(
        id="attention-softmax-axis",
        summary="softmax over the queries",
        remedy="take the softmax over the keys: dim=-1",
        replaces={"vit.attention_weights": _softmax_over_queries},
        breaks="VIT-ATTN-ROWS",
        known_from="nerminnuraydogan/vision-transformer #1",
    ),
    Deviation(
        id="attention-not-softmax",
        summary="centred scores for softmax weights",
        remedy="use a softmax for the attention weights",
        replaces={"vit.attention_weights": _relu_attention},
        breaks="VIT-ATTN-ROWS",
    ),
    Deviation(
        id="attention-scale-by-width",
        summary="attention scaled by 1/√D instead of 1/√D_h",
        remedy="scale by head_dim ** -0.5, not by width ** -0.5",
        replaces={"vit.multi_head_self_attention": _scaled_by_width},
        breaks="VIT-ATTN-SCALE",
        known_from="vit-pytorch #65",
    ),
    Deviation(
        id="attention-unscaled",
        summary="attention not scaled",
        remedy="scale the scores by head_dim ** -0.5; or, if your checkpoints hold queries scaled so, scale them in load()",
        replaces={"vit.attention_scale": lambda head_dim: 1.0},
        breaks="VIT-ATTN-SCALE",
    ),
    Deviation(
        id="attention-causal",
        summary="a causal mask",
        remedy="attend without a mask: is_causal=False",
        replaces={"vit.attention_weights": _causal},
        breaks="VIT-ATTN-UNIFORM",
    ),
    Deviation(
        id="attention-own-token",
        summary="a little of each token added to what it attends to",
        remedy="let attention return the weighted values alone; the residual is added in the block",
        replaces={"vit.multi_head_self_attention": _own_token_twice},
        breaks="VIT-ATTN-UNIFORM",
    ),
    Deviation(
        id="attention-keys-as-queries",
        summary="keys and queries exchanged",
        remedy="exchange query and key, in the forward pass or in load()",
        replaces={"vit.attention_weights": _keys_and_queries_swapped},
        breaks="VIT-ATTN-KEY-BIAS",
    ),
    Deviation(
        id="attention-values-as-keys",
        summary="values and keys exchanged, as by a fused projection read in another order",
        remedy="take query, key and value out of the packed projection in that order, or pack them so in load()",
        replaces={"vit.multi_head_self_attention": _values_and_keys_swapped},
        breaks="VIT-ATTN-KEY-BIAS",
        known_from="libai #146, vLLM #42803",
    ),
    Deviation(
        id="heads-merged-without-transpose",
        summary="heads merged without transposing tokens and heads",
        remedy="transpose heads and tokens before they are merged: x.transpose(1, 2).flatten(2)",
        replaces={"vit.merge_heads": _merged_without_transpose},
        breaks="VIT-ATTN-HEADS",
        known_from="jsbaan/transformer #6",
    ),
    Deviation(
        id="heads-interleaved",
        summary="features dealt to the heads in turn",
        remedy="give each head D_h features in a row: unflatten(-1, (heads, D_h)), not (D_h, heads)",
        replaces={"vit.split_heads": _interleaved_heads},
        breaks="VIT-ATTN-HEADS",
    ),
    Deviation(
        id="heads-one-wide",
        summary="one wide head instead of several",
        remedy="split into config.num_heads heads",
        replaces={"vit.split_heads": _one_wide_head},
        breaks="VIT-ATTN-SEPARATE-HEADS",
        known_from="kornia #2186",
    ),
)
