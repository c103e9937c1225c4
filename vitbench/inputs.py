"""Random images to measure with; all of them exist before timing starts."""

from itertools import count

import torch
from torch import Tensor

from vitbench.reference.config import ViTConfig


class ImagePool:
    """A few batches of normal noise, handed out in turn: zeros are faster than data, and one batch stays in caches.

    Shapes: each batch (B, C, H, W).
    """

    def __init__(self, config: ViTConfig, batch: int, *, size: int, seed: int, device: str, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, config.channels, *config.image_size)
        self.batches: list[Tensor] = [torch.randn(shape, generator=generator).to(device, dtype) for _ in range(size)]
        self._turn = count()

    def next(self) -> Tensor:
        """The batch whose turn it is. (B, C, H, W)."""
        return self.batches[next(self._turn) % len(self.batches)]
