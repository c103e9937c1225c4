"""vit-pytorch's ViT behind the contract."""

from collections.abc import Mapping
from importlib import metadata
from math import prod
from typing import Any

import torch
from torch import Tensor
from vit_pytorch.vit import ViT  # type: ignore[import-untyped, unused-ignore]

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, qkv_views, require


class VitPytorchAdapter(MappedAdapter):
    """``vit_pytorch.ViT``: no bias of query, key and value, and LayerNorm before and after the patch projection."""

    name = "vit_pytorch"
    version = metadata.version("vit-pytorch")
    conventions = Conventions(
        layer_norm_eps=1e-5, qkv_bias=False, head_init="random", patch_embedding="norm_linear_norm"
    )

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "no hybrid stem")
        require(config.head == "linear", "linear head only; no pre-training MLP head")
        require(config.pool == "class_token", "class token only; with mean pooling it has no class token at all")
        require(config.num_heads > 1, "two heads or more; with one it leaves out the output projection")
        require(config.attention_dropout == config.dropout, "one rate for dropout and attention dropout")
        require(config.drop_path == 0, "no drop path")
        return ViT(
            image_size=config.image_size,
            patch_size=config.patch_size,
            channels=config.channels,
            num_classes=config.num_classes,
            dim=config.width,
            depth=config.depth,
            heads=config.num_heads,
            dim_head=config.head_dim,
            mlp_dim=config.mlp_dim,
            dropout=config.dropout,
            emb_dropout=config.dropout,
        )

    def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
        shape = _patch_shape(model)
        fitting = [name for name in _INPUT_NORM if name in state and state[name].shape == (prod(shape),)]
        super().load(model, {**state, **{name: torch.unflatten(state[name], 0, shape) for name in fitting}})

    def export(self, model: Any) -> dict[str, Tensor]:
        state = super().export(model)
        return {**state, **{name: state[name].flatten() for name in _INPUT_NORM}}

    def views(self, model: Any) -> dict[str, Tensor]:
        """As the contract says; but the input norm, in another order than here, only as a view (C, P_h, P_w)."""
        _, input_norm, projection, output_norm = model.to_patch_embedding
        channels, patch_h, patch_w = _patch_shape(model)

        def channels_first(parameter: Tensor) -> Tensor:  # the package flattens a patch as (P_h, P_w, C)
            return torch.unflatten(parameter.detach(), -1, (patch_h, patch_w, channels)).movedim(-1, -3)

        views = {
            "patch_embedding.weight": channels_first(projection.weight),
            "patch_embedding.bias": projection.bias.detach(),
            "patch_embedding.input_norm.weight": channels_first(input_norm.weight),
            "patch_embedding.input_norm.bias": channels_first(input_norm.bias),
            "class_token": model.cls_token.detach().unsqueeze(0),
            "position_embedding": model.pos_embedding.detach().unsqueeze(0),
        }
        views |= module_views(
            {"patch_embedding.output_norm": output_norm, "norm": model.transformer.norm, "head": model.mlp_head}
        )
        for i, (attention, feed_forward) in enumerate(model.transformer.layers):
            views |= qkv_views(f"blocks.{i}.attention.", weight=attention.to_qkv.weight)
            modules = {
                "norm1": attention.norm,
                "attention.output": attention.to_out[0],
                "norm2": feed_forward.net[0],
                "mlp.fc1": feed_forward.net[1],
                "mlp.fc2": feed_forward.net[4],
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.outputs_of([model.to_patch_embedding], model, images)[0]

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.transformer], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        # The residual sums happen between modules: what a block returns is what the next one, or the norm, receives.
        followers = [attention for attention, _ in model.transformer.layers][1:]
        return self.inputs_of([*followers, model.transformer.norm], model, images)

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of([attention.attend for attention, _ in model.transformer.layers], model, images)

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.mlp_head], model, images)[0]


_INPUT_NORM = ("patch_embedding.input_norm.weight", "patch_embedding.input_norm.bias")


def _patch_shape(model: Any) -> tuple[int, int, int]:
    """(C, P_h, P_w): the canonical order in which a patch is flattened."""
    patch_h, patch_w = model.patch_size
    return model.to_patch_embedding[1].normalized_shape[0] // (patch_h * patch_w), patch_h, patch_w
