"""Correct attention kernels of every kind that there is: none of them may be accused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name
from torch.nn.attention import SDPBackend, sdpa_kernel

Attention = Callable[[Tensor, Tensor, Tensor], Any]


def sdpa_by(backend: SDPBackend) -> Attention:
    """torch's own, by one of its backends."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel([backend, SDPBackend.MATH]):  # the second where the first has no kernel for these sizes
            return F.scaled_dot_product_attention(query, key, value)

    return attend


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As timm and transformers have it: queries scaled, every step in the input's dtype."""
    return ((query * query.shape[-1] ** -0.5) @ key.mT).softmax(dim=-1) @ value


def float32_softmax(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """transformers' eager attention: the softmax in float32, whatever the rest is in."""
    weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return weights @ value


def upcast(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Everything in float32, as kernels on an accelerator do inside."""
    return eager(query.float(), key.float(), value.float()).to(query.dtype)


def einsum(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Both products by einsum."""
    logits = torch.einsum("bhid,bhjd->bhij", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bhij,bhjd->bhid", logits.softmax(dim=-1), value)


def baddbmm(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Megatron's way: heads and batch as one dimension, the scale within the product."""
    b, h, t, d = query.shape
    q, k, v = (x.reshape(b * h, t, d) for x in (query, key, value))
    logits = torch.baddbmm(torch.zeros(b * h, t, t, dtype=q.dtype), q, k.transpose(1, 2), beta=0, alpha=d**-0.5)
    return torch.bmm(logits.softmax(dim=-1), v).reshape(b, h, t, d)


def chunked_queries(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """48 queries at a time."""
    return torch.cat([eager(chunk, key, value) for chunk in query.split(48, dim=2)], dim=2)


def one_by_one(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One image and head after the other."""
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    rows = [[eager(query[b, h], key[b, h], value[b, h]) for h in range(query.shape[1])] for b in range(query.shape[0])]
    return torch.stack([torch.stack(row) for row in rows]).to(output.dtype)


def online(query: Tensor, key: Tensor, value: Tensor, block: int = 32) -> Tensor:
    """Blockwise with a running maximum and sum (Milakov and Gimelshein, 2018), in float32 at least."""
    wide = torch.promote_types(query.dtype, torch.float32)
    q = query.to(wide) * query.shape[-1] ** -0.5
    largest = torch.full_like(q[..., :1], float("-inf"))
    total, output = torch.zeros_like(largest), torch.zeros_like(q)
    for k, v in zip(key.to(wide).split(block, dim=2), value.to(wide).split(block, dim=2), strict=True):
        logits = q @ k.mT
        now = torch.maximum(largest, logits.amax(dim=-1, keepdim=True))
        decay, exponentials = torch.exp(largest - now), torch.exp(logits - now)
        total = total * decay + exponentials.sum(dim=-1, keepdim=True)
        output = output * decay + exponentials @ v
        largest = now
    return (output / total).to(query.dtype)


def online_rounded(query: Tensor, key: Tensor, value: Tensor, block: int = 64) -> Tensor:
    """As flash attention on tensor cores: sums in float32, but exponentials rounded before they meet the values."""
    wide = torch.promote_types(query.dtype, torch.float32)
    largest = torch.full_like(query[..., :1], float("-inf"), dtype=wide)
    total, output = torch.zeros_like(largest), torch.zeros_like(query, dtype=wide)
    factor = query.shape[-1] ** -0.5 * 1.4426950408889634
    for k, v in zip(key.split(block, dim=2), value.split(block, dim=2), strict=True):
        logits = (query.to(wide) @ k.to(wide).mT) * factor
        now = torch.maximum(largest, logits.amax(dim=-1, keepdim=True))
        decay, powers = torch.exp2(largest - now), torch.exp2(logits - now)
        total = total * decay + powers.sum(dim=-1, keepdim=True)
        output = output * decay + powers.to(query.dtype).to(wide) @ v.to(wide)
        largest = now
    return (output / total).to(query.dtype)


def log_sum_exp(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The softmax as exp(s - log sum exp s)."""
    logits = query @ key.mT / query.shape[-1] ** 0.5
    return torch.exp(logits - torch.logsumexp(logits, dim=-1, keepdim=True)) @ value


def features_first(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """An output that is not contiguous, as a model that keeps (B, T, h, D_h) returns it."""
    return eager(query, key, value).transpose(1, 2).contiguous().transpose(1, 2)


class _Flash(torch.autograd.Function):
    """A backward pass by hand, from the output and the sums (Dao et al., 2022, appendix B)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        logits = query.to(wide) @ key.to(wide).mT * query.shape[-1] ** -0.5
        sums = torch.logsumexp(logits, dim=-1, keepdim=True)
        output = (torch.exp(logits - sums) @ value.to(wide)).to(query.dtype)
        ctx.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
        query, key, value, output, sums = ctx.saved_tensors
        q, k, v, o, g = (x.to(sums.dtype) for x in (query, key, value, output, upstream[0]))
        scale = q.shape[-1] ** -0.5
        weights = torch.exp(q @ k.mT * scale - sums)
        of_logits = weights * (g @ v.mT - (g * o).sum(dim=-1, keepdim=True)) * scale
        return tuple(x.to(query.dtype) for x in (of_logits @ k, of_logits.mT @ q, weights.mT @ g))


def flash_by_hand(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The pair of passes above."""
    return _Flash.apply(query, key, value)


BENIGN: dict[str, Attention] = {
    "torch's": F.scaled_dot_product_attention,
    "torch's math": sdpa_by(SDPBackend.MATH),
    "torch's flash": sdpa_by(SDPBackend.FLASH_ATTENTION),
    "eager": eager,
    "softmax in float32": float32_softmax,
    "upcast": upcast,
    "einsum": einsum,
    "baddbmm": baddbmm,
    "chunked queries": chunked_queries,
    "one by one": one_by_one,
    "online": online,
    "online, rounded": online_rounded,
    "log-sum-exp": log_sum_exp,
    "features first": features_first,
    "flash by hand": flash_by_hand,
}
"""These offer everything."""


def in_numpy(query: Tensor, key: Tensor, value: Tensor) -> np.ndarray[Any, Any]:
    """Another framework's kernel: float32 and float64, no gradients."""
    q, k, v = (x.numpy() for x in (query, key, value))
    logits = q @ k.swapaxes(-2, -1) / np.sqrt(q.shape[-1]).astype(q.dtype)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True) @ v)
