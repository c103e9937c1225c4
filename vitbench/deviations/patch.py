"""Deviations of patches and their projection."""

from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights

# The originals, taken before anything is replaced.
_patches, _patch_tokens = vit.patches, vit.patch_tokens


def _dilated(images: Tensor, config: ViTConfig) -> Tensor:
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    x = images.reshape(-1, config.channels, patch_h, rows, patch_w, columns)
    return x.permute(0, 3, 5, 1, 2, 4).flatten(3).flatten(1, 2)


def _column_major(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images, config).unflatten(1, config.grid).transpose(1, 2).flatten(1, 2)


def _pixels_first(images: Tensor, config: ViTConfig) -> Tensor:
    x = _patches(images, config).unflatten(2, (config.channels, -1))
    return x.transpose(2, 3).flatten(2)


def _cropped(images: Tensor, config: ViTConfig) -> Tensor:
    height, width = config.image_size
    return _patches(images[:, :, :height, :width], config)


def _mixed_patches(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    x = _patch_tokens(images, weights, config, conventions)
    return x + 0.1 * x.roll(1, dims=1)


def _one_patch_short(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images, config)[:, : max(config.num_patches - 1, 1)]


def _square_only(images: Tensor, config: ViTConfig) -> Tensor:
    if config.image_size[0] != config.image_size[1]:
        raise ValueError("image must be square")
    return _patches(images, config)


def _square_patches_only(images: Tensor, config: ViTConfig) -> Tensor:
    if config.patch_size[0] != config.patch_size[1]:
        raise ValueError("patches must be square")
    return _patches(images, config)


def _colour_only(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images.roll(1, dims=1) if config.channels != 3 else images, config)  # noqa: PLR2004


def _channels_cut(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images[:, : config.channels], config)


def _grey_repeated(images: Tensor, config: ViTConfig) -> Tensor:
    return _patches(images.expand(-1, config.channels, -1, -1) if images.shape[1] == 1 else images, config)


DEVIATIONS = (
    Deviation(
        id="patch-channels-cut",
        summary="channels beyond its own ignored",
        replaces={"vit.patches": _channels_cut},
        breaks="VIT-PATCH-CHANNELS",
    ),
    Deviation(
        id="patch-grey-repeated",
        summary="a grey image taken as one of equal colours",
        replaces={"vit.patches": _grey_repeated},
        breaks="VIT-PATCH-CHANNELS",
    ),
    Deviation(
        id="patches-dilated",
        summary="patches made of pixels that lie a grid's width apart, not of neighbours",
        remedy="cut patches out of neighbouring pixels: reshape to (rows, P_h, columns, P_w), not (P_h, rows, "
        "P_w, columns)",
        replaces={"vit.patches": _dilated},
        breaks="VIT-PATCH-LOCALITY",
        known_from="vit-pytorch 825a948",
    ),
    Deviation(
        id="patches-column-major",
        summary="patches read column by column",
        remedy="flatten the patch grid row by row: (rows, columns), not (columns, rows)",
        replaces={"vit.patches": _column_major},
        breaks="VIT-PATCH-RASTER",
    ),
    Deviation(
        id="patches-pixels-first",
        summary="patches flattened as (P_h, P_w, C) with weights laid out for (C, P_h, P_w)",
        remedy="flatten each patch as (C, P_h, P_w), or permute the projection's weight in load()",
        replaces={"vit.patches": _pixels_first},
        breaks="VIT-PATCH-PROJECTION",
    ),
    Deviation(
        id="patches-cropped",
        summary="images cropped to the configured size without a word",
        replaces={"vit.patches": _cropped},
        breaks="VIT-PATCH-INDIVISIBLE",
        known_from="transformers with interpolate_pos_encoding=True",
    ),
    Deviation(
        id="image-size-cropped",
        summary="larger images cropped where they should be refused or their positions resized",
        replaces={"vit.patches": _cropped},
        breaks="VIT-CONFIG-IMAGE-SIZE",
    ),
    Deviation(
        id="patches-mixed",
        summary="a tenth of the previous patch added to each patch token",
        remedy="keep each patch token to its own patch: look for an overlap, a shift or a convolution behind "
        "the projection",
        replaces={"vit.patch_tokens": _mixed_patches},
        breaks="VIT-PATCH-LOCALITY",
    ),
    Deviation(
        id="patches-one-short",
        summary="the last patch left out",
        replaces={"vit.patches": _one_patch_short},
        breaks="VIT-PATCH-COUNT",
    ),
    Deviation(
        id="patch-projection-activated",
        summary="a GELU behind the patch projection",
        remedy="take the activation behind the patch projection out",
        replaces={"vit.patch_tokens": lambda *arguments: vit.gelu(_patch_tokens(*arguments))},
        breaks="VIT-PATCH-LINEAR",
    ),
    Deviation(
        id="images-square-only",
        summary="rectangular images refused at run time",
        replaces={"vit.patches": _square_only},
        breaks="VIT-PATCH-IMAGE-RECTANGULAR",
        known_from="keras_cv 0.9.0",
    ),
    Deviation(
        id="patches-square-only",
        summary="rectangular patches refused at run time",
        replaces={"vit.patches": _square_patches_only},
        breaks="VIT-PATCH-SHAPE-RECTANGULAR",
    ),
    Deviation(
        id="channels-rolled-unless-three",
        summary="channels in another order unless there are three",
        remedy="take the channels in the order given, whatever their number",
        replaces={"vit.patches": _colour_only},
        breaks="VIT-PATCH-CHANNELS",
    ),
)
