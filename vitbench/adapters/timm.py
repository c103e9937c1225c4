"""timm's VisionTransformer behind the contract."""

import copy
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from importlib import metadata
from typing import Any

from timm.layers import GroupNormAct, HybridEmbed, PatchEmbed, StdConv2dSame
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, qkv_views, require


class TimmAdapter(MappedAdapter):
    """``timm.models.vision_transformer.VisionTransformer``, as its constructor makes it.

    A hybrid is timm's too: its ``HybridEmbed`` over its ``ResNetV2`` in the form that its hybrids have, in miniature.
    """

    name = "timm"
    version = metadata.version("timm")
    conventions = Conventions(position_resize="bicubic_antialias", head_init="random")

    def build(self, config: ViTConfig) -> Any:
        require(config.head == "linear", "linear head only; no pre-training MLP head")
        # timm takes int(width * mlp_ratio): exact for a fraction, one too few for some floats, as int(49 * (1 / 49)).
        mlp_ratio: Any = Fraction(config.mlp_dim, config.width)
        return VisionTransformer(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_layer=_embedding(config),
            in_chans=config.channels,
            num_classes=config.num_classes,
            global_pool="token" if config.pool == "class_token" else "avg",
            fc_norm=False,  # by default, mean pooling would move the final LayerNorm behind it
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_ratio=mlp_ratio,
            pos_drop_rate=config.dropout,
            proj_drop_rate=config.dropout,
            attn_drop_rate=config.attention_dropout,
            drop_path_rate=config.drop_path,
        )

    def views(self, model: Any) -> dict[str, Tensor]:
        views = {"class_token": model.cls_token.detach(), "position_embedding": model.pos_embed.detach()}
        views |= module_views({"patch_embedding": model.patch_embed.proj, "norm": model.norm, "head": model.head})
        for i, block in enumerate(model.blocks):
            views |= qkv_views(f"blocks.{i}.attention.", weight=block.attn.qkv.weight, bias=block.attn.qkv.bias)
            modules = {
                "norm1": block.norm1,
                "attention.output": block.attn.proj,
                "norm2": block.norm2,
                "mlp.fc1": block.mlp.fc1,
                "mlp.fc2": block.mlp.fc2,
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def feature_map(self, model: Any, images: Tensor) -> Tensor:
        require(isinstance(model.patch_embed, HybridEmbed), "patches of pixels: there is no feature map")
        return self.outputs_of([model.patch_embed.backbone], model, images)[0]

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.outputs_of([model.patch_embed], model, images)[0]

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.blocks[0]], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of(model.blocks, model, images)

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        # The fused kernel never forms the weights, so timm's own unfused path runs for this one call.
        layers = [block.attn for block in model.blocks]
        fused = [layer.fused_attn for layer in layers]
        try:
            for layer in layers:
                layer.fused_attn = False
            return self.inputs_of([layer.attn_drop for layer in layers], model, images)
        finally:
            for layer, flag in zip(layers, fused, strict=True):
                layer.fused_attn = flag

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.head], model, images)[0]

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        resized: Tensor = resample_abs_pos_embed(table, new_size=list(new_grid), old_size=list(grid))
        return resized

    def at_image_size(self, model: Any, image_size: tuple[int, int]) -> Any:
        resized = copy.deepcopy(model)
        resized.set_input_size(img_size=image_size)
        return resized

    def unfused(self, model: Any) -> Any:
        other = copy.deepcopy(model)
        for block in other.blocks:
            block.attn.fused_attn = False
        return other

    def checkpointed(self, model: Any) -> Any:
        other = copy.deepcopy(model)
        other.set_grad_checkpointing(enable=True)
        return other


def _embedding(config: ViTConfig) -> Callable[..., Any]:
    """timm's embedding of pixels, or of the feature map of a ResNet that makes H/8 x W/8 cells of 16 channels."""
    if config.stem == "patch":
        return PatchEmbed
    backbone = ResNetV2(
        layers=(1, 1),
        channels=(8, 16),
        stem_chs=8,
        num_classes=0,
        global_pool="",
        in_chans=config.channels,
        preact=False,
        stem_type="same",
        norm_layer=partial(GroupNormAct, num_groups=4),
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )
    return partial(HybridEmbed, backbone=backbone)
