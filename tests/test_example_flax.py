"""What is planted in the example in JAX is found, and without ``jax_enable_x64`` it is judged as what it then is."""

from collections.abc import Iterator

import pytest
import torch
from calling import CASE
from checks import judged

for package in ("jax", "flax"):
    pytest.importorskip(package, reason=f"{package} is not installed; tox -e frameworks has it")

import jax
from flax import linen

import vitbench.examples.flax_vit as example
from vitbench.candidate import Candidate
from vitbench.gradients import gradients, random_loss, reference_gradients


@pytest.fixture
def adapter() -> Iterator[example.FlaxAdapter]:
    """Of two configurations only: each is compiled for seconds."""
    jax.clear_caches()
    adapter = example.FlaxAdapter()
    adapter.configs = (CASE.config,)
    yield adapter
    jax.clear_caches()


def test_logits_gradients_and_weights_are_those_of_the_reference(adapter: example.FlaxAdapter) -> None:
    trial = Candidate(adapter).trial(CASE)
    assert torch.allclose(trial.logits(), trial.reference.logits, rtol=0, atol=1e-12)
    loss = random_loss(trial)
    found, expected = gradients(trial, loss).parameters, reference_gradients(trial, loss).parameters
    assert all(torch.allclose(found[name], gradient, rtol=0, atol=1e-12) for name, gradient in expected.items())
    assert all(torch.equal(trial.export()[name], weight) for name, weight in trial.weights.items())


def test_a_model_is_on_the_device_that_jax_has(adapter: example.FlaxAdapter) -> None:
    assert adapter.device(adapter.build(CASE.config)) in ("cpu", "cuda:0")


def test_a_defect_planted_in_the_model_is_found(adapter: example.FlaxAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged("VIT-MLP-ACTIVATION", Candidate(adapter)).status == "PASSED"
    jax.clear_caches()
    gelu = linen.gelu
    monkeypatch.setattr(linen, "gelu", lambda x, approximate: gelu(x, approximate=True))
    assert judged("VIT-MLP-ACTIVATION", Candidate(adapter)).status == "FAILED"


def test_a_gradient_that_is_cut_off_is_found(adapter: example.FlaxAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    gelu = linen.gelu
    monkeypatch.setattr(linen, "gelu", lambda x, approximate: jax.lax.stop_gradient(gelu(x, approximate=approximate)))
    assert judged("VIT-MLP-ACTIVATION", Candidate(adapter)).status == "PASSED"
    assert judged("VIT-TRAIN-GRADIENT", Candidate(adapter)).status == "FAILED"


def test_without_x64_float32_is_noticed_and_said(adapter: example.FlaxAdapter) -> None:
    jax.config.update("jax_enable_x64", False)
    try:
        found = judged("VIT-HEAD-LOGITS", Candidate(adapter))
        again = judged("VIT-STATE-ROUND-TRIP", Candidate(adapter))
    finally:
        jax.config.update("jax_enable_x64", True)
    assert (found.status, again.status) == ("PASSED", "PASSED")
    assert "computes in float32 inside" in found.reason
