"""KerasHub's ViT behind the contract, and what docs/findings/keras_hub.md calls a defect repeated by hand, without the suite."""

import importlib.util
from dataclasses import replace
from typing import Any

import pytest
import torch
from calling import CASE, CONFIG
from checks import judged

if importlib.util.find_spec("keras_hub") is None:  # not imported: that would choose keras' backend
    pytest.skip("keras_hub is not installed; tox -e frameworks has it", allow_module_level=True)

from vitbench.adapters.keras_hub import KerasHubAdapter
from vitbench.candidate import Candidate


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    return Candidate(KerasHubAdapter())


def test_every_stage_is_that_of_the_reference(candidate: Candidate) -> None:
    trial = candidate.trial(CASE)
    assert candidate.float32_inside
    close = {"rtol": 0, "atol": 1e-5}
    for stage in ("logits", "patch_tokens", "tokens", "representation"):
        assert torch.allclose(getattr(trial, stage)(), getattr(trial.reference, stage), **close), stage
    for found, expected in zip(trial.block_outputs(), trial.reference.block_outputs, strict=True):
        assert torch.allclose(found, expected, **close)
    for found, expected in zip(trial.attention(), trial.reference.attention, strict=True):
        assert torch.allclose(found, expected, **close)
    assert all(torch.equal(trial.export()[name], weight) for name, weight in trial.weights.items())


def test_float32_inside_is_said_and_not_held_against_it(candidate: Candidate) -> None:
    found = judged("VIT-HEAD-CLASS-TOKEN", candidate)
    assert (found.status, "computes in float32 inside" in found.reason) == ("PASSED", True)


def test_weights_stay_when_the_dtype_changes() -> None:
    adapter = KerasHubAdapter()
    model = adapter.build(CONFIG)
    before = adapter.export(model)
    after = adapter.export(model.to(torch.float64))
    assert all(torch.equal(after[name], weight.double()) for name, weight in before.items())


def test_a_gelu_of_another_kind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made = KerasHubAdapter.build

    def approximate(self: Any, config: Any) -> Any:
        model = made(self, config).to(torch.float64)
        for block in model.classifier.backbone.get_layer("vit_encoder").encoder_layers:
            block.mlp.dense_1.activation = lambda x: torch.nn.functional.gelu(x, approximate="tanh")
        return model

    monkeypatch.setattr(KerasHubAdapter, "build", approximate)
    assert judged("VIT-MLP-ACTIVATION", Candidate(KerasHubAdapter())).status == "FAILED"


# --- what docs/findings/keras_hub.md says ---


def test_the_mean_of_the_patches_counts_the_class_token(candidate: Candidate) -> None:
    model = candidate.build(replace(CONFIG, pool="mean"), torch.float32)
    images = CASE.images(torch.float32)
    tokens = model.classifier.backbone(images)
    with torch.no_grad():
        of_all, of_patches = (model.classifier.output_dense(some.mean(dim=1)) for some in (tokens, tokens[:, 1:]))
        assert torch.allclose(model(images), of_all, atol=1e-6)
        assert not torch.allclose(model(images), of_patches, atol=1e-3)
    assert judged("VIT-HEAD-MEAN", candidate).status == "FAILED"


def test_torch_finds_no_parameters(candidate: Candidate) -> None:
    classifier = candidate.build(CONFIG, torch.float32).classifier
    for model in (classifier, classifier.backbone):
        assert (list(model.parameters()), len(model.trainable_variables) > 10) == ([], True)


def test_a_backbone_loses_its_data_format(candidate: Candidate) -> None:
    backbone = candidate.build(replace(CONFIG, channels=3), torch.float32).classifier.backbone
    assert "data_format" not in backbone.get_config()
    with pytest.raises(ValueError, match="Input height 3 should be divisible"):
        type(backbone).from_config(backbone.get_config())


def test_a_patching_layer_does_not_come_back(candidate: Candidate) -> None:
    layer = candidate.build(CONFIG, torch.float32).classifier.backbone.get_layer("vit_patching_and_embedding")
    with pytest.raises(TypeError, match="num_positions"):
        type(layer).from_config(layer.get_config())


def test_the_hidden_layer_of_the_head_and_the_images_are_in_float32(candidate: Candidate) -> None:
    classifier = candidate.build(replace(CONFIG, head="mlp"), torch.float64).classifier
    assert (classifier.output_dense.dtype_policy.name, classifier.intermediate_layer.dtype_policy.name) == (
        "float64",
        "float32",
    )
    assert classifier.backbone.input.dtype == "float32"
