"""labml-nn's annotated Vision Transformer behind the contract."""

from importlib import metadata
from typing import Any

from labml_nn.transformers import MultiHeadAttention, TransformerLayer
from labml_nn.transformers.feed_forward import FeedForward
from labml_nn.transformers.vit import (
    ClassificationHead,
    LearnedPositionalEmbeddings,
    PatchEmbeddings,
    VisionTransformer,
)
from torch import Tensor, nn

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, require, side


class LabmlAdapter(MappedAdapter):
    """``labml_nn.transformers.vit.VisionTransformer``, put together from the package's parts as its experiment does.

    The feed-forward part is given GELU (its own default is ReLU), the position table one row a token (its own default is
    5000), and for a linear head a linear layer in the place of its two-layer one.
    """

    name = "labml_nn"
    version = metadata.version("labml-nn")
    conventions = Conventions(layer_norm_eps=1e-5, head_init="random", head_activation="relu")

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "no hybrid stem")
        require(config.pool == "class_token", "class token only; no mean pooling")
        require(config.drop_path == 0, "no drop path")
        width, classes = config.width, config.num_classes
        layer = TransformerLayer(
            d_model=width,
            self_attn=MultiHeadAttention(config.num_heads, width, dropout_prob=config.attention_dropout),
            feed_forward=FeedForward(width, config.mlp_dim, config.dropout, nn.GELU()),
            dropout_prob=config.dropout,
        )
        return VisionTransformer(
            layer,
            config.depth,
            PatchEmbeddings(width, side(config.patch_size), config.channels),
            LearnedPositionalEmbeddings(width, config.num_tokens),
            nn.Linear(width, classes) if config.head == "linear" else ClassificationHead(width, width, classes),
        )

    def views(self, model: Any) -> dict[str, Tensor]:
        views = {
            "class_token": model.cls_token_emb.detach(),
            "position_embedding": model.pos_emb.positional_encodings.detach().transpose(0, 1),
        }
        views |= module_views({"patch_embedding": model.patch_emb.conv, "norm": model.ln} | _head(model.classification))
        for i, layer in enumerate(model.transformer_layers):
            modules = {
                "norm1": layer.norm_self_attn,
                "attention.query": layer.self_attn.query.linear,
                "attention.key": layer.self_attn.key.linear,
                "attention.value": layer.self_attn.value.linear,
                "attention.output": layer.self_attn.output,
                "norm2": layer.norm_ff,
                "mlp.fc1": layer.feed_forward.layer1,
                "mlp.fc2": layer.feed_forward.layer2,
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        return _batch_first(self.outputs_of([model.patch_emb], model, images))[0]

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return _batch_first(self.outputs_of([model.pos_emb], model, images))[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return _batch_first(self.outputs_of(model.transformer_layers, model, images))

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        # (query, key, image, head) in the package
        weights = self.outputs_of([layer.self_attn.softmax for layer in model.transformer_layers], model, images)
        return [weight.permute(2, 3, 0, 1) for weight in weights]

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.classification], model, images)[0]


def _head(classification: nn.Module) -> dict[str, nn.Module]:
    if isinstance(classification, ClassificationHead):
        return {"head.hidden": classification.linear1, "head": classification.linear2}
    return {"head": classification}


def _batch_first(activations: list[Tensor]) -> list[Tensor]:
    """The package has the sequence first: (N+1, B, D) -> (B, N+1, D)."""
    return [activation.transpose(0, 1) for activation in activations]
