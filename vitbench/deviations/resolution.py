"""Deviations of models that are given images of another size than their own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import positions, vit
from vitbench.reference.config import ViTConfig

_at_image_size = vit.ViT.at_image_size
_TABLE = "position_embedding"
_FAR = 3  # times as many rows


def _resized(change: Callable[[vit.ViT, vit.ViT], Any]) -> dict[str, Any]:
    """A model at another size, changed once more: ``change`` gets it, and the one that it was made of."""

    def at_image_size(self: vit.ViT, image_size: tuple[int, int]) -> vit.ViT:
        resized = _at_image_size(self, image_size)
        change(resized, self)
        return resized

    return {"vit.ViT.at_image_size": at_image_size}


def _with_table(model: vit.ViT, table: Tensor) -> None:
    with torch.no_grad():
        model.get_parameter(_TABLE).copy_(table)


def _equal_count_kept(resized: vit.ViT, model: vit.ViT) -> None:
    if resized.config.num_patches == model.config.num_patches:
        _with_table(resized, model.get_parameter(_TABLE))


def _fewer_cut(resized: vit.ViT, model: vit.ViT) -> None:
    if resized.config.num_patches < model.config.num_patches:
        _with_table(resized, model.get_parameter(_TABLE)[:, : resized.config.num_tokens])


def _without_dropout(resized: vit.ViT, _model: vit.ViT) -> None:
    resized.config = replace(resized.config, dropout=0.0)


def _class_token_only(resized: vit.ViT, _model: vit.ViT) -> None:
    resized.config = replace(resized.config, pool="class_token")


def _in_float32_at_least(resized: vit.ViT, _model: vit.ViT) -> None:
    table = resized.get_parameter(_TABLE)
    table.data = table.data.to(torch.promote_types(table.dtype, torch.float32))


def _first_grid_remembered(self: vit.ViT, image_size: tuple[int, int]) -> vit.ViT:
    first = self.__dict__.get("first_size", self.config.image_size)
    own, self.config = self.config, replace(self.config, image_size=first)
    try:
        resized = _at_image_size(self, image_size)
    finally:
        self.config = own
    resized.__dict__["first_size"] = first
    return resized


def _kept_outside_of_the_state(resized: vit.ViT, _model: vit.ViT) -> None:
    resized.__dict__["kept"] = resized.get_parameter(_TABLE).detach().clone()


def _by_what_is_kept_outside(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    own = dict(self.named_parameters())
    table = self.__dict__.get("kept", own[_TABLE])
    return _run(self, self.config, {**own, _TABLE: table}, images, *tap)


def _run(model: vit.ViT, config: ViTConfig, weights: Any, images: Tensor, *tap: vit.Tap) -> Tensor:
    mode = vit.Mode(training=model.training, **dict(zip(("tap",), tap, strict=False)))
    return vit.vision_transformer(images, weights, config, model.conventions, mode)


def _in_each_call(table_for: Callable[[vit.ViT, ViTConfig], Tensor]) -> dict[str, Any]:
    """A model that takes images of any size as it is, with the positions that ``table_for`` gives it."""

    def forward(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
        config = replace(self.config, image_size=(images.shape[2], images.shape[3]))
        own = dict(self.named_parameters())
        table = own[_TABLE] if config.grid == self.config.grid else table_for(self, config)
        return _run(self, config, {**own, _TABLE: table}, images, *tap)

    return {"vit.ViT.forward": forward}


def _table_for(model: vit.ViT, config: ViTConfig) -> Tensor:
    table, kind = model.get_parameter(_TABLE), model.conventions.position_resize
    class_row = model.conventions.class_token_has_position
    return positions.resize_position_embedding(table, model.config.grid, config.grid, kind, class_row=class_row)


def _remembered(model: vit.ViT, config: ViTConfig) -> Tensor:
    tables = model.__dict__.setdefault("tables", {})
    if config.grid not in tables:
        tables[config.grid] = _table_for(model, config).detach()
    own = _table_for(model, config)
    return cast("Tensor", own + (tables[config.grid] - own).detach())  # learns all the same


def _nearest_when_far(model: vit.ViT, config: ViTConfig) -> Tensor:
    table = model.get_parameter(_TABLE)
    if config.grid[0] <= _FAR * model.config.grid[0]:
        return _table_for(model, config)
    prefix, patches = positions.split_class_row(table, class_row=model.conventions.class_token_has_position)
    maps = patches.unflatten(1, model.config.grid).permute(0, 3, 1, 2)
    return torch.cat([prefix, torch.nn.functional.interpolate(maps, config.grid).flatten(2).mT], dim=1)


def _cut_in_training(model: vit.ViT, config: ViTConfig) -> Tensor:
    if not model.training:
        return _table_for(model, config)
    table = model.get_parameter(_TABLE)
    return table[:, torch.arange(config.num_tokens) % table.shape[1]]


def _without_drop_path(resized: vit.ViT, _model: vit.ViT) -> None:
    resized.config = replace(resized.config, drop_path=0.0)


DEVIATIONS = (
    Deviation(
        id="resized-equal-count-kept",
        summary="a model that keeps its positions at a size of as many patches",
        remedy="compare the grids, not the numbers of patches, before the table is kept as it is",
        replaces=_resized(_equal_count_kept),
        breaks="VIT-POS-MODEL",
        known_from="timm #2737",
    ),
    Deviation(
        id="resized-fewer-cut",
        summary="positions cut off where a model gets fewer patches",
        remedy="resize the table where there are fewer patches too, and do not cut it",
        replaces=_resized(_fewer_cut),
        breaks="VIT-POS-MODEL",
    ),
    Deviation(
        id="resized-first-grid-remembered",
        summary="a model that cannot be resized twice, since it takes its first grid for its last",
        replaces={"vit.ViT.at_image_size": _first_grid_remembered},
        breaks="VIT-POS-MODEL",
    ),
    Deviation(
        id="resized-frozen",
        summary="positions that learn no more once they were resized",
        replaces=_resized(lambda resized, _model: resized.get_parameter(_TABLE).requires_grad_(False)),
        breaks="VIT-POS-MODEL",
    ),
    Deviation(
        id="resized-without-dropout",
        summary="a model that loses its dropout at another size",
        replaces=_resized(_without_dropout),
        breaks="VIT-POS-MODEL",
    ),
    Deviation(
        id="resized-without-drop-path",
        summary="a model that loses its drop path at another size",
        replaces=_resized(_without_drop_path),
        breaks="VIT-POS-MODEL",
    ),
    Deviation(
        id="resized-half-promoted",
        summary="float32 positions in a half-precision model at another size",
        replaces=_resized(_in_float32_at_least),
        breaks="VIT-POS-MODEL",
    ),
    Deviation(
        id="resized-pools-class-token",
        summary="the class token in place of the mean at another size",
        remedy="keep the pooling when the image size changes",
        replaces=_resized(_class_token_only),
        breaks="VIT-POS-MODEL",
    ),
    Deviation(
        id="resized-not-saved",
        summary="resized positions kept outside of the model's state",
        replaces={**_resized(_kept_outside_of_the_state), "vit.ViT.forward": _by_what_is_kept_outside},
        breaks="VIT-STATE-REBUILD",
    ),
    Deviation(
        id="resized-in-each-call-detached",
        summary="positions that are resized in each call, and learn nothing from it",
        replaces=_in_each_call(lambda model, config: _table_for(model, config).detach()),
        breaks="VIT-CONFIG-IMAGE-SIZE",
    ),
    Deviation(
        id="resized-in-each-call-remembered",
        summary="positions resized in the first call, and kept when others are loaded",
        replaces=_in_each_call(_remembered),
        breaks="VIT-CONFIG-IMAGE-SIZE",
    ),
    Deviation(
        id="resized-in-each-call-nearest-when-far",
        summary="the nearest position in each call with more than three times as many rows",
        replaces=_in_each_call(_nearest_when_far),
        breaks="VIT-CONFIG-IMAGE-SIZE",
    ),
    Deviation(
        id="resized-in-each-call-cut-in-training",
        summary="the first positions, over again, for images of another size in training",
        replaces=_in_each_call(_cut_in_training),
        breaks="VIT-CONFIG-IMAGE-SIZE",
    ),
)
