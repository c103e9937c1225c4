"""Mutants that no check can kill, since the model they make is the paper's: each with its proof."""

import torch
from torch import Tensor

from vitbench.deviations.attention import scores_of
from vitbench.deviations.deviation import Equivalent
from vitbench.reference import vit
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import Weights

_msa, _attention_weights = vit.multi_head_self_attention, vit.attention_weights


def _no_key_bias(z: Tensor, weights: Weights, config: ViTConfig, mode: vit.Mode) -> Tensor:
    return _msa(z, {name: w for name, w in weights.items() if name != "key.bias"}, config, mode)


def _keys_shifted(query: Tensor, key: Tensor) -> Tensor:
    return _attention_weights(query, key + 1)


def _scores_shifted(query: Tensor, key: Tensor) -> Tensor:
    scores = scores_of(query, key)
    return torch.softmax(scores + query.sum(dim=-1, keepdim=True), dim=-1)


def _gelu_by_complement(x: Tensor) -> Tensor:
    return x - x * 0.5 * torch.erfc(x / 2**0.5)


EQUIVALENTS = (
    Equivalent(
        id="key-bias-ignored",
        summary="the bias of the keys left out",
        replaces={"vit.multi_head_self_attention": _no_key_bias},
        proof="A key bias b adds q·b to every score of a query q: a constant along the row that softmax is taken over, "
        "and softmax(s + c) = softmax(s). Its gradient is exactly 0 for the same reason.",
    ),
    Equivalent(
        id="keys-shifted",
        summary="one added to every key",
        replaces={"vit.attention_weights": _keys_shifted},
        proof="It is a key bias of ones; see key-bias-ignored.",
    ),
    Equivalent(
        id="scores-shifted",
        summary="a number of each query added to all its scores",
        replaces={"vit.attention_weights": _scores_shifted},
        proof="softmax(s + c) = softmax(s) for a c that is constant along the row.",
    ),
    Equivalent(
        id="gelu-by-complement",
        summary="GELU computed as x - x (1 - Phi(x))",
        replaces={"vit.ACTIVATIONS": {**vit.ACTIVATIONS, "gelu": _gelu_by_complement}},
        proof="erfc = 1 - erf, so that 1 - Phi(x) = erfc(x / sqrt 2) / 2.",
    ),
)
