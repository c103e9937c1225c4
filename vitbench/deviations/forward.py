"""Deviations of the forward pass, in its order."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within

# The originals, taken before anything is replaced.
_patches, _patch_tokens, _pool, _head = vit.patches, vit.patch_tokens, vit.pool, vit.head
_layer_norm, _linear, _split_heads, _encoder, _block = (
    vit.layer_norm,
    vit.linear,
    vit.split_heads,
    vit.encoder,
    vit.encoder_block,
)
_embed, _msa = vit.embed, vit.multi_head_self_attention


def _dilated(images: Tensor, config: ViTConfig) -> Tensor:
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    x = images.reshape(-1, config.channels, patch_h, rows, patch_w, columns)
    return x.permute(0, 3, 5, 1, 2, 4).flatten(3).flatten(1, 2)


def _column_major(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images, config).unflatten(1, config.grid).transpose(1, 2).flatten(1, 2)


def _pixels_first(images: Tensor, config: ViTConfig) -> Tensor:
    x = _patches(images, config).unflatten(2, (config.channels, -1))
    return x.transpose(2, 3).flatten(2)


def _cropped(images: Tensor, config: ViTConfig) -> Tensor:
    height, width = config.image_size
    return _patches(images[:, :, :height, :width], config)


def _mixed_patches(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    x = _patch_tokens(images, weights, config, conventions)
    return x + 0.1 * x.roll(1, dims=1)


def _one_patch_short(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images, config)[:, : max(config.num_patches - 1, 1)]


def _square_only(images: Tensor, config: ViTConfig) -> Tensor:
    if config.image_size[0] != config.image_size[1]:
        raise ValueError("image must be square")
    return _patches(images, config)


def _square_patches_only(images: Tensor, config: ViTConfig) -> Tensor:
    if config.patch_size[0] != config.patch_size[1]:
        raise ValueError("patches must be square")
    return _patches(images, config)


def _colour_only(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images.roll(1, dims=1) if config.channels != 3 else images, config)  # noqa: PLR2004


def _class_last(x_e: Tensor, class_token: Tensor) -> Tensor:
    return torch.cat([x_e, class_token.expand(x_e.shape[0], -1, -1)], dim=1)


def _two_class_tokens(x_e: Tensor, class_token: Tensor) -> Tensor:
    return torch.cat([class_token.expand(x_e.shape[0], 2, -1), x_e], dim=1)


def _class_in_first_image(x_e: Tensor, class_token: Tensor) -> Tensor:
    tokens = torch.zeros(x_e.shape[0], 1, x_e.shape[2], dtype=x_e.dtype)
    tokens[:1] = class_token
    return torch.cat([tokens, x_e], dim=1)


def _class_has_no_position(
    x_e: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    table = weights["position_embedding"].clone()
    table[:, 0] = 0
    return _embed(x_e, {**weights, "position_embedding": table}, config, conventions, mode)


def _last_block_skipped(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    return _encoder(z, weights, replace(config, depth=max(config.depth - 1, 1)), conventions, mode)


def _idle_block(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode) -> Tensor:
    for i in range(config.depth):
        if i == 0:
            z = _block(z, within(weights, "blocks.0"), config, conventions, mode)
        mode.tap("block_outputs", z)
    return z


def _branches(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode) -> Any:
    """The block's pieces, to be put together wrongly."""
    return (
        lambda x, norm="norm1": vit.layer_norm(x, within(weights, norm), conventions),
        lambda x: vit.multi_head_self_attention(x, within(weights, "attention"), config, mode),
        lambda x: vit.mlp(x, within(weights, "mlp"), config, conventions, mode),
    )


def _block_of(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def block(z: Tensor, *rest: Any) -> Tensor:
        return compute(z, *_branches(z, *rest))

    return block


_post_norm = _block_of(lambda z, ln, msa, mlp: (lambda a: ln(a + mlp(a), "norm2"))(ln(z + msa(z))))
_parallel = _block_of(lambda z, ln, msa, mlp: z + msa(ln(z)) + mlp(ln(z, "norm2")))
_mlp_first = _block_of(lambda z, ln, msa, mlp: (lambda a: a + msa(ln(a)))(z + mlp(ln(z, "norm2"))))
_no_attention_residual = _block_of(lambda z, ln, msa, mlp: (lambda a: a + mlp(ln(a, "norm2")))(msa(ln(z))))
_no_mlp_residual = _block_of(lambda z, ln, msa, mlp: (lambda a: mlp(ln(a, "norm2")))(z + msa(ln(z))))
_normed_residual = _block_of(lambda z, ln, msa, mlp: (lambda a: a + mlp(ln(a, "norm2")))(ln(z) + msa(ln(z))))
_one_norm = _block_of(lambda z, ln, msa, mlp: (lambda a: a + mlp(ln(a)))(z + msa(ln(z))))


def _order_matters(z: Tensor, *rest: Any) -> Tensor:
    places, features = torch.arange(z.shape[1], dtype=z.dtype), torch.arange(z.shape[2], dtype=z.dtype)
    return _block(z + 0.01 * torch.outer(places, features), *rest)


def _softmax_over_queries(query: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(vit.attention_scale(query.shape[-1]) * query @ key.transpose(-2, -1), dim=-2)


def _relu_attention(query: Tensor, key: Tensor) -> Tensor:
    scores = vit.attention_scale(query.shape[-1]) * query @ key.transpose(-2, -1)
    return scores - scores.mean(dim=-1, keepdim=True) + 1 / scores.shape[-1]


def _causal(query: Tensor, key: Tensor) -> Tensor:
    scores = vit.attention_scale(query.shape[-1]) * query @ key.transpose(-2, -1)
    return torch.softmax(scores + torch.full_like(scores, float("-inf")).triu(1), dim=-1)


def _keys_and_queries_swapped(query: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(vit.attention_scale(query.shape[-1]) * key @ query.transpose(-2, -1), dim=-1)


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


def _hidden_units_lost(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    hidden = vit.ACTIVATIONS[conventions.activation](vit.linear(z, within(weights, "fc1")))
    kept = torch.ones(config.mlp_dim, dtype=z.dtype)
    kept[-1] = 0
    return vit.linear(hidden * kept, within(weights, "fc2"))


def _mlp_mixes_tokens(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    hidden = vit.ACTIVATIONS[conventions.activation](vit.linear(z, within(weights, "fc1")))
    return vit.linear(hidden + 0.1 * hidden.mean(dim=1, keepdim=True), within(weights, "fc2"))


def _activation(function: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {"vit.ACTIVATIONS": {**vit.ACTIVATIONS, "gelu": function}}


def _epsilon(value: float) -> Callable[..., Tensor]:
    return lambda x, weights, conventions: _layer_norm(x, weights, replace(conventions, layer_norm_eps=value))


def _unbiased(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    variance = x.var(dim=-1, keepdim=True)
    return (x - x.mean(dim=-1, keepdim=True)) / torch.sqrt(variance + conventions.layer_norm_eps) * weights[
        "weight"
    ] + weights["bias"]


def _rms_norm(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    return (
        x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + conventions.layer_norm_eps) * weights["weight"]
        + weights["bias"]
    )


def _no_final_norm(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return vit.pool(z, config.pool)


def _mean_of_all(z: Tensor, kind: str) -> Tensor:
    return z.mean(dim=1)


def _mean_counts_class(z: Tensor, kind: str) -> Tensor:
    return z[:, 0] if kind == "class_token" else z.mean(dim=1)


def _tanh_left_in(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return _head(torch.tanh(y), weights, config, conventions)


def _hidden_layer_lost(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return vit.linear(y, weights)


def _logits_per_batch(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return _head(y - 0.01 * y.mean(dim=0), weights, config, conventions)


def _no_head_bias(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return _head(y, {**weights, "bias": torch.zeros_like(weights["bias"])}, config, conventions)


DEVIATIONS = (
    Deviation(
        id="patches-dilated",
        summary="patches made of pixels that lie a grid's width apart, not of neighbours",
        replaces={"vit.patches": _dilated},
        breaks="VIT-PATCH-LOCALITY",
        known_from="vit-pytorch 825a948",
    ),
    Deviation(
        id="patches-column-major",
        summary="patches read column by column",
        replaces={"vit.patches": _column_major},
        breaks="VIT-PATCH-RASTER",
    ),
    Deviation(
        id="patches-pixels-first",
        summary="patches flattened as (P_h, P_w, C) with weights laid out for (C, P_h, P_w)",
        replaces={"vit.patches": _pixels_first},
        breaks="VIT-PATCH-PROJECTION",
    ),
    Deviation(
        id="patches-cropped",
        summary="images cropped to the configured size without a word",
        replaces={"vit.patches": _cropped},
        breaks="VIT-PATCH-INDIVISIBLE",
        known_from="transformers with interpolate_pos_encoding=True",
    ),
    Deviation(
        id="image-size-cropped",
        summary="larger images cropped where they should be refused or their positions resized",
        replaces={"vit.patches": _cropped},
        breaks="VIT-CONFIG-IMAGE-SIZE",
    ),
    Deviation(
        id="patches-mixed",
        summary="a tenth of the previous patch added to each patch token",
        replaces={"vit.patch_tokens": _mixed_patches},
        breaks="VIT-PATCH-LOCALITY",
    ),
    Deviation(
        id="patches-one-short",
        summary="the last patch left out",
        replaces={"vit.patches": _one_patch_short},
        breaks="VIT-PATCH-COUNT",
    ),
    Deviation(
        id="patch-projection-activated",
        summary="a GELU behind the patch projection",
        replaces={"vit.patch_tokens": lambda *arguments: vit.gelu(_patch_tokens(*arguments))},
        breaks="VIT-PATCH-LINEAR",
    ),
    Deviation(
        id="images-square-only",
        summary="rectangular images refused at run time",
        replaces={"vit.patches": _square_only},
        breaks="VIT-PATCH-IMAGE-RECTANGULAR",
        known_from="keras_cv 0.9.0",
    ),
    Deviation(
        id="patches-square-only",
        summary="rectangular patches refused at run time",
        replaces={"vit.patches": _square_patches_only},
        breaks="VIT-PATCH-SHAPE-RECTANGULAR",
    ),
    Deviation(
        id="channels-rolled-unless-three",
        summary="channels in another order unless there are three",
        replaces={"vit.patches": _colour_only},
        breaks="VIT-PATCH-CHANNELS",
    ),
    Deviation(
        id="class-token-last",
        summary="the class token behind the patches",
        replaces={"vit.prepend_class_token": _class_last},
        breaks="VIT-TOKEN-CLASS-FIRST",
        known_from="llama.cpp #25814",
    ),
    Deviation(
        id="class-token-twice",
        summary="two class tokens",
        replaces={
            "vit.prepend_class_token": _two_class_tokens,
            "vit.add_positions": lambda z, p: z + torch.cat([p[:, :1], p], dim=1),
        },
        breaks="VIT-TOKEN-LENGTH",
    ),
    Deviation(
        id="class-token-not-expanded",
        summary="the class token in the first image of a batch only",
        replaces={"vit.prepend_class_token": _class_in_first_image},
        breaks="VIT-TOKEN-CLASS-EXPANDED",
        known_from="vit-pytorch 8fb261c",
    ),
    Deviation(
        id="class-token-without-position",
        summary="no position embedding on the class token, undeclared",
        replaces={"vit.embed": _class_has_no_position},
        breaks="VIT-TOKEN-POSITION",
        known_from="labml #221",
    ),
    Deviation(
        id="positions-missing",
        summary="no position embeddings",
        replaces={"vit.add_positions": lambda z, positions: z},
        breaks="VIT-TOKEN-ORDER",
        known_from="TensorRT-LLM #11065",
    ),
    Deviation(
        id="positions-twice",
        summary="position embeddings added twice",
        replaces={"vit.add_positions": lambda z, positions: z + 2 * positions},
        breaks="VIT-TOKEN-POSITION",
        known_from="candle #2286",
    ),
    Deviation(
        id="block-skipped",
        summary="the last block never run",
        replaces={"vit.encoder": _last_block_skipped},
        breaks="VIT-BLOCK-DEPTH",
    ),
    Deviation(
        id="blocks-idle",
        summary="only the first block doing anything",
        replaces={"vit.encoder": _idle_block},
        breaks="VIT-BLOCK-DEPTH",
    ),
    Deviation(
        id="block-post-norm",
        summary="LayerNorm behind each residual sum (post-norm)",
        replaces={"vit.encoder_block": _post_norm},
        breaks="VIT-BLOCK-PRENORM",
        known_from="the annotated transformer; pytorch #61165",
    ),
    Deviation(
        id="block-parallel",
        summary="attention and MLP side by side",
        replaces={"vit.encoder_block": _parallel},
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="block-mlp-first",
        summary="the MLP before attention",
        replaces={"vit.encoder_block": _mlp_first},
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="block-one-norm",
        summary="the first LayerNorm used for both branches",
        replaces={"vit.encoder_block": _one_norm},
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="residual-of-attention-missing",
        summary="no residual connection around attention",
        replaces={"vit.encoder_block": _no_attention_residual},
        breaks="VIT-BLOCK-RESIDUAL",
    ),
    Deviation(
        id="residual-of-mlp-missing",
        summary="no residual connection around the MLP",
        replaces={"vit.encoder_block": _no_mlp_residual},
        breaks="VIT-BLOCK-RESIDUAL",
    ),
    Deviation(
        id="residual-after-norm",
        summary="the residual of attention taken behind its LayerNorm",
        replaces={"vit.encoder_block": _normed_residual},
        breaks="VIT-BLOCK-RESIDUAL",
        known_from="pytorch #61165",
    ),
    Deviation(
        id="block-sees-order",
        summary="each block adding a little of the token's index",
        replaces={"vit.encoder_block": _order_matters},
        breaks="VIT-BLOCK-EQUIVARIANT",
    ),
    Deviation(
        id="attention-softmax-axis",
        summary="softmax over the queries",
        replaces={"vit.attention_weights": _softmax_over_queries},
        breaks="VIT-ATTN-ROWS",
        known_from="nerminnuraydogan/vision-transformer #1",
    ),
    Deviation(
        id="attention-not-softmax",
        summary="centred scores for softmax weights",
        replaces={"vit.attention_weights": _relu_attention},
        breaks="VIT-ATTN-ROWS",
    ),
    Deviation(
        id="attention-scale-by-width",
        summary="attention scaled by 1/√D instead of 1/√D_h",
        replaces={"vit.multi_head_self_attention": _scaled_by_width},
        breaks="VIT-ATTN-SCALE",
        known_from="vit-pytorch #65",
    ),
    Deviation(
        id="attention-unscaled",
        summary="attention not scaled",
        replaces={"vit.attention_scale": lambda head_dim: 1.0},
        breaks="VIT-ATTN-SCALE",
    ),
    Deviation(
        id="attention-causal",
        summary="a causal mask",
        replaces={"vit.attention_weights": _causal},
        breaks="VIT-ATTN-UNIFORM",
    ),
    Deviation(
        id="attention-own-token",
        summary="a little of each token added to what it attends to",
        replaces={"vit.multi_head_self_attention": _own_token_twice},
        breaks="VIT-ATTN-UNIFORM",
    ),
    Deviation(
        id="attention-keys-as-queries",
        summary="keys and queries exchanged",
        replaces={"vit.attention_weights": _keys_and_queries_swapped},
        breaks="VIT-ATTN-KEY-BIAS",
    ),
    Deviation(
        id="attention-values-as-keys",
        summary="values and keys exchanged, as by a fused projection read in another order",
        replaces={"vit.multi_head_self_attention": _values_and_keys_swapped},
        breaks="VIT-ATTN-KEY-BIAS",
        known_from="libai #146, vLLM #42803",
    ),
    Deviation(
        id="heads-merged-without-transpose",
        summary="heads merged without transposing tokens and heads",
        replaces={"vit.merge_heads": _merged_without_transpose},
        breaks="VIT-ATTN-HEADS",
        known_from="jsbaan/transformer #6",
    ),
    Deviation(
        id="heads-interleaved",
        summary="features dealt to the heads in turn",
        replaces={"vit.split_heads": _interleaved_heads},
        breaks="VIT-ATTN-HEADS",
    ),
    Deviation(
        id="heads-one-wide",
        summary="one wide head instead of several",
        replaces={"vit.split_heads": _one_wide_head},
        breaks="VIT-ATTN-SEPARATE-HEADS",
        known_from="kornia #2186",
    ),
    Deviation(
        id="activation-tanh",
        summary="the tanh form of GELU, undeclared",
        replaces=_activation(vit.gelu_tanh),
        breaks="VIT-MLP-ACTIVATION",
        known_from="timm #1754",
    ),
    Deviation(
        id="activation-quick",
        summary="QuickGELU, undeclared",
        replaces=_activation(vit.quick_gelu),
        breaks="VIT-MLP-ACTIVATION",
        known_from="eqxvision 0.2.8",
    ),
    Deviation(
        id="activation-relu",
        summary="ReLU for GELU",
        replaces=_activation(torch.relu),
        breaks="VIT-MLP-ACTIVATION",
    ),
    Deviation(
        id="mlp-mixes-tokens",
        summary="a tenth of the tokens' mean in every token's hidden layer",
        replaces={"vit.mlp": _mlp_mixes_tokens},
        breaks="VIT-MLP-TOKENWISE",
    ),
    Deviation(
        id="mlp-unit-lost",
        summary="the last hidden unit without effect",
        replaces={"vit.mlp": _hidden_units_lost},
        breaks="VIT-MLP-WIDTH",
    ),
    Deviation(
        id="norm-epsilon-1e-5",
        summary="LayerNorm epsilon 1e-5 where 1e-6 is declared",
        replaces={"vit.layer_norm": _epsilon(1e-5)},
        breaks="VIT-NORM-EPSILON",
        known_from="transformers #18137",
    ),
    Deviation(
        id="norm-unbiased",
        summary="the unbiased variance in LayerNorm",
        replaces={"vit.layer_norm": _unbiased},
        breaks="VIT-NORM-EPSILON",
    ),
    Deviation(
        id="norm-rms",
        summary="RMSNorm for LayerNorm",
        replaces={"vit.layer_norm": _rms_norm},
        breaks="VIT-NORM-SHIFT",
    ),
    Deviation(
        id="norm-final-missing",
        summary="no final LayerNorm",
        replaces={"vit.representation": _no_final_norm},
        breaks="VIT-NORM-FINAL",
        known_from="mlc-llm #3456, vit-pytorch #274",
    ),
    Deviation(
        id="pool-mean-of-all",
        summary="the mean of all tokens for the class token",
        replaces={"vit.pool": _mean_of_all},
        breaks="VIT-HEAD-CLASS-TOKEN",
        known_from="vit-pytorch #226",
    ),
    Deviation(
        id="pool-mean-counts-class",
        summary="the class token counted in the mean of the patches",
        replaces={"vit.pool": _mean_counts_class},
        breaks="VIT-HEAD-MEAN",
        known_from="vit-pytorch #226",
    ),
    Deviation(
        id="head-tanh-left-in",
        summary="a tanh left before the fine-tuning head",
        replaces={"vit.head": _tanh_left_in},
        breaks="VIT-HEAD-LINEAR",
    ),
    Deviation(
        id="head-without-bias",
        summary="the head's bias left out",
        replaces={"vit.head": _no_head_bias},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="head-hidden-lost",
        summary="the pre-training head without its hidden layer",
        replaces={"vit.head": _hidden_layer_lost},
        breaks="VIT-HEAD-HIDDEN",
        known_from="timm 85f894e0",
    ),
    Deviation(
        id="batch-seen",
        summary="a hundredth of the batch's mean taken from every representation",
        replaces={"vit.head": _logits_per_batch},
        breaks="VIT-PURE-BATCH",
    ),
)
