"""KerasHub's ViT: ``keras_hub.models.ViTImageClassifier`` over ``ViTBackbone``, on Keras' torch backend.

Keras chooses its backend when it is imported, by the variable KERAS_BACKEND. On torch its layers are torch modules, so that
all requirements can be asked; only the dtype is Keras' own affair, decided when a layer is made.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from inspect import signature
from typing import Any, Self

import torch
from torch import Tensor, nn

os.environ.setdefault("KERAS_BACKEND", "torch")  # before the first import of keras

import keras
import keras_hub

from vitbench.adapter import Conventions, NotSupported, ViTConfig
from vitbench.adapters.mapping import MappedAdapter, require
from vitbench.errors import AdapterBroken

if keras.backend.backend() != "torch":
    raise AdapterBroken(f"keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=torch, or leave it unset")


class KerasModule(nn.Module):
    """A Keras model as a torch module: mode and dtype are those that torch gave it."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config, self.dtype = config, torch.float32

    def __getattr__(self, name: str) -> Any:
        if name == "classifier" and "classifier" not in self._modules:  # made when its dtype is known: it takes a while
            self.classifier = _made(self.config, self.dtype)
            # KerasHub's tasks set attributes past torch, which then finds no parameters in them.
            self.held = nn.ParameterList([variable.value for variable in self.classifier.trainable_variables])
        return super().__getattr__(name)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        logits: Tensor = self.classifier(images, training=self.training)
        return logits

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As torch's; another dtype takes another Keras model, with the same weights."""
        _, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)  # noqa: SLF001  # what nn.Module.to does
        if dtype is not None and dtype != self.dtype:
            former: Any = self._modules.pop("classifier", None)
            self.dtype = dtype
            if former is not None:
                with torch.no_grad():
                    for new, old in zip(self.classifier.variables, former.variables, strict=True):
                        new.value.copy_(old.value)
        elif dtype is None and "classifier" not in self._modules:
            return self  # nothing is there yet that could be moved
        _ = self.classifier
        return super().to(*args, **kwargs)


def _made(config: ViTConfig, dtype: torch.dtype) -> Any:
    policy = str(dtype).removeprefix("torch.")
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(config.channels, *config.image_size),
        patch_size=config.patch_size,
        num_layers=config.depth,
        num_heads=config.num_heads,
        hidden_dim=config.width,
        mlp_dim=config.mlp_dim,
        dropout_rate=config.dropout,
        attention_dropout=config.attention_dropout,
        data_format="channels_first",
        dtype=policy,
    )
    return keras_hub.models.ViTImageClassifier(
        backbone,
        num_classes=config.num_classes,
        pooling="token" if config.pool == "class_token" else "gap",
        intermediate_dim=config.width if config.head == "mlp" else None,
        head_dtype=policy,
    )


class KerasHubAdapter(MappedAdapter):
    """``keras_hub`` behind the contract."""

    name = "keras_hub"
    version = metadata.version("keras-hub")
    conventions = Conventions(head_init="random")

    def build(self, config: ViTConfig) -> KerasModule:
        require(config.stem == "patch", "patches of pixels only")
        require(config.drop_path == 0, "no drop path")
        return KerasModule(config)

    def views(self, model: KerasModule) -> dict[str, Tensor]:
        patching, encoder = _layers(model)
        views = {
            "class_token": _data(patching.class_token),
            "position_embedding": _data(patching.position_embedding.embeddings)[None],
            "patch_embedding.weight": _data(patching.patch_embedding.kernel).permute(3, 2, 0, 1),
            "patch_embedding.bias": _data(patching.patch_embedding.bias),
        }
        for i, block in enumerate(encoder.encoder_layers):
            views |= _norm(f"blocks.{i}.norm1", block.layer_norm_1) | _norm(f"blocks.{i}.norm2", block.layer_norm_2)
            views |= _attention(f"blocks.{i}.attention", block.mha)
            views |= _dense(f"blocks.{i}.mlp.fc1", block.mlp.dense_1) | _dense(f"blocks.{i}.mlp.fc2", block.mlp.dense_2)
        views |= _norm("norm", encoder.layer_norm) | _dense("head", model.classifier.output_dense)
        if model.config.head == "mlp":
            views |= _dense("head.hidden", model.classifier.intermediate_layer)
        return views

    def patch_tokens(self, model: KerasModule, images: Tensor) -> Tensor:
        (grid,) = _outputs([_layers(model)[0].patch_embedding], model, images)
        return grid.flatten(2).transpose(1, 2)

    def tokens(self, model: KerasModule, images: Tensor) -> Tensor:
        return _inputs([_layers(model)[1].encoder_layers[0]], model, images)[0]

    def block_outputs(self, model: KerasModule, images: Tensor) -> list[Tensor]:
        return _outputs(_layers(model)[1].encoder_layers, model, images)

    def attention(self, model: KerasModule, images: Tensor) -> list[Tensor]:
        layers = [block.mha for block in _layers(model)[1].encoder_layers]
        seen = _seen(layers, "_compute_attention", model, images, _with_weights)
        if any(weights is None for weights in seen):
            raise NotSupported("the attention that ran shows no weights")
        return seen

    def representation(self, model: KerasModule, images: Tensor) -> Tensor:
        classifier = model.classifier
        first = classifier.intermediate_layer if model.config.head == "mlp" else classifier.output_dense
        return _inputs([first], model, images)[0]


def _layers(model: KerasModule) -> tuple[Any, Any]:
    backbone = model.classifier.backbone
    return backbone.get_layer("vit_patching_and_embedding"), backbone.get_layer("vit_encoder")


def _data(variable: Any) -> Tensor:
    data: Tensor = variable.value.detach()
    return data


def _norm(name: str, layer: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": _data(layer.gamma), f"{name}.bias": _data(layer.beta)}


def _dense(name: str, layer: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": _data(layer.kernel).T, f"{name}.bias": _data(layer.bias)}


def _attention(name: str, mha: Any) -> dict[str, Tensor]:
    """Keras keeps the heads apart: kernels (D, h, D_h), and (h, D_h, D) behind them."""
    views = {}
    for part, layer in (("query", mha.query_dense), ("key", mha.key_dense), ("value", mha.value_dense)):
        views[f"{name}.{part}.weight"] = _data(layer.kernel).flatten(1).T
        views[f"{name}.{part}.bias"] = _data(layer.bias).flatten()
    views[f"{name}.output.weight"] = _data(mha.output_dense.kernel).flatten(0, 1).T
    return views | {f"{name}.output.bias": _data(mha.output_dense.bias)}


def _inputs(layers: Sequence[Any], model: KerasModule, images: Tensor) -> list[Tensor]:
    return _seen(layers, "call", model, images, lambda call, *given, **more: (call(*given, **more), given[0].clone()))


def _outputs(layers: Sequence[Any], model: KerasModule, images: Tensor) -> list[Tensor]:
    def calling(call: Callable[..., Any], *given: Any, **more: Any) -> tuple[Any, Tensor]:
        answer = call(*given, **more)
        return answer, answer.clone()

    return _seen(layers, "call", model, images, calling)


def _with_weights(compute: Callable[..., Any], *given: Any, **more: Any) -> tuple[Any, Any]:
    asked = signature(compute).bind(*given, **more)
    asked.arguments["return_attention_scores"] = True
    answer = compute(*asked.args, **asked.kwargs)
    return answer, answer[1]


def _seen(
    layers: Sequence[Any], method: str, model: KerasModule, images: Tensor, look: Callable[..., Any]
) -> list[Any]:
    """What ``look`` saw at each layer while the model ran. Keras' own calls pass torch's hooks by."""
    seen: dict[int, Any] = {}
    with _replaced(layers, method, look, seen):
        model(images)
    return [seen[i] for i in range(len(layers))]


@contextmanager
def _replaced(layers: Sequence[Any], method: str, look: Callable[..., Any], seen: dict[int, Any]) -> Iterator[None]:
    def looking(i: int, original: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **more: Any) -> Any:
            answer, seen[i] = look(original, *given, **more)
            return answer

        return run

    try:
        for i, layer in enumerate(layers):
            vars(layer)[method] = looking(i, getattr(layer, method))
        yield
    finally:
        for layer in layers:
            vars(layer).pop(method, None)
