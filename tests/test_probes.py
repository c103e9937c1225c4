"""Altered weights and images: that they do what the checks rely on, under every convention."""

from itertools import product

import pytest
import torch

from vitbench.probes import equal_tokens
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.stages import stages

CONFIG = ViTConfig(image_size=(4, 9), patch_size=(2, 3), width=8, depth=2, num_heads=2, mlp_dim=7, num_classes=3)
CHOICES = [
    {"patch_bias": bias, "pre_norm": norm, "class_token_has_position": row, "patch_embedding": embedding}
    for bias, norm, row, embedding in product(*[(True, False)] * 3, ("linear", "norm_linear_norm"))
]


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_equal_tokens_are_one_vector_for_every_image_under_any_convention(choices: dict[str, object]) -> None:
    conventions = Conventions(**choices)  # type: ignore[arg-type]
    weights = exercised_weights(CONFIG, conventions, seed=0)
    changed = {**weights, **equal_tokens(weights, 0.5, class_row=conventions.class_token_has_position)}
    images = torch.randn(2, 3, 4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = stages(images, changed, CONFIG, conventions)
    for z in (seen.tokens, *seen.block_outputs):
        torch.testing.assert_close(z, z[:1, :1].expand_as(z))
    assert changed.keys() == weights.keys()
    assert 0.1 < seen.tokens.std(correction=0) < 1
