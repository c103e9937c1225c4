"""Deviations that show in some dtypes only, or where numbers are large: in float64 each of them is the paper's model."""

from collections.abc import Callable
from math import log, pi, sqrt
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.attention import scores_of
from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions
from vitbench.reference.parameters import Weights

# The originals, taken before anything is replaced.
_linear, _layer_norm, _attention_weights = vit.linear, vit.layer_norm, vit.attention_weights
_add_positions, _model = vit.add_positions, vit.vision_transformer


def _only_in(dtype: torch.dtype, wrong: Callable[..., Tensor], right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The wrong function where its first argument is of this dtype."""

    def choose(x: Tensor, *rest: Any) -> Tensor:
        return (wrong if x.dtype == dtype else right)(x, *rest)

    return choose


def _linear_through(dtype: torch.dtype) -> Callable[[Tensor, Weights], Tensor]:
    def linear(x: Tensor, weights: Weights) -> Tensor:
        return _linear(x.to(dtype), {name: w.to(dtype) for name, w in weights.items()}).to(x.dtype)

    return linear


def _weights_rounded(dtype: torch.dtype) -> Callable[[Tensor, Weights], Tensor]:
    def linear(x: Tensor, weights: Weights) -> Tensor:
        return _linear(x, {name: w.to(dtype).to(w.dtype) for name, w in weights.items()})

    return linear


def _operands_rounded(dtype: torch.dtype) -> Callable[[Tensor, Weights], Tensor]:
    def linear(x: Tensor, weights: Weights) -> Tensor:
        return _weights_rounded(dtype)(x.to(dtype).to(x.dtype), weights)

    return linear


def _positions_in_half(z: Tensor, positions: Tensor) -> Tensor:
    return (z.half() + positions.half()).to(z.dtype)


def _softmax_without_maximum(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_of(query, key)
    return scores.exp() / scores.exp().sum(dim=-1, keepdim=True)


def _scores_clamped(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_of(query, key)
    return torch.softmax(scores.clamp(-50, 50), dim=-1)


def _scores_in_half(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_of(query, key)
    return torch.softmax(scores.half(), dim=-1).to(query.dtype)


def _softmax_by_a_coarse_power(query: Tensor, key: Tensor) -> Tensor:
    """2^f taken as 1 + f between whole powers: up to 6 % too large."""
    scores = scores_of(query, key)
    exponent = (scores - scores.amax(dim=-1, keepdim=True)) / log(2)
    power = torch.exp2(exponent.floor()) * (1 + exponent - exponent.floor())
    return power / power.sum(dim=-1, keepdim=True)


def _variance_of_moments(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    """Not negative only by the grace of rounding."""
    mean = x.mean(dim=-1, keepdim=True)
    variance = (x**2).mean(dim=-1, keepdim=True) - mean**2
    return (x - mean) / torch.sqrt(variance + conventions.layer_norm_eps) * weights["weight"] + weights["bias"]


def _norm_in_half(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    return _layer_norm(x.half(), {name: w.half() for name, w in weights.items()}, conventions).to(x.dtype)


def _gelu_by_tanh(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))


def _gelu_by_exponentials(x: Tensor) -> Tensor:
    """erf, and where that is one, a tanh made of two overflowing exponentials."""
    tanh = ((2 * x).exp() - 1) / ((2 * x).exp() + 1)
    return x * 0.5 * (1 + torch.where(x.abs() > _WHERE_ERF_IS_ONE, tanh, torch.erf(x / sqrt(2))))


_WHERE_ERF_IS_ONE = 12.0


def _quick_gelu_by_exponentials(x: Tensor) -> Tensor:
    return x * (1.702 * x).exp() / (1 + (1.702 * x).exp())


def _activations(**others: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    activations: dict[Any, Any] = {**vit.ACTIVATIONS}
    return activations | others


def _answering_in(dtype: torch.dtype, *, to: torch.dtype) -> Callable[..., Tensor]:
    def model(images: Tensor, *rest: Any) -> Tensor:
        logits = _model(images, *rest)
        return logits.to(to) if images.dtype == dtype else logits

    return model


def _under_autocast(wrong: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def choose(x: Tensor, *rest: Any) -> Tensor:
        return (wrong if torch.is_autocast_enabled(x.device.type) else _linear)(x, *rest)

    return choose


def _cast_written_back(x: Tensor, weights: Weights) -> Tensor:
    """What was float32 has been bfloat16 in between, and lost its last digits."""
    for weight in weights.values():
        weight.copy_(weight.bfloat16())
    return _linear(x, weights)


class _CoarseOnTheWayBack(torch.autograd.Function):
    """A product in its dtype, whose gradients are products in another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dtype = dtype
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = (kept.to(ctx.dtype) for kept in ctx.saved_tensors)
        received = gradients[0].to(ctx.dtype)
        of_weight = received.flatten(0, -2).T @ x.flatten(0, -2)
        return (received @ weight).to(gradients[0].dtype), of_weight.to(gradients[0].dtype), None


class _SavedUncast(torch.autograd.Function):
    """A product that autocast casts, and whose backward pass multiplies what was cast by what was not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradients[0] @ weight, gradients[0].flatten(0, -2).T @ x.flatten(0, -2)


def _linear_by(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Weights], Tensor]:
    def linear(x: Tensor, weights: Weights) -> Tensor:
        y = product(x, weights["weight"])
        return y + weights["bias"] if "bias" in weights else y

    return linear


def _unscaled(query: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(query @ key.transpose(-2, -1), dim=-1)


def _unscaled_if(condition: Callable[[Tensor], bool]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda query, key: (_unscaled if condition(query) else _attention_weights)(query, key)


def _under_float16_autocast(x: Tensor) -> bool:
    kind = x.device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16


_MANY_TOKENS = 64


DEVIATIONS = (
    Deviation(
        id="float32-products-in-bfloat16",
        summary="the products of a float32 model computed in bfloat16",
        replaces={"vit.linear": _only_in(torch.float32, _linear_through(torch.bfloat16), _linear)},
        breaks="VIT-NUM-FLOAT32",
    ),
    Deviation(
        id="float32-weights-rounded-to-bfloat16",
        summary="the weights of a float32 model kept in bfloat16",
        replaces={"vit.linear": _only_in(torch.float32, _weights_rounded(torch.bfloat16), _linear)},
        breaks="VIT-NUM-FLOAT32",
    ),
    Deviation(
        id="float32-positions-in-half",
        summary="positions added in float16 inside a float32 model",
        replaces={"vit.add_positions": _only_in(torch.float32, _positions_in_half, _add_positions)},
        breaks="VIT-NUM-FLOAT32",
        known_from="transformers #47133",
    ),
    Deviation(
        id="float32-scores-in-half",
        summary="attention scores rounded to float16 inside a float32 model",
        replaces={"vit.attention_weights": _only_in(torch.float32, _scores_in_half, _attention_weights)},
        breaks="VIT-NUM-FLOAT32",
    ),
    Deviation(
        id="float32-norm-in-half",
        summary="LayerNorm computed in float16 inside a float32 model",
        replaces={"vit.layer_norm": _only_in(torch.float32, _norm_in_half, _layer_norm)},
        breaks="VIT-NUM-FLOAT32",
    ),
    Deviation(
        id="float32-gelu-by-tanh",
        summary="GELU approximated by tanh in float32 only",
        replaces={"vit.ACTIVATIONS": _activations(gelu=_only_in(torch.float32, _gelu_by_tanh, vit.gelu))},
        breaks="VIT-NUM-FLOAT32",
    ),
    Deviation(
        id="bfloat16-weights-in-8-bits",
        summary="the weights of a bfloat16 model kept in float8",
        replaces={"vit.linear": _only_in(torch.bfloat16, _weights_rounded(torch.float8_e4m3fn), _linear)},
        breaks="VIT-NUM-BFLOAT16",
    ),
    Deviation(
        id="bfloat16-products-in-8-bits",
        summary="the products of a bfloat16 model computed from float8",
        replaces={"vit.linear": _only_in(torch.bfloat16, _operands_rounded(torch.float8_e4m3fn), _linear)},
        breaks="VIT-NUM-BFLOAT16",
    ),
    Deviation(
        id="float16-through-bfloat16",
        summary="the products of a float16 model computed in bfloat16",
        replaces={"vit.linear": _only_in(torch.float16, _linear_through(torch.bfloat16), _linear)},
        breaks="VIT-NUM-FLOAT16",
    ),
    Deviation(
        id="float16-softmax-by-a-coarse-power",
        summary="the softmax's exponential taken piecewise linear in float16",
        replaces={"vit.attention_weights": _only_in(torch.float16, _softmax_by_a_coarse_power, _attention_weights)},
        breaks="VIT-NUM-FLOAT16",
    ),
    Deviation(
        id="autocast-to-8-bits",
        summary="weights rounded to float8 under autocast",
        replaces={"vit.linear": _under_autocast(_weights_rounded(torch.float8_e4m3fn))},
        breaks="VIT-NUM-AUTOCAST",
    ),
    Deviation(
        id="autocast-writes-its-casts-back",
        summary="weights changed by autocast for good",
        replaces={"vit.linear": _under_autocast(_cast_written_back)},
        breaks="VIT-NUM-AUTOCAST",
    ),
    Deviation(
        id="logits-promoted-to-float64",
        summary="float64 logits from a float32 model",
        replaces={"vit.vision_transformer": _answering_in(torch.float32, to=torch.float64)},
        breaks="VIT-NUM-DTYPE",
    ),
    Deviation(
        id="logits-of-bfloat16-in-float16",
        summary="float16 logits from a bfloat16 model",
        replaces={"vit.vision_transformer": _answering_in(torch.bfloat16, to=torch.float16)},
        breaks="VIT-NUM-DTYPE",
    ),
    Deviation(
        id="softmax-without-maximum",
        summary="a softmax that does not subtract the maximum",
        replaces={"vit.attention_weights": _softmax_without_maximum},
        breaks="VIT-NUM-LARGE-SCORES",
    ),
    Deviation(
        id="scores-clamped",
        summary="attention scores clamped to 50 either way",
        replaces={"vit.attention_weights": _scores_clamped},
        breaks="VIT-NUM-LARGE-SCORES",
    ),
    Deviation(
        id="gelu-by-exponentials",
        summary="a GELU that divides infinity by infinity where its argument is large",
        replaces={
            "vit.ACTIVATIONS": _activations(gelu=_gelu_by_exponentials, quick_gelu=_quick_gelu_by_exponentials),
        },
        breaks="VIT-NUM-LARGE-HIDDEN",
    ),
    Deviation(
        id="norm-variance-of-moments",
        summary="LayerNorm's variance as the mean square less the squared mean, which can be negative",
        replaces={"vit.layer_norm": _variance_of_moments},
        breaks="VIT-NUM-FLAT",
    ),
    Deviation(
        id="float32-gradients-in-bfloat16",
        summary="the gradients of a float32 model computed in bfloat16",
        replaces={
            "vit.linear": _only_in(
                torch.float32, _linear_by(lambda x, w: _CoarseOnTheWayBack.apply(x, w, torch.bfloat16)), _linear
            )
        },
        breaks="VIT-NUM-FLOAT32",
    ),
    Deviation(
        id="float16-unscaled-with-many-tokens",
        summary="attention not scaled in float16 where there are more than 64 tokens",
        replaces={
            "vit.attention_weights": _unscaled_if(lambda q: q.dtype == torch.float16 and q.shape[-2] > _MANY_TOKENS)
        },
        breaks="VIT-NUM-FLOAT16",
    ),
    Deviation(
        id="bfloat16-unscaled-with-many-tokens",
        summary="attention not scaled in bfloat16 where there are more than 64 tokens",
        replaces={
            "vit.attention_weights": _unscaled_if(lambda q: q.dtype == torch.bfloat16 and q.shape[-2] > _MANY_TOKENS)
        },
        breaks="VIT-NUM-BFLOAT16",
    ),
    Deviation(
        id="autocast-to-float16-unscaled",
        summary="attention not scaled under autocast to float16",
        replaces={"vit.attention_weights": _unscaled_if(_under_float16_autocast)},
        breaks="VIT-NUM-AUTOCAST",
    ),
    Deviation(
        id="autocast-breaks-the-way-back",
        summary="a backward pass that multiplies what autocast cast by what it did not",
        replaces={"vit.linear": _linear_by(_SavedUncast.apply)},
        breaks="VIT-NUM-AUTOCAST",
    ),
)
