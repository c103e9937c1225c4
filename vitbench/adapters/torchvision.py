"""torchvision's VisionTransformer behind the contract."""

from collections import OrderedDict
from importlib import metadata
from typing import Any

import torch
from torch import Tensor
from torchvision.models.vision_transformer import (  # type: ignore[import-untyped, unused-ignore]
    VisionTransformer,
    interpolate_embeddings,
)

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, qkv_views, require


class TorchvisionAdapter(MappedAdapter):
    """``torchvision.models.vision_transformer.VisionTransformer``; its limits are stated in ``build``."""

    name = "torchvision"
    version = metadata.version("torchvision")
    conventions = Conventions(position_resize="bicubic_corners")

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "no hybrid stem; its convolutional stem is another (arXiv:2106.14881)")
        require(config.channels == 3, "three channels only")  # noqa: PLR2004
        require(config.image_size[0] == config.image_size[1], "square images only")
        require(config.patch_size[0] == config.patch_size[1], "square patches only")
        require(config.pool == "class_token", "class token only; no mean pooling")
        require(config.drop_path == 0, "no drop path")
        return VisionTransformer(
            image_size=config.image_size[0],
            patch_size=config.patch_size[0],
            num_layers=config.depth,
            num_heads=config.num_heads,
            hidden_dim=config.width,
            mlp_dim=config.mlp_dim,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            num_classes=config.num_classes,
            representation_size=config.width if config.head == "mlp" else None,
        )

    def views(self, model: Any) -> dict[str, Tensor]:
        encoder, heads = model.encoder, model.heads
        views = {"class_token": model.class_token.detach(), "position_embedding": encoder.pos_embedding.detach()}
        views |= module_views({"patch_embedding": model.conv_proj, "norm": encoder.ln, "head": heads.head})
        if hasattr(heads, "pre_logits"):
            views |= module_views({"head.hidden": heads.pre_logits})
        for i, block in enumerate(encoder.layers):
            attention = block.self_attention
            views |= qkv_views(f"blocks.{i}.attention.", weight=attention.in_proj_weight, bias=attention.in_proj_bias)
            modules = {
                "norm1": block.ln_1,
                "attention.output": attention.out_proj,
                "norm2": block.ln_2,
                "mlp.fc1": block.mlp[0],
                "mlp.fc2": block.mlp[3],
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        tokens: Tensor = model._process_input(images)  # noqa: SLF001  # flattens too; no module does
        return tokens

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.encoder.layers], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of(model.encoder.layers, model, images)

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        # The blocks ask their attention for no weights, so each is asked again, with the input that it received.
        layers = [block.self_attention for block in model.encoder.layers]
        inputs = self.inputs_of(layers, model, images)
        return [
            layer(x, x, x, need_weights=True, average_attn_weights=False)[1]
            for layer, x in zip(layers, inputs, strict=True)
        ]

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.heads], model, images)[0]

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        require(grid[0] == grid[1] and new_grid[0] == new_grid[1], "square grids only")
        key = "encoder.pos_embedding"
        resized: Tensor = interpolate_embeddings(new_grid[0], patch_size=1, model_state=OrderedDict({key: table}))[key]
        return resized

    def at_image_size(self, model: Any, image_size: tuple[int, int]) -> Any:
        require(image_size[0] == image_size[1], "square images only")
        with torch.random.fork_rng(devices=[]):  # the new model's own initialisation is about to be overwritten
            resized = VisionTransformer(
                image_size=image_size[0],
                patch_size=model.patch_size,
                num_layers=len(model.encoder.layers),
                num_heads=model.encoder.layers[0].num_heads,
                hidden_dim=model.hidden_dim,
                mlp_dim=model.mlp_dim,
                dropout=model.dropout,
                attention_dropout=model.attention_dropout,
                num_classes=model.num_classes,
                representation_size=model.representation_size,
            )
        resized.to(model.class_token)
        resized.load_state_dict(interpolate_embeddings(image_size[0], model.patch_size, model.state_dict()))
        return resized.train(model.training)
