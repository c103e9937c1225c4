"""A Vision Transformer without torch: written from the paper in numpy, on a dict of arrays."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from vitbench.adapter import Adapter, ViTConfig
from vitbench.adapters.mapping import require

_erf = np.vectorize(math.erf, otypes=[np.float64])


class Answer:
    """A foreign array that shows itself through ``__array__`` only."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._values


class NumpyAdapter(Adapter):
    """Its model is a dict; it answers with foreign arrays."""

    name = "numpy"

    def build(self, config: ViTConfig) -> dict[str, Any]:
        require(config.stem == "patch", "patches of pixels only")
        return {"config": config}

    def load(self, model: dict[str, Any], state: Mapping[str, Tensor]) -> None:
        model["weights"] = {name: np.array(w.numpy()) for name, w in state.items()}

    def export(self, model: dict[str, Any]) -> dict[str, Any]:
        require("weights" in model, "it has no weights before they are loaded")
        return {name: Answer(w) for name, w in model["weights"].items()}

    def logits(self, model: dict[str, Any], images: Tensor) -> Any:
        return Answer(_forward(images.numpy(), model["weights"], model["config"], self.conventions.layer_norm_eps))


def _forward(images: Any, weights: Mapping[str, Any], config: ViTConfig, epsilon: float) -> Any:
    """Eq. 1 to 4. (B, C, H, W) -> (B, K)."""
    if images.shape[1:] != (config.channels, *config.image_size):
        raise ValueError(f"images of {images.shape[1:]}, expected {(config.channels, *config.image_size)}")

    def linear(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        deviation = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
        return (x - x.mean(axis=-1, keepdims=True)) / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x: Any) -> Any:
        return x.reshape(*x.shape[:2], config.num_heads, config.head_dim).swapaxes(1, 2)

    def attended(x: Any, name: str) -> Any:
        query, key, value = (heads(linear(x, f"{name}.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.swapaxes(-2, -1) / math.sqrt(config.head_dim)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = powers / powers.sum(axis=-1, keepdims=True) @ value
        return linear(mixed.swapaxes(1, 2).reshape(x.shape), f"{name}.output")

    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    x_p = images.reshape(-1, config.channels, rows, patch_h, columns, patch_w).transpose(0, 2, 4, 1, 3, 5)
    kernel = weights["patch_embedding.weight"].reshape(config.width, -1)
    x_e = x_p.reshape(len(images), config.num_patches, -1) @ kernel.T + weights["patch_embedding.bias"]
    class_token = np.broadcast_to(weights["class_token"], (len(images), 1, config.width))
    z = np.concatenate([class_token, x_e], axis=1) + weights["position_embedding"]
    for i in range(config.depth):
        z = z + attended(norm(z, f"blocks.{i}.norm1"), f"blocks.{i}.attention")
        hidden = linear(norm(z, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")
        z = z + linear(hidden * 0.5 * (1 + _erf(hidden / math.sqrt(2))), f"blocks.{i}.mlp.fc2")
    z = norm(z, "norm")
    y = z[:, 0] if config.pool == "class_token" else z[:, 1:].mean(axis=1)
    return linear(np.tanh(linear(y, "head.hidden")) if config.head == "mlp" else y, "head")
