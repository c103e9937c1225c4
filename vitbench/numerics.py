"""What computing in another dtype costs the reference: its logits by several orders of evaluation, for tier N."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from math import isfinite
from typing import Any
from unittest import mock

import torch
from hypothesis.errors import UnsatisfiedAssumption
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from vitbench.assertions import FLOAT32_INSIDE_RELATIVE, NUMERICS_GRADIENT_FACTOR, assert_numerics, numerics_can_tell
from vitbench.candidate import CandidateRaised
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.gradients import own_gradients, random_loss
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within
from vitbench.reference.vit import Mode
from vitbench.trial import Trial

# The originals, taken before anything is replaced.
_layer_norm, _patch_tokens = vit.layer_norm, vit.patch_tokens


def _fused_linear(x: Tensor, weights: Weights) -> Tensor:
    """The bias is added before the sum is rounded."""
    return F.linear(x, weights["weight"], weights.get("bias"))


def _reversed_linear(x: Tensor, weights: Weights) -> Tensor:
    """The sum from its last term to its first."""
    return F.linear(x.flip(-1), weights["weight"].flip(-1), weights.get("bias"))


def _convolution(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    """Patches by a convolution with the patch size as its stride."""
    if conventions.patch_embedding != "linear" or config.stem != "patch":
        return _patch_tokens(images, weights, config, conventions)
    kernel, bias = weights["patch_embedding.weight"], weights.get("patch_embedding.bias")
    return F.conv2d(images, kernel, bias, stride=config.patch_size).flatten(2).transpose(1, 2)


def _fused_layer_norm(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    """Rounded once, at its end."""
    return F.layer_norm(x, x.shape[-1:], weights["weight"], weights["bias"], conventions.layer_norm_eps)


def _layer_norm_by_moments(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    """The variance as the mean square less the squared mean, in float32, as flax does it."""
    wide = x.float()
    mean, square = wide.mean(dim=-1, keepdim=True), (wide**2).mean(dim=-1, keepdim=True)
    scale = torch.rsqrt((square - mean**2).clamp(min=0) + conventions.layer_norm_eps) * weights["weight"]
    return ((wide - mean) * scale + weights["bias"]).to(x.dtype)


def _layer_norm_in_float32(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    """Normalised in float32 and rounded; gain and bias are applied in the dtype."""
    unit = {"weight": torch.ones((), device=x.device), "bias": torch.zeros((), device=x.device)}
    return _layer_norm(x.float(), unit, conventions).to(x.dtype) * weights["weight"] + weights["bias"]


def _fused_attention(z: Tensor, weights: Weights, config: ViTConfig, mode: Mode) -> Tensor:  # noqa: ARG001
    """Neither scores nor attention weights are rounded."""
    query, key, value = (
        vit.split_heads(vit.linear(z, within(weights, name)), config.num_heads) for name in ("query", "key", "value")
    )
    return vit.linear(vit.merge_heads(F.scaled_dot_product_attention(query, key, value)), within(weights, "output"))


def _softmax_in_float32(query: Tensor, key: Tensor) -> Tensor:
    """The scores rounded, then scaled, then a softmax in float32."""
    scores = query @ key.transpose(-2, -1) * vit.attention_scale(query.shape[-1])
    return torch.softmax(scores.float(), dim=-1).to(query.dtype)


def _scaled_scores(query: Tensor, key: Tensor) -> Tensor:
    """The scale is applied to the scores."""
    return torch.softmax(query @ key.transpose(-2, -1) * vit.attention_scale(query.shape[-1]), dim=-1)


def _reversed_scores(query: Tensor, key: Tensor) -> Tensor:
    """The scores' sums from their last term to their first."""
    scale = vit.attention_scale(query.shape[-1])
    return torch.softmax(scale * query.flip(-1) @ key.flip(-1).transpose(-2, -1), dim=-1)


def _fused_gelu(x: Tensor) -> Tensor:
    return F.gelu(x)


def _fused_gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_FUSED_ACTIVATIONS = {**vit.ACTIVATIONS, "gelu": _fused_gelu, "gelu_tanh": _fused_gelu_tanh}

ORDERS: Mapping[str, Mapping[str, Any]] = {
    "as written": {},
    "fused": {
        "patch_tokens": _convolution,
        "linear": _fused_linear,
        "layer_norm": _fused_layer_norm,
        "multi_head_self_attention": _fused_attention,
        "ACTIVATIONS": _FUSED_ACTIVATIONS,
    },
    "reversed": {
        "linear": _reversed_linear,
        "attention_weights": _reversed_scores,
        "layer_norm": _layer_norm_in_float32,
        "ACTIVATIONS": _FUSED_ACTIVATIONS,
    },
    "softmax and norms in float32": {
        "linear": _fused_linear,
        "attention_weights": _softmax_in_float32,
        "layer_norm": _layer_norm_in_float32,
    },
    "variance by moments": {
        "linear": _fused_linear,
        "attention_weights": _scaled_scores,
        "layer_norm": _layer_norm_by_moments,
        "ACTIVATIONS": _FUSED_ACTIVATIONS,
    },
}
"""Correct ways to compute the model, by the functions of the reference that each replaces. Taken together they cover
what packages do; docs/decisions/0012-tier-n.md has the margins that they leave."""


def logits_in_dtype(trial: Trial, dtype: torch.dtype | None = None) -> list[Tensor]:
    """The reference's logits in the trial's dtype, on its device, once an order. Shapes: (B, K) each.

    In another ``dtype``, the trial's model under autocast to it is one order more: some of its steps are rounded, and
    some are not.
    """
    own, dtype, device = trial.dtype, dtype or trial.dtype, trial.candidate.device
    results = [_ordered(trial, functions, dtype) for functions in ORDERS.values()]
    if dtype != own:
        with torch.autocast(device.type, dtype):
            results.append(_ordered(trial, ORDERS["fused"], own).to(dtype))
    return results


def _ordered(trial: Trial, functions: Mapping[str, Any], dtype: torch.dtype) -> Tensor:
    device = trial.candidate.device
    weights = {name: weight.to(device, dtype) for name, weight in trial.weights.items()}
    with torch.no_grad(), ExitStack() as replaced:
        for name, function in functions.items():
            replaced.enter_context(mock.patch.object(vit, name, function))
        images = trial.images.to(device, dtype)
        return vit.vision_transformer(images, weights, trial.config, trial.conventions).cpu()


def assert_as_exact_as(trial: Trial, what: str, actual: Tensor | None = None, dtype: torch.dtype | None = None) -> None:
    """Tier N: the trial's logits (or those given) are as near the float64 reference as its dtype (or another) allows.

    Raises:
        RequirementFailed: they are not; the text says so where the cause is not rounding.
        UnsatisfiedAssumption: the dtype costs the reference so much that anything would pass.
    """
    with full_float32(trial.candidate.device):
        actual = trial.logits() if actual is None else actual
        in_dtype = logits_in_dtype(trial, dtype)
    if not numerics_can_tell(trial.reference.logits, in_dtype):
        raise UnsatisfiedAssumption  # a LayerNorm of all but equal features, say: another example is drawn
    try:
        assert_numerics(actual, trial.reference.logits, in_dtype, what)
    except RequirementFailed as error:
        already = _error_in_float64(trial)
        if already > FLOAT32_INSIDE_RELATIVE:
            raise RequirementFailed(
                f"{error}; in float64 they are off by {already:.2g} of the largest value already, which VIT-HEAD-LOGITS "
                "is about"
            ) from error
        raise


def assert_gradients_as_exact_as(trial: Trial, what: str, autocast_to: torch.dtype | None = None) -> None:
    """Tier N: the trial's own gradients are as near those of its float64 model as its dtype, or autocast, allows.

    How near that is, relative to the largest, the reference tells, whose parameters may be cut up in another way.

    Raises:
        RequirementFailed: they are not, or the backward pass breaks.
        UnsatisfiedAssumption: as ``assert_as_exact_as``.
    """
    device, dtype = trial.candidate.device, autocast_to or trial.dtype
    with full_float32(device):
        found = _flat(own_gradients(trial, torch.autocast(device.type, autocast_to) if autocast_to else None))
        exact = trial.candidate.trial(trial.case, trial.weights, exactly=True)
        exact.images = trial.images.double()
        right, reference = _flat(own_gradients(exact)), _reference_gradient(exact, {}, torch.float64)
        orders = [_reference_gradient(trial, functions, dtype) for functions in ORDERS.values()]
        if autocast_to:
            with torch.autocast(device.type, autocast_to):
                orders.append(_reference_gradient(trial, ORDERS["fused"], trial.dtype))
    worst = max((order - reference).abs().max().item() for order in orders) / reference.abs().max().item()
    if not worst < _TELLING:
        raise UnsatisfiedAssumption
    as_far_off = (right + worst * right.abs().max()).to(dtype)
    assert_numerics(found, right, [as_far_off], what, factor=NUMERICS_GRADIENT_FACTOR)


_TELLING = 0.1
"""Of the largest gradient: three times as much would still be seen."""


def _flat(gradients: Mapping[str, Tensor | None]) -> Tensor:
    return torch.cat(
        [gradient.detach().cpu().double().flatten() for gradient in gradients.values() if gradient is not None]
    )


def _reference_gradient(trial: Trial, functions: Mapping[str, Any], dtype: torch.dtype) -> Tensor:
    """All gradients of a random loss of the reference's, computed in a dtype by an order of evaluation. (numbers,)."""
    device = trial.candidate.device
    weights = {n: weight.to(device, dtype).requires_grad_() for n, weight in trial.weights.items()}
    with torch.enable_grad(), ExitStack() as replaced:
        for name, function in functions.items():
            replaced.enter_context(mock.patch.object(vit, name, function))
        logits = vit.vision_transformer(trial.images.to(device, dtype), weights, trial.config, trial.conventions)
        found = torch.autograd.grad(random_loss(trial)(logits), list(weights.values()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(w) if g is None else g).cpu().double().flatten()
            for w, g in zip(weights.values(), found, strict=True)
        ]
    )


def _error_in_float64(trial: Trial) -> float:
    """How far a float64 model is from the reference for the same numbers, relative; 0 where there is none."""
    with suppress(NotSupported, RequirementFailed):
        answer = trial.candidate.trial(trial.case, trial.weights, exactly=True).logits(trial.images.double())
        expected = trial.reference.logits
        error = (answer.double() - expected).abs().max().item() / expected.abs().max().item()
        return error if isfinite(error) else 0.0
    return 0.0


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Convolutions in float32 proper: torch's default on CUDA is TF32, with 13 bits less, and no package's choice."""
    if device.type != "cuda":
        yield
        return
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def optional(what: str) -> Iterator[None]:
    """A candidate that raises here does not offer ``what``; one that answers has to be right.

    Not every package is made for every dtype, and torch itself lacks kernels for some on some devices.
    """
    try:
        yield
    except CandidateRaised as error:
        raise NotSupported(f"gives no answer in {what}: {error}") from error
