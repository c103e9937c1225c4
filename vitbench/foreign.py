"""Models that are no torch modules: what the harness does with torch's own means elsewhere, it asks of their adapter."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitbench.arrays import as_tensor, short
from vitbench.errors import RequirementFailed
from vitbench.trial import Trial, Weights

_PARTS = ("logits", "gradients by canonical name", "gradient of the images")


@dataclass(frozen=True)
class TrainingPass:
    """What one forward and backward pass of ``value_and_grad`` gave, as tensors of the right shapes."""

    logits: Tensor  # (B, K)
    parameters: Weights  # gradients, in the canonical shapes
    images: Tensor  # (B, C, H, W), a gradient


def training_pass(trial: Trial, cotangent: Tensor) -> TrainingPass:
    """A forward and a backward pass by the adapter's own hook; ``cotangent`` is a loss's gradient at the logits. (B, K).

    Raises:
        NotSupported: the adapter has no such hook.
        RequirementFailed: the hook raised, or what it returned is not what it should be.
    """
    answer = trial.candidate.call("value_and_grad", trial.model, trial.images, cotangent.to(trial.dtype))
    if not isinstance(answer, tuple) or len(answer) != len(_PARTS) or not hasattr(answer[1], "items"):
        raise RequirementFailed(f"value_and_grad() returned a {type(answer).__name__}, expected ({', '.join(_PARTS)})")
    logits, parameters, images = answer
    return TrainingPass(
        logits=trial.answer("logits", logits),
        parameters={name: _gradient(value, trial.weights.get(name), name, trial) for name, value in parameters.items()},
        images=_gradient(images, trial.images, "the images", trial),
    )


def cotangent_of(trial: Trial, loss: Any) -> Tensor:
    """The gradient of a loss at the logits of evaluation. (B, K)."""
    logits = trial.logits().requires_grad_()
    with torch.enable_grad():
        (cotangent,) = torch.autograd.grad(loss(logits), logits)
    return cotangent


def _gradient(value: Any, like: Tensor | None, name: str, trial: Trial) -> Tensor:
    """A gradient, if checks can compute with it."""
    what = f"value_and_grad()'s gradient of {name}"
    found = trial.widened(as_tensor(value, what))
    if like is not None and found.shape != like.shape:
        raise RequirementFailed(f"{what} has shape {tuple(found.shape)}, expected {tuple(like.shape)}")
    if found.dtype != trial.dtype:
        raise RequirementFailed(f"{what} has dtype {short(found.dtype)}, expected {short(trial.dtype)}")
    return found
