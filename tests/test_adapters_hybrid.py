"""Hybrids through the adapters: timm's own against the reference behind the same feature map."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.models.resnetv2 import ResNetV2
from torch import Tensor

from vitbench.adapter import Adapter, NotSupported, ViTConfig
from vitbench.reference.hybrid import Hybrid
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.stages import stages
from vitbench.registry import resolve

HYBRID = ViTConfig(
    image_size=(64, 96),
    patch_size=(1, 1),
    width=16,
    depth=2,
    num_heads=4,
    mlp_dim=40,
    num_classes=5,
    stem="hybrid",
)
CONFIGS = {
    "one cell": HYBRID,
    "several cells": replace(HYBRID, patch_size=(2, 3)),
    "four channels": replace(HYBRID, patch_size=(4, 2), channels=4),
    "rounded map": replace(HYBRID, image_size=(57, 63)),
}
STAGES = ("patch_tokens", "tokens", "block_outputs", "attention", "representation", "logits")
BOTH = pytest.mark.parametrize("name", ["reference", "timm"])


def images_for(config: ViTConfig, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, config.channels, *config.image_size, generator=generator, dtype=torch.float64)


def loaded(peer: Adapter, config: ViTConfig) -> tuple[Any, ViTConfig, dict[str, Tensor]]:
    """A model, the configuration of the ViT behind its stem, and its weights."""
    model = peer.build(config).double().eval()
    _, channels, height, width = peer.feature_map(model, images_for(config)).shape
    behind = config.behind_stem(channels, (height, width))
    weights = exercised_weights(behind, peer.conventions, seed=1)
    peer.load(model, weights)
    return model, behind, weights


def close(actual: Tensor, expected: Tensor) -> bool:
    return actual.shape == expected.shape and bool((actual - expected).abs().max() <= 1e-10 * expected.abs().max())


@pytest.mark.parametrize("case", CONFIGS)
@BOTH
def test_computes_every_stage_of_the_reference_from_its_own_feature_map(name: str, case: str) -> None:
    peer, config = resolve(name), CONFIGS[case]
    model, behind, weights = loaded(peer, config)
    images = images_for(config)
    expected = stages(peer.feature_map(model, images), weights, behind, peer.conventions)
    for stage in STAGES:
        shown, right = getattr(peer, stage)(model, images), getattr(expected, stage)
        pairs = zip(shown, right, strict=True) if isinstance(right, list) else [(shown, right)]
        assert all(close(*pair) for pair in pairs), stage


@BOTH
def test_exports_what_it_loaded_and_nothing_of_the_stem(name: str) -> None:
    peer = resolve(name)
    model, _, weights = loaded(peer, CONFIGS["several cells"])
    exported = peer.export(model)
    assert exported.keys() == weights.keys()
    assert all(torch.equal(exported[key], weights[key]) for key in weights)


@BOTH
def test_a_model_of_pixels_has_no_feature_map(name: str) -> None:
    peer, config = resolve(name), replace(HYBRID, stem="patch", patch_size=(8, 8))
    with pytest.raises(NotSupported, match=r"^patches of pixels: there is no feature map$"):
        peer.feature_map(peer.build(config), images_for(config).float())


@BOTH
def test_takes_a_hybrid_to_another_image_size(name: str) -> None:
    peer, size = resolve(name), (96, 128)
    model, _, weights = loaded(peer, HYBRID)
    resized = peer.at_image_size(model, size)
    positions = resize_position_embedding(
        weights["position_embedding"], (8, 12), (12, 16), peer.conventions.position_resize
    )
    found = peer.export(resized)["position_embedding"]
    assert (found - positions).abs().max() <= 1e-6 * positions.abs().max()  # timm interpolates in float32
    assert peer.logits(resized, images_for(replace(HYBRID, image_size=size))).shape == (2, 5)


def test_timms_stem_is_timms_own_resnet() -> None:
    model = resolve("timm").build(HYBRID)
    assert type(model.patch_embed.backbone) is ResNetV2
    assert isinstance(resolve("reference").build(HYBRID), Hybrid)
