"""What attention is for given inputs: in float64, and in their own dtype by several orders of evaluation, for tier N."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from vitbench.assertions import NUMERICS_FACTOR, NUMERICS_GRADIENT_FACTOR, numerics_bound
from vitbench.kernel_cases import Inputs
from vitbench.kernel_orders import orders
from vitbench.reference.attention import attention

NAMES = ("query", "key", "value")


class Truth:
    """The reference's answers for three tensors, on their device. Shapes: (B, h, T, D_h) each."""

    def __init__(self, inputs: Inputs, upstream: Tensor | None = None) -> None:
        self.inputs = inputs
        self._upstream = upstream

    @cached_property
    def output(self) -> Tensor:
        """In float64, on the very numbers that the kernel gets."""
        query, key, value = (x.double() for x in self.inputs)
        return attention(query, key, value)

    @cached_property
    def outputs_in_dtype(self) -> Sequence[Tensor]:
        """What computing it in the inputs' dtype gives, once an order of evaluation."""
        return [order(*self.inputs) for order in orders(self.inputs[0].dtype)]

    @cached_property
    def gradients(self) -> tuple[Tensor, ...]:
        """Of query, key and value, in float64."""
        return gradients_of(attention, [x.double() for x in self.inputs], self.upstream.double())

    @cached_property
    def gradients_in_dtype(self) -> Sequence[tuple[Tensor, ...]]:
        """In the inputs' dtype, once an order."""
        return [gradients_of(order, self.inputs, self.upstream) for order in orders(self.inputs[0].dtype)]

    @property
    def upstream(self) -> Tensor:
        """The gradient of the output, which the gradients of the inputs follow from."""
        if self._upstream is None:
            raise ValueError("gradients need the output's own; give Truth(inputs, upstream)")
        return self._upstream

    def output_bound(self) -> float:
        """The error that tier N allows of the output."""
        return numerics_bound(self.output, self.outputs_in_dtype, "output", NUMERICS_FACTOR)

    def gradient_bounds(self) -> tuple[float, ...]:
        """The error that tier N allows of each gradient."""
        return tuple(
            numerics_bound(exact, in_dtype, f"gradient of the {name}", NUMERICS_GRADIENT_FACTOR)
            for name, exact, in_dtype in zip(
                NAMES, self.gradients, zip(*self.gradients_in_dtype, strict=True), strict=True
            )
        )


def gradients_of(function: Callable[..., Tensor], inputs: Sequence[Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    """Gradients of sum(function(inputs) * upstream)."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    with torch.enable_grad():
        output = function(*leaves)
    return torch.autograd.grad(output, leaves, upstream)
