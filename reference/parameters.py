"""The canonical parameters: every weight of a Vision Transformer by name and shape, (out, in) as torch's.

A candidate's adapter translates between these names and its own; whatever a package calls its weights,
checks, deviations and results speak of them by these names.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from vitbench.reference.config import Conventions, ViTConfig

Weights = Mapping[str, Tensor]

_INIT_STD = 0.02  # of truncated normal initialisation, as in the authors' and most other code


def parameter_shapes(config: ViTConfig, conventions: Conventions) -> dict[str, tuple[int, ...]]:
    """Name and shape of every canonical parameter, in the order of the forward pass."""
    width, (patch_h, patch_w), channels = config.width, config.patch_size, config.channels
    shapes = _pair("patch_embedding", (width, channels, patch_h, patch_w), bias=conventions.patch_bias)
    if conventions.patch_embedding == "norm_linear_norm":
        shapes |= _pair("patch_embedding.input_norm", (channels * patch_h * patch_w,))
        shapes |= _pair("patch_embedding.output_norm", (width,))
    rows = config.num_tokens if conventions.class_token_has_position else config.num_patches
    shapes |= {"class_token": (1, 1, width), "position_embedding": (1, rows, width)}
    if conventions.pre_norm:
        shapes |= _pair("pre_norm", (width,))
    for i in range(config.depth):
        block = f"blocks.{i}"
        shapes |= _pair(f"{block}.norm1", (width,))
        for name in ("query", "key", "value"):
            shapes |= _pair(f"{block}.attention.{name}", (width, width), bias=conventions.qkv_bias)
        shapes |= _pair(f"{block}.attention.output", (width, width))
        shapes |= _pair(f"{block}.norm2", (width,))
        shapes |= _pair(f"{block}.mlp.fc1", (config.mlp_dim, width))
        shapes |= _pair(f"{block}.mlp.fc2", (width, config.mlp_dim))
    shapes |= _pair("norm", (width,))
    if config.head == "mlp":
        shapes |= _pair("head.hidden", (width, width))
    return shapes | _pair("head", (config.num_classes, width), bias=conventions.head_bias)


def _pair(name: str, weight_shape: tuple[int, ...], *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight_shape} | ({f"{name}.bias": weight_shape[:1]} if bias else {})


def within(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The parameters below ``prefix``, with the prefix taken off: ``within(w, "blocks.0.mlp")["fc1.bias"]``."""
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in weights.items() if name.startswith(start)}


def initial_weights(
    config: ViTConfig, conventions: Conventions, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Weights to start training from: truncated normal matrices, LayerNorm as identity, the head as declared.

    Source: section 3.2 for the zero-initialised fine-tuning head; the rest follows common practice.
    """
    weights = {}
    for name, shape in parameter_shapes(config, conventions).items():
        tensor = torch.zeros(shape, dtype=dtype)
        if _is_norm(name):
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)
        elif not (name.endswith("bias") or (name == "head.weight" and conventions.head_init == "zero")):
            torch.nn.init.trunc_normal_(tensor, std=_INIT_STD, generator=generator)
        weights[name] = tensor
    return weights


def authors_weights(config: ViTConfig, conventions: Conventions, seed: int) -> dict[str, Tensor]:
    """Weights to start from as the authors' code draws them, which lets small models learn at once; the head is zero.

    Source: google-research/vision_transformer, models_vit.py: matrices of attention and MLP by Glorot and Bengio's
    uniform rule, other matrices normal with variance 1 / inputs, positions with a standard deviation of 0.02; the class
    token is zero, and so are biases (the MLP's, which the code draws at 1e-6, too).
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in parameter_shapes(config, conventions).items():
        weight = torch.zeros(shape)
        if _is_norm(name):
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
        elif name == "position_embedding":
            weight.normal_(std=0.02, generator=generator)
        elif name.startswith("blocks.") and name.endswith("weight"):
            torch.nn.init.xavier_uniform_(weight, generator=generator)
        elif name in ("patch_embedding.weight", "head.hidden.weight"):
            weight.normal_(std=weight[0].numel() ** -0.5, generator=generator)
        weights[name] = weight
    return weights


def exercised_weights(
    config: ViTConfig, conventions: Conventions, seed: int, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Weights that leave no part of the model asleep: biases, gains, class token and positions included.

    Default initialisation hides defects: a zero head and near-zero positions make checks blind. Here every
    vector has order 0.3 to 1, and matrices keep their output at the order of their input.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in parameter_shapes(config, conventions).items():
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
        if _is_norm(name) and name.endswith("weight"):
            tensor = 1 + 0.3 * tensor
        elif len(shape) > 1 and name.endswith("weight"):
            fan_in = tensor[0].numel()
            tensor = tensor / fan_in**0.5
        else:
            tensor = 0.5 * tensor
        weights[name] = tensor.to(dtype)
    return weights


def _is_norm(name: str) -> bool:
    return name.split(".")[-2].removesuffix("1").removesuffix("2").endswith("norm") if "." in name else False
