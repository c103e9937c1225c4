"""A Vision Transformer in numpy, forward and backward, and its adapter: the smallest thing that conforms.

    pytest --pyargs vitbench.suites.conformance --impl examples/numpy_vit.py

The model is a dict of arrays under vitbench's canonical names. Every function returns its result, and a function that
takes the result's gradient back to its input's; on the way that one leaves the parameters' gradients in ``slopes``.
Shapes use the paper's letters: B images, C channels, N patches, D width, h heads, M MLP width, K classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor

from vitbench.adapter import Adapter, NotSupported, ViTConfig

Array = NDArray[Any]
Slopes = dict[str, Array]
Back = Callable[[Array], Array]
EPSILON = 1e-6  # of LayerNorm


class VisionTransformer:
    """The weights of one model, and what a forward pass makes of images."""

    def __init__(self, config: ViTConfig, weights: dict[str, Array]) -> None:
        self.config, self.weights = config, weights

    def forward(self, images: Array) -> "Pass":
        """Eq. 1 to 4. (B, C, H, W) -> logits (B, K), every stage before them, and the way back."""
        if images.shape[1:] != (self.config.channels, *self.config.image_size):
            raise ValueError(
                f"images of {images.shape[1:]}, expected {(self.config.channels, *self.config.image_size)}"
            )
        slopes: Slopes = {}
        x_e, back_patches = self.patch_tokens(images, slopes)  # (B, N, D)
        z, back_embed = self.embed(x_e, slopes)  # (B, N+1, D)
        tokens, blocks = z, []
        for i in range(self.config.depth):
            blocks.append(self.encoder_block(z, f"blocks.{i}", slopes))
            z = blocks[-1][0]
        y, back_y = self.representation(z, slopes)  # (B, D)
        logits, back_head = self.head(y, slopes)  # (B, K)

        def back(gradient: Array) -> Array:
            gradient = back_y(back_head(gradient))
            for _, _, back_block in reversed(blocks):
                gradient = back_block(gradient)
            return back_patches(back_embed(gradient))

        outputs, weights, _ = zip(*blocks, strict=True)
        return Pass(x_e, tokens, outputs, weights, y, logits, slopes, back)

    def patch_tokens(self, images: Array, slopes: Slopes) -> tuple[Array, Back]:
        """x_p E + b: patches in raster order, each flattened as (C, P_h, P_w). (B, C, H, W) -> (B, N, D)."""
        c, kernel = self.config, self.weights["patch_embedding.weight"]
        (rows, columns), (patch_h, patch_w) = c.grid, c.patch_size
        x_p = images.reshape(-1, c.channels, rows, patch_h, columns, patch_w).transpose(0, 2, 4, 1, 3, 5)
        flat = {"E.weight": kernel.reshape(c.width, -1), "E.bias": self.weights["patch_embedding.bias"]}
        x_e, back_linear = linear(x_p.reshape(len(images), c.num_patches, -1), flat, "E", slopes)

        def back(gradient: Array) -> Array:
            x_slope = back_linear(gradient).reshape(x_p.shape).transpose(0, 3, 1, 4, 2, 5)
            slopes["patch_embedding.weight"] = slopes.pop("E.weight").reshape(kernel.shape)
            slopes["patch_embedding.bias"] = slopes.pop("E.bias")
            return x_slope.reshape(images.shape)

        return x_e, back

    def embed(self, x_e: Array, slopes: Slopes) -> tuple[Array, Back]:
        """Eq. 1: [x_class; x_p E] + E_pos. (B, N, D) -> (B, N+1, D)."""
        class_token = np.broadcast_to(self.weights["class_token"], (len(x_e), 1, self.config.width))
        z = np.concatenate([class_token, x_e], axis=1) + self.weights["position_embedding"]

        def back(gradient: Array) -> Array:
            slopes["position_embedding"] = gradient.sum(axis=0, keepdims=True)
            slopes["class_token"] = slopes["position_embedding"][:, :1]
            return gradient[:, 1:]

        return z, back

    def encoder_block(self, z: Array, name: str, slopes: Slopes) -> tuple[Array, Array, Back]:
        """Eq. 2 and 3: z' = MSA(LN(z)) + z;  MLP(LN(z')) + z'. (B, N+1, D) -> (B, N+1, D), attention weights."""
        normed, back_norm1 = layer_norm(z, self.weights, f"{name}.norm1", slopes)
        attended, weights, back_attention = self.attention(normed, f"{name}.attention", slopes)
        z = z + attended
        normed, back_norm2 = layer_norm(z, self.weights, f"{name}.norm2", slopes)
        hidden, back_fc1 = linear(normed, self.weights, f"{name}.mlp.fc1", slopes)  # (B, N+1, M)
        active, back_gelu = gelu(hidden)
        expanded, back_fc2 = linear(active, self.weights, f"{name}.mlp.fc2", slopes)

        def back(gradient: Array) -> Array:
            gradient = gradient + back_norm2(back_fc1(back_gelu(back_fc2(gradient))))
            return gradient + back_norm1(back_attention(gradient))

        return z + expanded, weights, back

    def attention(self, z: Array, name: str, slopes: Slopes) -> tuple[Array, Array, Back]:
        """Eq. 5 to 8: softmax(q k^T / sqrt(D_h)) v in h heads. -> (B, N+1, D), weights (B, h, N+1, N+1)."""
        heads, scale = self.config.num_heads, 1 / math.sqrt(self.config.head_dim)

        def split(x: Array) -> Array:
            return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)  # (B, h, N+1, D_h)

        def merge(x: Array) -> Array:
            return x.swapaxes(1, 2).reshape(z.shape)

        projected = [linear(z, self.weights, f"{name}.{part}", slopes) for part in ("query", "key", "value")]
        query, key, value = (split(x) for x, _ in projected)
        weights = softmax(scale * query @ key.swapaxes(-2, -1))  # (B, h, N+1, N+1)
        output, back_output = linear(merge(weights @ value), self.weights, f"{name}.output", slopes)

        def back(gradient: Array) -> Array:
            gradient = split(back_output(gradient))
            to_weights = gradient @ value.swapaxes(-2, -1)
            to_scores = weights * (to_weights - (to_weights * weights).sum(axis=-1, keepdims=True)) * scale
            to_parts = to_scores @ key, to_scores.swapaxes(-2, -1) @ query, weights.swapaxes(-2, -1) @ gradient
            to_z = [back(merge(part)) for (_, back), part in zip(projected, to_parts, strict=True)]
            return to_z[0] + to_z[1] + to_z[2]

        return output, weights, back

    def representation(self, z: Array, slopes: Slopes) -> tuple[Array, Back]:
        """Eq. 4: y = LN(z_L), of the class token or the patches' mean. (B, N+1, D) -> (B, D)."""
        normed, back_norm = layer_norm(z, self.weights, "norm", slopes)
        share = np.zeros((z.shape[1], 1), z.dtype)  # of each token in y
        if self.config.pool == "class_token":
            share[0] = 1
        else:
            share[1:] = 1 / self.config.num_patches
        return (normed * share).sum(axis=1), lambda gradient: back_norm(gradient[:, None] * share)

    def head(self, y: Array, slopes: Slopes) -> tuple[Array, Back]:
        """One linear layer; before it, for pre-training, a hidden one with tanh. (B, D) -> (B, K)."""
        if self.config.head == "linear":
            return linear(y, self.weights, "head", slopes)
        hidden, back_hidden = linear(y, self.weights, "head.hidden", slopes)
        active = np.tanh(hidden)
        logits, back_linear = linear(active, self.weights, "head", slopes)
        return logits, lambda gradient: back_hidden(back_linear(gradient) * (1 - active**2))


@dataclass
class Pass:
    """One forward pass."""

    patch_tokens: Array  # (B, N, D)
    tokens: Array  # (B, N+1, D)
    block_outputs: Sequence[Array]  # L times (B, N+1, D)
    attention: Sequence[Array]  # L times (B, h, N+1, N+1)
    representation: Array  # (B, D)
    logits: Array  # (B, K)
    slopes: Slopes  # the parameters' gradients, once ``back`` was called
    back: Back  # the logits' gradient to the images'


def linear(x: Array, weights: Mapping[str, Array], name: str, slopes: Slopes) -> tuple[Array, Back]:
    """x W^T + b. (..., in) -> (..., out)."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def back(gradient: Array) -> Array:
        rows = gradient.reshape(-1, gradient.shape[-1])
        slopes[f"{name}.weight"], slopes[f"{name}.bias"] = rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(axis=0)
        return gradient @ weight

    return x @ weight.T + bias, back


def layer_norm(x: Array, weights: Mapping[str, Array], name: str, slopes: Slopes) -> tuple[Array, Back]:
    """LayerNorm over the features, with the biased variance. Shapes kept."""
    gain, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    scale = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + EPSILON)
    unit = (x - x.mean(axis=-1, keepdims=True)) * scale

    def back(gradient: Array) -> Array:
        tokens = tuple(range(x.ndim - 1))
        slopes[f"{name}.weight"], slopes[f"{name}.bias"] = (gradient * unit).sum(axis=tokens), gradient.sum(axis=tokens)
        gradient = gradient * gain
        along = (gradient * unit).mean(axis=-1, keepdims=True)
        return scale * (gradient - gradient.mean(axis=-1, keepdims=True) - unit * along)

    return unit * gain + bias, back


def softmax(x: Array) -> Array:
    """Over the last axis. Shapes kept."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def gelu(x: Array) -> tuple[Array, Back]:
    """x Phi(x), Phi the normal distribution function. Shapes kept."""
    below = 0.5 * (1 + erf(x / math.sqrt(2)))
    return x * below, lambda gradient: gradient * (below + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


def initial_weights(config: ViTConfig, seed: int = 0) -> dict[str, Array]:
    """Normal matrices of deviation 0.02, LayerNorm as identity, a head of zeros (section 3.2)."""
    draw = np.random.default_rng(seed).standard_normal
    weights = {
        "class_token": 0.02 * draw((1, 1, config.width), np.float32),
        "position_embedding": 0.02 * draw((1, config.num_tokens, config.width), np.float32),
    }

    def add(name: str, out: int, *fan_in: int) -> None:
        norm = "norm" in name.rpartition(".")[2]
        weight = np.ones(out, np.float32) if norm else 0.02 * draw((out, *fan_in), np.float32)
        weights[f"{name}.weight"] = weight * (name != "head")
        weights[f"{name}.bias"] = np.zeros(out, np.float32)

    width, hidden = config.width, config.mlp_dim
    add("patch_embedding", width, config.channels, *config.patch_size)
    for i in range(config.depth):
        for part in ("query", "key", "value", "output"):
            add(f"blocks.{i}.attention.{part}", width, width)
        add(f"blocks.{i}.norm1", width)
        add(f"blocks.{i}.norm2", width)
        add(f"blocks.{i}.mlp.fc1", hidden, width)
        add(f"blocks.{i}.mlp.fc2", width, hidden)
    add("norm", width)
    if config.head == "mlp":
        add("head.hidden", width, width)
    add("head", config.num_classes, width)
    return weights


def resized(table: Array, grid: tuple[int, int], new_grid: tuple[int, int]) -> Array:
    """Positions by bilinear interpolation, corners on corners (section 3.2). (1, N+1, D) -> (1, N'+1, D)."""

    def shares(old: int, new: int) -> Array:  # of each old place in each new one
        places = np.arange(new) * (old - 1) / max(new - 1, 1)
        return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)))  # (new, old)

    image = table[0, 1:].reshape(*grid, -1)  # (rows, columns, D)
    vertical, horizontal = (shares(old, new) for old, new in zip(grid, new_grid, strict=True))
    patches = np.einsum("ur,vc,rcd->uvd", vertical, horizontal, image).reshape(1, -1, table.shape[2])
    return np.concatenate([table[:, :1], patches.astype(table.dtype)], axis=1)


# --- the adapter ---------------------------------------------------------------------------------------------


class NumpyAdapter(Adapter):
    """The model above as a candidate. Arrays are shared with torch's tensors, never copied but in ``load``."""

    name = "numpy"
    version = np.__version__
    framework = "numpy"

    def build(self, config: ViTConfig) -> VisionTransformer:
        if config.stem != "patch":
            raise NotSupported("patches of pixels only")
        if config.dropout or config.attention_dropout or config.drop_path:
            raise NotSupported("no dropout of any kind")
        return VisionTransformer(config, initial_weights(config))

    def load(self, model: VisionTransformer, state: Mapping[str, Tensor]) -> None:
        model.weights = {name: shared(weight).copy() for name, weight in state.items()}

    def export(self, model: VisionTransformer) -> dict[str, Any]:
        return dict(model.weights)

    def logits(self, model: VisionTransformer, images: Tensor) -> Any:
        return model.forward(shared(images)).logits

    def patch_tokens(self, model: VisionTransformer, images: Tensor) -> Any:
        return model.forward(shared(images)).patch_tokens

    def tokens(self, model: VisionTransformer, images: Tensor) -> Any:
        return model.forward(shared(images)).tokens

    def block_outputs(self, model: VisionTransformer, images: Tensor) -> Any:
        return model.forward(shared(images)).block_outputs

    def attention(self, model: VisionTransformer, images: Tensor) -> Any:
        return model.forward(shared(images)).attention

    def representation(self, model: VisionTransformer, images: Tensor) -> Any:
        return model.forward(shared(images)).representation

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Any:
        if table.requires_grad:
            raise NotSupported("numpy takes no gradient of the resizing")
        return resized(shared(table), grid, new_grid)

    def at_image_size(self, model: VisionTransformer, image_size: tuple[int, int]) -> VisionTransformer:
        config = replace(model.config, image_size=image_size)
        table = resized(model.weights["position_embedding"], model.config.grid, config.grid)
        return VisionTransformer(config, {**model.weights, "position_embedding": table})

    def device(self, model: VisionTransformer) -> str:
        return "cpu"

    def synchronize(self, model: VisionTransformer, answer: Any) -> None:
        """Nothing to wait for: numpy answers when it is done."""

    def value_and_grad(self, model: VisionTransformer, images: Tensor, cotangent: Tensor) -> Any:
        done = model.forward(shared(images))
        of_images = done.back(shared(cotangent))
        return done.logits, done.slopes, of_images


def shared(tensor: Tensor) -> Array:
    """A tensor's own memory as an array."""
    try:
        return tensor.numpy()
    except TypeError as error:
        raise NotSupported(f"numpy has no {str(tensor.dtype).removeprefix('torch.')}") from error
