"""Candidates made of one function, and a small case to ask them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from vitbench.adapter import Adapter, ViTConfig
from vitbench.candidate import Candidate
from vitbench.cases import Case

CONFIG = ViTConfig(
    image_size=(4, 6), patch_size=(2, 3), channels=2, width=8, depth=2, num_heads=2, mlp_dim=5, num_classes=3
)  # N = 4
CASE = Case(CONFIG, batch=2, seed=7)


class Calling(Adapter):
    """An adapter whose ``logits`` is the function under test."""

    name = "calling"

    def __init__(self, logits: Callable[..., Any]) -> None:
        self._logits = logits

    def build(self, config: ViTConfig) -> Any:
        return SimpleNamespace(config=config)

    def logits(self, model: Any, images: Tensor) -> Any:
        return self._logits(images)


def calling(function: Callable[..., Any]) -> Candidate:
    return Candidate(Calling(function))
