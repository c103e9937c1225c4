"""Deviations of attention kernels: functions (query, key, value) -> output, each with one thing wrong."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

from vitbench.reference.attention import attention
from vitbench.reference.vit import attention_weights

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class KernelDeviation:
    """The paper's attention with one thing wrong."""

    id: str
    summary: str  # completes "equals softmax(q k^T / sqrt(D_h)) v with …"
    kernel: Attention
    breaks: str  # the requirement that is about this; others may fail too
    known_from: str = ""  # who had it


def _scaled(factor: Callable[[Tensor], float]) -> Attention:
    """Logits multiplied by a factor beyond the scale."""
    return lambda query, key, value: attention(query * factor(query), key, value)


def _logits(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.transpose(-2, -1) / sqrt(query.shape[-1])


def _softmax_over_queries(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.softmax(_logits(query, key), dim=-2) @ value


def _causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = _logits(query, key)
    return torch.softmax(logits + torch.full_like(logits, float("-inf")).triu(1), dim=-1) @ value


def _one_more_in_the_sum(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = _logits(query, key)
    logits = torch.cat([logits, torch.zeros_like(logits[..., :1])], dim=-1)
    return torch.softmax(logits, dim=-1)[..., :-1] @ value


def _merged(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key, value).transpose(1, 2).flatten(2)


def _half_widened(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(*(x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value)))


def _whole_blocks_of_keys(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    whole = max(key.shape[2] // 16 * 16, 1)
    return attention(query, key[:, :, :whole], value[:, :, :whole])


def _padding_attended_to(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    missing = -key.shape[2] % 16
    key, value = (torch.nn.functional.pad(x, (0, 0, 0, missing)) for x in (key, value))
    return attention(query, key, value)


def _last_block_of_queries_unwritten(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    whole = query.shape[2] // 64 * 64
    written = attention(query[:, :, :whole], key, value)
    return torch.cat([written, torch.zeros_like(query[:, :, whole:])], dim=2)


def _at_most_512_keys(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key[:, :, :512], value[:, :, :512])


def _heads_beyond_eight_repeated(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key, torch.cat([value[:, :8], value[:, : max(value.shape[1] - 8, 0)]], dim=1))


def _at_most_2048_keys(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key[:, :, :2048], value[:, :, :2048])


def _features_cut(block: int) -> Attention:
    """Features beyond a multiple of the block left out of the logits."""

    def cut(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        whole = query.shape[-1] // block * block
        scale = sqrt(whole / query.shape[-1]) if whole else 1.0
        return attention(query[..., :whole] * scale, key[..., :whole], value) if whole else attention(query, key, value)

    return cut


def _taken_for_contiguous(x: Tensor) -> Tensor:
    strides = [prod(x.shape[i + 1 :]) for i in range(x.ndim)]
    return x.as_strided(x.shape, strides)


def _features_taken_for_neighbours(x: Tensor) -> Tensor:
    return x.as_strided(x.shape, (*x.stride()[:-1], 1))


def _reading(read: Callable[[Tensor], Tensor]) -> Attention:
    return lambda query, key, value: attention(read(query), read(key), read(value))


def _first_images_keys(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key[:1].expand_as(key), value)


def _first_heads_values(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key, value[:, :1].expand_as(value))


def _without_maximum(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    exponentials = torch.exp(_logits(query, key))
    return exponentials / exponentials.sum(dim=-1, keepdim=True) @ value


def _nan_to_zero(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.nan_to_num(_without_maximum(query, key, value))


def _one_maximum_for_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = _logits(query, key)
    exponentials = torch.exp(logits - logits.max())
    return exponentials / exponentials.sum(dim=-1, keepdim=True) @ value


def _clamped(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.softmax(_logits(query, key).clamp(-80, 80), dim=-1) @ value


def _products_in_bfloat16(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = attention_weights(query.bfloat16(), key.bfloat16())
    return (weights @ value.bfloat16()).to(query.dtype)


def _weights_in_bfloat16(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention_weights(query, key).bfloat16().to(value.dtype) @ value


def _sums_in_half(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = attention_weights(query, key)
    output = torch.zeros_like(query)
    for j in range(key.shape[2]):
        output = output + weights[..., j : j + 1] * value[:, :, j : j + 1]
    return output


def _totals_in_half(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = _logits(query.float(), key.float())
    exponentials = torch.exp(logits - logits.amax(dim=-1, keepdim=True)).to(query.dtype)
    total = torch.zeros_like(exponentials[..., :1])
    for j in range(key.shape[2]):
        total = total + exponentials[..., j : j + 1]
    return exponentials @ value / total


class _Backward(torch.autograd.Function):
    """The identity, with a gradient of another's making."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradients[0]), None


def _gradient(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    return _Backward.apply(x, change)


def _no_gradient_of_value(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key, value.detach())


def _gradient_of_key_unscaled(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, _gradient(key, lambda g: g * sqrt(key.shape[-1])), value)


def _gradient_without_row_sums(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = _logits(query, key)
    exponentials = torch.exp(logits - logits.amax(dim=-1, keepdim=True).detach())
    return exponentials / exponentials.sum(dim=-1, keepdim=True).detach() @ value


def _gradient_taken_for_contiguous(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return _gradient(attention(query, key, value), _taken_for_contiguous)


def _gradient_of_first_image_only(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key, _gradient(value, lambda g: torch.cat([g[:1], torch.zeros_like(g[1:])])))


def _no_gradient_where_expanded(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return _gradient(attention(query, key, value), lambda g: g if any(g.stride()) else torch.zeros_like(g))


def _scaled_in_place(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query *= 1 / sqrt(query.shape[-1])
    return torch.softmax(query @ key.transpose(-2, -1), dim=-1) @ value


def _precision_set(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    torch.set_float32_matmul_precision("high")
    return attention(query, key, value)


def _order_left_to_chance(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    order = random.sample(range(key.shape[2]), key.shape[2])
    return attention(query, key[:, :, order], value[:, :, order])


_BROKEN: tuple[tuple[str, str, Attention, str, str], ...] = (
    ("unscaled", "no scale", _scaled(lambda q: sqrt(q.shape[-1])), "VALUES", ""),
    ("scale-by-tokens", "a scale of 1/sqrt(T)", _scaled(lambda q: sqrt(q.shape[3] / q.shape[2])), "VALUES", ""),
    ("scale-squared", "a scale of 1/D_h", _scaled(lambda q: 1 / sqrt(q.shape[-1])), "VALUES", ""),
    ("softmax-axis", "the softmax over the queries", _softmax_over_queries, "VALUES", ""),
    ("causal", "a causal mask", _causal, "VALUES", "the default of kernels written for language models"),
    ("sum-plus-one", "one added to each sum of exponentials", _one_more_in_the_sum, "VALUES", ""),
    ("roles", "queries and keys exchanged", lambda q, k, v: attention(k, q, v), "VALUES", ""),
    ("merged", "the heads merged", _merged, "SHAPE", ""),
    ("half-widened", "float32 returned for half precision", _half_widened, "SHAPE", ""),
    ("whole-blocks", "keys beyond a multiple of 16 left out", _whole_blocks_of_keys, "LENGTH", "pytorch #169849"),
    ("padding", "keys of zero up to a multiple of 16", _padding_attended_to, "LENGTH", ""),
    ("last-block", "zeros beyond a multiple of 64 queries", _last_block_of_queries_unwritten, "LENGTH", ""),
    ("at-most-512", "keys beyond the 512th left out", _at_most_512_keys, "LENGTH", ""),
    ("scale-of-64", "a scale of 1/8 at any width", _scaled(lambda q: sqrt(q.shape[-1] / 64)), "HEAD-DIM", ""),
    ("features-of-64", "features beyond a multiple of 64 left out", _features_cut(64), "HEAD-DIM", ""),
    ("features-of-16", "features beyond a multiple of 16 left out", _features_cut(16), "ODD-HEAD-DIM", ""),
    ("contiguous", "memory read as if contiguous", _reading(_taken_for_contiguous), "FUSED-QKV", ""),
    ("neighbours", "features read as neighbours", _reading(_features_taken_for_neighbours), "STRIDES", ""),
    ("first-image", "the first image's keys for all", _first_images_keys, "BATCH", ""),
    ("eight-heads", "the first heads' values for those beyond eight", _heads_beyond_eight_repeated, "VALUES", ""),
    ("at-most-2048", "keys beyond the 2048th left out", _at_most_2048_keys, "LENGTH", ""),
    ("first-head", "the first head's values for all", _first_heads_values, "BATCH", ""),
    ("no-maximum", "exponentials of whole logits", _without_maximum, "EXTREME", ""),
    ("nan-to-zero", "zeros where an exponential overflows", _nan_to_zero, "EXTREME", ""),
    ("one-maximum", "one maximum taken off all rows", _one_maximum_for_all, "EXTREME", ""),
    ("clamped", "logits cut at 80", _clamped, "EXTREME", ""),
    ("products-in-bfloat16", "products of bfloat16 numbers", _products_in_bfloat16, "FLOAT32", ""),
    ("weights-in-bfloat16", "weights rounded to bfloat16", _weights_in_bfloat16, "FLOAT32", ""),
    ("sums-in-half", "weighted values summed in the input's dtype", _sums_in_half, "HALF", ""),
    ("totals-in-half", "exponentials summed in the input's dtype", _totals_in_half, "HALF", ""),
    ("no-value-gradient", "no gradient of the value", _no_gradient_of_value, "GRADIENTS", ""),
    ("key-gradient-unscaled", "the key's gradient unscaled", _gradient_of_key_unscaled, "GRADIENTS", ""),
    ("no-row-sums", "a gradient that lacks the softmax's row sums", _gradient_without_row_sums, "GRADIENTS", ""),
    ("gradient-contiguous", "its gradient read as if contiguous", _gradient_taken_for_contiguous, "GRADIENTS", ""),
    ("first-image-gradient", "a gradient for the first image only", _gradient_of_first_image_only, "GRADIENTS", ""),
    ("expanded-gradient", "no gradient of a sum", _no_gradient_where_expanded, "GRADIENTS", ""),
    ("in-place", "queries scaled in place", _scaled_in_place, "PURE", ""),
    ("sets-precision", "torch's matmul precision set", _precision_set, "PURE", ""),
    ("order-by-chance", "keys summed in a random order", _order_left_to_chance, "REPEATABLE", ""),
)

DEVIATIONS = tuple(
    KernelDeviation(
        id=f"kernel-{name}", summary=summary, kernel=kernel, breaks=f"VIT-KERNEL-{about}", known_from=known_from
    )
    for name, summary, kernel, about, known_from in _BROKEN
)
