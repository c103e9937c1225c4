"""Deviations of the hybrid: between the stem's feature map and its projected patches."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, group_norm

from vitbench.deviations.deviation import Deviation
from vitbench.reference import resnet, vit
from vitbench.reference.config import ViTConfig

_behind_stem, _extract = ViTConfig.behind_stem, resnet.FeatureExtractor.forward  # the originals


def _patches_of_one_cell(config: ViTConfig, channels: int, map_size: tuple[int, int]) -> ViTConfig:
    return replace(_behind_stem(config, channels, map_size), patch_size=(1, 1))


def _pooled_size(config: ViTConfig, channels: int, map_size: tuple[int, int]) -> ViTConfig:
    rows, columns = (max(side // patch // 2, 1) for side, patch in zip(map_size, config.patch_size, strict=True))
    return _behind_stem(config, channels, (rows * config.patch_size[0], columns * config.patch_size[1]))


def _pixels(config: ViTConfig, channels: int, map_size: tuple[int, int]) -> ViTConfig:
    return replace(config, stem="patch", patch_size=(16 * config.patch_size[0], 16 * config.patch_size[1]))


def _pixels_embedded(images: Tensor, stem: nn.Module, model: vit.ViT, tap: vit.Tap) -> Tensor:
    tap("feature_map", stem(images))
    return model(images, tap)


def _on_map(disturb: Callable[[Tensor, ViTConfig], Tensor]) -> Callable[..., Tensor]:
    """A hybrid whose ViT reads something else than its stem's feature map, which is shown all the same."""

    def deviating(images: Tensor, stem: nn.Module, model: vit.ViT, tap: vit.Tap) -> Tensor:
        feature_map = stem(images)
        tap("feature_map", feature_map)
        return model(disturb(feature_map, model.config), tap)

    return deviating


def _channels_last_in_patch(x: Tensor, config: ViTConfig) -> Tensor:
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    cells = x.reshape(-1, config.channels, rows, patch_h, columns, patch_w).permute(0, 2, 4, 3, 5, 1)
    misread = cells.reshape(-1, rows, columns, config.channels, patch_h, patch_w)
    return misread.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def _without_positions(images: Tensor, stem: nn.Module, model: vit.ViT, tap: vit.Tap) -> Tensor:
    weights: dict[str, Tensor] = dict(model.named_parameters())
    weights["position_embedding"] = torch.zeros_like(weights["position_embedding"])
    feature_map = stem(images)
    tap("feature_map", feature_map)
    return vit.vision_transformer(feature_map, weights, model.config, model.conventions, vit.Mode(tap=tap))


DEVIATIONS = (
    Deviation(
        id="hybrid-patch-size-ignored",
        summary="patches of one cell of the feature map, whatever was asked for",
        replaces={"config.ViTConfig.behind_stem": _patches_of_one_cell},
        breaks="VIT-HYBRID-PATCH-SIZE",
    ),
    Deviation(
        id="hybrid-patches-of-pixels",
        summary="a stem that runs, and patches of the image all the same",
        replaces={"config.ViTConfig.behind_stem": _pixels, "hybrid.hybrid": _pixels_embedded},
        breaks="VIT-HYBRID-COUNT",
    ),
    Deviation(
        id="hybrid-map-pooled",
        summary="a feature map halved once more before it is cut into patches",
        replaces={
            "config.ViTConfig.behind_stem": _pooled_size,
            "hybrid.hybrid": _on_map(lambda x, config: adaptive_avg_pool2d(x, config.image_size)),
        },
        breaks="VIT-HYBRID-COUNT",
    ),
    Deviation(
        id="hybrid-map-smoothed",
        summary="a feature map averaged over 3 x 3 cells before it is cut into patches",
        replaces={"hybrid.hybrid": _on_map(lambda x, _: avg_pool2d(x, 3, stride=1, padding=1))},
        breaks="VIT-HYBRID-PROJECTION",
    ),
    Deviation(
        id="hybrid-channels-last-in-patch",
        summary="patches of the feature map flattened cell by cell, for weights that are laid out channel by channel",
        replaces={"hybrid.hybrid": _on_map(_channels_last_in_patch)},
        breaks="VIT-HYBRID-PROJECTION",
    ),
    Deviation(
        id="hybrid-columns-first",
        summary="the feature map's rows and columns exchanged",
        replaces={"hybrid.hybrid": _on_map(lambda x, _: x.transpose(2, 3).reshape(x.shape))},
        breaks="VIT-HYBRID-PROJECTION",
    ),
    Deviation(
        id="hybrid-map-normalised-again",
        summary="a feature map that the stem has normalised, normalised once more",
        replaces={"hybrid.hybrid": _on_map(lambda x, _: group_norm(x, 1))},
        breaks="VIT-HYBRID-PROJECTION",
    ),
    Deviation(
        id="hybrid-map-rectified-again",
        summary="only what exceeds the mean of the feature map",
        replaces={"hybrid.hybrid": _on_map(lambda x, _: torch.relu(x - x.mean()))},
        breaks="VIT-HYBRID-PROJECTION",
    ),
    Deviation(
        id="hybrid-stem-skipped",
        summary="a feature map of zeros in the place of the stem's",
        replaces={"hybrid.hybrid": _on_map(lambda x, _: torch.zeros_like(x))},
        breaks="VIT-HYBRID-PROJECTION",
    ),
    Deviation(
        id="hybrid-stem-blind",
        summary="a stem whose feature map is the same whatever the image",
        replaces={"resnet.FeatureExtractor.forward": lambda stem, images: _extract(stem, torch.ones_like(images))},
        breaks="VIT-HYBRID-PROJECTION",
    ),
    Deviation(
        id="hybrid-without-positions",
        summary="no position embeddings behind a stem",
        replaces={"hybrid.hybrid": _without_positions},
        breaks="VIT-HYBRID-LOGITS",
    ),
    Deviation(
        id="hybrid-stem-detached",
        summary="a feature map cut off from the graph before the encoder",
        replaces={"hybrid.hybrid": _on_map(lambda x, _: x.detach())},
        breaks="VIT-HYBRID-TRAINABLE",
    ),
)
