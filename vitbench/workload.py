"""What a benchmark cell has an implementation do: a forward pass, or a training step in its three phases."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vitbench.adapter import Model, NotSupported
from vitbench.candidate import Candidate
from vitbench.inputs import ImagePool
from vitbench.plan import Cell
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import exercised_weights

POOL_SIZE = 4  # batches
_LEARNING_RATE = 1e-6  # small, so that thousands of steps on noise leave the weights as they are


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model with random weights, and images for it."""

    candidate: Candidate
    model: Model
    images: ImagePool

    def forward(self) -> Any:
        """The adapter's own logits of the next batch. -> (B, K)."""
        return self.candidate.adapter.logits(self.model, self.images.next())


class Training:
    """Forward, loss, backward and AdamW's step, each to be called in turn.

    Raises:
        NotSupported: the model is no torch module, or has nothing to train.
    """

    def __init__(self, work: Workload, classes: int, batch: int, seed: int) -> None:
        module = work.model
        if not isinstance(module, nn.Module):
            raise NotSupported(f"its model is a {type(module).__name__}, no torch module that a torch optimizer trains")
        self.module, self._work = module.train(), work
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not self.trained:
            raise NotSupported("none of its parameters asks for a gradient")
        self.optimizer = torch.optim.AdamW(self.trained, lr=_LEARNING_RATE)
        generator = torch.Generator().manual_seed(seed)
        self._labels = torch.randint(classes, (batch,), generator=generator).to(work.candidate.device)
        self._loss: Tensor | None = None

    def forward(self) -> None:
        """Images to a loss, which keeps what the backward pass needs."""
        self._loss = cross_entropy(self._work.forward(), self._labels)

    def backward(self) -> None:
        """The loss to gradients."""
        assert self._loss is not None, "backward() comes after forward()"  # noqa: S101
        self._loss.backward()
        self._loss = None

    def update(self) -> None:
        """Gradients to new parameters; the gradients' memory is let go, as torch does by default."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """All three."""
        self.forward()
        self.backward()
        self.update()


def prepared(cell: Cell, candidate: Candidate, config: ViTConfig, model: Model) -> Workload:
    """The model with the same random weights as every implementation that takes them, and a pool of images.

    Default weights will not do: zeros, as of a fresh head, run faster.
    """
    dtype = getattr(torch, cell.dtype)
    weights: Mapping[str, Tensor] = exercised_weights(config, candidate.conventions, cell.seed, dtype)
    with contextlib.suppress(NotSupported):
        candidate.call("load", model, weights)
    images = ImagePool(config, cell.batch, size=POOL_SIZE, seed=cell.seed, device=cell.device, dtype=dtype)
    return Workload(candidate=candidate, model=model, images=images)
