"""What a model does and keeps in torch's basic operations, whatever it is written in: kernels, memory, work done twice."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vitbench.gradients import Loss, backward
from vitbench.trial import Trial

_FUSED = ("scaled_dot_product", "native_multi_head_attention", "transformer_encoder_layer_fwd", "flash_attention")

_PRODUCTS = ("mm", "convolution", "attention")


class _Watch(TorchDispatchMode):
    """Notes the names of the operations that run, and of those that record gradients while gradients flow back."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.on_the_way_back = False
        self.computed_again = False

    def __torch_dispatch__(self, operation: Any, _types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.names.add(operation.name())
        again = self.on_the_way_back and torch.is_grad_enabled()  # a backward pass itself records none
        self.computed_again |= again and any(product in operation.name() for product in _PRODUCTS)
        return operation(*arguments, **(options or {}))


def fused_attention_kernels(trial: Trial) -> list[str]:
    """The kernels that compute attention without its weights, of those that a forward pass runs."""
    with _Watch() as watch:
        trial.logits()
    return sorted(name for name in watch.names if is_fused_attention(name))


def is_fused_attention(operator: str) -> bool:
    """Whether an operator of this name computes attention without its weights."""
    return any(fused in operator for fused in _FUSED) and "math" not in operator


@dataclass
class Kept:
    """What one forward pass keeps for the way back."""

    bytes: int = 0  # of tensors, once for each operation that keeps them
    computed_again: bool = False  # instead: something runs forward again on the way back


def kept_for_the_way_back(trial: Trial, loss: Loss) -> Kept:
    """A forward and a backward pass in the mode that the module is in, watched. Raises what ``backward`` raises."""
    kept = Kept()

    def pack(tensor: Tensor) -> Tensor:
        if not watch.on_the_way_back:
            kept.bytes += tensor.numel() * tensor.element_size()
        return tensor

    def turning(logits: Tensor) -> Tensor:
        def turn(gradient: Tensor) -> Tensor:
            watch.on_the_way_back = True
            return gradient

        logits.register_hook(turn)
        return loss(logits)

    with _Watch() as watch, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backward(trial, turning)
    kept.computed_again = watch.computed_again
    return kept
