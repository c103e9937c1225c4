"""Hugging Face transformers' ViT behind the contract."""

import copy
from importlib import metadata
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn
from transformers import ViTConfig as PackageConfig
from transformers import ViTForImageClassification
from transformers.models.vit.modeling_vit import ViTEmbeddings

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, require, side


class AtAnyImageSize(nn.Module):
    """A model called with ``interpolate_pos_encoding=True``: the package's way to other image sizes."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Any:
        """The package's output for images of whatever size it takes."""
        return self.classifier(images, interpolate_pos_encoding=True)


class TransformersAdapter(MappedAdapter):
    """``transformers.ViTForImageClassification``, with its default attention implementation."""

    name = "transformers"
    version = metadata.version("transformers")
    conventions = Conventions(layer_norm_eps=1e-12, position_resize="bicubic", head_init="random")

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "no hybrid stem")
        require(config.head == "linear", "linear head only; its pooler is part of the model without a classifier")
        require(config.pool == "class_token", "class token only; no mean pooling")
        require(config.drop_path == 0, "no drop path")
        return ViTForImageClassification(
            PackageConfig(
                image_size=side(config.image_size),
                patch_size=side(config.patch_size),
                num_channels=config.channels,
                hidden_size=config.width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.num_heads,
                intermediate_size=config.mlp_dim,
                num_labels=config.num_classes,  # type: ignore[call-arg, unused-ignore]  # of its base class
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.attention_dropout,
            )
        )

    def logits(self, model: Any, images: Tensor) -> Tensor:
        result: Tensor = model(images).logits
        return result

    def views(self, model: Any) -> dict[str, Tensor]:
        classifier = _classifier(model)
        vit = classifier.vit
        views = {
            "class_token": vit.embeddings.cls_token.detach(),
            "position_embedding": vit.embeddings.position_embeddings.detach(),
        }
        projection = vit.embeddings.patch_embeddings.projection
        views |= module_views({"patch_embedding": projection, "norm": vit.layernorm, "head": classifier.classifier})
        for i, layer in enumerate(vit.layers):
            modules = {
                "norm1": layer.layernorm_before,
                "attention.query": layer.attention.q_proj,
                "attention.key": layer.attention.k_proj,
                "attention.value": layer.attention.v_proj,
                "attention.output": layer.attention.o_proj,
                "norm2": layer.layernorm_after,
                "mlp.fc1": layer.mlp.fc1,
                "mlp.fc2": layer.mlp.fc2,
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.outputs_of([_classifier(model).vit.embeddings.patch_embeddings], model, images)[0]

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([_classifier(model).vit.layers[0]], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of(_classifier(model).vit.layers, model, images)

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        # Weights exist in the package's "eager" attention only, whose softmax is in float32 whatever the model's dtype.
        # Asking for them by output_attentions=True would leave the package's capturing hooks on the model for good.
        classifier = _classifier(model)
        usual = classifier.config._attn_implementation  # noqa: SLF001  # the only way to read it
        classifier.set_attn_implementation("eager")
        try:
            return self.outputs_of([layer.attention for layer in classifier.vit.layers], model, images, item=1)
        finally:
            classifier.set_attn_implementation(usual)

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([_classifier(model).classifier], model, images)[0]

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        # The package's method on a stand-in for its module, so that gradients reach ``table``. It takes no source
        # grid (it assumes a square), and of the embeddings it reads the shape alone. With patches of one pixel the
        # image is its own grid.
        rows, columns = new_grid
        embeddings = table.new_empty(1, rows * columns + 1, table.shape[-1])
        stand_in: Any = SimpleNamespace(position_embeddings=table, patch_size=1)
        resized: Tensor = ViTEmbeddings.interpolate_pos_encoding(stand_in, embeddings, rows, columns)
        return resized

    def at_image_size(self, model: Any, image_size: tuple[int, int]) -> AtAnyImageSize:
        # Nothing to prepare: the package interpolates in each call, by the size of the images.
        return AtAnyImageSize(_classifier(model)).train(model.training)

    def unfused(self, model: Any) -> Any:
        other = copy.deepcopy(_classifier(model))
        other.set_attn_implementation("eager")
        return other

    def checkpointed(self, model: Any) -> Any:
        other = copy.deepcopy(_classifier(model))
        former = "gradient_checkpointing_enable"  # deprecated by the package
        getattr(
            other, "activation_checkpointing_enable" if hasattr(other, "activation_checkpointing_enable") else former
        )()
        return other


def _classifier(model: Any) -> Any:
    return model.classifier if isinstance(model, AtAnyImageSize) else model
