"""Training steps on a candidate's parameters."""

from collections.abc import Mapping
from typing import Any

import pytest
from checks import judged
from torch import Tensor, nn

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.requirement import Status


class Hidden(nn.Module):
    """Holds its model where torch does not look for parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.held = [model]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.held[0](images.to(next(self.held[0].parameters()).dtype))
        return logits


class HiddenAdapter(ReferenceAdapter):
    """The reference, whose parameters no optimizer would find."""

    def build(self, config: Any) -> Hidden:
        return Hidden(super().build(config).double())

    def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
        super().load(model.held[0], state)


@pytest.mark.parametrize("requirement", ["VIT-TRAIN-STEP", "VIT-TRAIN-OVERFIT"])
def test_a_module_that_shows_no_parameters_fails_and_is_no_error_of_the_harness(requirement: str) -> None:
    found = judged(requirement, Candidate(HiddenAdapter()))
    assert found.status == Status.FAILED
    assert "a Hidden, shows torch no parameters" in found.reason
