"""Gradients of a candidate and of the reference, under the canonical parameters' names."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis.errors import UnsatisfiedAssumption
from torch import Tensor, nn

from vitbench.cases import random_images
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.foreign import TrainingPass, cotangent_of, training_pass
from vitbench.isolation import repeated_random_numbers
from vitbench.reference.vit import vision_transformer
from vitbench.trial import Trial

Loss = Callable[[Tensor], Tensor]
"""A number to differentiate, of the logits. Shapes: (B, K) -> ()."""


@dataclass(frozen=True)
class Gradients:
    """What one backward pass leaves."""

    parameters: Mapping[str, Tensor]  # in the canonical shapes
    images: Tensor  # (B, C, H, W)


def random_loss(trial: Trial) -> Loss:
    """A linear function of the logits with random coefficients, so that no symmetry hides a gradient."""
    weights = random_images((trial.case.batch, trial.config.num_classes), trial.case.seed + 1)
    return lambda logits: (logits * weights.to(logits)).sum()


def backward(
    trial: Trial, loss: Loss, *, of_images: bool = False, forward_under: AbstractContextManager[Any] | None = None
) -> Tensor:
    """A forward and a backward pass; the parameters' gradients stay in the module, those of the images are returned.

    Images are data in training, which carry no gradient: one is taken only where it is asked for, and is zero elsewhere.
    ``forward_under`` is a context for the forward pass alone, as autocast is used.

    Raises:
        NotSupported: the model is no torch module.
        RequirementFailed: the logits carry no gradient, or the candidate's own code raised.
    """
    trial.module.zero_grad(set_to_none=True)
    images = trial.images.clone().requires_grad_(of_images)
    with forward_under or nullcontext():
        logits = trial.candidate.call("logits", trial.model, images, grad=True)
    if not isinstance(logits, Tensor) or not logits.requires_grad:
        raise RequirementFailed(
            "logits() returned no tensor with a gradient, though gradients are on and parameters ask for them; is the "
            "forward pass under no_grad(), or its result detached?"
        )
    trial.candidate.guarded("backward", lambda: loss(logits).backward(), grad=True)
    return torch.zeros_like(images) if images.grad is None else images.grad


def gradients(trial: Trial, loss: Loss, *, of_images: bool = False) -> Gradients:
    """The candidate's gradients by its own backward pass, as ``export``, or ``value_and_grad``, names and shapes them."""
    if shows_gradients(trial):
        found = _training_pass(trial, loss)
        return Gradients(found.parameters, found.images)
    received = backward(trial, loss, of_images=of_images)
    with _gradients_for_parameters(trial.module):
        parameters = trial.export()
    return Gradients(parameters, received)


def gradient_of_images(trial: Trial, loss: Loss) -> Tensor:
    """What arrives at the images. (B, C, H, W)."""
    return _training_pass(trial, loss).images if shows_gradients(trial) else backward(trial, loss, of_images=True)


def logits_in_training(trial: Trial) -> Tensor:
    """The logits of a forward pass as training makes it. (B, K).

    Raises:
        NotSupported: the model is no torch module, and its adapter has no ``value_and_grad``.
    """
    if shows_gradients(trial):
        return _training_pass(trial, random_loss(trial)).logits
    with trial.training():
        return trial.logits()


@contextmanager
def in_training_mode(trial: Trial) -> Iterator[None]:
    """Within this context a torch module is in training mode; ``value_and_grad`` is always a step of training."""
    with nullcontext() if shows_gradients(trial) else trial.training():
        yield


def shows_gradients(trial: Trial) -> bool:
    """Whether the model is no torch module, and its adapter differentiates it."""
    return not isinstance(trial.model, nn.Module) and trial.candidate.offers("value_and_grad")


def _training_pass(trial: Trial, loss: Loss) -> TrainingPass:
    return training_pass(trial, cotangent_of(trial, loss))


def own_gradients(trial: Trial, forward_under: AbstractContextManager[Any] | None = None) -> dict[str, Tensor | None]:
    """The gradient of a random loss for each trainable parameter, under the module's own names; None: it gets none.

    In the mode, training or evaluation, that the module is in. What ``value_and_grad`` differentiates has canonical names.
    """
    if shows_gradients(trial):
        if forward_under is not None:
            raise NotSupported(f"{trial.candidate.framework} has no autocast of torch's")
        return dict(sorted(_training_pass(trial, random_loss(trial)).parameters.items()))
    backward(trial, random_loss(trial), forward_under=forward_under)
    return {name: parameter.grad for name, parameter in trial.module.named_parameters() if parameter.requires_grad}


@dataclass(frozen=True)
class Slope:
    """How fast a loss grows along a random direction of all parameters."""

    by_gradient: float
    by_differences: float
    scale: float  # the length of the gradient; the direction's elements are of order one


def along_a_direction(trial: Trial, loss: Loss) -> Slope | None:
    """The slope of a loss in the mode that the module is in, every pass with the same random numbers.

    None: the passes differ nevertheless, so that the loss has no slope; the masks come from a generator of its own.

    Raises:
        UnsatisfiedAssumption: the loss bends so much that differences do not tell its slope.
        RequirementFailed: as ``backward``.
    """
    with repeated_random_numbers(trial.case.seed):
        backward(trial, loss)
    trained = [parameter for parameter in trial.module.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(trial.case.seed)
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p) for p in trained]
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    slope = sum((gradient * way).sum().item() for gradient, way in zip(found, directions, strict=True))
    length = sum(gradient.square().sum().item() for gradient in found) ** 0.5

    def at(distance: float) -> float:
        for parameter, way in zip(trained, directions, strict=True):
            parameter.data.add_(way, alpha=distance)
        try:
            with repeated_random_numbers(trial.case.seed):  # with gradients recorded too: a model may ask
                logits = trial.candidate.call("logits", trial.model, trial.images, grad=True)
            return loss(logits.detach()).item()
        finally:
            for parameter, way in zip(trained, directions, strict=True):
                parameter.data.sub_(way, alpha=distance)

    here, (far_behind, behind, ahead, far_ahead) = at(0.0), (at(n * _STEP) for n in (-2, -1, 1, 2))
    near, far = (ahead - behind) / (2 * _STEP), (far_ahead - far_behind) / (4 * _STEP)
    if abs(ahead + behind - 2 * here) > _FARTHEST * _STEP * length:
        return None
    if abs(near - far) > _LEAST_STRAIGHT * length:
        raise UnsatisfiedAssumption  # a LayerNorm of all but equal features, say: another example is drawn
    return Slope(by_gradient=slope, by_differences=(4 * near - far) / 3, scale=length)


_STEP = 1e-5
_FARTHEST = 30.0
"""A loss bends by far less than its slope over so short a step; other masks change it by orders of magnitude more."""
_LEAST_STRAIGHT = 1e-5
"""Differences over one step and two agree so well that what both of them miss, a fifteenth of it, is far within bounds."""


def reference_gradients(trial: Trial, loss: Loss) -> Gradients:
    """The reference's gradients for the same weights and images."""
    weights = {name: weight.clone().requires_grad_() for name, weight in trial.weights.items()}
    images = trial.images.clone().requires_grad_()
    loss(vision_transformer(images, weights, trial.config, trial.conventions)).backward()
    missing = torch.zeros(())
    return Gradients(
        {name: missing if weight.grad is None else weight.grad for name, weight in weights.items()},
        missing if images.grad is None else images.grad,
    )


@contextmanager
def _gradients_for_parameters(module: nn.Module) -> Iterator[None]:
    """Within this context the module holds its gradients where its parameters were, and zeros in its buffers."""
    tensors = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
    kept = [tensor.data for tensor in tensors]
    for tensor in tensors:
        tensor.data = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.detach().clone()
    try:
        yield
    finally:
        for tensor, data in zip(tensors, kept, strict=True):
            tensor.data = data
