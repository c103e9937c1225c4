"""A Vision Transformer in JAX and Flax, and its adapter.

    pip install 'vitbench[jax]'
    pytest --pyargs vitbench.suites.conformance --impl examples/flax_vit.py

The model is Flax's own modules; the adapter gives their parameters canonical names, and JAX differentiates it. Arrays cross by
DLPack. vitbench judges in float64, which JAX has only after ``jax_enable_x64``: set here, for the whole process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import torch
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from torch import Tensor

from vitbench.adapter import Adapter, Conventions, NotSupported, ViTConfig

jax.config.update("jax_enable_x64", True)

Params = dict[str, Any]
EPSILON = 1e-6  # of LayerNorm


class EncoderBlock(nn.Module):
    """Eq. 2 and 3: z' = MSA(LN(z)) + z;  MLP(LN(z')) + z'. (B, N+1, D) -> (B, N+1, D)."""

    config: ViTConfig

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        c = self.config
        normed = nn.LayerNorm(EPSILON, name="norm1")(z)
        z = z + nn.MultiHeadDotProductAttention(c.num_heads, name="attention")(normed, sow_weights=True)
        hidden = nn.Dense(c.mlp_dim, name="fc1")(nn.LayerNorm(EPSILON, name="norm2")(z))
        return z + nn.Dense(c.width, name="fc2")(nn.gelu(hidden, approximate=False))


class VisionTransformer(nn.Module):
    """Eq. 1 to 4. (B, C, H, W) -> (B, K)."""

    config: ViTConfig

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        c = self.config
        if images.shape[1:] != (c.channels, *c.image_size):
            raise ValueError(f"images of {images.shape[1:]}, expected {(c.channels, *c.image_size)}")
        pixels_last = images.transpose(0, 2, 3, 1)
        grid = nn.Conv(c.width, c.patch_size, strides=c.patch_size, padding="VALID", name="patches")(pixels_last)
        patches = self.seen("patch_tokens", grid.reshape(len(images), c.num_patches, c.width))
        class_token = self.param("class_token", nn.initializers.zeros, (1, 1, c.width))
        positions = self.param("positions", nn.initializers.normal(0.02), (1, c.num_tokens, c.width))
        z = jnp.concatenate([jnp.broadcast_to(class_token, (len(images), 1, c.width)), patches], axis=1) + positions
        z = self.seen("tokens", z)
        for i in range(c.depth):
            z = self.seen(f"block_{i}", EncoderBlock(c, name=f"blocks_{i}")(z))
        z = nn.LayerNorm(EPSILON, name="norm")(z)
        y = self.seen("representation", z[:, 0] if c.pool == "class_token" else z[:, 1:].mean(axis=1))
        if c.head == "mlp":
            y = jnp.tanh(nn.Dense(c.width, name="hidden")(y))
        return nn.Dense(c.num_classes, kernel_init=nn.initializers.zeros, name="head")(y)

    def seen(self, stage: str, value: jax.Array) -> jax.Array:
        """The value, which whoever asks for intermediate results gets too."""
        self.sow("intermediates", stage, value)
        return value


# --- what JAX compiles, once for each configuration, shape and dtype ----------------------------------------------


@partial(jax.jit, static_argnums=0)
def forward(config: ViTConfig, params: Params, images: jax.Array) -> jax.Array:
    """Logits. (B, C, H, W) -> (B, K)."""
    logits: jax.Array = VisionTransformer(config).apply({"params": params}, images)
    return logits


@partial(jax.jit, static_argnums=0)
def stages(config: ViTConfig, params: Params, images: jax.Array) -> Params:
    """Everything that was seen on the way, by name."""
    _, seen = VisionTransformer(config).apply({"params": params}, images, mutable="intermediates")
    found: Params = seen["intermediates"]
    return found


@partial(jax.jit, static_argnums=0)
def forward_and_backward(config: ViTConfig, params: Params, images: jax.Array, cotangent: jax.Array) -> Any:
    """Logits; gradients of parameters and of images."""
    logits, back = jax.vjp(partial(forward, config), params, images)
    return logits, *back(cotangent)


@lru_cache
def initial(config: ViTConfig) -> Params:
    """Parameters as Flax initialises them."""
    images = jnp.zeros((1, config.channels, *config.image_size), jnp.float32)
    params: Params = VisionTransformer(config).init(jax.random.key(0), images)["params"]
    return params


# --- the adapter ---------------------------------------------------------------------------------------------


@dataclass
class Model:
    """A configuration and its parameters; none: as Flax initialises them."""

    config: ViTConfig
    loaded: Params | None = None

    @property
    def params(self) -> Params:
        """Flax's own, a tree of arrays."""
        return initial(self.config) if self.loaded is None else self.loaded


class FlaxAdapter(Adapter):
    """The model above as a candidate."""

    name = "flax"
    version = flax.__version__
    framework = "jax"
    conventions = Conventions(position_resize="bilinear")

    def build(self, config: ViTConfig) -> Model:
        if config.stem != "patch":
            raise NotSupported("patches of pixels only")
        if config.dropout or config.attention_dropout or config.drop_path:
            raise NotSupported("no dropout of any kind")
        return Model(config)

    def load(self, model: Model, state: Mapping[str, Tensor]) -> None:
        model.loaded = unflatten_dict(
            {
                path: jax_array(as_flax(name, state[name], model.config.num_heads))
                for name, path in places(model.config).items()
            }
        )

    def export(self, model: Model) -> dict[str, Tensor]:
        return canonical(model.params, model.config)

    def logits(self, model: Model, images: Tensor) -> Any:
        return forward(model.config, model.params, jax_array(images))

    def patch_tokens(self, model: Model, images: Tensor) -> Any:
        return stages(model.config, model.params, jax_array(images))["patch_tokens"][0]

    def tokens(self, model: Model, images: Tensor) -> Any:
        return stages(model.config, model.params, jax_array(images))["tokens"][0]

    def block_outputs(self, model: Model, images: Tensor) -> list[Any]:
        seen = stages(model.config, model.params, jax_array(images))
        return [seen[f"block_{i}"][0] for i in range(model.config.depth)]

    def attention(self, model: Model, images: Tensor) -> list[Any]:
        seen = stages(model.config, model.params, jax_array(images))
        return [seen[f"blocks_{i}"]["attention"]["attention_weights"][0] for i in range(model.config.depth)]

    def representation(self, model: Model, images: Tensor) -> Any:
        return stages(model.config, model.params, jax_array(images))["representation"][0]

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Any:
        if table.requires_grad:
            raise NotSupported("the gradient of the resizing is JAX's, not torch's")
        return resized(jax_array(table), grid, new_grid)

    def at_image_size(self, model: Model, image_size: tuple[int, int]) -> Model:
        config = replace(model.config, image_size=image_size)
        table = resized(model.params["positions"], model.config.grid, config.grid)
        return Model(config, {**model.params, "positions": table})

    def device(self, model: Model) -> str:
        where = jax.devices()[0]  # where arrays go that are not put elsewhere
        return "cpu" if where.platform == "cpu" else f"cuda:{where.local_hardware_id}"

    def synchronize(self, model: Model, answer: Any) -> None:
        jax.block_until_ready(answer)

    def value_and_grad(self, model: Model, images: Tensor, cotangent: Tensor) -> Any:
        found = forward_and_backward(model.config, model.params, jax_array(images), jax_array(cotangent))
        logits, params, of_images = found
        return logits, canonical(params, model.config), of_images


def jax_array(tensor: Tensor) -> jax.Array:
    """The tensor's own memory, where it lies as JAX wants it; a copy elsewhere."""
    return jnp.from_dlpack(tensor.detach().contiguous())


def resized(table: jax.Array, grid: tuple[int, int], new_grid: tuple[int, int]) -> jax.Array:
    """Positions by bilinear interpolation (section 3.2). (1, N+1, D) -> (1, N'+1, D)."""
    width = table.shape[2]
    image = table[:, 1:].reshape(1, *grid, width)
    patches = jax.image.resize(image, (1, *new_grid, width), "bilinear", antialias=False)
    return jnp.concatenate([table[:, :1], patches.reshape(1, -1, width)], axis=1)


def canonical(params: Params, config: ViTConfig) -> dict[str, Tensor]:
    """Flax's parameters, or their gradients, by canonical name and in canonical shape."""
    flat = flatten_dict(params)
    return {
        name: as_canonical(name, torch.utils.dlpack.from_dlpack(flat[path])) for name, path in places(config).items()
    }


def as_canonical(name: str, array: Tensor) -> Tensor:
    """Kernels become (out, in), or (out, in, P_h, P_w); those of heads are (D, h, D_h), and (h, D_h, D) behind them."""
    if name == "patch_embedding.weight":
        return array.permute(3, 2, 0, 1)
    if "attention" not in name:
        return array.T if name.endswith("weight") and array.ndim > 1 else array
    if name.endswith("bias"):
        return array.flatten()
    return (array.flatten(0, 1) if "output" in name else array.flatten(1)).T


def as_flax(name: str, weight: Tensor, heads: int) -> Tensor:
    """The inverse of ``as_canonical``."""
    if name == "patch_embedding.weight":
        return weight.permute(2, 3, 1, 0)
    if "attention" not in name:
        return weight.T if name.endswith("weight") and weight.ndim > 1 else weight
    if "output" in name:
        return weight.T.unflatten(0, (heads, -1)) if name.endswith("weight") else weight
    return weight.T.unflatten(-1, (heads, -1)) if name.endswith("weight") else weight.unflatten(0, (heads, -1))


def places(config: ViTConfig) -> dict[str, tuple[str, ...]]:
    """Where in Flax's tree each canonical parameter is."""
    modules: dict[str, tuple[str, ...]] = {"patch_embedding": ("patches",), "norm": ("norm",), "head": ("head",)}
    if config.head == "mlp":
        modules["head.hidden"] = ("hidden",)
    for i in range(config.depth):
        name, block = f"blocks.{i}", f"blocks_{i}"
        modules |= {f"{name}.attention.{part}": (block, "attention", part) for part in ("query", "key", "value")}
        modules |= {f"{name}.attention.output": (block, "attention", "out")}
        modules |= {f"{name}.{norm}": (block, norm) for norm in ("norm1", "norm2")}
        modules |= {f"{name}.mlp.{layer}": (block, layer) for layer in ("fc1", "fc2")}
    found: dict[str, tuple[str, ...]] = {"class_token": ("class_token",), "position_embedding": ("positions",)}
    for name, path in modules.items():
        weight = "scale" if "norm" in path[-1] else "kernel"
        found |= {f"{name}.weight": (*path, weight), f"{name}.bias": (*path, "bias")}
    return found
