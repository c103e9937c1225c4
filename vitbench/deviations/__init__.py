"""The bank of deviations: the reference with one named thing wrong, to prove that the checks can tell.

A deviation replaces named functions of the reference from outside, so that the reference stays free of flags.
"""

from typing import Any

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.deviations import (
    forward,
    hybrid,
    kernel,
    paths,
    positions,
    state,
    training,
)
from vitbench.deviations.deviation import Deviation
from vitbench.deviations.kernel import KernelDeviation

__all__ = ["BANK", "KERNEL_BANK", "DeviantAdapter", "Deviation", "KernelDeviation"]

BANK: dict[str, Deviation] = {
    deviation.id: deviation
    for module in (
        forward,
        positions,
        hybrid,
        training,
        paths,
        state,
    )
    for deviation in module.DEVIATIONS
}

KERNEL_BANK: dict[str, KernelDeviation] = {deviation.id: deviation for deviation in kernel.DEVIATIONS}
"""The same for attention kernels, which are functions and replace nothing."""


class DeviantAdapter(ReferenceAdapter):
    """The reference with a deviation, as a candidate: the deviation holds only while the candidate is called."""

    def __init__(self, deviation: Deviation) -> None:
        super().__init__()
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
