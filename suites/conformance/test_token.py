"""TOKEN: the class token and the positions make z_0 (Eq. 1)."""

import torch

from vitbench.assertions import assert_changed, assert_consistent, assert_tensor
from vitbench.candidate import Candidate
from vitbench.cases import SEVERAL_PATCHES, Case, random_images, vit_cases
from vitbench.check import given, requirement
from vitbench.probes import permute_patches, rotation
from vitbench.reference.vit import Mode, embed


@requirement("VIT-TOKEN-LENGTH")
@given(case=vit_cases())
def test_the_encoder_receives_the_patches_and_one_class_token(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    expected = (trial.case.batch, trial.config.num_patches + 1, trial.config.width)
    assert_tensor(trial.tokens(), expected, torch.float64, "tokens z_0")


@requirement("VIT-TOKEN-CLASS-FIRST")
@given(case=vit_cases())
def test_the_first_token_alone_does_not_depend_on_the_image(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before, after = trial.tokens(), trial.tokens(random_images(trial.images.shape, case.seed + 1))
    assert_consistent(after[:, 0], before[:, 0], "token 0 for another image")
    for n in range(1, before.shape[1]):
        assert_changed(after[:, n], before[:, n], f"token {n} for another image")


@requirement("VIT-TOKEN-CLASS-EXPANDED")
@given(case=vit_cases(batches=(2, 3, 4)))
def test_every_image_of_a_batch_has_the_same_class_token(impl: Candidate, case: Case) -> None:
    class_tokens = impl.trial(case).tokens()[:, 0]  # (B, D)
    assert_consistent(class_tokens, class_tokens[:1].expand_as(class_tokens), "class tokens of a batch")


@requirement("VIT-TOKEN-POSITION")
@given(case=vit_cases())
def test_every_token_receives_its_own_position_once(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    x_e = trial.patch_tokens() if impl.offers("patch_tokens") else trial.reference.patch_tokens
    expected = embed(x_e, trial.weights, trial.config, trial.conventions, Mode())
    assert_consistent(trial.tokens(), expected, "tokens z_0")


@requirement("VIT-TOKEN-ORDER")
@given(case=vit_cases(grids=SEVERAL_PATCHES))
def test_the_order_of_the_patches_matters(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    moved = permute_patches(trial.images, trial.config, rotation(trial.config.num_patches))
    assert_changed(trial.logits(moved), trial.logits(), "logits after every patch moved by one place")
