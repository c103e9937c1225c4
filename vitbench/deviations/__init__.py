"""The bank of deviations: the reference with one named thing wrong, to prove that the checks can tell.

A deviation replaces named functions of the reference from outside, so that the reference stays free of flags.
"""

from typing import Any

from vitbench.adapter import Conventions
from vitbench.adapters.reference import Checkpointed, ReferenceAdapter
from vitbench.deviations import (
    attention,
    block,
    closed_forms,
    dropout,
    equivalent,
    head,
    hybrid,
    kernel,
    mlp,
    norm,
    numerics,
    patch,
    paths,
    positions,
    resolution,
    sizes,
    state,
    steps,
    token,
    training,
    weights,
)
from vitbench.deviations.deviation import Deviation, Equivalent, Rewriting
from vitbench.deviations.kernel import KernelDeviation
from vitbench.reference.vit import ViT

__all__ = [
    "BANK",
    "EQUIVALENTS",
    "KERNEL_BANK",
    "DeviantAdapter",
    "Deviation",
    "Equivalent",
    "KernelDeviation",
    "Rewriting",
]

BANK: dict[str, Deviation] = {
    deviation.id: deviation
    for module in (
        patch,
        token,
        block,
        attention,
        mlp,
        norm,
        head,
        weights,
        steps,
        closed_forms,
        sizes,
        positions,
        resolution,
        hybrid,
        training,
        dropout,
        numerics,
        paths,
        state,
    )
    for deviation in module.DEVIATIONS
}

KERNEL_BANK: dict[str, KernelDeviation] = {deviation.id: deviation for deviation in kernel.DEVIATIONS}
"""The same for attention kernels, which are functions and replace nothing."""

EQUIVALENTS: dict[str, Equivalent] = {mutant.id: mutant for mutant in equivalent.EQUIVALENTS}
"""Mutants that are the paper's model all the same; with them the bank's kill rate is honest."""


class DeviantAdapter(ReferenceAdapter):
    """The reference rewritten, as a candidate: what is replaced is so only while the candidate is called."""

    def __init__(self, deviation: Rewriting, conventions: Conventions | None = None) -> None:
        super().__init__(conventions)
        self.name = f"reference with {deviation.id}"
        self._deviation = deviation

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found

        def deviating(*arguments: Any) -> Any:
            with self._deviation.applied():
                return super(DeviantAdapter, self).__getattribute__(name)(*arguments)  # which may be what deviates

        return deviating

    def checkpointed(self, model: ViT) -> Checkpointed:
        """What a checkpoint computes again deviates too, though the backward pass is none of the adapter's methods."""
        found = super().checkpointed(model)
        forward = found.vit.forward

        def again(*arguments: Any) -> Any:
            with self._deviation.applied():
                return forward(*arguments)

        found.vit.__dict__["forward"] = again
        return found
