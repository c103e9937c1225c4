"""Deviations of dropout and drop path: where they fall, at which rate, and what falls together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within

_dropout, _drop_path, _embed = vit.dropout, vit.drop_path, vit.embed
_encoder_block, _vision_transformer = vit.encoder_block, vit.vision_transformer
_block_config = vit._block_config  # noqa: SLF001  # rewritten from outside, as the public ones are

_ATTENTION_AXES = 4  # (B, h, N+1, N+1); everything else that is dropped has three


def _mask(shape: tuple[int, ...], like: Tensor, rate: float) -> Tensor:
    """One where an element is kept."""
    return (torch.rand(shape, dtype=like.dtype, device=like.device) >= rate).to(like.dtype)


def _dropping(masked: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """A dropout, or drop path, that does what it should in evaluation and at a rate of zero."""
    return lambda x, rate, mode: masked(x, rate) if mode.training and rate else x


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


def _of_blocks(change: Callable[[ViTConfig, int], ViTConfig]) -> dict[str, Any]:
    """Other rates in some of the blocks; drop path grows as it should."""
    return {"vit._block_config": lambda config, i: change(_block_config(config, i), i)}


def _by_one_draw(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode) -> Tensor:
    """The block as a whole is dropped, not each of its two branches."""
    added = _encoder_block(z, weights, replace(config, drop_path=0.0), conventions, mode) - z
    return z + vit.drop_path(added, config.drop_path, mode)


def _by_one_mask(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode) -> Tensor:
    """A mask that is drawn once for a block, and kept for its second branch."""
    kept = _mask(tuple(z.shape), z, config.dropout) / (1 - config.dropout)
    dropped = _dropping(lambda x, _: x * kept)
    normed = vit.layer_norm(z, within(weights, "norm1"), conventions)
    attended = vit.multi_head_self_attention(normed, within(weights, "attention"), config, mode)
    z = z + vit.drop_path(dropped(attended, config.dropout, mode), config.drop_path, mode)
    normed = vit.layer_norm(z, within(weights, "norm2"), conventions)
    expanded = vit.mlp(normed, within(weights, "mlp"), config, conventions, mode)
    return z + vit.drop_path(dropped(expanded, config.dropout, mode), config.drop_path, mode)


def _attention_dropped_less(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    normed = vit.layer_norm(z, within(weights, "norm1"), conventions)
    attended = vit.multi_head_self_attention(normed, within(weights, "attention"), config, mode)
    z = z + vit.drop_path(vit.dropout(attended, config.dropout, mode), config.drop_path / 2, mode)
    normed = vit.layer_norm(z, within(weights, "norm2"), conventions)
    expanded = vit.mlp(normed, within(weights, "mlp"), config, conventions, mode)
    return z + vit.drop_path(vit.dropout(expanded, config.dropout, mode), config.drop_path, mode)


def _dropped_before_the_head(
    images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode | None = None
) -> Tensor:
    mode, seen = mode or vit.Mode(), []

    def tap(stage: str, value: Tensor) -> None:
        mode.tap(stage, value)
        if stage == "representation":
            seen.append(value)

    _vision_transformer(images, weights, config, conventions, replace(mode, tap=tap))
    return vit.head(vit.dropout(seen[0], config.dropout, mode), within(weights, "head"), config, conventions)


DEVIATIONS = (
    Deviation(
        id="dropout-capped-at-half",
        summary="dropout of one half where it is more",
        replaces={"vit.dropout": lambda x, rate, mode: _dropout(x, min(rate, 0.5), mode)},
        breaks="VIT-TRAIN-DROPOUT-TOKENS",
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
        id="dropout-never-at-batch-1",
        summary="no dropout at batch 1",
        replaces={"vit.dropout": lambda x, rate, mode: _dropout(x, rate if x.shape[0] > 1 else 0.0, mode)},
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
        id="dropout-one-mask-for-both-branches",
        summary="one dropout mask for both branches of a block",
        replaces={"vit.encoder_block": _by_one_mask},
        breaks="VIT-TRAIN-DROPOUT-BRANCHES",
    ),
    Deviation(
        id="dropout-first-block-only",
        summary="dropout in the first block only",
        replaces=_of_blocks(lambda config, i: replace(config, dropout=0.0) if i else config),
        breaks="VIT-TRAIN-DROPOUT-BRANCHES",
    ),
    Deviation(
        id="dropout-falls-with-depth",
        summary="dropout rates that fall with depth",
        replaces=_of_blocks(
            lambda config, i: replace(config, dropout=config.dropout * (config.depth - i) / config.depth)
        ),
        breaks="VIT-TRAIN-DROPOUT-BRANCHES",
    ),
    Deviation(
        id="dropout-of-attention-weights-too",
        summary="attention weights dropped at the rate of dropout, though none was asked for",
        replaces=_of_blocks(
            lambda config, _: replace(config, attention_dropout=max(config.attention_dropout, config.dropout))
        ),
        breaks="VIT-TRAIN-DROPOUT-BRANCHES",
    ),
    Deviation(
        id="dropout-before-the-head",
        summary="elements of the representation dropped before the head",
        replaces={"vit.vision_transformer": _dropped_before_the_head},
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
        id="dropout-hidden-first-block-only",
        summary="no dropout of hidden units, nor behind either branch, after the first block",
        replaces=_of_blocks(lambda config, i: replace(config, dropout=0.0) if i else config),
        breaks="VIT-TRAIN-DROPOUT-HIDDEN",
    ),
    Deviation(
        id="attention-dropout-missing",
        summary="no attention dropout, though it was asked for",
        replaces=_of_attention(lambda x, rate: x),
        breaks="VIT-TRAIN-DROPOUT-ATTENTION",
    ),
    Deviation(
        id="attention-dropout-first-block-only",
        summary="attention weights dropped in the first block only",
        replaces=_of_blocks(lambda config, i: replace(config, attention_dropout=0.0) if i else config),
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
        id="drop-path-by-one-draw",
        summary="both branches of a block dropped by one draw",
        replaces={"vit.encoder_block": _by_one_draw},
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
    Deviation(
        id="drop-path-schedule-less-for-attention",
        summary="attention dropped at half the rate of the MLP",
        replaces={"vit.encoder_block": _attention_dropped_less},
        breaks="VIT-TRAIN-PATH-SCHEDULE",
    ),
)
