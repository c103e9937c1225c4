"""ATTN: multi-head self-attention (appendix A, Eq. 5 to 8)."""

from dataclasses import replace

import torch

from vitbench.assertions import assert_changed, assert_consistent, assert_holds, assert_semantics, assert_tensor
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import given, requirement
from vitbench.errors import NotSupported
from vitbench.probes import (
    attention_output,
    constant_values,
    crossed_order,
    head_order,
    projections,
    reorder_features,
)

SEVERAL_HEADS = (2, 3, 4)
ATTENTION = "blocks.0.attention"
MLP_OUTPUT = ("mlp.fc2.weight", "mlp.fc2.bias")


@requirement("VIT-ATTN-ROWS")
@given(case=vit_cases())
def test_attention_weights_of_each_query_sum_to_one(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    heads, tokens = trial.config.num_heads, trial.config.num_tokens
    for i, attention in enumerate(trial.attention()):
        assert_tensor(attention, (trial.case.batch, heads, tokens, tokens), torch.float64, f"attention of block {i}")
        assert_holds(bool((attention >= 0).all()), f"attention of block {i}: a weight of {attention.min().item():.3g}")
        sums = attention.sum(dim=-1)
        single = tokens * torch.finfo(torch.float32).eps  # rounding of each weight, where the softmax is in float32
        what = f"sums over the keys in block {i}"
        assert_semantics(sums, torch.ones_like(sums), what, varied=False, float32_error=single, witness=attention)


@requirement("VIT-ATTN-SCALE")
@given(case=vit_cases())
def test_attention_is_the_scaled_softmax_of_queries_and_keys(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    received = [trial.tokens(), *trial.block_outputs()] if impl.offers("block_outputs") else [trial.tokens()]
    for i, (z, attention) in enumerate(zip(received, trial.attention(), strict=False)):
        single = trial.float32_attention_error(i, z)
        assert_consistent(attention, trial.reference_attention(i, z), f"attention of block {i}", float32_error=single)


@requirement("VIT-ATTN-TWO-TOKENS")
@given(case=vit_cases(depths=(1,)))
def test_two_tokens_share_by_a_sigmoid(impl: Candidate, case: Case) -> None:
    config = impl.within_reach(case.config)
    one_patch = replace(config, image_size=config.patch_size)
    trial = impl.trial(replace(case, config=one_patch), exactly=True).zeroed(*MLP_OUTPUT)
    received = trial.block_outputs()[0] - trial.tokens()  # (B, 2, D)
    query, key, value = projections(trial.tokens(), trial.weights, config.num_heads, trial.conventions)
    lean = query @ (key[:, :, 1] - key[:, :, 0])[..., None] / config.head_dim**0.5  # (B, h, 2, 1)
    mixed = value[:, :, :1] + torch.sigmoid(lean) * (value[:, :, 1:] - value[:, :, :1])  # (B, h, 2, D_h)
    expected = attention_output(mixed.transpose(1, 2).flatten(2), trial.weights)
    assert_consistent(received, expected, "what each of two tokens receives")


@requirement("VIT-ATTN-CONSTANT")
@given(case=vit_cases(depths=(1,)))
def test_values_that_are_all_the_same_come_through(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed(*MLP_OUTPUT)
    trial = trial.with_weights(constant_values(trial.weights))
    received = trial.block_outputs()[0] - trial.tokens()
    value = trial.weights[f"{ATTENTION}.value.weight"][:, 0] + trial.weights.get(f"{ATTENTION}.value.bias", 0)
    expected = attention_output(value, trial.weights).expand_as(received)
    assert_consistent(received, expected, "what each token receives where all values are the same")


@requirement("VIT-ATTN-UNIFORM")
@given(case=vit_cases(depths=(1,)))
def test_without_queries_every_token_receives_the_mean_of_the_values(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case).zeroed("query.weight", "query.bias", "mlp.fc2.weight", "mlp.fc2.bias")
    received = trial.block_outputs()[0] - trial.tokens()  # (B, N+1, D)
    assert_consistent(received, received[:, :1].expand_as(received), "what each token receives, against token 0")
    expected = (trial.reference_block(0, trial.tokens()) - trial.tokens()).mean(dim=1)
    assert_consistent(received.mean(dim=1), expected, "the projected mean of the values")


@requirement("VIT-ATTN-HEADS")
@given(case=vit_cases(heads=SEVERAL_HEADS))
def test_permuting_the_heads_changes_nothing(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    permuted = trial.with_weights(reorder_features(trial.weights, head_order(trial.config)))
    assert_consistent(permuted.logits(), trial.logits(), "logits with permuted heads")


@requirement("VIT-ATTN-SEPARATE-HEADS")
@given(case=vit_cases(heads=SEVERAL_HEADS))
def test_each_head_attends_with_its_own_features(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    crossed = trial.with_weights(reorder_features(trial.weights, crossed_order(trial.config)))
    assert_changed(crossed.logits(), trial.logits(), "logits with a feature of two heads exchanged")


@requirement("VIT-ATTN-KEY-BIAS")
@given(case=vit_cases())
def test_the_key_bias_is_without_effect(impl: Candidate, case: Case) -> None:
    if not impl.conventions.qkv_bias:
        raise NotSupported("declares qkv_bias = False")
    trial = impl.trial(case)
    shifted = {name: weight + 1 - weight**2 for name, weight in trial.weights.items() if name.endswith("key.bias")}
    assert_consistent(trial.with_weights(shifted).logits(), trial.logits(), "logits with another key bias")
