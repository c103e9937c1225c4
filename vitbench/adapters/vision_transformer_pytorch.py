"""vision-transformer-pytorch's VisionTransformer behind the contract."""

from functools import partial
from importlib import metadata
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from vision_transformer_pytorch import VisionTransformer
from vision_transformer_pytorch.resnet import ResNetV2

from vitbench.adapter import Conventions, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, module_views, require

_NEXT_TO_NO_DROPOUT = 1e-12
"""The package's MLP raises without any dropout (docs/findings/vision_transformer_pytorch.md). At this rate it drops nothing
in practice, and what it keeps is larger by a millionth of a millionth."""


class VisionTransformerPytorchAdapter(MappedAdapter):
    """``vision_transformer_pytorch.VisionTransformer.from_name``, with every size of the named model replaced.

    A hybrid has the package's ResNet in miniature: one unit a stage, half the width, H/16 x W/16 cells of 512 channels.
    """

    name = "vision_transformer_pytorch"
    version = metadata.version("vision-transformer-pytorch")
    conventions = Conventions(layer_norm_eps=1e-5, head_init="random")

    def build(self, config: ViTConfig) -> Any:
        hybrid = config.stem == "hybrid"
        require(
            not hybrid or config.patch_size == (1, 1), "hybrids of one cell a patch only; its projection sees no more"
        )
        require(not hybrid or config.channels == 3, "hybrids of three channels only; with others its ResNet raises")  # noqa: PLR2004
        require(config.head == "linear", "linear head only; no pre-training MLP head")
        require(config.pool == "class_token", "class token only; no mean pooling")
        require(config.drop_path == 0, "no drop path")
        return VisionTransformer.from_name(
            "R50+ViT-B_16" if hybrid else "ViT-B_16",
            in_channels=config.channels,
            image_size=config.image_size,
            patch_size=config.patch_size,
            emb_dim=config.width,
            mlp_dim=config.mlp_dim,
            num_heads=config.num_heads,
            num_layers=config.depth,
            num_classes=config.num_classes,
            attn_dropout_rate=config.attention_dropout,
            dropout_rate=config.dropout or _NEXT_TO_NO_DROPOUT,
            resnet=partial(ResNetV2, block_units=(1, 1, 1), width_factor=0.5) if hybrid else None,
        )

    def views(self, model: Any) -> dict[str, Tensor]:
        encoder = model.transformer
        views = {
            "class_token": model.cls_token.detach(),
            "position_embedding": encoder.pos_embedding.pos_embedding.detach(),
        }
        views |= module_views({"patch_embedding": model.embedding, "norm": encoder.norm, "head": model.classifier})
        for i, layer in enumerate(encoder.encoder_layers):
            modules = {
                "norm1": layer.norm1,
                "norm2": layer.norm2,
                "mlp.fc1": layer.mlp.fc1,
                "mlp.fc2": layer.mlp.fc2,
            }
            views |= module_views(modules, f"blocks.{i}.") | _attention_views(layer.attn, f"blocks.{i}.attention.")
        return views

    def feature_map(self, model: Any, images: Tensor) -> Tensor:
        require(hasattr(model, "resnet"), "patches of pixels: there is no feature map")
        return self.outputs_of([model.resnet], model, images)[0]

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        # No module flattens the convolution's output into tokens.
        return self.outputs_of([model.embedding], model, images)[0].flatten(2).transpose(1, 2)

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.outputs_of([model.transformer.pos_embedding], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of(model.transformer.encoder_layers, model, images)

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        # The weights pass through no module: they are what the package's only softmax returns.
        with _Softmaxes() as softmaxes:
            self.logits(model, images)
        return softmaxes.seen

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.classifier], model, images)[0]


class _Softmaxes(TorchFunctionMode):
    """Keeps what each softmax returns while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.softmax:
            self.seen.append(result)
        return result


def _attention_views(attention: Any, prefix: str) -> dict[str, Tensor]:
    """The package has (in, h, D_h) for query, key and value, and (h, D_h, out) for the output."""
    views = {f"{prefix}output.weight": attention.out.weight.detach().flatten(0, 1).T}
    views[f"{prefix}output.bias"] = attention.out.bias.detach()
    for name in ("query", "key", "value"):
        projection = getattr(attention, name)
        views[f"{prefix}{name}.weight"] = projection.weight.detach().flatten(1).T
        views[f"{prefix}{name}.bias"] = projection.bias.detach().flatten()
    return views
