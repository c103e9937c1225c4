"""Models that are no torch modules: what their adapter tells the harness, and what becomes of one that tells it wrong."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from calling import CASE, CONFIG
from checks import judged
from torch import Tensor

from vitbench.adapter import NotSupported, ViTConfig
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.cases import nearest
from vitbench.errors import RequirementFailed
from vitbench.examples.numpy_vit import NumpyAdapter
from vitbench.foreign import training_pass
from vitbench.gradients import gradients, random_loss, reference_gradients
from vitbench.timer import CpuClock, CudaClock, clock_for
from vitbench.workload import _waiting


class Changed(NumpyAdapter):
    """The example, whose gradients pass through a function."""

    def __init__(self, change: Any) -> None:
        self._change = change

    def value_and_grad(self, model: Any, images: Tensor, cotangent: Tensor) -> Any:
        return self._change(*super().value_and_grad(model, images, cotangent))


def test_gradients_of_another_framework_are_those_of_the_reference() -> None:
    trial = Candidate(NumpyAdapter()).trial(CASE)
    loss = random_loss(trial)
    found, expected = gradients(trial, loss), reference_gradients(trial, loss)
    assert set(found.parameters) == set(expected.parameters)
    for name, gradient in expected.parameters.items():
        assert torch.allclose(found.parameters[name], gradient, rtol=0, atol=1e-12), name
    assert torch.allclose(found.images, expected.images, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda logits, slopes, images: slopes, r"value_and_grad\(\) returned a dict, expected \(logits, gradients by"),
        (lambda logits, slopes, images: (logits, 3, images), r"value_and_grad\(\) returned a tuple"),
        (lambda logits, slopes, images: (logits.T, slopes, images), r"logits\(\) returned shape \(3, 2\)"),
        (
            lambda logits, slopes, images: (logits, slopes, images[:1]),
            r"gradient of the images has shape \(1, 2, 4, 6\)",
        ),
        (
            lambda logits, slopes, images: (logits, slopes | {"norm.bias": slopes["norm.bias"][:3]}, images),
            r"gradient of norm.bias has shape \(3,\), expected \(8,\)",
        ),
        (
            lambda logits, slopes, images: (logits, slopes, images.astype(np.float16)),
            "gradient of the images has dtype float16, expected float64",
        ),
    ],
)
def test_what_value_and_grad_returns_is_looked_at(change: Any, text: str) -> None:
    trial = Candidate(Changed(change)).trial(CASE)
    with pytest.raises(RequirementFailed, match=text):
        training_pass(trial, torch.ones(2, 3))


def scaled(slopes: Mapping[str, Any], name: str, factor: float) -> dict[str, Any]:
    return {key: factor * slope if key == name else slope for key, slope in slopes.items()}


WRONG_GRADIENTS = {
    "VIT-TRAIN-GRADIENT": lambda logits, slopes, images: (logits, scaled(slopes, "norm.weight", 1.001), images),
    "VIT-TRAIN-LIVE": lambda logits, slopes, images: (logits, scaled(slopes, "blocks.0.mlp.fc1.bias", 0), images),
    "VIT-TRAIN-IMAGES": lambda logits, slopes, images: (logits, slopes, -images),
    "VIT-TRAIN-STEP": lambda logits, slopes, images: (logits, scaled(slopes, "head.bias", 0), images),
    "VIT-TRAIN-OVERFIT": lambda logits, slopes, images: (
        logits,
        {name: -slope for name, slope in slopes.items()},
        images,
    ),
    "VIT-TRAIN-SAME": lambda logits, slopes, images: (logits * 1.001, slopes, images),
    "VIT-PATH-GRAD": lambda logits, slopes, images: (logits + 1e-6, slopes, images),
    "VIT-NUM-FLOAT32": lambda logits, slopes, images: (
        logits,
        {name: slope.astype(np.float16).astype(slope.dtype) for name, slope in slopes.items()},
        images,
    ),
}


@pytest.mark.parametrize("requirement", WRONG_GRADIENTS)
def test_wrong_gradients_of_another_framework_are_found(requirement: str) -> None:
    assert judged(requirement, Candidate(Changed(WRONG_GRADIENTS[requirement]))).status == "FAILED"


def test_a_training_pass_that_leaves_something_behind_is_found() -> None:
    class Drifting(NumpyAdapter):
        def value_and_grad(self, model: Any, images: Tensor, cotangent: Tensor) -> Any:
            found = super().value_and_grad(model, images, cotangent)
            model.weights["norm.bias"] = model.weights["norm.bias"] + 1e-3
            return found

    assert judged("VIT-TRAIN-SILENT", Candidate(Drifting())).status == "FAILED"


def test_a_training_pass_that_writes_into_its_images_is_found() -> None:
    class Writing(NumpyAdapter):
        def value_and_grad(self, model: Any, images: Tensor, cotangent: Tensor) -> Any:
            found = super().value_and_grad(model, images, cotangent)
            images.zero_()
            return found

    found = judged("VIT-PURE-INPUT", Candidate(Writing()))
    assert (found.status, "value_and_grad" in found.reason) == ("FAILED", True)


class WithoutGradients(NumpyAdapter):
    value_and_grad = ReferenceAdapter.value_and_grad


@pytest.mark.parametrize("requirement", [*WRONG_GRADIENTS, "VIT-TRAIN-SILENT"])
def test_what_a_framework_does_not_show_is_not_offered(requirement: str) -> None:
    found = judged(requirement, Candidate(WithoutGradients()))
    if requirement == "VIT-NUM-FLOAT32":  # of the logits it can be said
        assert found.status == "PASSED"
        return
    assert found.status == "NOT_OFFERED"
    assert "it computes with numpy" in found.reason


def test_a_framework_that_is_declared_and_not_the_one_at_work_is_found() -> None:
    class Library(ReferenceAdapter):
        framework = "numpy"

        def logits(self, model: Any, images: Tensor) -> Tensor:
            result: Tensor = torch.nn.functional.scaled_dot_product_attention(images, images, images).mean()
            return super().logits(model, images) + 0 * result

    found = judged("VIT-PATH-KERNEL", Candidate(Library()))
    assert (found.status, "torch's attention kernels that run, in numpy" in found.reason) == ("FAILED", True)


def test_a_model_that_computes_elsewhere_is_not_offered() -> None:
    candidate = Candidate(NumpyAdapter())
    candidate.device = torch.device("cuda:0")
    with pytest.raises(NotSupported, match="its numpy model computes on cpu, not on cuda:0"):
        candidate.build(CONFIG)


def test_answers_are_waited_for_by_synchronize_and_copied_without_it() -> None:
    waited = []

    class Late(NumpyAdapter):
        def synchronize(self, model: Any, answer: Any) -> None:
            waited.append(answer)

    answer = np.ones((2, 3))
    done = _waiting(lambda images: answer, Candidate(Late()), SimpleNamespace())(torch.ones(1))
    assert done is answer
    assert waited == [answer]
    copied = _waiting(lambda images: answer, Candidate(Plain()), SimpleNamespace())(torch.ones(1))
    assert torch.equal(copied, torch.ones(2, 3, dtype=torch.float64))


class Plain(NumpyAdapter):
    synchronize = ReferenceAdapter.synchronize


def test_what_another_framework_launches_is_timed_by_the_wall_clock() -> None:
    assert isinstance(clock_for("cuda:0", "jax"), CpuClock)
    assert isinstance(clock_for("cuda:0"), CudaClock)


# --- candidates of fixed sizes ---

LARGER = replace(CONFIG, width=16, num_heads=4)


class Fixed(ReferenceAdapter):
    """The reference in two sizes, for three images at a time."""

    name = "fixed"
    configs = (CONFIG, LARGER)
    batch = 3

    def build(self, config: ViTConfig) -> Any:
        if config not in self.configs:
            raise NotSupported("two sizes only")
        return super().build(config)

    def logits(self, model: Any, images: Tensor) -> Tensor:
        if len(images) != self.batch:
            raise NotSupported("three images only")
        return super().logits(model, images)


def test_a_candidate_of_fixed_sizes_is_judged_on_the_nearest() -> None:
    assert nearest(replace(CONFIG, depth=1), Fixed.configs) == CONFIG
    assert nearest(replace(LARGER, mlp_dim=9, channels=1), Fixed.configs) == LARGER
    trial = Candidate(Fixed()).trial(CASE)
    assert (trial.config, trial.case.batch, trial.logits().shape) == (CONFIG, 3, (3, 3))


@pytest.mark.parametrize("other", [{"head": "mlp"}, {"pool": "mean"}, {"dropout": 0.1}])
def test_another_kind_of_model_is_not_judged_by_one_that_is_there(other: dict[str, Any]) -> None:
    with pytest.raises(NotSupported, match="two sizes only"):
        Candidate(Fixed()).trial(replace(CASE, config=replace(CONFIG, **other)))
