"""pytorch-pretrained-vit's ViT behind the contract."""

import io
from importlib import metadata
from typing import Any
from unittest.mock import patch

import torch
from pytorch_pretrained_vit.configs import PRETRAINED_MODELS
from pytorch_pretrained_vit.model import ViT
from pytorch_pretrained_vit.utils import load_pretrained_weights, resize_positional_embedding_
from torch import Tensor

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, require


class PytorchPretrainedVitAdapter(MappedAdapter):
    """``pytorch_pretrained_vit.ViT``, by the name of a model that is in the package's table while it is built.

    Without a name its constructor raises (docs/findings/pytorch_pretrained_vit.md), so there is no other way to sizes.
    """

    name = "pytorch_pretrained_vit"
    version = metadata.version("pytorch-pretrained-vit")
    conventions = Conventions()

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "no hybrid stem")
        require(config.pool == "class_token", "class token only; without one its initialisation fails")
        require(config.drop_path == 0, "no drop path")
        sizes = {
            "patches": config.patch_size,
            "dim": config.width,
            "ff_dim": config.mlp_dim,
            "num_heads": config.num_heads,
            "num_layers": config.depth,
            "attention_dropout_rate": config.attention_dropout,
            "dropout_rate": config.dropout,
            "representation_size": config.width if config.head == "mlp" else None,
            "classifier": "token",
        }
        return _built(sizes, config.image_size, config.num_classes, config.channels)

    def views(self, model: Any) -> dict[str, Tensor]:
        views = {
            "class_token": model.class_token.detach(),
            "position_embedding": model.positional_embedding.pos_embedding.detach(),
        }
        views |= module_views({"patch_embedding": model.patch_embedding, "norm": model.norm, "head": model.fc})
        if hasattr(model, "pre_logits"):
            views |= module_views({"head.hidden": model.pre_logits})
        for i, block in enumerate(model.transformer.blocks):
            modules = {
                "norm1": block.norm1,
                "attention.query": block.attn.proj_q,
                "attention.key": block.attn.proj_k,
                "attention.value": block.attn.proj_v,
                "attention.output": block.proj,
                "norm2": block.norm2,
                "mlp.fc1": block.pwff.fc1,
                "mlp.fc2": block.pwff.fc2,
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        # No module flattens the convolution's output into tokens.
        return self.outputs_of([model.patch_embedding], model, images)[0].flatten(2).transpose(1, 2)

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.transformer], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of(model.transformer.blocks, model, images)

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.inputs_of([block.attn.drop for block in model.transformer.blocks], model, images)

    def representation(self, model: Any, images: Tensor) -> Tensor:
        require(
            not hasattr(model, "pre_logits"), "no representation before the hidden layer, which comes before the norm"
        )
        return self.inputs_of([model.fc], model, images)[0]

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        # Of the new table the package reads the length alone; of either grid, nothing: it assumes squares.
        resized: Tensor = resize_positional_embedding_(table, table.new_empty(1, new_grid[0] * new_grid[1] + 1, 0))
        return resized

    def at_image_size(self, model: Any, image_size: tuple[int, int]) -> Any:
        # The package resizes positions while it loads weights from a file.
        block, weights = model.transformer.blocks[0], io.BytesIO()
        torch.save(model.state_dict(), weights)
        weights.seek(0)
        sizes = {
            "patches": model.patch_embedding.kernel_size,
            "dim": block.proj.in_features,
            "ff_dim": block.pwff.fc1.out_features,
            "num_heads": block.attn.n_heads,
            "num_layers": len(model.transformer.blocks),
            "attention_dropout_rate": block.attn.drop.p,
            "dropout_rate": block.drop.p,
            "representation_size": model.pre_logits.out_features if hasattr(model, "pre_logits") else None,
            "classifier": "token",
        }
        with torch.random.fork_rng(devices=[]):  # the new model's own initialisation is about to be overwritten
            resized = _built(sizes, image_size, model.fc.out_features, model.patch_embedding.in_channels)
        resized.to(model.class_token)
        load_pretrained_weights(resized, weights_path=weights, resize_positional_embedding=True, verbose=False)
        return resized.train(model.training)


def _built(sizes: dict[str, Any], image_size: tuple[int, int], num_classes: int, channels: int) -> Any:
    """A model of these sizes, under a name that the package's table has for as long as it takes."""
    name = "as vitbench asks"
    with patch.dict(PRETRAINED_MODELS, {name: {"config": sizes}}):
        return ViT(name, image_size=image_size, num_classes=num_classes, in_channels=channels, load_repr_layer=True)
