"""STATE: weights go in and come out."""

import copy
import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from vitbench.assertions import (
    assert_changed,
    assert_consistent,
    assert_equal,
    assert_holds,
    assert_same_bits,
    assert_semantics,
)
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.gradients import own_gradients
from vitbench.reference.parameters import exercised_weights, parameter_shapes
from vitbench.trial import Trial, Weights

KEY_BIAS = "attention.key.bias"  # without effect (VIT-ATTN-KEY-BIAS), so a model may do without


@requirement("VIT-STATE-ROUND-TRIP")
@given(case=vit_cases())
def test_loaded_weights_are_exported_again(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    exported, expected = trial.export(), trial.weights
    names = sorted(name for name in expected if not name.endswith(KEY_BIAS))
    assert_equal([name for name in names if name not in exported], [], "parameters that were loaded and not exported")
    if impl.conventions.class_token_has_position:
        assert_consistent(_first_token(exported), _first_token(expected), "exported class token with its position")
        names.remove("class_token")  # a model may keep the two as their sum
        exported, expected = _without_first_row(exported), _without_first_row(expected)
    for name in names:
        assert_semantics(exported[name], expected[name], f"exported {name}")


@requirement("VIT-STATE-REBUILD")
@given(case=vit_cases(), examples=FEW)
def test_the_state_of_a_model_makes_another_model_the_same(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before, others = trial.logits(), _other_weights(trial)
    assert_changed(trial.with_weights(others).logits(), before, "logits with other weights")
    rebuilt = trial.with_weights(others)
    if isinstance(trial.model, nn.Module):
        state = impl.guarded("state_dict", trial.model.state_dict)
        impl.guarded("load_state_dict", lambda: rebuilt.model.load_state_dict(state))
    else:
        impl.call("load", rebuilt.model, trial.export())
    assert_consistent(rebuilt.logits(), before, "logits of another model with the same state")
    _assert_rebuilt_at_another_size(impl, trial, others)


def _assert_rebuilt_at_another_size(impl: Candidate, trial: Trial, others: Weights) -> None:
    """The state of a model that was resized holds the positions that it computes with."""
    (height, width), (patch_h, patch_w) = trial.config.image_size, trial.config.patch_size
    size = impl.within_reach(replace(trial.config, image_size=(height + patch_h, width + patch_w))).image_size
    try:
        resized = trial.at_image_size(size)
        state_dict, expected = resized.module.state_dict, resized.logits()
    except (NotSupported, RequirementFailed):
        return  # VIT-POS-MODEL tells
    rebuilt = trial.with_weights(others).at_image_size(size)
    state = impl.guarded("state_dict", state_dict)
    impl.guarded("load_state_dict", lambda: rebuilt.module.load_state_dict(state))
    what = f"logits at {size[0]}×{size[1]} of another model with the state of one that was resized"
    assert_consistent(rebuilt.logits(), expected, what)


@requirement("VIT-STATE-RELOAD")
@given(case=vit_cases(), examples=FEW)
def test_nothing_of_former_weights_is_left(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    others = _other_weights(trial)
    expected = trial.with_weights(others).logits()
    assert_changed(expected, trial.logits(), "logits with other weights")
    impl.call("load", trial.model, others)
    assert_consistent(trial.logits(), expected, "logits after other weights were loaded, against a model that had none")


@requirement("VIT-STATE-DEEPCOPY")
@given(case=vit_cases(), examples=FEW)
def test_a_deep_copy_is_the_same_and_stands_alone(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before, others = trial.logits(), _other_weights(trial)
    copied = trial.of(impl.attempted("deepcopy", lambda: copy.deepcopy(trial.module)))
    assert_consistent(copied.logits(), before, "logits of a deep copy")
    impl.call("load", copied.model, others)
    expected = trial.with_weights(others).logits()
    assert_consistent(copied.logits(), expected, "logits of a deep copy that was given other weights")
    assert_same_bits(trial.logits(), before, "logits of the original, after its copy was given other weights")
    _assert_copied_in_the_midst_of_training(impl, trial)


def _assert_copied_in_the_midst_of_training(impl: Candidate, trial: Trial) -> None:
    """Averaged weights are copied after a step: what the step left on the model must not stand in the way."""
    try:
        with trial.training():
            own_gradients(trial)
    except (NotSupported, RequirementFailed):
        return  # it does not train; other requirements tell
    copied = impl.guarded("deepcopy", lambda: copy.deepcopy(trial.module))
    assert_consistent(trial.of(copied).logits(), trial.logits(), "logits of a deep copy made after a training step")


@requirement("VIT-STATE-PICKLE")
@given(case=vit_cases(), examples=FEW)
def test_a_pickled_model_is_the_same(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before = trial.logits()
    pickled = impl.attempted("pickle", lambda: pickle.loads(pickle.dumps(trial.module)))  # noqa: S301  # our own bytes
    assert_consistent(trial.of(pickled).logits(), before, "logits after pickling")


@requirement("VIT-STATE-SAFETENSORS")
@given(case=vit_cases(), examples=FEW)
def test_weights_survive_a_safetensors_file(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before, others = trial.logits(), _other_weights(trial)
    assert_changed(trial.with_weights(others).logits(), before, "logits with other weights")
    rebuilt = trial.with_weights(others)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        impl.attempted("save_model", lambda: save_model(trial.module, str(file)))
        impl.attempted("load_model", lambda: load_model(rebuilt.module, file))
    assert_consistent(rebuilt.logits(), before, "logits after a safetensors file")


@requirement("VIT-STATE-TRAINABLE")
@given(case=vit_cases(), examples=FEW)
def test_no_other_parameters_are_trained(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    trained = {name for name, gradient in own_gradients(trial).items() if gradient is not None}
    found = {name: parameter.numel() for name, parameter in trial.module.named_parameters() if name in trained}
    expected = sum(prod(shape) for shape in parameter_shapes(trial.config, trial.conventions).values())
    assert_holds(
        sum(found.values()) <= expected,
        f"gradients reach {sum(found.values())} numbers, at most {expected} are implied; those of {', '.join(found)}",
    )


def _other_weights(trial: Trial) -> Weights:
    return exercised_weights(trial.config, trial.conventions, trial.case.seed + 1)


def _first_token(weights: Mapping[str, Tensor]) -> Tensor:
    """What token 0 of z_0 is: x_class + E_pos^0. -> (1, 1, D)."""
    return weights["class_token"] + weights["position_embedding"][:, :1]


def _without_first_row(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {**weights, "position_embedding": weights["position_embedding"][:, 1:]}
