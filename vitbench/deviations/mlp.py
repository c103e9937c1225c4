"""Deviations of the MLP."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within


def _hidden_units_lost(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    hidden = vit.ACTIVATIONS[conventions.activation](vit.linear(z, within(weights, "fc1")))
    kept = torch.ones(config.mlp_dim, dtype=z.dtype)
    kept[-1] = 0
    return vit.linear(hidden * kept, within(weights, "fc2"))


def _mlp_mixes_tokens(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    hidden = vit.ACTIVATIONS[conventions.activation](vit.linear(z, within(weights, "fc1")))
    return vit.linear(hidden + 0.1 * hidden.mean(dim=1, keepdim=True), within(weights, "fc2"))


def _activation(function: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {"vit.ACTIVATIONS": {**vit.ACTIVATIONS, "gelu": function}}


DEVIATIONS = (
    Deviation(
        id="activation-tanh",
        summary="the tanh form of GELU, undeclared",
        remedy='declare activation="gelu_tanh" in `conventions`, or use GELU by erf: approximate="none"',
        replaces=_activation(vit.gelu_tanh),
        breaks="VIT-MLP-ACTIVATION",
        known_from="timm #1754",
    ),
    Deviation(
        id="activation-quick",
        summary="QuickGELU, undeclared",
        remedy='declare activation="quick_gelu" in `conventions`, or use GELU by erf',
        replaces=_activation(vit.quick_gelu),
        breaks="VIT-MLP-ACTIVATION",
        known_from="eqxvision 0.2.8",
    ),
    Deviation(
        id="activation-relu",
        summary="ReLU for GELU",
        remedy="use GELU between the two layers of the MLP",
        replaces=_activation(torch.relu),
        breaks="VIT-MLP-ACTIVATION",
    ),
    Deviation(
        id="mlp-mixes-tokens",
        summary="a tenth of the tokens' mean in every token's hidden layer",
        remedy="apply the MLP to each token by itself",
        replaces={"vit.mlp": _mlp_mixes_tokens},
        breaks="VIT-MLP-TOKENWISE",
    ),
    Deviation(
        id="mlp-unit-lost",
        summary="the last hidden unit without effect",
        remedy="use all mlp_dim hidden units",
        replaces={"vit.mlp": _hidden_units_lost},
        breaks="VIT-MLP-WIDTH",
    ),
)
