"""MLP: two layers with a GELU between (section 3.1)."""

import torch
from torch.nn.functional import linear

from vitbench.assertions import assert_changed, assert_consistent, assert_holds, moved
from vitbench.candidate import Candidate
from vitbench.cases import SEVERAL_PATCHES, Case, random_images, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.probes import closed_form_gelu, one_patch_changed_each

ATTENTION_OUTPUT = ("attention.output.weight", "attention.output.bias")


@requirement("VIT-MLP-ACTIVATION")
@given(case=vit_cases())
def test_the_activation_is_the_declared_gelu(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed(*ATTENTION_OUTPUT)
    received = trial.tokens()
    for i, z in enumerate(trial.block_outputs()):
        assert_consistent(z, trial.reference_block(i, received), f"z_{i + 1} with the MLP branch alone")
        received = z


@requirement("VIT-MLP-READOUT")
@given(case=vit_cases(depths=(1,)), examples=FEW)
def test_a_hidden_unit_answers_its_bias_by_the_declared_gelu(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed(*ATTENTION_OUTPUT, "mlp.fc1.weight")
    x = 8 * torch.sin(random_images((trial.config.mlp_dim,), case.seed))  # (M)
    trial = trial.with_weights({"blocks.0.mlp.fc1.bias": x})
    added = trial.block_outputs()[0] - trial.tokens()
    weight, bias = (trial.weights[f"blocks.0.mlp.fc2.{leaf}"] for leaf in ("weight", "bias"))
    expected = linear(closed_form_gelu(x, trial.conventions.activation), weight, bias).expand_as(added)
    assert_consistent(added, expected, "what hidden units add that receive their bias alone")


@requirement("VIT-MLP-TOKENWISE")
@given(case=vit_cases(grids=SEVERAL_PATCHES))
def test_the_mlp_treats_each_token_by_itself(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed(*ATTENTION_OUTPUT)
    image = trial.images[:1]
    before = trial.block_outputs(image)[-1]  # (1, N+1, D)
    after = trial.block_outputs(one_patch_changed_each(image[0], trial.config))[-1]  # (N, N+1, D)
    assert_changed(after, before, "tokens after a change of every patch")
    changed = moved(after, before).sum(dim=1)  # (N,)
    assert_holds(
        bool((changed == 1).all()),
        f"without attention, a change of one patch changes {changed.tolist()} tokens, expected 1",
    )


@requirement("VIT-MLP-WIDTH")
@given(case=vit_cases(), examples=FEW)
def test_every_hidden_unit_takes_part(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    name = f"blocks.{trial.config.depth - 1}.mlp.fc2.weight"  # (D, M)
    before = trial.logits()
    for unit in (0, trial.config.mlp_dim - 1):
        altered = trial.weights[name].clone()
        altered[:, unit] = -2 * altered[:, unit] - 1
        assert_changed(trial.with_weights({name: altered}).logits(), before, f"logits with hidden unit {unit} altered")
