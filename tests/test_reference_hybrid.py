"""The hybrid: a ViT on a ResNet's feature map, its sizes and its resizing."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor

from vitbench.reference.config import ConfigurationError, Conventions, ViTConfig
from vitbench.reference.cost import parameter_count
from vitbench.reference.hybrid import Hybrid
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.resnet import MINIATURE, R50_STAGE_3, FeatureExtractor
from vitbench.reference.variants import variant
from vitbench.reference.vit import ViT, vision_transformer

CONFIG = ViTConfig(
    image_size=(64, 96),
    patch_size=(2, 3),
    channels=2,
    width=12,
    depth=2,
    num_heads=3,
    mlp_dim=7,
    num_classes=5,
    stem="hybrid",
)  # a map of 16 channels, 8 x 12 cells: 4 x 4 patches
BEHIND = replace(CONFIG, stem="patch", channels=16, image_size=(8, 12))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loaded(config: ViTConfig = CONFIG) -> Hybrid:
    model = Hybrid(config, resnet=MINIATURE).double().eval()
    model.vit.load_state_dict(exercised_weights(model.vit.config, Conventions(), seed=3))
    return model


def test_the_vit_behind_a_stem_takes_the_feature_map_for_its_image() -> None:
    assert CONFIG.behind_stem(16, (8, 12)) == BEHIND == loaded().vit.config
    assert (BEHIND.grid, BEHIND.num_tokens) == ((4, 4), 17)


def test_the_hybrid_is_the_papers_model_on_the_feature_map_of_its_stem() -> None:
    model, images = loaded(), normal(3, 2, 64, 96)
    weights = {name: parameter.detach() for name, parameter in model.vit.named_parameters()}
    expected = vision_transformer(model.stem(images), weights, BEHIND, Conventions())
    assert torch.equal(model(images), expected)


def test_the_feature_map_is_shown_before_every_other_stage() -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []
    loaded()(normal(3, 2, 64, 96), lambda stage, value: seen.append((stage, tuple(value.shape))))
    assert seen[:3] == [("feature_map", (3, 16, 8, 12)), ("patch_tokens", (3, 16, 12)), ("tokens", (3, 17, 12))]
    assert len(seen) == 3 + 2 * 2 + 1


def test_an_image_that_the_stem_does_not_divide_has_a_map_that_is_rounded_up() -> None:
    model = loaded(replace(CONFIG, image_size=(57, 65)))
    assert model.vit.config.image_size == (8, 9)
    assert model(normal(1, 2, 57, 65)).shape == (1, 5)


def test_patches_must_divide_the_map_and_need_not_divide_the_image() -> None:
    assert replace(CONFIG, image_size=(65, 97)).image_size == (65, 97)
    with pytest.raises(ConfigurationError, match=r"^patch_size 2 does not divide image_size 9 \(ViTConfig\)"):
        Hybrid(replace(CONFIG, image_size=(65, 97)), resnet=MINIATURE)


def test_a_configuration_cannot_count_the_patches_of_a_map_that_it_does_not_know() -> None:
    for name in ("grid", "num_patches", "num_tokens"):
        with pytest.raises(ConfigurationError, match=r"ask the configuration that behind_stem\(channels, map_size\)"):
            getattr(CONFIG, name)


def test_gradients_of_the_logits_reach_every_filter_of_the_stem() -> None:
    model = loaded()
    (model(normal(2, 2, 64, 96)) ** 2).sum().backward()
    largest = {name: p.grad.abs().max().item() for name, p in model.stem.named_parameters() if p.grad is not None}
    assert len(largest) == len(list(model.stem.parameters()))
    # 1 x 1 filters of two numbers are standardised to -1 and 1, whatever they were
    of_two = {"stages.0.0.conv1.weight", "stages.0.0.conv3.weight", "stages.0.0.shortcut.weight"}
    assert {name for name, size in largest.items() if size < 1e-6} <= of_two


def test_another_image_size_keeps_weights_dtype_and_mode_and_resizes_positions_on_the_maps_grid() -> None:
    model = loaded()
    larger = model.at_image_size((96, 120))
    assert (larger.vit.config.image_size, larger.training, larger.config.image_size) == ((12, 15), False, (96, 120))
    before, after = model.state_dict(), larger.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"vit.position_embedding"}
    expected = resize_position_embedding(before["vit.position_embedding"], (4, 4), (6, 5), "bilinear_corners")
    assert torch.equal(after["vit.position_embedding"], expected)
    assert larger(normal(1, 2, 96, 120)).dtype == torch.float64
    assert model.train().at_image_size((96, 120)).training


def test_r50_vit_b16_has_the_parameters_of_timms() -> None:
    """Section 4.1 (ii), patches of one cell of a 14 x 14 map."""
    config = replace(variant("B/16@224"), stem="hybrid", patch_size=(1, 1))
    behind = config.behind_stem(R50_STAGE_3.num_features, R50_STAGE_3.feature_map_size((224, 224)))
    stem = sum(parameter.numel() for parameter in FeatureExtractor(R50_STAGE_3).parameters())
    theirs = timm.create_model("vit_base_r50_s16_224", num_classes=1000)
    assert behind.num_tokens == 197
    assert stem + parameter_count(behind) == sum(parameter.numel() for parameter in theirs.parameters())


def test_the_vit_alone_refuses_the_configuration_of_a_hybrid() -> None:
    with pytest.raises(ConfigurationError, match="behind_stem"):
        ViT(CONFIG)
