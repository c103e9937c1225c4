"""open_clip's image tower behind the contract: a Vision Transformer whose head is CLIP's projection."""

import copy
from fractions import Fraction
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import torch
from open_clip.model import resize_pos_embed
from open_clip.transformer import VisionTransformer
from torch import Tensor

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, qkv_views, require


class OpenClipAdapter(MappedAdapter):
    """``open_clip.transformer.VisionTransformer`` with its defaults: LayerNorm before the blocks, no bias at either end.

    The logits are the image features: the projection is the head, and ``output_dim`` the number of classes.
    """

    name = "open_clip"
    version = metadata.version("open-clip-torch")
    conventions = Conventions(
        layer_norm_eps=1e-5,
        position_resize="bicubic_antialias",
        head_init="random",
        patch_bias=False,
        head_bias=False,
        pre_norm=True,
    )

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "no hybrid stem; its ResNet tower has no Transformer")
        require(config.channels == 3, "three channels only")  # noqa: PLR2004
        require(config.head == "linear", "linear projection only; no pre-training MLP head")
        require(config.dropout == config.attention_dropout == 0, "no dropout")
        require(config.drop_path == 0, "no drop path")
        # As timm, open_clip takes int(width * mlp_ratio): exact for a fraction, one too few for some floats.
        mlp_ratio: Any = Fraction(config.mlp_dim, config.width)
        return VisionTransformer(
            image_size=config.image_size,
            patch_size=config.patch_size,
            width=config.width,
            layers=config.depth,
            heads=config.num_heads,
            mlp_ratio=mlp_ratio,
            output_dim=config.num_classes,
            pool_type="tok" if config.pool == "class_token" else "avg",
        )

    def views(self, model: Any) -> dict[str, Tensor]:
        views = {
            "class_token": model.class_embedding.detach()[None, None],
            "position_embedding": model.positional_embedding.detach()[None],
            "head.weight": model.proj.detach().T,
        }
        views |= module_views({"patch_embedding": model.conv1, "pre_norm": model.ln_pre, "norm": model.ln_post})
        for i, block in enumerate(model.transformer.resblocks):
            attention = block.attn
            views |= qkv_views(f"blocks.{i}.attention.", weight=attention.in_proj_weight, bias=attention.in_proj_bias)
            modules = {
                "norm1": block.ln_1,
                "attention.output": attention.out_proj,
                "norm2": block.ln_2,
                "mlp.fc1": block.mlp.c_fc,
                "mlp.fc2": block.mlp.c_proj,
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        # No module flattens the convolution's output into tokens.
        return self.outputs_of([model.conv1], model, images)[0].flatten(2).transpose(1, 2)

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.transformer], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of(model.transformer.resblocks, model, images)

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        # The blocks ask their attention for no weights, so each is asked again, with the input that it received.
        blocks = model.transformer.resblocks
        inputs = self.outputs_of([block.ln_1 for block in blocks], model, images)
        return [
            block.attn(x, x, x, need_weights=True, average_attn_weights=False)[1]
            for block, x in zip(blocks, inputs, strict=True)
        ]

    def representation(self, model: Any, images: Tensor) -> Tensor:
        # The package multiplies by its projection outside of any module; without one it returns what that would receive.
        projection = model.proj
        try:
            model.proj = None
            return self.logits(model, images)
        finally:
            model.proj = projection

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        # The package resizes a state on its way into a model, of which it reads the grid alone. It takes no source
        # grid: it assumes a square.
        key, stand_in = "visual.positional_embedding", SimpleNamespace(visual=SimpleNamespace(grid_size=new_grid))
        state = {key: table[0]}
        resize_pos_embed(state, stand_in)
        return state[key][None]

    def at_image_size(self, model: Any, image_size: tuple[int, int]) -> Any:
        with torch.random.fork_rng(devices=[]):  # the new model's own initialisation is about to be overwritten
            resized = VisionTransformer(
                image_size=image_size,
                patch_size=model.patch_size,
                width=model.transformer.width,
                layers=model.transformer.layers,
                heads=model.transformer.resblocks[0].attn.num_heads,
                mlp_ratio=_mlp_ratio(model),
                output_dim=model.output_dim,
                pool_type=model.pool_type,
            )
        state = {f"visual.{name}": tensor for name, tensor in model.state_dict().items()}
        resize_pos_embed(state, SimpleNamespace(visual=resized))
        resized.to(model.class_embedding)
        resized.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in state.items()})
        return resized.train(model.training)

    def checkpointed(self, model: Any) -> Any:
        other = copy.deepcopy(model)
        other.set_grad_checkpointing(enable=True)
        return other


def _mlp_ratio(model: Any) -> Any:
    hidden = model.transformer.resblocks[0].mlp.c_fc
    return Fraction(hidden.out_features, hidden.in_features)
