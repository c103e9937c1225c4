"""Deviations that small models and plain images do not show: beyond some size, or for images that are black or bright."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within

_patches, _forward, _head, _add_positions, _block, _split_heads, _merge_heads, _mlp = (
    vit.patches,
    vit.ViT.forward,
    vit.head,
    vit.add_positions,
    vit.encoder_block,
    vit.split_heads,
    vit.merge_heads,
    vit.mlp,
)

_LARGE_HEAD, _LARGE_BATCH, _MANY_TOKENS, _WINDOW, _BRIGHT = 64, 64, 256, 128, 20
_MANY_KEYS, _MANY_HEADS, _LARGE_PATCH, _MANY_CHANNELS = 512, 16, 16, 4


def _scale_of_64(head_dim: int) -> float:
    return 1 / sqrt(min(head_dim, _LARGE_HEAD))


def _heads_of_64(x: Tensor, num_heads: int) -> Tensor:
    return _split_heads(x, x.shape[-1] // _LARGE_HEAD if x.shape[-1] >= _LARGE_HEAD else num_heads)


def _windowed(query: Tensor, key: Tensor) -> Tensor:
    scores = vit.attention_scale(query.shape[-1]) * query @ key.transpose(-2, -1)
    place = torch.arange(scores.shape[-1], device=scores.device)
    far = (place[:, None] - place).abs() > _WINDOW
    far[0], far[:, 0] = False, False  # the class token sees all, and is seen
    return torch.softmax(scores.masked_fill(far, -torch.inf), dim=-1)


def _first_tokens_only(z: Tensor, *rest: Any) -> Tensor:
    return torch.cat([_mlp(z[:, :_MANY_TOKENS], *rest), torch.zeros_like(z[:, _MANY_TOKENS:])], dim=1)


def _first_positions_only(z: Tensor, positions: Tensor) -> Tensor:
    kept = torch.arange(z.shape[1], device=z.device) < _MANY_TOKENS
    return _add_positions(z, positions * kept[:, None])


def _six_blocks_again_and_again(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    for i in range(config.depth):
        z = _block(z, within(weights, f"blocks.{i % 6}"), vit._block_config(config, i), conventions, mode)  # noqa: SLF001
        mode.tap("block_outputs", z)
    return z


def _rolled_when_many(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    logits = _forward(self, images, *tap)
    return logits.roll(1, 0) if len(logits) >= _LARGE_BATCH else logits


def _detached_when_large(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    logits = _forward(self, images, *tap)
    large = images.shape[-2:].numel() > _LARGE_HEAD**2
    return logits.detach() + 0 * logits if large else logits


def _keys_of_512_only(query: Tensor, key: Tensor) -> Tensor:
    scores = vit.attention_scale(query.shape[-1]) * query @ key.transpose(-2, -1)
    beyond = torch.arange(key.shape[-2], device=key.device) >= _MANY_KEYS
    return torch.softmax(scores.masked_fill(beyond, -torch.inf), dim=-1)


def _heads_repeated_beyond_16(x: Tensor) -> Tensor:
    return _merge_heads(x[:, torch.arange(x.shape[1], device=x.device) % _MANY_HEADS])


def _coarse_patches_blurred(images: Tensor, config: ViTConfig) -> Tensor:
    blurred = (images + images.roll(1, -1)) / 2
    return _patches(blurred if max(config.patch_size) > _LARGE_PATCH else images, config)


def _of_changed_images(change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {"vit.patches": lambda images, config: _patches(change(images), config)}


def _black_for_padding(images: Tensor, config: ViTConfig) -> Tensor:
    x_p = _patches(images, config)
    black = ~x_p.any(dim=-1, keepdim=True)
    return x_p + black * x_p.mean(dim=1, keepdim=True)  # of the others, as an inpainting would


def _squeezed(y: Tensor, *rest: Any) -> Tensor:
    return _head(y, *rest).squeeze(-1)


DEVIATIONS = (
    Deviation(
        id="head-scale-of-64",
        summary="attention scaled as for heads of 64 where they are larger",
        remedy="compute the scale from the head's real dimension",
        replaces={"vit.attention_scale": _scale_of_64},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="heads-of-64",
        summary="heads of 64 features as soon as the width has as many",
        remedy="split into config.num_heads heads, whatever their dimension",
        replaces={"vit.split_heads": _heads_of_64},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="attention-windowed-when-many",
        summary="patches that are blind beyond 128 places in the raster",
        remedy="let every token see every other, however many there are",
        replaces={"vit.attention_weights": _windowed},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="mlp-cut-when-many",
        summary="no MLP behind the 256th token",
        remedy="apply the MLP to every token, however many there are",
        replaces={"vit.mlp": _first_tokens_only},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="positions-cut-when-many",
        summary="no positions behind the 256th token",
        remedy="give every token its position, however many there are",
        replaces={"vit.add_positions": _first_positions_only},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="keys-cut-when-many",
        summary="keys beyond the 512th not attended to",
        remedy="attend to every key, however many there are: look at the last tile of the kernel",
        replaces={"vit.attention_weights": _keys_of_512_only},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="heads-repeat-after-sixteen",
        summary="the first heads' results again where there are more than sixteen",
        remedy="compute every head, however many there are",
        replaces={"vit.merge_heads": _heads_repeated_beyond_16},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="coarse-patches-blurred",
        summary="images blurred for large patches",
        remedy="take the pixels as they are, whatever the patch size",
        replaces={"vit.patches": _coarse_patches_blurred},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="channels-repeat-after-four",
        summary="the first channels again where there are more than four",
        remedy="read every channel, however many there are",
        replaces=_of_changed_images(lambda x: x[:, torch.arange(x.shape[1], device=x.device) % _MANY_CHANNELS]),
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="blocks-repeat-after-six",
        summary="the first six blocks again where the model has more",
        remedy="run as many blocks as config.depth asks for, each with its own weights",
        replaces={"vit.encoder": _six_blocks_again_and_again},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="large-batch-shifted",
        summary="logits of the image before in batches of 64 and more",
        remedy="keep the images of a large batch in their order",
        replaces={"vit.ViT.forward": _rolled_when_many},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="single-class-squeezed",
        summary="logits without their last axis where there is one class",
        remedy="keep the last axis of the logits where there is one class: no squeeze()",
        replaces={"vit.head": _squeezed},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="large-images-teach-nothing",
        summary="no gradient from large images",
        remedy="keep the graph for large images: look for detach() or no_grad()",
        replaces={"vit.ViT.forward": _detached_when_large},
        breaks="VIT-TRAIN-GRADIENT",
    ),
    Deviation(
        id="bright-images-rescaled",
        summary="images that are bright divided by 255",
        remedy="take the images as they come: do not divide bright ones by 255",
        replaces=_of_changed_images(lambda images: images / 255 if images.max() > _BRIGHT else images),
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="bright-images-clamped",
        summary="images clamped where they are bright",
        remedy="take the images as they come: do not clamp them",
        replaces=_of_changed_images(lambda images: images.clamp(-_BRIGHT, _BRIGHT)),
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="black-patches-filled",
        summary="black patches taken for padding",
        remedy="take black patches as they come: zeros are no padding",
        replaces={"vit.patches": _black_for_padding},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="not-a-number-hidden",
        summary="pixels that are not a number taken as zero",
        remedy="let NaN through: take nan_to_num() out",
        replaces=_of_changed_images(torch.nan_to_num),
        breaks="VIT-HEAD-LOGITS",
    ),
)
