"""What a benchmark cell has an implementation do: a forward pass, or a training step in its three phases."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vitbench.adapter import Adapter, Model, NotSupported
from vitbench.arithmetic import arithmetic
from vitbench.arrays import as_tensor
from vitbench.candidate import Candidate
from vitbench.inputs import ImagePool
from vitbench.options import CHANNELS_LAST
from vitbench.plan import Cell
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import exercised_weights
from vitbench.tracing import Logits

POOL_SIZE = 4  # batches
_EPS, _EPS_IN_HALVES = 1e-8, 1e-4  # torch's own, and one that float16 has: where it is zero, so is what is divided by
_LEARNING_RATE = 1e-6  # small, so that thousands of steps on noise leave the weights as they are


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model with random weights, and images for it."""

    adapter: Adapter
    model: Model
    images: ImagePool
    logits: Callable[[Tensor], Any]

    def forward(self) -> Any:
        """The logits of the next batch. -> (B, K)."""
        return self.logits(self.images.next())

    def compiled(self, mode: str | None) -> "Workload":
        """The same behind torch.compile, the adapter's own steps included; compiled when it is first called.

        Raises:
            NotSupported: the model is no torch module.
        """
        if not isinstance(self.model, nn.Module):
            raise NotSupported(f"its model is a {type(self.model).__name__}, no torch module that can be compiled")
        return replace(self, logits=torch.compile(Logits(self.adapter, self.model), mode=mode))


def prepared(cell: Cell, candidate: Candidate, config: ViTConfig, model: Model) -> Workload:
    """The model with the same random weights as every implementation that takes them, and a pool of images.

    Default weights will not do: zeros, as of a fresh head, run faster.
    """
    dtype = getattr(torch, arithmetic(cell.dtype).stored)
    weights: Mapping[str, Tensor] = exercised_weights(config, candidate.conventions, cell.seed, dtype)
    with contextlib.suppress(NotSupported):
        candidate.call("load", model, weights)
    images = ImagePool(config, cell.batch, size=POOL_SIZE, seed=cell.seed, device=cell.device, dtype=dtype)
    if cell.mode == CHANNELS_LAST and isinstance(model, nn.Module):
        model.to(memory_format=torch.channels_last)
        images.batches = [batch.contiguous(memory_format=torch.channels_last) for batch in images.batches]
    logits = partial(candidate.adapter.logits, model)
    answer = logits if isinstance(model, nn.Module) else _waiting(logits, candidate, model)
    return Workload(adapter=candidate.adapter, model=model, images=images, logits=answer)


def _waiting(logits: Callable[[Tensor], Any], candidate: Candidate, model: Model) -> Callable[[Tensor], Any]:
    """A model of another framework may answer before its work is done: its adapter waits.

    Where it has no ``synchronize``, to take the answer over is to wait for it, at the cost of a copy.
    """
    if not candidate.offers("synchronize"):
        return lambda images: as_tensor(logits(images), "logits()")
    synchronize = candidate.adapter.synchronize

    def done(images: Tensor) -> Any:
        answer = logits(images)
        synchronize(model, answer)
        return answer

    return done


class Training:
    """Forward, loss, backward and AdamW's step, each to be called in turn.

    Raises:
        NotSupported: the model is no torch module, or has nothing to train.
    """

    def __init__(self, work: Workload, cell: Cell, classes: int) -> None:
        module = work.model
        if not isinstance(module, nn.Module):
            raise NotSupported(f"its model is a {type(module).__name__}, no torch module that a torch optimizer trains")
        module.train()
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not self.trained:
            raise NotSupported("none of its parameters asks for a gradient")
        eps = _EPS_IN_HALVES if any(one.dtype == torch.float16 for one in self.trained) else _EPS
        self.optimizer = torch.optim.AdamW(self.trained, lr=_LEARNING_RATE, eps=eps)
        generator = torch.Generator().manual_seed(cell.seed)
        self._labels = torch.randint(classes, (cell.batch,), generator=generator).to(cell.device)
        self._work, self._loss = work, torch.zeros(())

    def forward(self) -> None:
        """Images to a loss, which keeps what the backward pass needs."""
        self._loss = cross_entropy(self._work.forward().float(), self._labels)

    def backward(self) -> None:
        """The loss to gradients; it is let go with all that it kept."""
        self._loss.backward()
        self._loss = torch.zeros(())

    def update(self) -> None:
        """Gradients to new parameters; the gradients' memory is let go, as torch does by default."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """All three."""
        self.forward()
        self.backward()
        self.update()
