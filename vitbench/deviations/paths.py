"""Deviations that show on one of several paths only: with gradients, by another kernel, under a compiler."""

import copy
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from vitbench.adapters import reference as adapter
from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import Weights, within

_forward, _gelu, _add_positions = vit.ViT.forward, vit.gelu, vit.add_positions
_attention_weights, _dropout, _encoder = vit.attention_weights, vit.dropout, vit.encoder


def _unscaled_if(condition: Callable[[], bool]) -> Callable[[int], float]:
    return lambda head_dim: 1.0 if condition() else 1 / sqrt(head_dim)


def _another_once_looked_at(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    logits = _forward(self, images, *tap)
    looked_at = self.__dict__.get("looked_at", False)
    self.__dict__["looked_at"] = looked_at or bool(tap)
    return 1.001 * logits if looked_at else logits


def _with_queries_for_keys(self: adapter.ReferenceAdapter, model: vit.ViT) -> vit.ViT:
    other = copy.deepcopy(model)
    attention = other.get_submodule("blocks.0.attention")
    attention.query, attention.key = attention.key, attention.query
    return other


def _dropped_anew(self: adapter.Checkpointed, images: Tensor) -> Tensor:
    logits: Tensor = checkpoint(self.vit, images, use_reentrant=False, preserve_rng_state=False)
    return logits


def _not_again(self: adapter.Checkpointed, images: Tensor) -> Tensor:
    logits: Tensor = self.vit(images)
    return logits


def _drawn_by_numpy(branch: Tensor, rate: float, mode: vit.Mode) -> Tensor:
    """torch's checkpoint knows nothing of numpy's generator, and cannot draw the same mask again."""
    if not mode.training or rate == 0:
        return branch
    kept = torch.from_numpy(np.random.random((branch.shape[0], 1, 1)) >= rate)  # noqa: NPY002
    return branch * kept / (1 - rate)


def _always_fused(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
    query, key, value = (
        vit.split_heads(vit.linear(z, within(weights, name)), config.num_heads) for name in ("query", "key", "value")
    )
    rate = config.attention_dropout if mode.training else 0.0
    attended = scaled_dot_product_attention(query, key, value, dropout_p=rate)
    return vit.linear(vit.merge_heads(attended), within(weights, "output"))


def _without_attention_dropout(self: adapter.ReferenceAdapter, model: vit.ViT) -> vit.ViT:
    other = copy.deepcopy(model)
    other.config = replace(other.config, attention_dropout=0.0)
    return other


def _unscaled_if_frozen(query: Tensor, key: Tensor) -> Tensor:
    frozen = torch.is_grad_enabled() and not query.requires_grad
    return torch.softmax(query @ key.transpose(-2, -1), dim=-1) if frozen else _attention_weights(query, key)


def _shorter_if(condition: Callable[[], bool]) -> Callable[..., Tensor]:
    def encoder(z: Tensor, weights: Weights, config: ViTConfig, *rest: Any) -> Tensor:
        return _encoder(z, weights, replace(config, depth=max(config.depth - 1, 1)) if condition() else config, *rest)

    return encoder


def _half_detached(self: adapter.Checkpointed, images: Tensor) -> Tensor:
    logits: Tensor = self.vit(images)
    return 0.5 * (logits + logits.detach())


DEVIATIONS = (
    Deviation(
        id="gradients-unscale",
        summary="attention not scaled where gradients are recorded",
        remedy="scale the attention scores on the path with gradients as on the one without",
        replaces={"vit.attention_scale": _unscaled_if(torch.is_grad_enabled)},
        breaks="VIT-PATH-GRAD",
    ),
    Deviation(
        id="inference-mode-unscales",
        summary="attention not scaled in inference mode",
        replaces={"vit.attention_scale": _unscaled_if(torch.is_inference_mode_enabled)},
        breaks="VIT-PATH-GRAD",
    ),
    Deviation(
        id="unfused-kernel-unscaled",
        summary="attention not scaled where torch's fused kernels are not allowed",
        replaces={"vit.attention_scale": _unscaled_if(lambda: not torch.backends.cuda.flash_sdp_enabled())},
        breaks="VIT-PATH-KERNEL",
        known_from="timm #2385",
    ),
    Deviation(
        id="slow-path-unscaled",
        summary="attention not scaled where the fast path of torch's MultiheadAttention is off",
        replaces={"vit.attention_scale": _unscaled_if(lambda: not torch.backends.mha.get_fastpath_enabled())},
        breaks="VIT-PATH-KERNEL",
        known_from="pytorch #124464",
    ),
    Deviation(
        id="unfused-projections-exchanged",
        summary="queries and keys exchanged in the first block where attention is written out",
        replaces={"adapter.ReferenceAdapter.unfused": _with_queries_for_keys},
        breaks="VIT-PATH-UNFUSED",
    ),
    Deviation(
        id="looking-changes",
        summary="a trace left on the model by looking at its stages",
        replaces={"vit.ViT.forward": _another_once_looked_at},
        breaks="VIT-PATH-STAGES",
        known_from="transformers with output_attentions=True",
    ),
    Deviation(
        id="checkpoint-drops-anew",
        summary="dropout that falls on other elements when a checkpoint is computed again",
        replaces={"adapter.Checkpointed.forward": _dropped_anew},
        breaks="VIT-PATH-CHECKPOINT",
    ),
    Deviation(
        id="checkpoint-detached",
        summary="half of the gradient lost with checkpointing",
        replaces={"adapter.Checkpointed.forward": _half_detached},
        breaks="VIT-PATH-CHECKPOINT",
        known_from="timm 869bac25",
    ),
    Deviation(
        id="compiled-tanh",
        summary="the tanh form of GELU where the model is compiled",
        replaces={
            "vit.ACTIVATIONS": {
                **vit.ACTIVATIONS,
                "gelu": lambda x: vit.gelu_tanh(x) if torch.compiler.is_dynamo_compiling() else _gelu(x),
            }
        },
        breaks="VIT-PATH-COMPILE",
    ),
    Deviation(
        id="exported-without-positions",
        summary="no position embeddings where the model is exported",
        replaces={
            "vit.add_positions": lambda z, positions: (
                z if torch.compiler.is_exporting() else _add_positions(z, positions)
            )
        },
        breaks="VIT-PATH-EXPORT",
    ),
    Deviation(
        id="frozen-unscaled",
        summary="attention not scaled where its parameters are frozen",
        replaces={"vit.attention_weights": _unscaled_if_frozen},
        breaks="VIT-PATH-GRAD",
    ),
    Deviation(
        id="unfused-still-fused",
        summary="a fused kernel where attention should be written out",
        replaces={"vit.multi_head_self_attention": _always_fused},
        breaks="VIT-PATH-UNFUSED",
    ),
    Deviation(
        id="unfused-without-dropout",
        summary="no attention dropout where attention is written out",
        replaces={"adapter.ReferenceAdapter.unfused": _without_attention_dropout},
        breaks="VIT-PATH-UNFUSED",
    ),
    Deviation(
        id="checkpoint-computes-nothing-again",
        summary="checkpointing that keeps all it would without",
        replaces={"adapter.Checkpointed.forward": _not_again},
        breaks="VIT-PATH-CHECKPOINT",
    ),
    Deviation(
        id="checkpoint-of-numpys-drop-path",
        summary="other paths dropped when a checkpoint is computed again, since numpy draws them",
        replaces={"vit.drop_path": _drawn_by_numpy},
        breaks="VIT-PATH-CHECKPOINT",
    ),
    Deviation(
        id="compiled-without-the-last-block",
        summary="the last block left out where the model is compiled",
        replaces={"vit.encoder": _shorter_if(torch.compiler.is_dynamo_compiling)},
        breaks="VIT-PATH-COMPILE",
    ),
    Deviation(
        id="compiled-without-dropout",
        summary="no dropout where the model is compiled",
        replaces={
            "vit.dropout": lambda x, rate, mode: x if torch.compiler.is_dynamo_compiling() else _dropout(x, rate, mode)
        },
        breaks="VIT-PATH-COMPILE",
    ),
    Deviation(
        id="exported-without-the-last-block",
        summary="the last block left out where the model is exported",
        replaces={"vit.encoder": _shorter_if(torch.compiler.is_exporting)},
        breaks="VIT-PATH-EXPORT",
    ),
)
