"""Gradients of candidates: by the candidate's own backward pass, in canonical names, with nothing left behind."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from vitbench.adapter import NotSupported
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import Case
from vitbench.errors import RequirementFailed
from vitbench.gradients import backward, gradients, random_loss, reference_gradients
from vitbench.reference.config import ViTConfig
from vitbench.reference.vit import ViT

CASE = Case(
    ViTConfig(
        image_size=(4, 6), patch_size=(2, 2), channels=2, width=8, depth=2, num_heads=2, mlp_dim=7, num_classes=3
    ),
    batch=2,
    seed=5,
)


class Answering(ReferenceAdapter):
    """The reference, whose logits pass through a function."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self._change = change

    def logits(self, model: ViT, images: Tensor) -> Tensor:
        result: Tensor = self._change(model(images))
        return result


def test_gradients_agree_with_finite_differences() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    loss, name, step = random_loss(trial), "blocks.1.attention.value.weight", 1e-6
    found = gradients(trial, loss).parameters[name]
    weight = trial.weights[name].clone()
    weight[3, 2] += step
    difference = (loss(trial.with_weights({name: weight}).logits()) - loss(trial.logits())) / step
    assert found[3, 2].item() == pytest.approx(difference.item(), rel=1e-4)


def test_the_reference_agrees_with_itself_in_every_parameter_and_in_the_images() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    loss = random_loss(trial)
    found, expected = gradients(trial, loss, of_images=True), reference_gradients(trial, loss)
    assert set(found.parameters) == set(expected.parameters)
    for name, gradient in expected.parameters.items():
        assert torch.allclose(found.parameters[name], gradient, rtol=0, atol=1e-13), name
    assert torch.allclose(found.images, expected.images, rtol=0, atol=1e-13)


def test_the_weights_are_back_after_gradients_were_read() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    before = {name: weight.clone() for name, weight in trial.export().items()}
    gradients(trial, random_loss(trial))
    assert all(torch.equal(weight, before[name]) for name, weight in trial.export().items())


def test_the_weights_are_back_when_export_raises() -> None:
    class Unwilling(ReferenceAdapter):
        def export(self, model: ViT) -> Mapping[str, Tensor]:
            raise ValueError("no")

    trial = Candidate(Unwilling()).trial(CASE)
    before = trial.logits()
    with pytest.raises(CandidateRaised, match=r"export\(\) raised ValueError: no"):
        gradients(trial, random_loss(trial))
    assert torch.equal(trial.logits(), before)


def test_a_buffer_has_no_gradient() -> None:
    class Fixed(ReferenceAdapter):
        def load(self, model: ViT, state: Mapping[str, Tensor]) -> None:
            super().load(model, state)
            model.register_buffer("statistics", torch.ones(3, dtype=torch.float64))

        def export(self, model: ViT) -> dict[str, Tensor]:
            return super().export(model) | {"statistics": model.get_buffer("statistics").clone()}

    trial = Candidate(Fixed()).trial(CASE)
    assert not gradients(trial, random_loss(trial)).parameters["statistics"].any()
    assert trial.export()["statistics"].all()


@pytest.mark.parametrize("change", [lambda logits: logits.detach(), lambda logits: logits.detach().numpy()])
def test_logits_without_a_gradient_are_a_failure_that_says_so(change: Any) -> None:
    trial = Candidate(Answering(change)).trial(CASE)
    with pytest.raises(RequirementFailed, match=r"^logits\(\) returned no tensor with a gradient.*no_grad"):
        backward(trial, random_loss(trial))


def test_a_backward_pass_that_raises_is_the_candidates_failure() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_context: Any, *_gradients: Any) -> Any:
            raise ArithmeticError("no way back")

    trial = Candidate(Answering(Broken.apply)).trial(CASE)
    with pytest.raises(CandidateRaised, match=r"^backward\(\) raised ArithmeticError: no way back"):
        backward(trial, random_loss(trial))


def test_a_model_that_is_no_torch_module_has_no_gradients() -> None:
    class Plain(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Any:
            return {"model": super().build(config).double()}

        def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
            super().load(model["model"], state)

        def logits(self, model: Any, images: Tensor) -> Tensor:
            result: Tensor = model["model"](images)
            return result

    trial = Candidate(Plain()).trial(CASE)
    with pytest.raises(NotSupported, match="its model is a dict, no torch module"):
        backward(trial, random_loss(trial))
    with pytest.raises(NotSupported), trial.training():
        pass


def test_training_mode_ends_with_its_context() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    with trial.training():
        assert trial.module.training
    assert not trial.module.training


def test_images_carry_no_gradient_unless_it_is_asked_for() -> None:
    seen: list[bool] = []

    class Watching(ReferenceAdapter):
        def logits(self, model: ViT, images: Tensor) -> Tensor:
            seen.append(images.requires_grad)
            return super().logits(model, images)

    trial = Candidate(Watching()).trial(CASE)
    seen.clear()
    for asked in (False, True):
        backward(trial, random_loss(trial), of_images=asked)
    assert seen == [False, True]
