"""Deviations that closed forms tell without a reference beside them."""

from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from vitbench.deviations.attention import scores_of
from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights

_patches, _block = vit.patches, vit.encoder_block


def _turned_within(images: Tensor, config: ViTConfig) -> Tensor:
    pixels = _patches(images, config).unflatten(2, (config.channels, *config.patch_size))
    return pixels.flip(3, 4).flatten(2)


def _with_a_sink(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_of(query, key)
    sink = torch.zeros_like(scores[..., :1])
    return torch.softmax(torch.cat([scores, sink], dim=-1), dim=-1)[..., :-1]


def _other_epsilon_inside(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    return _block(z, weights, config, replace(conventions, layer_norm_eps=1e-5), mode)


DEVIATIONS = (
    Deviation(
        id="patch-kernel-turned",
        summary="the patch kernel turned by half a circle, as a true convolution has it",
        remedy="do not flip the kernel: in load(), or use cross-correlation as torch's Conv2d does",
        replaces={"vit.patches": _turned_within},
        breaks="VIT-PATCH-IMPULSE",
    ),
    Deviation(
        id="attention-scale-of-one-more",
        summary="attention scaled by 1/√(D_h + 1)",
        remedy="scale by head_dim ** -0.5: look at what is counted as the head's features",
        replaces={"vit.attention_scale": lambda head_dim: 1 / sqrt(head_dim + 1)},
        breaks="VIT-ATTN-TWO-TOKENS",
    ),
    Deviation(
        id="attention-sink",
        summary="a sink that takes a part of every query's attention",
        remedy="take the softmax over the keys alone: no extra zero (add_zero_attn), no +1 in its denominator",
        replaces={"vit.attention_weights": _with_a_sink},
        breaks="VIT-ATTN-CONSTANT",
    ),
    Deviation(
        id="activation-clipped",
        summary="the GELU clipped at four",
        remedy="do not clip what the GELU receives",
        replaces={"vit.ACTIVATIONS": {**vit.ACTIVATIONS, "gelu": lambda x: vit.gelu(x.clamp(max=4))}},
        breaks="VIT-MLP-READOUT",
    ),
    Deviation(
        id="norm-epsilon-inside-blocks",
        summary="LayerNorm epsilon 1e-5 within the blocks, the declared one behind them",
        remedy="use the declared layer_norm_eps in the blocks' LayerNorms too, not torch's default",
        replaces={"vit.encoder_block": _other_epsilon_inside},
        breaks="VIT-NORM-BLOCKS",
        known_from="transformers #18137",
    ),
)
