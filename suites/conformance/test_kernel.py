"""KERNEL: an attention kernel alone (Eq. 6 and 7)."""

from collections.abc import Callable
from contextlib import suppress

import torch
from hypothesis import strategies as st

from vitbench.arrays import short
from vitbench.assertions import assert_equal, assert_same_bits, assert_tensor
from vitbench.check import given, requirement
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.kernel import DTYPES, Kernel, KernelTrial
from vitbench.kernel_cases import (
    EXTREMES,
    MANY_HEADS,
    MANY_TOKENS,
    ODD_HEAD_DIMS,
    PAPER_HEAD_DIMS,
    TOKENS,
    VIT_LENGTHS,
    KernelCase,
    kernel_cases,
)
from vitbench.reference.vit import merge_heads, split_heads

HALVES = (torch.bfloat16, torch.float16)
LONG = (256, 64, 128)
LONGER = (1024, 256, 512)  # what is lost in half precision grows with the sum

UPSTREAM: dict[str, Callable[[KernelCase, torch.dtype], torch.Tensor]] = {
    "contiguous": lambda case, dtype: case.random(case.shape, stream=1).to(dtype),
    # as it comes from a model that merged the heads
    "merged": lambda case, dtype: split_heads(merge_heads(case.random(case.shape, stream=1).to(dtype)), case.heads),
    # as of out.sum().backward()
    "expanded": lambda case, dtype: case.random((1,), stream=1)[0].to(dtype).expand(case.shape),
}
"""The output's gradient, in the layouts in which it comes."""


@requirement("VIT-KERNEL-SHAPE")
@given(case=kernel_cases())
def test_the_output_has_the_querys_shape_and_dtype(impl: Kernel, case: KernelCase) -> None:
    required = impl.trial(case, torch.float32)
    assert_tensor(required.output(), case.shape, torch.float32, "output for float32")
    for dtype in DTYPES:
        if not impl.refusal(dtype):
            assert_tensor(impl.trial(case, dtype).output(), case.shape, dtype, "output")


@requirement("VIT-KERNEL-VALUES")
@given(case=kernel_cases(), beyond=({"case": MANY_HEADS},))
def test_the_output_is_the_softmax_of_scaled_logits_times_values(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case)
    trial.assert_output(trial.output(), "output")


@requirement("VIT-KERNEL-LENGTH")
@given(case=kernel_cases(tokens=VIT_LENGTHS), beyond=({"case": MANY_TOKENS},))
def test_any_number_of_tokens_is_attended_over(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case)
    trial.assert_output(trial.output(), "output")


@requirement("VIT-KERNEL-HEAD-DIM")
@given(case=kernel_cases(head_dims=PAPER_HEAD_DIMS[::-1]))
def test_the_papers_head_dims_are_served(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case)
    trial.assert_output(trial.output(), "output")


@requirement("VIT-KERNEL-ODD-HEAD-DIM")
@given(case=kernel_cases(head_dims=ODD_HEAD_DIMS))
def test_any_head_dim_is_served(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case)
    trial.assert_output(trial.output(may_refuse=True), "output")


@requirement("VIT-KERNEL-FUSED-QKV")
@given(case=kernel_cases(layouts=("fused", "fused by head")))
def test_views_of_a_fused_tensor_give_the_same_output(impl: Kernel, case: KernelCase) -> None:
    _assert_layout_is_immaterial(impl.trial(case))


@requirement("VIT-KERNEL-STRIDES")
@given(case=kernel_cases(layouts=("transposed", "expanded", "sliced")))
def test_any_strides_give_the_same_output(impl: Kernel, case: KernelCase) -> None:
    _assert_layout_is_immaterial(impl.trial(case), may_refuse=True)


def _assert_layout_is_immaterial(trial: KernelTrial, *, may_refuse: bool = False) -> None:
    contiguous = trial.kernel.output(trial.case.inputs(trial.dtype, "contiguous"))
    what = f"output for {trial.case.layout} tensors, against contiguous ones"
    trial.assert_same(trial.output(may_refuse=may_refuse), contiguous, what)


@requirement("VIT-KERNEL-BATCH")
@given(case=kernel_cases())
def test_images_and_heads_do_not_see_each_other(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case)
    alone = torch.empty_like(trial.inputs[0])
    for b in range(case.batch):
        for h in range(case.heads):
            query, key, value = (x[b : b + 1, h : h + 1].contiguous() for x in trial.inputs)
            alone[b, h] = impl.output((query, key, value))[0, 0]
    trial.assert_same(trial.output(), alone, "output, against each image and head alone")


@requirement("VIT-KERNEL-EXTREME")
@given(case=kernel_cases(tokens=TOKENS[:1]), kind=st.sampled_from(list(EXTREMES)))
def test_extreme_logits_give_finite_and_right_values(impl: Kernel, case: KernelCase, kind: str) -> None:
    halves = [dtype for dtype in HALVES if not impl.refusal(dtype)]
    dtypes = dict.fromkeys([impl.dtype, *(halves if kind == "one logit far above" else [])])
    if kind != "one logit far above" and impl.dtype in HALVES:
        raise NotSupported(f"with {kind}, rounding to half precision hides everything")
    for dtype in dtypes:
        trial = impl.trial(case, dtype, EXTREMES[kind](case, dtype))
        trial.assert_output(trial.output(), f"output with {kind}, in {short(dtype)}")


@requirement("VIT-KERNEL-FLOAT32")
@given(case=kernel_cases(tokens=LONG))
def test_float32_is_as_precise_as_it_can_be(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case, torch.float32)
    trial.assert_output(trial.output(), "output in float32")


@requirement("VIT-KERNEL-HALF")
@given(case=kernel_cases(tokens=LONGER), dtype=st.sampled_from(HALVES), examples={"quick": 16})
def test_half_precision_is_as_precise_as_it_can_be(impl: Kernel, case: KernelCase, dtype: torch.dtype) -> None:
    trial = impl.trial(case, dtype)
    trial.assert_output(trial.output(), f"output in {short(dtype)}")


@requirement("VIT-KERNEL-GRADIENTS")
@given(
    case=kernel_cases(), dtype=st.sampled_from((None, torch.float32, *HALVES)), upstream=st.sampled_from(list(UPSTREAM))
)
def test_the_gradients_are_right(impl: Kernel, case: KernelCase, dtype: torch.dtype | None, upstream: str) -> None:
    trial = impl.trial(case, dtype)
    trial.assert_gradients(UPSTREAM[upstream](case, trial.dtype))


@requirement("VIT-KERNEL-PURE")
@given(case=kernel_cases())
def test_inputs_and_settings_stay_as_they_were(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case)
    impl.side_effects.clear()
    trial.output()
    if not impl.refusal(trial.dtype, grad=True):
        with suppress(RequirementFailed):  # what they are is another requirement's matter
            impl.gradients(trial.inputs, case.random(case.shape, stream=1).to(trial.dtype))
    changed = sorted({effect.changed for effect in impl.side_effects})
    assert_equal(changed, [], "what the kernel changed")


@requirement("VIT-KERNEL-REPEATABLE")
@given(case=kernel_cases())
def test_the_same_tensors_give_the_same_bits(impl: Kernel, case: KernelCase) -> None:
    trial = impl.trial(case)
    assert_same_bits(trial.output(), trial.output(), "output of the same tensors, twice")
