"""CONFIG: the arguments of a model do what they say."""

from dataclasses import replace

from hypothesis import given

from vitbench.assertions import assert_equal, assert_holds, assert_semantics
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import Case, random_images, vit_cases
from vitbench.check import requirement
from vitbench.reference.parameters import parameter_shapes
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.stages import stages


@requirement("VIT-CONFIG-PARAMETERS")
@given(case=vit_cases())
def test_a_model_has_the_parameters_that_its_sizes_imply(impl: Candidate, case: Case) -> None:
    config = impl.within_reach(case.config)
    exported = impl.fresh(Case(config, case.batch, case.seed)).export()
    shapes = {name: tuple(tensor.shape) for name, tensor in exported.items()}
    expected = parameter_shapes(config, impl.conventions)
    assert_equal(sorted(set(shapes) ^ set(expected)), [], "parameters that are missing or too many")
    for name, shape in expected.items():
        assert_equal(shapes[name], shape, f"shape of {name}")


@requirement("VIT-CONFIG-IMAGE-SIZE")
@given(case=vit_cases())
def test_images_of_another_size_are_refused_or_positions_resized(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    (height, width), (patch_h, patch_w) = trial.config.image_size, trial.config.patch_size
    larger = replace(trial.config, image_size=(height + patch_h, width + patch_w))
    images = random_images((case.batch, larger.channels, *larger.image_size), case.seed)
    try:
        logits = trial.logits(images)
    except CandidateRaised:
        assert_holds(True, "refused, as it must be")
        return
    conventions, table = impl.conventions, trial.weights["position_embedding"]
    kept = conventions.class_token_has_position
    table = resize_position_embedding(table, trial.config.grid, larger.grid, conventions.position_resize, class_row=kept)
    expected = stages(images, {**trial.weights, "position_embedding": table}, larger, conventions)
    what = f"logits of {larger.image_size} images from a model of {trial.config.image_size}, against resized positions"
    assert_semantics(logits, expected.logits, what)
