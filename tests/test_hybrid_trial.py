"""A hybrid is judged on the feature map that it shows; what it shows is looked at first."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from checks import judged
from torch import Tensor

from vitbench.adapter import Model
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.cases import Case, as_hybrid, without_stem
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.reference import hybrid, vit
from vitbench.reference.config import ViTConfig
from vitbench.requirement import Status
from vitbench.specification import REQUIREMENTS

PLAIN = ViTConfig(image_size=(2, 6), patch_size=(1, 2), width=8, depth=1, num_heads=2, mlp_dim=12, num_classes=3)
CASE = Case(as_hybrid(PLAIN), batch=2, seed=0)
HYBRID = [id_ for id_ in REQUIREMENTS if "-HYBRID-" in id_]


def showing(change: Callable[[Tensor], Any]) -> Candidate:
    """The reference, with something else for its feature map."""

    class Changed(ReferenceAdapter):
        def feature_map(self, model: Model, images: Tensor) -> Any:
            return change(super().feature_map(model, images))

    return Candidate(Changed())


def statuses(candidate: Candidate) -> set[Status]:
    return {judged(id_, candidate).status for id_ in HYBRID}


def test_a_hybrid_has_images_32_times_as_large_as_the_smallest_map_that_its_patches_divide() -> None:
    assert (CASE.config.stem, CASE.config.image_size, CASE.config.patch_size) == ("hybrid", (64, 192), (1, 2))
    assert without_stem(CASE.config) == PLAIN
    assert "stem hybrid" in str(CASE)


def test_the_trial_speaks_of_the_vit_behind_the_stem() -> None:
    trial = Candidate(ReferenceAdapter()).hybrid(CASE)
    assert trial.config == CASE.config.behind_stem(16, (8, 24))
    assert trial.weights["patch_embedding.weight"].shape == (8, 16, 1, 2)
    assert trial.patch_tokens().shape == (2, 96, 8)
    assert torch.equal(trial.map, trial.feature_map())


def test_the_reference_is_run_on_the_map_of_the_images_that_are_asked_for() -> None:
    trial = Candidate(ReferenceAdapter()).hybrid(CASE)
    other = trial.images.flip(0)
    assert torch.allclose(trial.reference_on(other).logits, trial.reference.logits.flip(0), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda x: x.flatten(2), r"returned shape \(2, 16, 192\), expected \(B, C', H', W'\) with B = 2"),
        (lambda x: x[:1], r"returned shape \(1, 16, 8, 24\), expected \(B, C', H', W'\) with B = 2"),
        (lambda x: x[:, :0], r"returned shape \(2, 0, 8, 24\)"),
        (lambda x: x.float(), r"returned dtype float32, expected float64"),
        (lambda _: None, r"returned a NoneType, expected a tensor"),
    ],
)
def test_a_feature_map_that_is_none_is_the_candidates_failure(change: Callable[[Tensor], Any], complaint: str) -> None:
    with pytest.raises(RequirementFailed, match=rf"^feature_map\(\) {complaint}"):
        showing(change).hybrid(CASE)


def test_a_map_that_the_patches_do_not_divide_is_out_of_reach() -> None:
    with pytest.raises(
        NotSupported, match=r"feature map of 8×23 cells, which patches of 1×2 do not divide \(image 64×192"
    ):
        showing(lambda x: x[..., :-1]).hybrid(CASE)


def test_a_map_that_is_not_the_one_embedded_shows() -> None:
    assert statuses(showing(lambda x: 1.001 * x)) == {Status.PASSED, Status.FAILED}
    assert judged("VIT-HYBRID-PROJECTION", showing(lambda x: 1.001 * x)).status is Status.FAILED
    assert judged("VIT-HYBRID-LOGITS", showing(lambda x: 1.001 * x)).status is Status.FAILED


def test_a_candidate_of_square_patches_and_colour_images_is_judged_on_those() -> None:
    class Limited(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Model:
            if config.patch_size[0] != config.patch_size[1] or config.channels != 3:
                raise NotSupported("square patches of colour images only")
            return super().build(config)

    assert statuses(Candidate(Limited())) == {Status.PASSED}


def test_hybrids_of_colour_images_alone_are_judged_on_those() -> None:
    class Limited(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Model:
            if config.stem == "hybrid" and config.channels != 3:
                raise NotSupported("hybrids of three channels only")
            return super().build(config)

    assert statuses(Candidate(Limited())) == {Status.PASSED}


def test_patches_of_one_cell_alone_are_judged_as_such() -> None:
    class OneCell(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Model:
            if config.stem == "hybrid" and config.patch_size != (1, 1):
                raise NotSupported("patches of one cell only")
            return super().build(config)

    outcomes = {id_.removeprefix("VIT-HYBRID-"): judged(id_, Candidate(OneCell())).status for id_ in HYBRID}
    assert outcomes.pop("PATCH-SIZE") is Status.NOT_OFFERED
    assert set(outcomes.values()) == {Status.PASSED}


def test_an_adapter_without_a_feature_map_is_not_judged() -> None:
    class Closed(ReferenceAdapter):
        def feature_map(self, model: Model, images: Tensor) -> Tensor:
            raise NotSupported("closed")

    assert statuses(Candidate(Closed())) == {Status.NOT_OFFERED}


def test_a_fixed_stem_is_no_defect_of_training() -> None:
    class Fixed(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Model:
            model = super().build(config)
            return model if config.stem == "patch" else _frozen(model)

    judgement = judged("VIT-HYBRID-TRAINABLE", Candidate(Fixed()))
    assert (judgement.status, judgement.reason) == (
        Status.NOT_OFFERED,
        "its feature map is made without gradients: a fixed stem",
    )


def _frozen(model: hybrid.Hybrid) -> hybrid.Hybrid:
    model.stem.requires_grad_(requires_grad=False)
    return model


def test_a_model_that_is_no_torch_module_shows_no_gradients() -> None:
    class Wrapped(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Any:
            return [super().build(config).double()]

        def load(self, model: Any, state: vit.Weights) -> None:
            super().load(model[0], state)

        def feature_map(self, model: Any, images: Tensor) -> Tensor:
            return super().feature_map(model[0], images)

    judgement = judged("VIT-HYBRID-TRAINABLE", Candidate(Wrapped()))
    assert (judgement.status, judgement.reason) == (
        Status.NOT_OFFERED,
        "the model is no torch module; there are no gradients to look at",
    )


def test_a_stem_of_the_coarsest_map_is_judged_as_well() -> None:
    """32 pixels a cell, after stage 4."""

    class Coarse(ReferenceAdapter):
        def build(self, config: ViTConfig) -> Model:
            if config.stem == "patch":
                return super().build(config)
            return hybrid.Hybrid(
                config, self.conventions, replace(hybrid.R50_STAGE_3, depths=(1, 1, 1, 1), width=4, num_groups=2)
            )

    assert statuses(Candidate(Coarse())) == {Status.PASSED}


def test_a_parameter_whose_gradient_is_rounding_is_not_missed() -> None:
    """Filters of two numbers are standardised to -1 and 1: what is left of their gradient is noise."""
    trial = Candidate(ReferenceAdapter()).hybrid(CASE)
    of_map, of_logits = trial.gradient_sizes("feature_map"), trial.gradient_sizes("logits")
    assert {name.split(".")[0] for name in of_map} == {"stem"}
    assert of_map.keys() < of_logits.keys()
    assert min(of_map.values()) < 1e-5 * max(of_map.values())
