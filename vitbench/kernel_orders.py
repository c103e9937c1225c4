"""Attention in several orders of evaluation: what computing it in a dtype costs, whoever does it."""

from collections.abc import Callable, Iterator
from math import e, log2, sqrt

import torch
from torch import Tensor

from vitbench.reference.attention import attention
from vitbench.reference.vit import attention_scale

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def _scaled_scores(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The scale applied to the scores."""
    return torch.softmax(query @ key.transpose(-2, -1) * attention_scale(query.shape[-1]), dim=-1) @ value


def _both_scaled(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Half of the scale applied to the queries, half to the keys."""
    root = sqrt(attention_scale(query.shape[-1]))
    return torch.softmax((query * root) @ (key * root).transpose(-2, -1), dim=-1) @ value


def _divided_last(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Divided by the sum of the exponentials at the end, as blockwise kernels do."""
    scores = query @ key.transpose(-2, -1) * attention_scale(query.shape[-1])
    exponentials = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    return exponentials @ value / exponentials.sum(dim=-1, keepdim=True)


def _powers_of_two(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """exp(x) as 2^(x log2 e), with the factor within the scale."""
    scores = query @ key.transpose(-2, -1) * (attention_scale(query.shape[-1]) * log2(e))
    powers = torch.exp2(scores - scores.amax(dim=-1, keepdim=True))
    return powers / powers.sum(dim=-1, keepdim=True) @ value


def _log_sum_exp(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Normalised before the exponential: in half precision the least exact of these, and still no sum is taken in it."""
    scores = query @ key.transpose(-2, -1) * attention_scale(query.shape[-1])
    return torch.exp(scores - torch.logsumexp(scores, dim=-1, keepdim=True)) @ value


def _one_by_one(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Every sum taken term by term, in the order of the terms, as a plain loop does."""
    scores = torch.zeros_like(query[..., :1] * key[..., 0].unsqueeze(-2))  # (B, h, T, T)
    for of_query, of_key in zip(_each(query), _each(key), strict=True):
        scores = scores + of_query.unsqueeze(-1) * of_key.unsqueeze(-2)
    scores = scores * attention_scale(query.shape[-1])
    exponentials = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    total, output = torch.zeros_like(query[..., :1]), torch.zeros_like(query)
    for of_key, row in zip(_each(exponentials), value.unbind(dim=-2), strict=True):
        total = total + of_key.unsqueeze(-1)
        output = output + of_key.unsqueeze(-1) * row.unsqueeze(-2)
    return output / total


def _each(x: Tensor) -> Iterator[Tensor]:
    yield from x.unbind(dim=-1)


_ORDERS: tuple[Attention, ...] = (attention, _scaled_scores, _both_scaled, _divided_last, _powers_of_two, _log_sum_exp)


def orders(dtype: torch.dtype) -> tuple[Attention, ...]:
    """Ways to compute attention in a dtype that are all correct.

    Term by term only in float32: whoever takes long sums in half precision gives its accuracy away, and no kernel
    worth the name does.
    """
    return (*_ORDERS, _one_by_one) if dtype == torch.float32 else _ORDERS
