"""Steps of a torch optimizer on a candidate's parameters: a module's own, or those that another framework shows."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitbench.errors import RequirementFailed
from vitbench.gradients import Loss, backward, gradients, shows_gradients
from vitbench.trial import Trial


class Learning:
    """One candidate's training.

    The parameters of a model that is no torch module are exported once, in float64, and loaded again after each step: what
    its own gradients do to them is judged, not its own optimizer.
    """

    def __init__(self, trial: Trial, make_optimizer: Callable[[Iterable[Tensor]], Optimizer]) -> None:
        self._trial, self._foreign = trial, shows_gradients(trial)
        exported = trial.export() if self._foreign else {}
        self._weights = {name: weight.to(trial.dtype).requires_grad_() for name, weight in exported.items()}
        self._optimizer = make_optimizer(self._weights.values() if self._foreign else _parameters(trial.module))
        if self._foreign:
            self._load()

    def step(self, loss: Loss) -> None:
        """A forward and a backward pass in training mode, and a step."""
        if not self._foreign:
            with self._trial.training():
                backward(self._trial, loss)
                self._trial.candidate.guarded("step", self._optimizer.step)
            return
        found = gradients(self._trial, loss).parameters
        for name, weight in self._weights.items():
            weight.grad = found.get(name, torch.zeros_like(weight))
        self._optimizer.step()
        self._load()

    def _load(self) -> None:
        state = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._trial.candidate.call("load", self._trial.model, state)


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    found = list(module.parameters())
    if not found:
        raise RequirementFailed(
            f"the model, a {type(module).__name__}, shows torch no parameters: an optimizer of "
            "model.parameters() would train nothing; register its weights as nn.Parameter"
        )
    return found
