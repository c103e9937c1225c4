"""Slowdowns of a known size, planted in one side of a duet: what a gate has to find is known only then."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
from torch import nn

from vitbench.errors import HarnessError

Kind = Literal["busy", "work"]
KINDS: tuple[Kind, ...] = ("busy", "work")

_PROBES = 15  # launches, whose median tells how much extra work makes a given part


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """So much more time for each launch: a loop that waits behind it, or more matrix products within one block."""

    kind: Kind
    fraction: float  # of the launch's own time; 0: none

    def planted(self, launch: Callable[[], Any], model: object, now_s: Callable[[], float]) -> Callable[[], Any]:
        """The launch, slowed down. ``work`` is measured here once, and so has the size that was asked for but roughly."""
        if not self.fraction:
            return launch
        if self.kind == "busy":
            return _waiting(launch, self.fraction)
        if not isinstance(model, nn.Module):
            raise HarnessError("extra work is planted in a torch module; this model is none")
        return _working(launch, self.fraction, model, now_s)


NONE = Slowdown(kind="busy", fraction=0.0)


def _waiting(launch: Callable[[], Any], fraction: float) -> Callable[[], Any]:
    def slowed() -> Any:
        start = time.perf_counter()
        answer = launch()
        end = time.perf_counter()
        until = end + fraction * (end - start)
        while time.perf_counter() < until:
            pass
        return answer

    return slowed


def _working(
    launch: Callable[[], Any], fraction: float, model: nn.Module, now_s: Callable[[], float]
) -> Callable[[], Any]:
    parameter = next(model.parameters())
    square = torch.rand(64, 64, dtype=parameter.dtype, device=parameter.device)
    product_s = _median_s(lambda: torch.mm(square, square), now_s)
    products = max(1, round(fraction * _median_s(launch, now_s) / product_s))

    def more(*_: Any) -> None:
        for _i in range(products):
            torch.mm(square, square)

    within: list[nn.Module] = [module for module in model.modules() if isinstance(module, nn.LayerNorm)] or [model]
    within[len(within) // 2].register_forward_hook(more)
    return launch


def _median_s(launch: Callable[[], Any], now_s: Callable[[], float]) -> float:
    taken = []
    for _ in range(_PROBES):
        start = now_s()
        launch()
        taken.append(now_s() - start)
    return median(taken)
