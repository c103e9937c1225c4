"""STATE: weights go in and come out."""

from collections.abc import Mapping

from torch import Tensor

from vitbench.assertions import assert_consistent, assert_equal, assert_same_bits
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import given, requirement

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
        assert_same_bits(exported[name], expected[name], f"exported {name}")


def _first_token(weights: Mapping[str, Tensor]) -> Tensor:
    """What token 0 of z_0 is: x_class + E_pos^0. -> (1, 1, D)."""
    return weights["class_token"] + weights["position_embedding"][:, :1]


def _without_first_row(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {**weights, "position_embedding": weights["position_embedding"][:, 1:]}
