"""MLP: two layers with a GELU between (section 3.1)."""

from vitbench.assertions import assert_changed, assert_consistent, assert_holds
from vitbench.candidate import Candidate
from vitbench.cases import SEVERAL_PATCHES, Case, vit_cases
from vitbench.check import given, requirement
from vitbench.probes import one_patch_changed_each

ATTENTION_OUTPUT = ("attention.output.weight", "attention.output.bias")


@requirement("VIT-MLP-ACTIVATION")
@given(case=vit_cases())
def test_the_activation_is_the_declared_gelu(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed(*ATTENTION_OUTPUT)
    received = trial.tokens()
    for i, z in enumerate(trial.block_outputs()):
        assert_consistent(z, trial.reference_block(i, received), f"z_{i + 1} with the MLP branch alone")
        received = z


@requirement("VIT-MLP-TOKENWISE")
@given(case=vit_cases(grids=SEVERAL_PATCHES))
def test_the_mlp_treats_each_token_by_itself(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed(*ATTENTION_OUTPUT)
    image = trial.images[:1]
    before = trial.block_outputs(image)[-1]  # (1, N+1, D)
    after = trial.block_outputs(one_patch_changed_each(image[0], trial.config))[-1]  # (N, N+1, D)
    assert_changed(after, before, "tokens after a change of every patch")
    changed = ((after - before).abs().amax(dim=2) > 1e-10 * before.abs().max()).sum(dim=1)  # (N,)
    assert_holds(
        bool((changed == 1).all()),
        f"without attention, a change of one patch changes {changed.tolist()} tokens, expected 1",
    )


@requirement("VIT-MLP-WIDTH")
@given(case=vit_cases())
def test_every_hidden_unit_takes_part(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    name = f"blocks.{trial.config.depth - 1}.mlp.fc2.weight"  # (D, M)
    for unit in (0, trial.config.mlp_dim - 1):
        altered = trial.weights[name].clone()
        altered[:, unit] = -2 * altered[:, unit] - 1
        assert_changed(
            trial.with_weights({name: altered}).logits(), trial.logits(), f"logits with hidden unit {unit} altered"
        )
