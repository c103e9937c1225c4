"""Deviations of LayerNorm."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights

# The originals, taken before anything is replaced.
_layer_norm = vit.layer_norm


def _epsilon(value: float) -> Callable[..., Tensor]:
    return lambda x, weights, conventions: _layer_norm(x, weights, replace(conventions, layer_norm_eps=value))


def _unbiased(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    variance = x.var(dim=-1, keepdim=True)
    return (x - x.mean(dim=-1, keepdim=True)) / torch.sqrt(variance + conventions.layer_norm_eps) * weights[
        "weight"
    ] + weights["bias"]


def _rms_norm(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    return (
        x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + conventions.layer_norm_eps) * weights["weight"]
        + weights["bias"]
    )


def _no_final_norm(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return vit.pool(z, config.pool)


DEVIATIONS = (
    Deviation(
        id="norm-epsilon-1e-5",
        summary="LayerNorm epsilon 1e-5 where 1e-6 is declared",
        remedy="declare layer_norm_eps=1e-5 in `conventions`, or pass eps=1e-6",
        replaces={"vit.layer_norm": _epsilon(1e-5)},
        breaks="VIT-NORM-EPSILON",
        known_from="transformers #18137",
    ),
    Deviation(
        id="norm-unbiased",
        summary="the unbiased variance in LayerNorm",
        remedy="divide by the biased variance: var(unbiased=False), over D and not D - 1",
        replaces={"vit.layer_norm": _unbiased},
        breaks="VIT-NORM-EPSILON",
    ),
    Deviation(
        id="norm-rms",
        summary="RMSNorm for LayerNorm",
        remedy="use LayerNorm: take the mean off before dividing by the deviation",
        replaces={"vit.layer_norm": _rms_norm},
        breaks="VIT-NORM-SHIFT",
    ),
    Deviation(
        id="norm-final-missing",
        summary="no final LayerNorm",
        remedy="apply the final LayerNorm before the head",
        replaces={"vit.representation": _no_final_norm},
        breaks="VIT-NORM-FINAL",
        known_from="mlc-llm #3456, vit-pytorch #274",
    ),
)
