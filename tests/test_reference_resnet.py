"""The paper's ResNet: against timm's with the same weights, and by hand."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.layers import GroupNormAct, StdConv2d, StdConv2dSame
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from vitbench.reference.resnet import (
    MINIATURE,
    R50,
    R50_STAGE_3,
    RESNETS,
    FeatureExtractor,
    ResNet,
    ResNetConfig,
    padded,
    standardized,
)

TIMM_WEIGHT_EPS = 1e-8
TIMM_NORM_EPS = 1e-5


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scalars(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def paired(ours: FeatureExtractor, theirs: Any) -> list[tuple[Tensor, Tensor]]:
    """Each of our parameters beside timm's, which has the same blocks under other names."""
    pairs = [(ours.root.conv.weight, theirs.stem.conv.weight)]
    if ours.root.norm is not None:
        pairs += zip(ours.root.norm.parameters(), theirs.stem.norm.parameters(), strict=True)
    for our_stage, their_stage in zip(ours.stages, theirs.stages, strict=True):
        for block, other in zip(our_stage, their_stage.blocks, strict=True):
            for name in ("conv1", "conv2", "conv3", "norm1", "norm2", "norm3"):
                pairs += zip(getattr(block, name).parameters(), getattr(other, name).parameters(), strict=True)
            if block.shortcut is not None:
                pairs.append((block.shortcut.weight, other.downsample.conv.weight))
            if block.shortcut_norm is not None:
                pairs += zip(block.shortcut_norm.parameters(), other.downsample.norm.parameters(), strict=True)
    return pairs


def exercise(pairs: list[tuple[Tensor, Tensor]]) -> None:
    """The same random weights on both sides, gains and biases included."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for mine, other in pairs:
            values = torch.randn(mine.shape, generator=generator, dtype=mine.dtype)
            values = values if mine.ndim > 1 else 1 + 0.3 * values
            mine.copy_(values)
            other.copy_(values)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()


def test_r50x1_has_the_parameters_and_the_logits_of_timms() -> None:
    config = replace(R50, weight_eps=TIMM_WEIGHT_EPS)
    ours, theirs = ResNet(config).double(), timm.create_model("resnetv2_50x1_bit", num_classes=1000).double().eval()
    assert scalars(ours) == scalars(theirs) == 25_549_352
    pairs = paired(ours.features, theirs)
    assert ours.norm is not None
    pairs += zip(ours.norm.parameters(), theirs.norm.parameters(), strict=True)
    exercise(pairs)
    with torch.no_grad():
        ours.head.weight.copy_(normal(1000, 2048) / 45)
        theirs.head.fc.weight.copy_(ours.head.weight[..., None, None])
        theirs.head.fc.bias.copy_(ours.head.bias.normal_())
        for size in ((64, 96), (33, 71)):
            images = normal(2, 3, *size)
            assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("R8x1/8", 9_170),
        ("R8x1/4", 32_410),
        ("R14x1/4", 54_746),
        ("R14x1/2", 2_017_578),
        ("R26x1", 13_958_986),
    ],
)
def test_every_size_has_the_parameters_and_the_logits_of_timms(name: str, parameters: int) -> None:
    config = replace(RESNETS[name], weight_eps=TIMM_WEIGHT_EPS)
    layers = 3 * sum(config.depths) + 2  # each block has three; the root and the head
    assert (name, scalars(ResNet(config, 10))) == (f"R{layers}x{Fraction(config.width, 64)}", parameters)
    ours = ResNet(config, 10).double()
    theirs = ResNetV2(
        layers=list(config.depths),
        channels=[4 * config.width * 2**i for i in range(len(config.depths))],
        stem_chs=config.width,
        num_classes=10,
        conv_layer=partial(StdConv2d, eps=TIMM_WEIGHT_EPS),
        norm_layer=partial(GroupNormAct, num_groups=config.num_groups),
        stem_type="fixed",
    )
    theirs = theirs.double().eval()
    assert scalars(theirs) == parameters
    pairs = paired(ours.features, theirs)
    assert ours.norm is not None
    pairs += zip(ours.norm.parameters(), theirs.norm.parameters(), strict=True)
    pairs.append((ours.head.bias, theirs.head.fc.bias))
    exercise(pairs)
    with torch.no_grad():
        theirs.head.fc.weight.copy_(ours.head.weight.normal_()[..., None, None])
        for size in ((32, 48), (19, 37)):
            images = normal(2, 3, *size)
            assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("depths", [(3, 4, 9), (3, 4, 6, 3)])
def test_the_stems_of_the_papers_hybrids_make_the_feature_maps_of_timms(depths: tuple[int, ...]) -> None:
    config = replace(R50_STAGE_3, depths=depths, group_norm_eps=TIMM_NORM_EPS, weight_eps=TIMM_WEIGHT_EPS)
    ours = FeatureExtractor(config).double()
    theirs = ResNetV2(
        layers=list(depths),
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=lambda *a, **k: StdConv2dSame(*a, eps=TIMM_WEIGHT_EPS, **k),
    )
    theirs = theirs.double().eval()
    assert scalars(ours) == scalars(theirs)
    exercise(paired(ours, theirs))
    with torch.no_grad():
        for size in ((32, 64), (47, 65)):
            images = normal(2, 3, *size)
            assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("size", [(32, 32), (33, 64), (47, 71), (1, 9)])
@pytest.mark.parametrize("padding", ["fixed", "same"])
@pytest.mark.parametrize("depths", [(1,), (1, 1), (1, 1, 1)])
def test_the_feature_map_has_the_size_that_is_foretold(
    depths: tuple[int, ...], padding: Any, size: tuple[int, int]
) -> None:
    config = ResNetConfig(depths=depths, width=4, num_groups=2, channels=2, padding=padding)
    shape = FeatureExtractor(config)(torch.ones(1, 2, *size)).shape
    assert tuple(shape[1:]) == (config.num_features, *config.feature_map_size(size))


def test_r50_maps_an_image_of_224_to_7_by_7_cells_and_its_extended_stage_3_to_14_by_14() -> None:
    assert (R50.num_features, R50.feature_map_size((224, 224))) == (2048, (7, 7))
    assert (R50_STAGE_3.num_features, R50_STAGE_3.feature_map_size((224, 224))) == (1024, (14, 14))
    assert sum(R50_STAGE_3.depths) == sum(R50.depths)


def test_a_standardised_filter_has_mean_0_and_variance_1_over_its_inputs() -> None:
    weight = torch.tensor([[[[1.0, 3.0]]], [[[10.0, -10.0]]]])
    assert standardized(weight, 0.0).tolist() == [[[[-1.0, 1.0]]], [[[1.0, -1.0]]]]
    assert standardized(weight, 3.0).tolist()[0] == [[[-0.5, 0.5]]]  # variance 1, and 3 more


@pytest.mark.parametrize(
    ("padding", "length", "expected"),
    [
        ("fixed", 4, [0, 1, 1, 1, 1, 0]),
        ("same", 4, [1, 1, 1, 1, 0]),  # two windows of 3 at 0 and 2 need one zero, below
        ("same", 5, [0, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_padding_lets_a_window_at_every_second_place_see_all(padding: Any, length: int, expected: list[int]) -> None:
    x = torch.ones(1, 1, length, 3)
    assert padded(x, 3, 2, padding)[0, 0, :, 1].tolist() == expected


def test_a_block_before_activation_passes_its_input_on_unchanged() -> None:
    """With its last convolution zero: identity in ResNetV2 (He et al., 2016b), ReLU in the other."""
    for pre_activation in (True, False):
        config = ResNetConfig(depths=(2,), width=4, num_groups=2, pre_activation=pre_activation)
        block = FeatureExtractor(config).stages[0][1]
        with torch.no_grad():
            for parameter in (*block.conv3.parameters(), *block.norm3.parameters()):
                parameter.zero_()
            x = normal(1, 16, 4, 4).float()
            assert torch.equal(block(x), x if pre_activation else x.clamp(min=0))


def test_the_head_starts_at_zero_and_the_filters_from_the_seed() -> None:
    state = torch.get_rng_state()
    first, same, other = (ResNet(MINIATURE, 3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    images = torch.ones(1, 3, 32, 32)
    assert first(images).tolist() == [[0.0, 0.0, 0.0]]
    maps = [model.features(images) for model in (first, same, other)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
