"""NORM: LayerNorm before every branch and after the last block."""

from math import sqrt

from vitbench.assertions import assert_consistent, assert_semantics
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.probes import attention_read_out, block_norm, equal_tokens, mlp_read_out, read_out_matrix
from vitbench.reference.vit import representation


@requirement("VIT-NORM-EPSILON")
@given(case=vit_cases())
def test_epsilon_is_the_declared_one(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    epsilon = trial.conventions.layer_norm_eps
    class_row = trial.conventions.class_token_has_position
    tokens = equal_tokens(trial.weights, scale=sqrt(epsilon), class_row=class_row)  # of a variance near epsilon
    small = trial.with_weights(tokens)
    what = f"logits where the final norm's variance is near {epsilon:g}, the layer_norm_eps of the conventions"
    assert_semantics(small.logits()[0], small.reference.logits[0], what)


@requirement("VIT-NORM-BLOCKS")
@given(case=vit_cases(depths=(1,)), examples=FEW)
def test_epsilon_is_the_declared_one_within_the_blocks(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    epsilon, class_row = trial.conventions.layer_norm_eps, trial.conventions.class_token_has_position
    small = equal_tokens(trial.weights, scale=sqrt(epsilon), class_row=class_row)  # of a variance near epsilon
    for norm, read_out in (("norm1", attention_read_out), ("norm2", mlp_read_out)):
        alone = trial.with_weights({**small, **read_out(trial.weights)})
        z = alone.tokens()
        normed = block_norm(z, alone.weights, norm, epsilon)
        projection = read_out_matrix(alone.weights, norm)  # (D, D)
        added = alone.block_outputs()[0] - z
        what = f"what a block adds that reads out its {norm}, where the variance is near {epsilon:g}"
        assert_consistent(added, normed @ projection.T, what)


@requirement("VIT-NORM-FINAL")
@given(case=vit_cases())
def test_the_representation_is_normalised_once_more(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    expected = representation(trial.block_outputs()[-1], trial.weights, trial.config, trial.conventions)
    assert_consistent(trial.representation(), expected, "representation y from the candidate's own z_L")


@requirement("VIT-NORM-SHIFT")
@given(case=vit_cases())
def test_the_branches_do_not_see_a_shift_of_all_features(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    shifted = trial.with_weights({"position_embedding": trial.weights["position_embedding"] + 3})
    if not trial.conventions.class_token_has_position:
        shifted = shifted.with_weights({"class_token": trial.weights["class_token"] + 3})
    branches = trial.block_outputs()[-1] - trial.tokens()
    assert_consistent(
        shifted.block_outputs()[-1] - shifted.tokens(), branches, "what the branches add to shifted tokens"
    )
