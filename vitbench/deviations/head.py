"""Deviations of pooling and the head."""

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights

# The originals, taken before anything is replaced.
_head = vit.head


def _mean_of_all(z: Tensor, kind: str) -> Tensor:
    return z.mean(dim=1)


def _mean_counts_class(z: Tensor, kind: str) -> Tensor:
    return z[:, 0] if kind == "class_token" else z.mean(dim=1)


def _tanh_left_in(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return _head(torch.tanh(y), weights, config, conventions)


def _hidden_layer_lost(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return vit.linear(y, weights)


def _logits_per_batch(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return _head(y - 0.01 * y.mean(dim=0), weights, config, conventions)


def _no_head_bias(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    return _head(y, {**weights, "bias": torch.zeros_like(weights["bias"])}, config, conventions)


DEVIATIONS = (
    Deviation(
        id="pool-mean-of-all",
        summary="the mean of all tokens for the class token",
        remedy='read the class token alone where pool="class_token"',
        replaces={"vit.pool": _mean_of_all},
        breaks="VIT-HEAD-CLASS-TOKEN",
        known_from="vit-pytorch #226",
    ),
    Deviation(
        id="pool-mean-counts-class",
        summary="the class token counted in the mean of the patches",
        remedy="leave the class token out of the mean: z[:, 1:].mean(dim=1)",
        replaces={"vit.pool": _mean_counts_class},
        breaks="VIT-HEAD-MEAN",
        known_from="vit-pytorch #226",
    ),
    Deviation(
        id="head-tanh-left-in",
        summary="a tanh left before the fine-tuning head",
        remedy='take the tanh out where head="linear"',
        replaces={"vit.head": _tanh_left_in},
        breaks="VIT-HEAD-LINEAR",
    ),
    Deviation(
        id="head-without-bias",
        summary="the head's bias left out",
        remedy="declare head_bias=False in `conventions`, or give the head its bias; check that load() fills it",
        replaces={"vit.head": _no_head_bias},
        breaks="VIT-HEAD-LOGITS",
    ),
    Deviation(
        id="head-hidden-lost",
        summary="the pre-training head without its hidden layer",
        remedy='build the hidden layer where head="mlp", and load it',
        replaces={"vit.head": _hidden_layer_lost},
        breaks="VIT-HEAD-HIDDEN",
        known_from="timm 85f894e0",
    ),
    Deviation(
        id="batch-seen",
        summary="a hundredth of the batch's mean taken from every representation",
        remedy="compute each image by itself: look for a mean, or a norm, over the batch",
        replaces={"vit.head": _logits_per_batch},
        breaks="VIT-PURE-BATCH",
    ),
)
