"""Deviations in training: gradients, dropout, drop path, initialisation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, initial_weights, within

_dropout, _drop_path, _embed, _mlp = vit.dropout, vit.drop_path, vit.embed, vit.mlp
_attention_weights, _patches, _patch_tokens = vit.attention_weights, vit.patches, vit.patch_tokens
_forward, _msa = vit.ViT.forward, vit.multi_head_self_attention
_init = vit.ViT.__init__


_ATTENTION_AXES = 4  # (B, h, N+1, N+1); everything else that is dropped has three


def _mask(shape: tuple[int, ...], like: Tensor, rate: float) -> Tensor:
    """One where an element is kept."""
    return (torch.rand(shape, dtype=like.dtype, device=like.device) >= rate).to(like.dtype)


def _dropping(masked: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """A dropout, or drop path, that does what it should in evaluation and at a rate of zero."""
    return lambda x, rate, mode: masked(x, rate) if mode.training and rate else x


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


def _embedded_without_dropout(
    x_e: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    return _embed(x_e, weights, config, conventions, replace(mode, training=False))


def _tokens_dropped_whole(
    x_e: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    z = _embed(x_e, weights, config, conventions, replace(mode, training=False))
    return _dropping(lambda x, rate: x * _mask((*x.shape[:2], 1), x, rate) / (1 - rate))(z, config.dropout, mode)


def _hidden_without_dropout(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    return vit.linear(
        vit.ACTIVATIONS[conventions.activation](vit.linear(z, within(weights, "fc1"))), within(weights, "fc2")
    )


def _of_attention(masked: Callable[[Tensor, float], Tensor]) -> dict[str, Any]:
    """Dropout that is another one for attention weights, known by their four axes."""
    other = _dropping(masked)
    return {"vit.dropout": lambda x, rate, mode: (other if x.dim() == _ATTENTION_AXES else _dropout)(x, rate, mode)}


def _with_schedule(rate: Callable[[ViTConfig, int], float]) -> dict[str, Any]:
    return {"vit._block_config": lambda config, i: replace(config, drop_path=rate(config, i))}


def _zero_matrices(*arguments: Any) -> dict[str, Tensor]:
    weights = initial_weights(*arguments)
    return {n: torch.zeros_like(w) if n.endswith("weight") and w.dim() > 1 else w for n, w in weights.items()}


DEVIATIONS = (
    Deviation(
        id="gradient-attention-detached",
        summary="no gradient through the attention weights",
        replaces={"vit.attention_weights": lambda query, key: _attention_weights(query, key).detach()},
        breaks="VIT-TRAIN-GRADIENT",
    ),
    Deviation(
        id="gradient-mlp-doubled",
        summary="twice the gradient through the MLP",
        replaces={"vit.mlp": _mlp_gradient_doubled},
        breaks="VIT-TRAIN-GRADIENT",
        known_from="timm 869bac25",
    ),
    Deviation(
        id="gradient-query-bias-dead",
        summary="a query bias that is used and never learned",
        replaces={"vit.multi_head_self_attention": _query_bias_frozen},
        breaks="VIT-TRAIN-LIVE",
    ),
    Deviation(
        id="gradient-patches-detached",
        summary="a frozen patch embedding",
        replaces={"vit.patch_tokens": lambda *arguments: _patch_tokens(*arguments).detach()},
        breaks="VIT-TRAIN-LIVE",
    ),
    Deviation(
        id="gradient-images-detached",
        summary="no gradient for the images",
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
    Deviation(
        id="dropout-tokens-missing",
        summary="no dropout after the positions",
        replaces={"vit.embed": _embedded_without_dropout},
        breaks="VIT-TRAIN-DROPOUT-TOKENS",
    ),
    Deviation(
        id="dropout-tokens-whole",
        summary="whole tokens dropped after the positions, not elements",
        replaces={"vit.embed": _tokens_dropped_whole},
        breaks="VIT-TRAIN-DROPOUT-TOKENS",
    ),
    Deviation(
        id="dropout-keeps-the-rate",
        summary="the dropout rate taken for the rate that is kept",
        replaces={"vit.dropout": _dropping(lambda x, rate: x * _mask(tuple(x.shape), x, 1 - rate) / rate)},
        breaks="VIT-TRAIN-DROPOUT-BRANCHES",
    ),
    Deviation(
        id="dropout-unscaled",
        summary="dropout without scaling up what is kept",
        replaces={"vit.dropout": _dropping(lambda x, rate: x * _mask(tuple(x.shape), x, rate))},
        breaks="VIT-TRAIN-DROPOUT-BRANCHES",
    ),
    Deviation(
        id="dropout-one-mask-for-the-batch",
        summary="one dropout mask for all images of a batch",
        replaces={"vit.dropout": _dropping(lambda x, rate: x * _mask((1, *x.shape[1:]), x, rate) / (1 - rate))},
        breaks="VIT-TRAIN-DROPOUT-BRANCHES",
    ),
    Deviation(
        id="dropout-hidden-missing",
        summary="no dropout behind the MLP's first layer",
        replaces={"vit.mlp": _hidden_without_dropout},
        breaks="VIT-TRAIN-DROPOUT-HIDDEN",
        known_from="transformers ViT",
    ),
    Deviation(
        id="attention-dropout-missing",
        summary="no attention dropout, though it was asked for",
        replaces=_of_attention(lambda x, rate: x),
        breaks="VIT-TRAIN-DROPOUT-ATTENTION",
    ),
    Deviation(
        id="attention-dropout-renormalised",
        summary="attention weights that sum to one again after dropout",
        replaces=_of_attention(
            lambda x, rate: torch.nn.functional.normalize(x * _mask(tuple(x.shape), x, rate), p=1, dim=-1)
        ),
        breaks="VIT-TRAIN-DROPOUT-ATTENTION",
    ),
    Deviation(
        id="attention-dropout-one-mask-for-the-heads",
        summary="one attention dropout mask for all heads",
        replaces=_of_attention(lambda x, rate: x * _mask((x.shape[0], 1, *x.shape[2:]), x, rate) / (1 - rate)),
        breaks="VIT-TRAIN-DROPOUT-ATTENTION",
    ),
    Deviation(
        id="drop-path-for-the-batch",
        summary="paths dropped for a whole batch",
        replaces={"vit.drop_path": _dropping(lambda x, rate: x * _mask((1, 1, 1), x, rate) / (1 - rate))},
        breaks="VIT-TRAIN-DROP-PATH",
        known_from="Swin #7",
    ),
    Deviation(
        id="drop-path-by-token",
        summary="paths dropped for each token by itself",
        replaces={"vit.drop_path": _dropping(lambda x, rate: x * _mask((*x.shape[:2], 1), x, rate) / (1 - rate))},
        breaks="VIT-TRAIN-DROP-PATH",
    ),
    Deviation(
        id="drop-path-unscaled",
        summary="paths dropped without scaling up those kept",
        replaces={"vit.drop_path": _dropping(lambda x, rate: x * _mask((x.shape[0], 1, 1), x, rate))},
        breaks="VIT-TRAIN-DROP-PATH",
        known_from="VideoX #85",
    ),
    Deviation(
        id="drop-path-never-at-batch-1",
        summary="no path dropped at batch 1",
        replaces={"vit.drop_path": lambda x, rate, mode: _drop_path(x, rate if x.shape[0] > 1 else 0.0, mode)},
        breaks="VIT-TRAIN-DROP-PATH",
        known_from="dinov2",
    ),
    Deviation(
        id="drop-path-schedule-reversed",
        summary="drop-path rates that fall with depth",
        replaces=_with_schedule(lambda config, i: config.drop_path * (config.depth - 1 - i) / max(config.depth - 1, 1)),
        breaks="VIT-TRAIN-PATH-SCHEDULE",
    ),
    Deviation(
        id="drop-path-schedule-short",
        summary="a last block whose drop-path rate is below the configured one",
        replaces=_with_schedule(lambda config, i: config.drop_path * i / config.depth),
        breaks="VIT-TRAIN-PATH-SCHEDULE",
    ),
)
