"""NUM: each dtype is as exact as it can be, and large numbers stay finite."""

from contextlib import suppress
from dataclasses import replace

import torch
from hypothesis import strategies as st
from torch import nn

from vitbench.arrays import short
from vitbench.assertions import assert_holds, assert_same_bits, assert_semantics, assert_tensor
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import given, requirement
from vitbench.errors import NotSupported
from vitbench.gradients import shows_gradients
from vitbench.numerics import assert_as_exact_as, assert_gradients_as_exact_as, optional
from vitbench.probes import flat_tokens, scaled
from vitbench.smoke import SMOKE_CONFIG
from vitbench.trial import Trial

BATCHES, CLASSES = (4, 3), (5, 8)  # logits enough that no constant comes near all of them
HEADS = (2, 3, 4)  # LayerNorm of three or four features magnifies rounding beyond use
MLP_DIMS = (7, 256)  # and sums so long that coarse terms show
LARGE_FEATURE = 50.0

CASES = vit_cases(heads=HEADS, batches=BATCHES, classes=CLASSES, mlp_dims=MLP_DIMS)
OF = st.sampled_from(("logits", "gradients", "logits"))
SOME = {"quick": 6}
MANY_TOKENS = (
    {
        "case": Case(
            replace(SMOKE_CONFIG, image_size=(36, 32), patch_size=(4, 4), num_classes=8, depth=1), batch=3, seed=0
        )
    },
)  # 73, more than a kernel's block has


@requirement("VIT-NUM-FLOAT32")
@given(case=CASES, of=OF, examples=SOME)
def test_float32_is_as_exact_as_it_can_be(impl: Candidate, case: Case, of: str) -> None:
    trial = impl.trial(case, dtype=torch.float32)
    if _of_gradients(trial, of):
        assert_gradients_as_exact_as(trial, "gradients in float32")
        return
    assert_as_exact_as(trial, "logits in float32")


@requirement("VIT-NUM-BFLOAT16")
@given(case=CASES, examples=SOME, beyond=MANY_TOKENS)
def test_bfloat16_is_as_exact_as_it_can_be(impl: Candidate, case: Case) -> None:
    with optional("bfloat16"):
        trial = impl.trial(case, dtype=torch.bfloat16)
        assert_as_exact_as(trial, "logits in bfloat16")


@requirement("VIT-NUM-FLOAT16")
@given(case=CASES, examples=SOME, beyond=MANY_TOKENS)
def test_float16_is_as_exact_as_it_can_be(impl: Candidate, case: Case) -> None:
    with optional("float16"):
        trial = impl.trial(case, dtype=torch.float16)
        assert_as_exact_as(trial, "logits in float16")


@requirement("VIT-NUM-AUTOCAST")
@given(case=CASES, of=OF, dtype=st.sampled_from((torch.bfloat16, torch.float16)), examples=SOME)
def test_autocast_is_as_exact_as_its_dtype(impl: Candidate, case: Case, of: str, dtype: torch.dtype) -> None:
    trial = impl.trial(case, dtype=torch.float32)
    model, before = trial.module, trial.logits()  # a torch module, since autocast is torch's
    with optional("autocast"), torch.autocast(impl.device.type, dtype):
        actual = trial.of(model).logits()
    if _of_gradients(trial, of):
        assert_gradients_as_exact_as(trial, f"gradients under autocast to {short(dtype)}", dtype)
    else:
        assert_as_exact_as(trial, f"logits under autocast to {short(dtype)}", actual, dtype)
    assert_same_bits(trial.logits(), before, "logits in float32 after autocast, against those before")


@requirement("VIT-NUM-DTYPE")
def test_the_logits_are_in_the_dtype_of_the_model(impl: Candidate) -> None:
    case = Case(SMOKE_CONFIG, batch=2, seed=0)
    trial = impl.trial(case, dtype=torch.float32)
    module, single = trial.module, trial.logits()  # other models have no dtype; some compute in float64 whatever comes
    assert_tensor(single, single.shape, torch.float32, f"logits of a {type(module).__name__} in float32")
    for dtype in (torch.bfloat16, torch.float16):
        with suppress(NotSupported), optional(short(dtype)):
            answer = impl.trial(case, dtype=dtype).logits().dtype
            accepted, wanted = {dtype, torch.float32}, f"{short(dtype)} or float32"
            assert_holds(answer in accepted, f"logits of a {short(dtype)} model: {short(answer)}, expected {wanted}")


@requirement("VIT-NUM-LARGE-SCORES")
@given(case=vit_cases(batches=BATCHES, classes=CLASSES), examples=SOME)
def test_large_attention_scores_are_no_danger(impl: Candidate, case: Case) -> None:
    _assert_finite(impl, case, "blocks.0.attention.query", 300.0)
    _assert_right(impl, case, "blocks.0.attention.query", 40.0)  # at 300, float64's rounding begins to show


@requirement("VIT-NUM-LARGE-HIDDEN")
@given(case=vit_cases(batches=BATCHES, classes=CLASSES), examples=SOME)
def test_large_hidden_values_are_no_danger(impl: Candidate, case: Case) -> None:
    _assert_finite(impl, case, "blocks.0.mlp.fc1", 3000.0)
    _assert_right(impl, case, "blocks.0.mlp.fc1", 3000.0)


@requirement("VIT-NUM-FLAT")
@given(case=vit_cases(), examples={"quick": 6})
def test_tokens_of_equal_features_are_no_danger(impl: Candidate, case: Case) -> None:
    flat = impl.trial(case, dtype=torch.float32, altered=lambda weights: flat_tokens(weights, LARGE_FEATURE))
    logits = flat.logits()
    assert_tensor(logits, logits.shape, logits.dtype, "logits of tokens with equal features")


def _of_gradients(trial: Trial, of: str) -> bool:
    """Whether gradients are judged, of a model that has them and is exact in float64."""
    has_them = isinstance(trial.model, nn.Module) or shows_gradients(trial)
    return of == "gradients" and has_them and not trial.candidate.float32_inside


def _assert_finite(impl: Candidate, case: Case, scaled_up: str, factor: float) -> None:
    trial = impl.trial(case, dtype=torch.float32, altered=lambda weights: scaled(weights, scaled_up, factor))
    logits = trial.logits()
    assert_tensor(logits, logits.shape, logits.dtype, f"logits in float32 with {scaled_up} {factor:g} times as large")


def _assert_right(impl: Candidate, case: Case, scaled_up: str, factor: float) -> None:
    if impl.float32_inside:
        return  # large numbers magnify its rounding beyond what tier S knows of it
    trial = impl.trial(case, altered=lambda weights: scaled(weights, scaled_up, factor))
    what = f"logits with {scaled_up} {factor:g} times as large"
    assert_semantics(trial.logits(), trial.reference.logits, what)
