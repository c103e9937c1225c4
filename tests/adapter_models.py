"""Small models behind their adapters, for the tests of the built-in adapters."""

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.adapter import Adapter, ViTConfig
from vitbench.reference.parameters import exercised_weights
from vitbench.registry import resolve

SQUARE = ViTConfig(image_size=(24, 24), patch_size=(8, 8), width=16, depth=2, num_heads=4, mlp_dim=40, num_classes=5)
CONFIGS = {
    "square": SQUARE,
    "rectangular_image": replace(SQUARE, image_size=(16, 24)),
    "rectangular_patches": replace(SQUARE, image_size=(24, 24), patch_size=(6, 8)),
    "rectangular_all": replace(SQUARE, image_size=(24, 32), patch_size=(6, 16), channels=4),
    "one_channel": replace(SQUARE, channels=1),
    "four_channels": replace(SQUARE, channels=4),
    "one_block": replace(SQUARE, depth=1, num_heads=2),
    "three_blocks": replace(SQUARE, depth=3, num_heads=8, mlp_dim=12),
    "one_head": replace(SQUARE, num_heads=1),
    "one_patch_and_one_class": replace(SQUARE, image_size=(8, 8), num_classes=1),
    "ratio_that_floats_miss": replace(SQUARE, width=49, num_heads=7, mlp_dim=1),
    "mean_pool": replace(SQUARE, pool="mean"),
    "mlp_head": replace(SQUARE, head="mlp"),
    "hybrid_stem": replace(SQUARE, stem="hybrid"),
    "dropout": replace(SQUARE, dropout=0.5),
    "attention_dropout": replace(SQUARE, attention_dropout=0.5),
    "both_dropouts": replace(SQUARE, dropout=0.5, attention_dropout=0.5),
    "drop_path": replace(SQUARE, drop_path=0.5),
}
STAGES = ("patch_tokens", "tokens", "block_outputs", "attention", "representation")

EXACT = 1e-10  # of the largest value, in float64; the packages come within 1e-14
IN_FLOAT32 = 1e-6  # where a package computes in float32 whatever the model's dtype

adapter = cache(resolve)


def close(actual: Tensor, expected: Tensor, tolerance: float = EXACT) -> bool:
    """Of one shape, and nowhere further apart than ``tolerance`` of the largest expected value."""
    same_kind = actual.shape == expected.shape and actual.dtype == expected.dtype
    return same_kind and bool((actual - expected).abs().max() <= tolerance * expected.abs().max())


def images_for(config: ViTConfig, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, config.channels, *config.image_size, generator=generator, dtype=torch.float64)


def built(peer: Adapter, config: ViTConfig) -> Any:
    return peer.build(config).eval().to(torch.float64)


def loaded(peer: Adapter, config: ViTConfig, seed: int = 1) -> tuple[Any, dict[str, Tensor]]:
    model, weights = built(peer, config), exercised_weights(config, peer.conventions, seed)
    peer.load(model, weights)
    return model, weights


def forward_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
