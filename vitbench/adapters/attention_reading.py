"""Softmax weights read while a model runs, whether they pass through a module, a function, or a fused kernel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)
_MATRIX_AXES, _AXES = 2, 4


def softmax_weights(run: Callable[[], Any]) -> list[Tensor]:
    """Every square softmax that is computed while ``run()`` runs. Shapes: each (B, h, T, T)."""
    with _Reading() as reading:
        run()
    return reading.seen


class _Reading(TorchFunctionMode):
    """Keeps what a softmax returns.

    A fused kernel forms no weights, so it is called once more, with the same query and key and the unit matrix for value:
    what it returns then are the weights that it uses.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is functional.multi_head_attention_forward:
            asked = {**named, "need_weights": True, "average_attn_weights": False, "training": False}
            self._keep(func(*args, **asked)[1])
        result = func(*args, **named)
        if func in _SOFTMAX:
            self._keep(result)
        elif func is functional.scaled_dot_product_attention:
            self._keep(_weights_of_kernel(func, *args, **named))
        return result

    def _keep(self, weights: Any) -> None:
        if isinstance(weights, Tensor) and weights.ndim == _AXES and weights.shape[-1] == weights.shape[-2]:
            self.seen.append(weights.clone())


def _weights_of_kernel(kernel: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> Tensor:
    """The kernel's own answer for V = I: softmax weights. (B, h, T, D_h) three times -> (B, h, T, T)."""
    tokens = value.shape[-2]
    unit = torch.eye(tokens, dtype=value.dtype, device=value.device).expand(*value.shape[:-2], tokens, tokens)
    if len(rest) > 1:  # the mask, then the rate of dropout
        rest = (rest[0], 0.0, *rest[2:])
    else:
        named = {**named, "dropout_p": 0.0}
    return kernel(query, key, unit, *rest, **named)
