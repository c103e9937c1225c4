"""A model that was given images of another size than its own, against one of the candidate's that was built for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitbench.assertions import FLOAT32_INSIDE_RELATIVE, assert_changed, assert_consistent
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.gradients import gradients, random_loss, reference_gradients
from vitbench.reference.config import ViTConfig
from vitbench.reference.positions import resize_position_embedding
from vitbench.trial import Trial, Weights

KEY_BIAS = "attention.key.bias"  # without effect (VIT-ATTN-KEY-BIAS): its gradient is rounding, or it is not there
TABLE = "position_embedding"


@dataclass(frozen=True, kw_only=True)
class Positions:
    """The table of a new size, and where the model has it from."""

    table: Tensor  # (1, N'+1, D)
    in_float32: Tensor | None = None  # the same, resized in float32: where a model shows no such table, it may be this
    pulled_back: Callable[[Tensor], Tensor] = lambda gradient: (
        gradient
    )  # the table's gradient, to the table that is kept


def resized_in_each_call(trial: Trial, other: ViTConfig) -> Positions:
    """The positions of a model that keeps the table of its own size, and resizes it as images come."""
    config, conventions, at_home = trial.config, trial.conventions, trial.weights[TABLE]
    class_row, kind = conventions.class_token_has_position, conventions.position_resize

    def resized(table: Tensor) -> Tensor:
        return resize_position_embedding(table, config.grid, other.grid, kind, class_row=class_row)

    def pulled_back(gradient: Tensor) -> Tensor:
        leaf = at_home.to(gradient.dtype, copy=True).requires_grad_()
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(resized(leaf), leaf, gradient)
        return pulled

    return Positions(table=resized(at_home), in_float32=resized(at_home.float()).double(), pulled_back=pulled_back)


def assert_as_built(resized: Trial, other: ViTConfig, positions: Positions, what: str) -> None:
    """The model computes, trains and drops as one that was built for this size and got these positions.

    Args:
        resized: the model with images of the size of ``other``, and the weights of its own size.
        what: names model and images in the failure's text.
    """
    case, weights = replace(resized.case, config=other), {**resized.weights, TABLE: positions.table}
    built = resized.candidate.trial(case, weights, exactly=True)
    built.images = resized.images
    single = None if positions.in_float32 is None else _with(built, positions.in_float32)
    error = None if single is None else (single.reference.logits - built.reference.logits).abs().max().item()
    actual, expected = resized.logits(), built.logits()
    assert_consistent(actual, expected, f"logits {what}", float32_error=error, witness=positions.in_float32)
    if isinstance(resized.model, nn.Module):
        _assert_drops_alike(resized, built, what)
        _assert_learns_alike(resized, built, single, positions, what)


def _with(built: Trial, table: Tensor) -> Trial:
    """The same model's reference with another table."""
    other = built.of(built.model)
    other.weights = {**built.weights, TABLE: table}
    return other


def _assert_drops_alike(resized: Trial, built: Trial, what: str) -> None:
    """In training, the same elements fall; or some do, where the candidate's generator is not torch's."""
    answers = [_dropped(trial) for trial in (built, built, resized)]
    first, again, found = answers
    rounding = FLOAT32_INSIDE_RELATIVE * first.abs().max()  # positions may have been resized in float32
    if (again - first).abs().max() <= rounding:
        alike = (found - first).abs().max() <= rounding
        if not alike:
            raise RequirementFailed(
                f"logits {what}, in training mode: off by {(found - first).abs().max():.3g}, from the same seed; are "
                "positions, dropout and drop path the same in training?"
            )
        return
    assert_changed(found, resized.logits(), f"logits {what}, in training mode with dropout")


def _dropped(trial: Trial) -> Tensor:
    """Logits in training mode, from a seed of torch's."""
    with trial.training():
        torch.manual_seed(trial.case.seed)
        return trial.logits()


def _assert_learns_alike(resized: Trial, built: Trial, single: Trial | None, positions: Positions, what: str) -> None:
    """Every parameter receives the gradient that it would in the model built, the table by way of its resizing."""
    loss = random_loss(built)
    try:
        expected = _at_home(gradients(built, loss).parameters, positions)
    except (NotSupported, RequirementFailed):
        return  # it does not train, or does not show it, at its own size either
    errors = _float32_errors(built, single, positions) if single else {}
    actual = gradients(resized, loss).parameters
    for name, gradient in expected.items():
        if not name.endswith(KEY_BIAS) and bool((gradient != 0).any()):
            assert_consistent(
                actual[name],
                gradient,
                f"gradient of {name} {what}",
                float32_error=errors.get(name),
                witness=positions.in_float32,
            )


def _at_home(found: Weights, positions: Positions) -> dict[str, Tensor]:
    """Gradients with that of the table as the model that keeps another table receives it."""
    return {**found, TABLE: positions.pulled_back(found[TABLE])}


def _float32_errors(built: Trial, single: Trial, positions: Positions) -> dict[str, float]:
    """What positions that are resized in float32 cost the reference's gradients: the largest error of each."""
    exact, rounded = (reference_gradients(trial, random_loss(trial)).parameters for trial in (built, single))
    back = positions.pulled_back(rounded[TABLE].float()).double()
    return {
        name: (got - right).abs().max().item()
        for name, right in _at_home(exact, positions).items()
        for got in [back if name == TABLE else rounded[name]]
    }
