"""Choices that the paper leaves open, made and not declared: relative to the conventions that a candidate declares.

They are no part of the bank, since they deviate from what was declared and not from the paper. One that the bank has too,
as it deviates from the defaults, goes by the same id here.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from vitbench.deviations.deviation import Rewriting
from vitbench.reference import positions, vit
from vitbench.reference.config import Conventions, HeadActivation, Pool, PositionResize, ViTConfig
from vitbench.reference.parameters import Weights

_layer_norm, _patch_tokens, _embed, _resize_grid = vit.layer_norm, vit.patch_tokens, vit.embed, positions.resize_grid
_msa, _pool, _representation = vit.multi_head_self_attention, vit.pool, vit.representation
_add_positions = vit.add_positions

_EPSILONS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
_TORCH_EPSILON = 1e-5
USUAL = "norm-epsilon-1e-5"
"""By id: what torch does by itself, so that it comes with many another deviation."""
_BANK_ACTIVATIONS = {"gelu_tanh": "activation-tanh", "quick_gelu": "activation-quick"}
_BANK_RESIZES = {"bicubic": "resize-kernel", "bilinear_antialias": "resize-antialias"}
_GELUS = {"gelu": "GELU by erf", "gelu_tanh": "the tanh form of GELU", "quick_gelu": "QuickGELU"}


def alternatives(declared: Conventions) -> list[Rewriting]:
    """Every other choice of each convention that shows in logits, gradients or resized positions."""
    return [
        *_epsilons(declared.layer_norm_eps),
        *_final_epsilons(declared.layer_norm_eps),
        *_activations(declared),
        *_resizes(declared.position_resize),
        *_head_activations(declared.head_activation),
        *_biases(declared),
        *_layers(declared),
        *_pools(),
        _fixed_positions(),
        _exchanged(),
    ]


def _epsilons(declared: float) -> Iterator[Rewriting]:
    for epsilon in _EPSILONS:
        if epsilon != declared:
            shown, named = _short(epsilon), _short(declared)
            yield Rewriting(
                id=f"norm-epsilon-{shown}",
                summary=f"LayerNorm epsilon {shown} for the declared {named}",
                replaces={"vit.layer_norm": _with_epsilon(epsilon)},
                remedy=f"declare layer_norm_eps={shown} in `conventions`, or pass eps={named}",
            )


def _final_epsilons(declared: float) -> Iterator[Rewriting]:
    """The final LayerNorm made apart from the blocks', by torch's default."""
    if declared != _TORCH_EPSILON:
        named = _short(declared)
        yield Rewriting(
            id="norm-epsilon-final",
            summary=f"the final LayerNorm's epsilon {_short(_TORCH_EPSILON)} for the declared {named}",
            replaces={"vit.representation": _ending_with_epsilon(_TORCH_EPSILON)},
            remedy=f"pass eps={named} to the final LayerNorm too; torch's default is {_short(_TORCH_EPSILON)}",
        )


def _ending_with_epsilon(epsilon: float) -> Callable[..., Tensor]:
    return lambda z, weights, config, conventions: _representation(
        z, weights, config, replace(conventions, layer_norm_eps=epsilon)
    )


def _with_epsilon(epsilon: float) -> Callable[..., Tensor]:
    return lambda x, weights, conventions: _layer_norm(x, weights, replace(conventions, layer_norm_eps=epsilon))


def _activations(declared: Conventions) -> Iterator[Rewriting]:
    for name, words in _GELUS.items():
        if name != declared.activation:
            yield Rewriting(
                id=_BANK_ACTIVATIONS.get(name, f"activation-{name}"),
                summary=f"{words} for the declared {_GELUS[declared.activation]}",
                replaces={"vit.ACTIVATIONS": {**vit.ACTIVATIONS, declared.activation: vit.ACTIVATIONS[name]}},  # type: ignore[index]
                remedy=f'declare activation="{name}" in `conventions`, or use {_GELUS[declared.activation]} in the MLP',
            )


def _resizes(declared: PositionResize) -> Iterator[Rewriting]:
    for kind in get_args(PositionResize):
        if kind != declared:
            yield Rewriting(
                id=_BANK_RESIZES.get(kind, f"resize-{kind}"),
                summary=f"positions resized by {kind} for the declared {declared}",
                replaces={"positions.resize_grid": _resized_by(kind)},
                remedy=f'declare position_resize="{kind}" in `conventions`, or interpolate by {declared}',
            )


def _resized_by(kind: PositionResize) -> Callable[..., Tensor]:
    return lambda image, new_grid, _declared: _resize_grid(image, new_grid, kind)


def _head_activations(declared: HeadActivation) -> Iterator[Rewriting]:
    for kind in get_args(HeadActivation):
        if kind != declared:
            found = {**vit.HEAD_ACTIVATIONS, declared: vit.HEAD_ACTIVATIONS[kind]}
            yield Rewriting(
                id=f"head-hidden-{kind}",
                summary=f"{kind} in the pre-training head for the declared {declared}",
                replaces={"vit.HEAD_ACTIVATIONS": found},
                remedy=f'declare head_activation="{kind}" in `conventions`, or use {declared}',
            )


def _biases(declared: Conventions) -> Iterator[Rewriting]:
    if declared.qkv_bias:
        yield Rewriting(
            id="qkv-bias-missing",
            summary="no bias on queries, keys and values",
            replaces={"vit.multi_head_self_attention": _without_qkv_bias},
            remedy="declare qkv_bias=False in `conventions`, or build the projections with a bias and load it",
        )


def _without_qkv_bias(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
    kept = {name: w for name, w in weights.items() if name.startswith("output.") or not name.endswith(".bias")}
    return _msa(z, kept, config, mode)


def _layers(declared: Conventions) -> Iterator[Rewriting]:
    """Layers of a convention that is not declared, with the parameters that they start with."""
    if not declared.pre_norm:
        yield Rewriting(
            id="pre-norm-undeclared",
            summary="a LayerNorm of z_0 before the first block",
            replaces={"vit.embed": _with_pre_norm},
            remedy="declare pre_norm=True in `conventions` and load its weights, or take the layer out",
        )


def _with_pre_norm(x_e: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: Any) -> Tensor:
    z = _embed(x_e, weights, config, conventions, mode)
    plain = {"weight": torch.ones_like(z[0, 0]), "bias": torch.zeros_like(z[0, 0])}
    return vit.layer_norm(z, plain, conventions)


def _pools() -> Iterator[Rewriting]:
    for asked, done, words in (
        ("class_token", "mean", "the mean of the patches where the class token is asked for"),
        ("mean", "class_token", "the class token where the mean of the patches is asked for"),
    ):
        yield Rewriting(
            id=f"pool-{done}-for-{asked}",
            summary=words,
            replaces={"vit.pool": _pooling(asked, done)},  # type: ignore[arg-type]
            remedy=f'heed config.pool in build(): pool="{asked}" was asked for',
        )


def _pooling(asked: Pool, done: Pool) -> Callable[..., Tensor]:
    return lambda z, kind: _pool(z, done if kind == asked else kind)


def _fixed_positions() -> Rewriting:
    """A table of sines and cosines, say: the logits agree, and it never learns."""
    return Rewriting(
        id="positions-frozen",
        summary="position embeddings that are not learned",
        replaces={"vit.add_positions": lambda z, positions: _add_positions(z, positions.detach())},
        remedy="let the position embeddings learn: a parameter used without detach(), and no buffer",
    )


def _exchanged() -> Rewriting:
    """``flatten(2).reshape(B, -1, D)`` where ``flatten(2).transpose(1, 2)`` was meant."""
    return Rewriting(
        id="patches-reshaped",
        summary="patch tokens (B, D, N) reshaped to (B, N, D) where they are to be transposed",
        replaces={"vit.patch_tokens": _reshaped},
        remedy="transpose the patch tokens, (B, D, N) to (B, N, D): flatten(2).transpose(1, 2)",
    )


def _reshaped(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    tokens = _patch_tokens(images, weights, config, conventions)
    return tokens.transpose(1, 2).reshape(tokens.shape)


def _short(number: float) -> str:
    """1e-6, as one writes it."""
    digits, _, exponent = f"{number:e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
