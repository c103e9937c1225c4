"""STATE: weights go in and come out."""

from vitbench.assertions import assert_equal, assert_same_bits
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import given, requirement


@requirement("VIT-STATE-ROUND-TRIP")
@given(case=vit_cases())
def test_loaded_weights_are_exported_again(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    exported = trial.export()
    assert_equal(sorted(set(trial.weights) - set(exported)), [], "parameters that were loaded and are not exported")
    for name, weight in trial.weights.items():
        assert_same_bits(exported[name], weight, f"exported {name}")
