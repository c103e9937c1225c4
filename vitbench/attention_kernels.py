"""Attention kernels that are measured: torch's backends, each forced, packages', and the formula written out.

All are functions of query, key and value, (B, h, T, D_h) three times -> (B, h, T, D_h), as ``--kernel`` takes them.
"""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from vitbench.errors import AdapterBroken, NotSupported, one_line
from vitbench.kernel import version_of

Attention = Callable[[Tensor, Tensor, Tensor], Any]


@dataclass(frozen=True, kw_only=True)
class AttentionKernel:
    """A function and what is known of it."""

    name: str  # as --kernel takes it
    version: str  # of the package that it comes from
    function: Attention
    forced: Callable[[], AbstractContextManager[object]] = nullcontext  # entered around every call
    operator: str = ""  # how the name of an operator begins that shows that it ran; empty where nothing else can
    may_refuse: bool = False  # what it raises means that it has no kernel for these inputs


def math() -> AttentionKernel:
    """torch's formula, step by step; half precision is computed in float32."""
    return _torch("math", SDPBackend.MATH, "aten::_scaled_dot_product_attention_math")


def flash() -> AttentionKernel:
    """torch's FlashAttention; on the CPU, its own blockwise kernel of that name."""
    return _torch("flash", SDPBackend.FLASH_ATTENTION, "aten::_scaled_dot_product_flash_attention")


def efficient() -> AttentionKernel:
    """torch's memory-efficient attention, which came from xformers."""
    return _torch("efficient", SDPBackend.EFFICIENT_ATTENTION, "aten::_scaled_dot_product_efficient_attention")


def cudnn() -> AttentionKernel:
    """cuDNN's attention, as torch calls it."""
    return _torch("cudnn", SDPBackend.CUDNN_ATTENTION, "aten::_scaled_dot_product_cudnn_attention")


def flex() -> AttentionKernel:
    """torch's flex_attention without a score modification, compiled."""
    return _offered("flex", "torch", _compiled_flex)


def naive() -> AttentionKernel:
    """The formula written out, every step in the inputs' dtype, the scores in memory."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.softmax(query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5, dim=-1) @ value

    return _offered("naive", "torch", attend)


def flash_attn() -> AttentionKernel:
    """The package flash-attn, which has tokens before heads."""
    attend = _imported("flash_attn", "flash_attn_func")
    return _offered("flash_attn", "flash_attn", _tokens_first(attend))


def xformers() -> AttentionKernel:
    """The package xformers, which has tokens before heads."""
    attend = _imported("xformers.ops", "memory_efficient_attention")
    return _offered("xformers", "xformers", _tokens_first(attend))


def foreign(name: str, function: Attention) -> AttentionKernel:
    """A kernel that a user names."""
    return AttentionKernel(name=name, version=version_of(function), function=function)


def _torch(name: str, backend: SDPBackend, operator: str) -> AttentionKernel:
    return AttentionKernel(
        name=name,
        version=str(torch.__version__),
        function=scaled_dot_product_attention,
        forced=partial(sdpa_kernel, [backend]),
        operator=operator,
        may_refuse=True,
    )


def _offered(name: str, package: str, function: Attention) -> AttentionKernel:
    version = str(getattr(importlib.import_module(package), "__version__", "unknown"))
    return AttentionKernel(name=name, version=version, function=function, may_refuse=True)


def _tokens_first(attend: Callable[..., Any]) -> Attention:
    """A kernel of (B, T, h, D_h) as one of (B, h, T, D_h), by views."""

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Any:
        return attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)).transpose(1, 2)

    return attention


def _imported(module: str, function: str) -> Callable[..., Any]:
    """Raises: AdapterBroken: the package is there and cannot be used, as one built for another torch."""
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise AdapterBroken(
            f"{module}.{function} cannot be imported: {type(error).__name__}: {one_line(error)}"
        ) from error
    return found


def _compiled_flex(query: Tensor, key: Tensor, value: Tensor) -> Any:
    try:
        return _flex()(query, key, value)
    except torch._dynamo.exc.BackendCompilerFailed as error:  # noqa: SLF001  # there is no public name
        raise NotSupported(f"torch.compile fails: {one_line(error)}") from error


@cache
def _flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention  # noqa: PLC0415  # a second, for it alone

    return torch.compile(flex_attention, dynamic=False)
