"""CONFIG: the arguments of a model do what they say."""

from dataclasses import replace

from vitbench.assertions import accept, assert_consistent, assert_equal
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import Case, random_images, vit_cases
from vitbench.check import given, requirement
from vitbench.errors import NotSupported
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import parameter_shapes
from vitbench.reference.positions import resize_position_embedding
from vitbench.trial import Trial

KEY_BIAS = "attention.key.bias"  # without effect (VIT-ATTN-KEY-BIAS), so a model may do without


@requirement("VIT-CONFIG-PARAMETERS")
@given(case=vit_cases())
def test_a_model_has_the_parameters_that_its_sizes_imply(impl: Candidate, case: Case) -> None:
    config = impl.within_reach(case.config)
    exported = impl.fresh(Case(config, case.batch, case.seed)).export()
    shapes = {name: tuple(tensor.shape) for name, tensor in exported.items()}
    expected = parameter_shapes(config, impl.conventions)
    differing = {name for name in set(shapes) ^ set(expected) if not name.endswith(KEY_BIAS)}
    assert_equal(sorted(differing), [], "parameters that are missing or too many")
    for name in set(expected) & set(shapes):
        assert_equal(shapes[name], expected[name], f"shape of {name}")


@requirement("VIT-CONFIG-IMAGE-SIZE")
@given(case=vit_cases())
def test_images_of_another_size_are_refused_or_positions_resized(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    (rows, columns), (patch_h, patch_w) = trial.config.grid, trial.config.patch_size
    others = {(rows + 1, columns + 1), (max(rows - 1, 1), columns), (rows, max(columns - 1, 1)), (columns, rows)}
    for grid in sorted(others - {(rows, columns)}):
        _assert_refused_or_resized(trial, replace(trial.config, image_size=(grid[0] * patch_h, grid[1] * patch_w)))


def _assert_refused_or_resized(trial: Trial, other: ViTConfig) -> None:
    images = random_images((trial.case.batch, other.channels, *other.image_size), trial.case.seed)
    try:
        logits = trial.logits(images)
    except (CandidateRaised, NotSupported):
        accept("refused, as it must be")
        return
    at_home, resize = trial.weights["position_embedding"], trial.candidate.conventions.position_resize
    class_row = trial.conventions.class_token_has_position
    exact = resize_position_embedding(at_home, trial.config.grid, other.grid, resize, class_row=class_row)
    single = resize_position_embedding(at_home.float(), trial.config.grid, other.grid, resize, class_row=class_row)
    expected, in_float32 = (
        trial.candidate.trial(
            replace(trial.case, config=other), {**trial.weights, "position_embedding": table.double()}, exactly=True
        ).logits(images)
        for table in (exact, single)
    )
    what = (
        f"logits of {other.image_size[0]}×{other.image_size[1]} images, accepted by a model of "
        f"{trial.config.image_size[0]}×{trial.config.image_size[1]}, against one built for them, positions resized"
    )
    # where the positions are resized on the fly, nothing shows whether that was in float32; it may have been
    error = (in_float32 - expected).abs().max().item()
    assert_consistent(logits, expected, what, float32_error=error, witness=single.double())
