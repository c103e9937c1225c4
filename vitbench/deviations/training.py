"""Deviations in training: gradients, modes, initialisation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, Pool, ViTConfig
from vitbench.reference.parameters import Weights, initial_weights

_dropout, _drop_path, _embed, _mlp = vit.dropout, vit.drop_path, vit.embed, vit.mlp
_attention_weights, _patches, _patch_tokens = vit.attention_weights, vit.patches, vit.patch_tokens
_forward, _msa, _pool = vit.ViT.forward, vit.multi_head_self_attention, vit.pool
_init = vit.ViT.__init__

_ATTENTION_AXES = 4  # (B, h, N+1, N+1); everything else that is dropped has three


def _frozen_positions(self: vit.ViT, *arguments: Any, **options: Any) -> None:
    _init(self, *arguments, **options)
    self.get_parameter("position_embedding").requires_grad_(False)


def _stale_after_evaluation(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    """Weights are prepared for evaluation once, and never again: those of an inference engine that is kept too long."""
    if self.training:
        return _forward(self, images, *tap)
    prepared = self.__dict__.setdefault("prepared", {n: p.detach().clone() for n, p in self.named_parameters()})
    mode = vit.Mode(tap=tap[0]) if tap else vit.Mode()
    return vit.vision_transformer(images, prepared, self.config, self.conventions, mode)


def _mlp_gradient_doubled(*arguments: Any) -> Tensor:
    y = _mlp(*arguments)
    return 2 * y - y.detach()


def _query_bias_frozen(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
    return _msa(z, {n: w.detach() if n == "query.bias" else w for n, w in weights.items()}, config, mode)


def _batch_centred(
    x_e: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    if mode.training:
        x_e = x_e - x_e.mean(dim=(0, 1))
    return _embed(x_e, weights, config, conventions, mode)


def _passed_back_whole(dropped: Tensor, x: Tensor) -> Tensor:
    """What was dropped, with the gradient of what was not: the mask is forgotten on the way back."""
    return x + (dropped - x).detach()


def _detached(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x).detach()


def _mean_detached(z: Tensor, kind: Pool) -> Tensor:
    return _pool(z, kind).detach() if kind == "mean" else _pool(z, kind)


def _zero_matrices(*arguments: Any) -> dict[str, Tensor]:
    weights = initial_weights(*arguments)
    return {n: torch.zeros_like(w) if n.endswith("weight") and w.dim() > 1 else w for n, w in weights.items()}


DEVIATIONS = (
    Deviation(
        id="gradient-attention-detached",
        summary="no gradient through the attention weights",
        remedy="keep the attention weights in the graph: look for detach() or no_grad()",
        replaces={"vit.attention_weights": lambda query, key: _attention_weights(query, key).detach()},
        breaks="VIT-TRAIN-GRADIENT",
    ),
    Deviation(
        id="gradient-mlp-doubled",
        summary="twice the gradient through the MLP",
        remedy="let the gradient pass the MLP once: look at the checkpointing, or at the function's own backward()",
        replaces={"vit.mlp": _mlp_gradient_doubled},
        breaks="VIT-TRAIN-GRADIENT",
        known_from="timm 869bac25",
    ),
    Deviation(
        id="gradient-mean-detached",
        summary="no gradient through the mean of the patches",
        remedy="keep the mean of the patches in the graph: look for detach() or no_grad()",
        replaces={"vit.pool": _mean_detached},
        breaks="VIT-TRAIN-GRADIENT",
    ),
    Deviation(
        id="gradient-head-hidden-detached",
        summary="no gradient through the hidden layer of the pre-training head",
        remedy="keep the pre-training head's hidden layer in the graph: look for detach() or no_grad()",
        replaces={"vit.HEAD_ACTIVATIONS": {name: _detached(f) for name, f in vit.HEAD_ACTIVATIONS.items()}},
        breaks="VIT-TRAIN-GRADIENT",
    ),
    Deviation(
        id="gradient-forgets-dropout",
        summary="the gradient of dropout taken without its mask",
        replaces={"vit.dropout": lambda x, rate, mode: _passed_back_whole(_dropout(x, rate, mode), x)},
        breaks="VIT-TRAIN-GRADIENT",
    ),
    Deviation(
        id="gradient-forgets-drop-path",
        summary="the gradient of drop path taken without what was dropped",
        replaces={"vit.drop_path": lambda x, rate, mode: _passed_back_whole(_drop_path(x, rate, mode), x)},
        breaks="VIT-TRAIN-GRADIENT",
    ),
    Deviation(
        id="gradient-query-bias-dead",
        summary="a query bias that is used and never learned",
        remedy="let the query bias learn: a parameter used without detach(), and no buffer",
        replaces={"vit.multi_head_self_attention": _query_bias_frozen},
        breaks="VIT-TRAIN-LIVE",
    ),
    Deviation(
        id="gradient-patches-detached",
        summary="a frozen patch embedding",
        remedy="keep the patch embedding in the graph: look for detach(), no_grad() or requires_grad_(False)",
        replaces={"vit.patch_tokens": lambda *arguments: _patch_tokens(*arguments).detach()},
        breaks="VIT-TRAIN-LIVE",
    ),
    Deviation(
        id="gradient-images-detached",
        summary="no gradient for the images",
        remedy="keep the images in the graph: look for detach() on the input",
        replaces={"vit.patches": lambda images, config: _patches(images.detach(), config)},
        breaks="VIT-TRAIN-IMAGES",
    ),
    Deviation(
        id="positions-frozen",
        summary="position embeddings that are not learned",
        replaces={"vit.ViT.__init__": _frozen_positions},
        breaks="VIT-TRAIN-STEP",
    ),
    Deviation(
        id="weights-stale-in-evaluation",
        summary="weights prepared for evaluation once, and not again after a step",
        replaces={"vit.ViT.forward": _stale_after_evaluation},
        breaks="VIT-TRAIN-STEP",
    ),
    Deviation(
        id="initial-matrices-zero",
        summary="matrices that all start at zero",
        replaces={"vit.initial_weights": _zero_matrices},
        breaks="VIT-TRAIN-OVERFIT",
    ),
    Deviation(
        id="training-batch-centred",
        summary="the batch's mean taken from the patch tokens in training",
        remedy="compute in training what evaluation computes: take the mean over the batch out",
        replaces={"vit.embed": _batch_centred},
        breaks="VIT-TRAIN-SAME",
    ),
    Deviation(
        id="training-dropout-by-default",
        summary="a tenth of all elements dropped in training, though none was asked for",
        replaces={"vit.dropout": lambda x, rate, mode: _dropout(x, rate or 0.1, mode)},
        breaks="VIT-TRAIN-SAME",
    ),
    Deviation(
        id="drop-path-in-evaluation",
        summary="paths dropped in evaluation too",
        replaces={"vit.drop_path": lambda x, rate, mode: _drop_path(x, rate, replace(mode, training=True))},
        breaks="VIT-TRAIN-SILENT",
        known_from="Swin #7",
    ),
    Deviation(
        id="attention-dropout-in-evaluation",
        summary="attention weights dropped in evaluation too",
        replaces={
            "vit.dropout": lambda x, rate, mode: _dropout(
                x, rate, replace(mode, training=mode.training or x.dim() == _ATTENTION_AXES)
            )
        },
        breaks="VIT-TRAIN-SILENT",
        known_from="pytorch #124464",
    ),
    Deviation(
        id="drop-path-scales-evaluation",
        summary="branches scaled down in evaluation by the rate at which training drops them",
        replaces={
            "vit.drop_path": lambda x, rate, mode: _drop_path(x, rate, mode) if mode.training else x * (1 - rate)
        },
        breaks="VIT-TRAIN-SILENT",
    ),
)
