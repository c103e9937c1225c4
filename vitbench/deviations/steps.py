"""Deviations in single steps of the forward pass: scaled, left out, done twice, or taken from another place."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from vitbench.deviations.attention import scores_of
from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, Pool, ViTConfig
from vitbench.reference.parameters import Weights, within

# The originals, taken before anything is replaced.
_patch_tokens, _embed, _block, _layer_norm = vit.patch_tokens, vit.embed, vit.encoder_block, vit.layer_norm
_mlp, _representation, _head, _dropout, _pool = vit.mlp, vit.representation, vit.head, vit.dropout, vit.pool


def _tokens_scaled(x_e: Tensor, weights: Weights, config: ViTConfig, *rest: Any) -> Tensor:
    return _embed(x_e * config.width**0.5, weights, config, *rest)


def _normalised_images(images: Tensor, *rest: Any) -> Tensor:
    return _patch_tokens((images - images.mean()) / images.std(), *rest)


def _patches_normalised(images: Tensor, *rest: Any) -> Tensor:
    x = _patch_tokens(images, *rest)
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def _scores(change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    def attention_weights(query: Tensor, key: Tensor) -> Tensor:
        return torch.softmax(change(scores_of(query, key)), dim=-1)

    return {"vit.attention_weights": attention_weights}


def _masked(which: Callable[[int], Tensor]) -> Callable[[Tensor], Tensor]:
    """Scores without those (query, key) pairs that the mask names."""
    return lambda scores: scores.masked_fill(which(scores.shape[-1]), -1e9)


def _class_key_only_for_class(tokens: int) -> Tensor:
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    mask[1:, 0] = True
    return mask


def _branches_scaled(factor: float) -> Callable[..., Tensor]:
    """LayerScale with a constant that no checkpoint holds."""

    def block(z: Tensor, *rest: Any) -> Tensor:
        return z + factor * (_block(z, *rest) - z)

    return block


def _last_block_without_mlp(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: Any
) -> Tensor:
    for i in range(config.depth):
        parts = within(weights, f"blocks.{i}")
        if i == config.depth - 1:
            parts = {name: torch.zeros_like(w) if ".fc2." in f".{name}" else w for name, w in parts.items()}
        z = _block(z, parts, config, conventions, mode)
        mode.tap("block_outputs", z)
    return z


def _epsilon_outside(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = (centred**2).mean(dim=-1, keepdim=True).sqrt() + conventions.layer_norm_eps
    return centred / deviation * weights["weight"] + weights["bias"]


def _over_tokens(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    axes = tuple(range(1, x.ndim))
    centred = x - x.mean(dim=axes, keepdim=True)
    variance = (centred**2).mean(dim=axes, keepdim=True)
    return centred / torch.sqrt(variance + conventions.layer_norm_eps) * weights["weight"] + weights["bias"]


def _mlp_of(compute: Callable[[Tensor, Any, Any, Callable[[Tensor], Tensor]], Tensor]) -> dict[str, Any]:
    def mlp(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode) -> Tensor:
        first, second = (lambda x, name=name: vit.linear(x, within(weights, name)) for name in ("fc1", "fc2"))
        return compute(z, first, second, vit.ACTIVATIONS[conventions.activation])

    return {"vit.mlp": mlp}


def _representation_of(compute: Callable[[Tensor, Any, Pool], Tensor]) -> dict[str, Any]:
    def representation(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
        return compute(z, lambda x: vit.layer_norm(x, within(weights, "norm"), conventions), config.pool)

    return {"vit.representation": representation}


def _mean_before_norm(z: Tensor, norm: Any, pool: Pool) -> Tensor:
    return cast("Tensor", norm(vit.pool(z, pool)))  # of a class token that is the same as behind the norm


def _pooling(compute: Callable[[Tensor], Tensor], of: str) -> dict[str, Any]:
    return {"vit.pool": lambda z, kind: compute(z) if kind == of else _pool(z, kind)}


def _logits(change: Callable[[Tensor, Any], Tensor]) -> dict[str, Any]:
    def head(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
        return change(_head(y, weights, config, conventions), config)

    return {"vit.head": head}


def _dropout_always(x: Tensor, rate: float, mode: vit.Mode) -> Tensor:
    return _dropout(x, rate, replace(mode, training=True))


DEVIATIONS = (
    Deviation(
        id="images-standardised",
        summary="each batch of images standardised inside the model",
        remedy="take the images as they come: normalise them before the model, not in it",
        replaces={"vit.patch_tokens": _normalised_images},
        breaks="VIT-PATCH-PROJECTION",
    ),
    Deviation(
        id="patch-tokens-normalised",
        summary="a LayerNorm behind the patch projection, undeclared",
        remedy="take the LayerNorm behind the patch projection out, or declare it in `conventions`",
        replaces={"vit.patch_tokens": _patches_normalised},
        breaks="VIT-PATCH-LINEAR",
    ),
    Deviation(
        id="tokens-scaled",
        summary="patch tokens multiplied by √D before positions are added, as language models do",
        remedy="take the factor √D off the patch tokens",
        replaces={"vit.embed": _tokens_scaled},
        breaks="VIT-TOKEN-POSITION",
    ),
    Deviation(
        id="attention-scale-missing",
        summary="attention without its scale",
        remedy="scale the scores by head_dim ** -0.5; or, if your checkpoints hold queries scaled so, scale them in load()",
        replaces={"vit.attention_scale": lambda head_dim: 1.0},
        breaks="VIT-ATTN-SCALE",
    ),
    Deviation(
        id="attention-scale-twice",
        summary="attention scaled by 1/D_h: twice by 1/√D_h",
        remedy="scale once: scaled_dot_product_attention does so itself",
        replaces={"vit.attention_scale": lambda head_dim: 1 / head_dim},
        breaks="VIT-ATTN-SCALE",
    ),
    Deviation(
        id="attention-not-to-itself",
        summary="no token attending to itself",
        remedy="attend without a mask: every token sees itself too",
        replaces=_scores(_masked(lambda tokens: torch.eye(tokens, dtype=torch.bool))),
        breaks="VIT-ATTN-UNIFORM",
    ),
    Deviation(
        id="attention-class-token-hidden",
        summary="the class token hidden from the patches",
        remedy="attend without a mask: the patches see the class token too",
        replaces=_scores(_masked(_class_key_only_for_class)),
        breaks="VIT-ATTN-UNIFORM",
    ),
    Deviation(
        id="attention-scores-capped",
        summary="attention scores capped by a tanh",
        remedy="take the tanh off the attention scores",
        replaces=_scores(lambda scores: 5 * torch.tanh(scores / 5)),
        breaks="VIT-ATTN-SCALE",
    ),
    Deviation(
        id="layer-scale-constant",
        summary="both branches scaled by a tenth (a LayerScale that no checkpoint holds)",
        remedy="take the constant factor (LayerScale) off both branches, or multiply it into the weights in load()",
        replaces={"vit.encoder_block": _branches_scaled(0.1)},
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="last-mlp-skipped",
        summary="the last block without its MLP",
        remedy="run the last block whole, its MLP too",
        replaces={"vit.encoder": _last_block_without_mlp},
        breaks="VIT-MLP-WIDTH",
    ),
    Deviation(
        id="norm-epsilon-outside",
        summary="LayerNorm's epsilon outside of the square root",
        remedy="add epsilon to the variance, under the root: sqrt(var + eps), not sqrt(var) + eps",
        replaces={"vit.layer_norm": _epsilon_outside},
        breaks="VIT-NORM-EPSILON",
    ),
    Deviation(
        id="norm-over-tokens",
        summary="LayerNorm over tokens and features together",
        remedy="normalise each token by itself: over the last axis alone",
        replaces={"vit.layer_norm": _over_tokens},
        breaks="VIT-NORM-FINAL",
    ),
    Deviation(
        id="norm-final-twice",
        summary="the final LayerNorm applied twice",
        remedy="apply the final LayerNorm once",
        replaces=_representation_of(lambda z, norm, pool: _pool(norm(norm(z)), pool)),
        breaks="VIT-NORM-FINAL",
    ),
    Deviation(
        id="mlp-linear",
        summary="no activation in the MLP",
        remedy="use GELU between the two layers of the MLP",
        replaces=_mlp_of(lambda z, first, second, gelu: second(first(z))),
        breaks="VIT-MLP-ACTIVATION",
    ),
    Deviation(
        id="mlp-activated-twice",
        summary="a GELU behind the MLP's second layer too",
        remedy="take the activation behind the MLP's second layer out",
        replaces=_mlp_of(lambda z, first, second, gelu: gelu(second(gelu(first(z))))),
        breaks="VIT-MLP-ACTIVATION",
    ),
    Deviation(
        id="dropout-in-evaluation",
        summary="dropout in evaluation mode",
        replaces={"vit.dropout": _dropout_always},
        breaks="VIT-PURE-REPEATABLE",
        known_from="timm #1978, pytorch #124464",
    ),
    Deviation(
        id="pool-last-token",
        summary="the last token for the class token",
        remedy="read the first token, z[:, 0]",
        replaces=_pooling(lambda z: z[:, -1], "class_token"),
        breaks="VIT-HEAD-CLASS-TOKEN",
    ),
    Deviation(
        id="pool-mean-before-norm",
        summary="the mean of the patches taken before the final LayerNorm, undeclared",
        remedy="normalise the tokens first, then take their mean",
        replaces=_representation_of(_mean_before_norm),
        breaks="VIT-HEAD-MEAN",
        known_from="vit-pytorch #274",
    ),
    Deviation(
        id="pool-sum",
        summary="the sum of the patches for their mean",
        remedy="take the mean of the patches, not their sum",
        replaces=_pooling(lambda z: z[:, 1:].sum(dim=1), "mean"),
        breaks="VIT-HEAD-MEAN",
    ),
    Deviation(
        id="pool-maximum",
        summary="the maximum of the patches for their mean",
        remedy="take the mean of the patches, not their maximum",
        replaces=_pooling(lambda z: z[:, 1:].amax(dim=1), "mean"),
        breaks="VIT-HEAD-MEAN",
    ),
    Deviation(
        id="head-softmax-left-in",
        summary="a softmax left behind the head",
        remedy="return the logits: take the softmax off",
        replaces=_logits(lambda logits, config: logits.softmax(dim=-1)),
        breaks="VIT-HEAD-LINEAR",
    ),
    Deviation(
        id="head-scaled",
        summary="logits divided by √D",
        remedy="return the logits as they are: take the factor 1/√D off",
        replaces=_logits(lambda logits, config: logits / config.width**0.5),
        breaks="VIT-HEAD-LINEAR",
    ),
    Deviation(
        id="head-hidden-relu",
        summary="a ReLU in the pre-training head, undeclared",
        remedy='declare head_activation="relu" in `conventions`, or use tanh',
        replaces={"vit.HEAD_ACTIVATIONS": {**vit.HEAD_ACTIVATIONS, "tanh": torch.relu}},
        breaks="VIT-HEAD-HIDDEN",
    ),
)
