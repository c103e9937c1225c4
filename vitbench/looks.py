"""Looking into a candidate hook by hook: what it does not offer, or shows damaged, is noted and passed over."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from vitbench.candidate import Candidate
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.study import Missing

T = TypeVar("T")


class Looks:
    """What was looked at, and what could not be."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._missing: dict[str, Missing] = {}

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What could not be looked at, each once, with the first reason."""
        return tuple(self._missing.values())

    def look(self, what: str, hook: str, at: Callable[[], T]) -> T | None:
        """What ``at`` returns, which asks the hook; None where there is nothing to see, which is noted."""
        if not self._candidate.offers(hook):
            self.miss(what, hook, f"{self._candidate.name} offers no {hook}()")
            return None
        try:
            return at()
        except (NotSupported, RequirementFailed) as error:
            self.miss(what, hook, str(error))
            return None

    def reason(self, what: str) -> str:
        """Why that could not be looked at; empty where it could."""
        return self._missing[what].reason if what in self._missing else ""

    def miss(self, what: str, hook: str, reason: str) -> None:
        """Note that there is nothing to see."""
        self._missing.setdefault(what, Missing(what=what, hook=hook, reason=reason))


def finite(tensor: Tensor, what: str) -> Tensor:
    """The tensor itself.

    Raises:
        RequirementFailed: it holds NaN or infinity; the text says of what, and how many.
    """
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise RequirementFailed(f"{what}: {bad} of {tensor.numel()} values are NaN or infinite")
    return tensor


def mixing(attention: Tensor, what: str) -> Tensor:
    """The tensor itself: how much of each token every token takes, rows that sum to 1.

    Shapes: (B, h, N+1, N+1), kept.
    Raises:
        RequirementFailed: it holds NaN, infinity or less than nothing, or a row of another sum.
    """
    sums = finite(attention, what).double().sum(dim=-1)
    off, least = (sums - 1).abs().max().item(), attention.min().item()
    if off > _ROUNDING or least < 0:
        raise RequirementFailed(
            f"{what}: attention() returned no softmax weights, with rows that sum to {sums.min():.4g} to {sums.max():.4g} "
            f"and a least weight of {least:.4g}"
        )
    return attention


def patch_distances(grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """Pixels between the centres of each two patches. Shapes: -> (N, N)."""
    y, x = torch.meshgrid(*(torch.arange(length, dtype=torch.float64) for length in grid), indexing="ij")
    centres = torch.stack([y.flatten() * patch_size[0], x.flatten() * patch_size[1]], dim=1)
    return torch.cdist(centres, centres)


_ROUNDING = 1e-3  # of a sum of weights in float32, or in half precision
