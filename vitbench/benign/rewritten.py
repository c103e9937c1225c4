"""The reference computed in other ways: functions replaced by equal ones, as fused kernels and rewrites do it."""

from collections.abc import Callable
from types import FunctionType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from vitbench.deviations.deviation import Rewriting
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within

# The originals, taken before anything is replaced.
_patch_tokens, _layer_norm, _attention_weights = vit.patch_tokens, vit.layer_norm, vit.attention_weights
_block, _mlp, _head, _representation = vit.encoder_block, vit.mlp, vit.head, vit.representation


def _patching(project: Callable[[Tensor, Weights, ViTConfig], Tensor]) -> dict[str, Any]:
    """Another way from images of the right size to x_p E + b; a declared LayerNorm inside is left as it is."""

    def patch_tokens(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
        fits = tuple(images.shape[1:]) == (config.channels, *config.image_size)
        if conventions.patch_embedding != "linear" or not fits:
            return _patch_tokens(images, weights, config, conventions)
        return project(images, within(weights, "patch_embedding"), config)

    return {"vit.patch_tokens": patch_tokens}


def _by_convolution(images: Tensor, weights: Weights, config: ViTConfig) -> Tensor:
    maps = functional.conv2d(images, weights["weight"], weights["bias"], stride=config.patch_size)
    return maps.flatten(2).transpose(1, 2)


def _by_unfold(images: Tensor, weights: Weights, config: ViTConfig) -> Tensor:
    columns = functional.unfold(images, config.patch_size, stride=config.patch_size)  # (B, C P_h P_w, N)
    return functional.linear(columns.transpose(1, 2), weights["weight"].flatten(1), weights["bias"])


def _by_einsum(images: Tensor, weights: Weights, config: ViTConfig) -> Tensor:
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    x = images.reshape(-1, config.channels, rows, patch_h, columns, patch_w)
    return torch.einsum("bchpwq,dcpq->bhwd", x, weights["weight"]).flatten(1, 2) + weights["bias"]


def _by_slices(images: Tensor, weights: Weights, config: ViTConfig) -> Tensor:
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    projection = weights["weight"].flatten(1).T
    projected = [
        images[:, :, i * patch_h : (i + 1) * patch_h, j * patch_w : (j + 1) * patch_w].flatten(1) @ projection
        for i in range(rows)
        for j in range(columns)
    ]
    return torch.stack(projected, dim=1) + weights["bias"]


def _self_attention(
    attend: Callable[..., Tensor], *, fused: bool = False
) -> dict[str, Callable[[Tensor, Weights, ViTConfig, vit.Mode], Tensor]]:
    """Multi-head self-attention by a kernel that never shows its weights; they are formed for whoever looks."""

    def msa(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
        query, key, value = (_packed if fused else _split)(z, weights, config)
        mode.tap("attention", vit.attention_weights(query, key))
        rate = config.attention_dropout if mode.training else 0.0
        return vit.linear(vit.merge_heads(attend(query, key, value, rate)), within(weights, "output"))

    return {"vit.multi_head_self_attention": msa}


def _split(z: Tensor, weights: Weights, config: ViTConfig) -> list[Tensor]:
    names = ("query", "key", "value")
    return [vit.split_heads(vit.linear(z, within(weights, name)), config.num_heads) for name in names]


def _packed(z: Tensor, weights: Weights, config: ViTConfig) -> list[Tensor]:
    parts = [within(weights, name) for name in ("query", "key", "value")]
    bias = torch.cat([part["bias"] for part in parts]) if "bias" in parts[0] else None
    packed = functional.linear(z, torch.cat([part["weight"] for part in parts]), bias)
    return [vit.split_heads(part, config.num_heads) for part in packed.chunk(3, dim=-1)]


def _sdpa(*backends: SDPBackend) -> Callable[..., Tensor]:
    def attend(query: Tensor, key: Tensor, value: Tensor, rate: float) -> Tensor:
        with sdpa_kernel(list(backends)):
            return functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)

    return attend


def _head_by_head(query: Tensor, key: Tensor, value: Tensor, rate: float) -> Tensor:
    heads = zip(query.unbind(1), key.unbind(1), value.unbind(1), strict=True)
    return torch.stack([_online(q, k, v, rate) for q, k, v in heads], dim=1)


def _online(query: Tensor, key: Tensor, value: Tensor, rate: float) -> Tensor:
    """exp(s - max) V / sum: the value product before the division, as flash attention does it."""
    scores = (query * query.shape[-1] ** -0.25) @ (key * query.shape[-1] ** -0.25).transpose(-2, -1)
    powers = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    kept = functional.dropout(powers, rate, training=rate > 0)
    return kept @ value / powers.sum(dim=-1, keepdim=True)


def _library_layer_norm(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights["weight"], weights["bias"], conventions.layer_norm_eps)


def _layer_norm_in_float32(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    return _layer_norm(x.float(), {name: w.float() for name, w in weights.items()}, conventions).to(x.dtype)


def _softmax_in_float32(query: Tensor, key: Tensor) -> Tensor:
    return _attention_weights(query.float(), key.float()).to(query.dtype)


def _pooled_first(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    if config.pool == "mean":  # there the order matters, and is declared
        return _representation(z, weights, config, conventions)
    return vit.layer_norm(z[:, 0], within(weights, "norm"), conventions)


def _checkpointed(z: Tensor, *rest: Any) -> Tensor:
    """What else is rewritten now is so again when the block is computed again, on the way back."""
    written: dict[str, Any] = {name: f for name, f in vars(vit).items() if isinstance(f, FunctionType)}

    def block(*arguments: Any) -> Tensor:
        with mock.patch.multiple(vit, **written):
            return _block(*arguments)

    return checkpoint(block, z, *rest, use_reentrant=False)


def _sequence_first_mlp(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    return _mlp(z.transpose(0, 1), weights, config, conventions, mode).transpose(0, 1)


def _image_by_image(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return torch.cat([_patch_tokens(image[None], weights, config, conventions) for image in images])


def _transposed_logits(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return _head(y, weights, config, conventions).T.contiguous().T


REWRITTEN = (
    Rewriting(id="conv-patching", summary="patches by a strided convolution", replaces=_patching(_by_convolution)),
    Rewriting(id="unfold-patching", summary="patches by im2col and a linear layer", replaces=_patching(_by_unfold)),
    Rewriting(id="einsum-patching", summary="patches by reshaping and one einsum", replaces=_patching(_by_einsum)),
    Rewriting(id="sliced-patching", summary="patches cut out one by one", replaces=_patching(_by_slices)),
    Rewriting(
        id="patches-image-by-image",
        summary="images embedded one by one",
        replaces={"vit.patch_tokens": _image_by_image},
    ),
    Rewriting(
        id="sdpa-math",
        summary="torch's scaled_dot_product_attention, math backend",
        replaces=_self_attention(_sdpa(SDPBackend.MATH)),
    ),
    Rewriting(
        id="sdpa-flash",
        summary="torch's scaled_dot_product_attention, the CPU's flash kernel",
        replaces=_self_attention(_sdpa(SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)),
    ),
    Rewriting(
        id="sdpa-packed",
        summary="query, key and value by one product, then scaled_dot_product_attention",
        replaces=_self_attention(_sdpa(SDPBackend.FLASH_ATTENTION, SDPBackend.MATH), fused=True),
    ),
    Rewriting(
        id="attention-head-by-head",
        summary="heads in a loop, values weighted before the softmax's division, the scale split between q and k",
        replaces=_self_attention(_head_by_head),
    ),
    Rewriting(
        id="library-functions",
        summary="torch's own layer_norm and gelu",
        replaces={
            "vit.layer_norm": _library_layer_norm,
            "vit.ACTIVATIONS": {**vit.ACTIVATIONS, "gelu": functional.gelu},
        },
    ),
    Rewriting(
        id="softmax-in-float32", summary="softmax in float32", replaces={"vit.attention_weights": _softmax_in_float32}
    ),
    Rewriting(
        id="layer-norm-in-float32", summary="LayerNorm in float32", replaces={"vit.layer_norm": _layer_norm_in_float32}
    ),
    Rewriting(
        id="pooled-before-norm",
        summary="the class token taken before the final LayerNorm",
        replaces={"vit.representation": _pooled_first},
    ),
    Rewriting(
        id="checkpointed",
        summary="gradient checkpointing of every block",
        replaces={"vit.encoder_block": _checkpointed},
    ),
    Rewriting(
        id="sequence-first-mlp", summary="an MLP that takes (N+1, B, D)", replaces={"vit.mlp": _sequence_first_mlp}
    ),
    Rewriting(
        id="logits-transposed", summary="logits that are not contiguous", replaces={"vit.head": _transposed_logits}
    ),
)


def together(*ids: str) -> Rewriting:
    """Several of them at once, of different functions each."""
    chosen = [rewriting for rewriting in REWRITTEN if rewriting.id in ids]
    replaced = [target for rewriting in chosen for target in rewriting.replaces]
    if len(chosen) != len(ids) or len(set(replaced)) != len(replaced):
        raise ValueError(f"no rewritings of different functions: {', '.join(ids)}")
    return Rewriting(
        id=" and ".join(ids),
        summary=", ".join(rewriting.summary for rewriting in chosen),
        replaces={target: new for rewriting in chosen for target, new in rewriting.replaces.items()},
    )
