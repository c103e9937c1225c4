"""BLOCK: the pre-norm encoder block (Eq. 2 and 3)."""

from itertools import pairwise

import torch

from vitbench.assertions import assert_changed, assert_consistent, assert_tensor
from vitbench.candidate import Candidate
from vitbench.cases import SEVERAL_PATCHES, Case, vit_cases
from vitbench.check import given, requirement
from vitbench.probes import permute_patches, rotation


@requirement("VIT-BLOCK-DEPTH")
@given(case=vit_cases())
def test_every_block_takes_part(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    outputs = trial.block_outputs()  # L tensors, or a failure that says how many
    for i, z in enumerate(outputs):
        assert_tensor(z, (trial.case.batch, trial.config.num_tokens, trial.config.width), torch.float64, f"z_{i + 1}")
    for i, (before, after) in enumerate(pairwise(outputs)):
        assert_changed(after, before, f"z_{i + 2} against z_{i + 1}")


@requirement("VIT-BLOCK-PRENORM")
@given(case=vit_cases())
def test_each_block_is_pre_norm_with_both_residuals(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    received = trial.tokens()
    for i, z in enumerate(trial.block_outputs()):
        assert_consistent(z, trial.reference_block(i, received), f"z_{i + 1} from the candidate's own z_{i}")
        received = z


@requirement("VIT-BLOCK-RESIDUAL")
@given(case=vit_cases())
def test_a_block_with_zeroed_branches_is_the_identity(impl: Candidate, case: Case) -> None:
    branches = ("attention.output.weight", "attention.output.bias", "mlp.fc2.weight", "mlp.fc2.bias")
    trial = impl.trial(case).zeroed(*branches)
    tokens = trial.tokens()
    for i, z in enumerate(trial.block_outputs()):
        assert_consistent(z, tokens, f"z_{i + 1} with zeroed branches")


@requirement("VIT-BLOCK-EQUIVARIANT")
@given(case=vit_cases(grids=SEVERAL_PATCHES))
def test_without_positions_the_order_of_the_patches_is_lost(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed("position_embedding")
    moved = permute_patches(trial.images, trial.config, rotation(trial.config.num_patches))
    assert_consistent(trial.logits(moved), trial.logits(), "logits after every patch moved by one place")
