"""PATH: the same model by another way: gradients, kernels, checkpoints, compilers."""

from functools import partial

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitbench.assertions import assert_consistent, assert_equal, assert_holds, assert_same_bits
from vitbench.candidate import Candidate
from vitbench.cases import Case, random_images, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported
from vitbench.gradients import own_gradients
from vitbench.tracing import Logits, Way, compiled, exported
from vitbench.trial import Trial

STAGES = ("patch_tokens", "tokens", "block_outputs", "attention", "representation")
WAYS = {
    "quick": st.just(Way("eager", dynamic=False)),
    "standard": st.sampled_from((Way("eager"), Way("aot_eager", dynamic=True))),
    "full": st.sampled_from((Way("eager"), Way("aot_eager", dynamic=True), Way("inductor"))),
}
FEWER = {"quick": 1, "standard": 2, "full": 4}  # a model is traced and compiled for half a second, or for many
SEVERAL = (2, 3)  # tracers take a batch of one for a batch that is always one


@requirement("VIT-PATH-GRAD")
@given(case=vit_cases())
def test_recording_gradients_changes_nothing(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before = trial.logits()
    with torch.inference_mode():
        in_inference = trial.logits()
    assert_consistent(in_inference.clone(), before, "logits in inference mode, against no_grad")
    recorded = impl.call("logits", trial.model, trial.images, grad=True)
    assert_consistent(trial.answer("logits", recorded), before, "logits with gradients recorded, against no_grad")


@requirement("VIT-PATH-KERNEL")
@given(case=vit_cases(), examples=FEW)
def test_the_attention_kernel_does_not_show(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before = trial.logits()
    with sdpa_kernel(SDPBackend.MATH):
        assert_consistent(trial.logits(), before, "logits with torch's unfused attention only")
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert_consistent(trial.logits(), before, "logits without the fast path of torch's MultiheadAttention")
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@requirement("VIT-PATH-UNFUSED")
@given(case=vit_cases(), examples=FEW)
def test_attention_written_out_is_the_same(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    unfused = trial.by_way_of("unfused")
    assert_consistent(unfused.logits(), trial.logits(), "logits with attention written out")
    if isinstance(trial.model, nn.Module):
        _assert_same_gradients(unfused, trial, "gradients with attention written out")


@requirement("VIT-PATH-STAGES")
@given(case=vit_cases(), examples=FEW)
def test_a_model_that_was_looked_at_is_the_same(impl: Candidate, case: Case) -> None:
    offered = [hook for hook in STAGES if impl.offers(hook)]
    if not offered:
        raise NotSupported("shows no stage")
    trial = impl.trial(case)
    before = trial.logits()
    for hook in offered:
        getattr(trial, hook)()
        assert_same_bits(trial.logits(), before, f"logits after {hook}() was asked")


@requirement("VIT-PATH-CHECKPOINT")
@given(case=vit_cases(dropouts=(0.3,)), examples=FEW)
def test_checkpointing_changes_no_gradient(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    checkpointed = trial.by_way_of("checkpointed")
    trial.module.train()
    checkpointed.module.train()
    _assert_same_gradients(checkpointed, trial, "gradients with checkpointing")


@requirement("VIT-PATH-COMPILE")
@given(case=vit_cases(depths=(1,), batches=SEVERAL), way=WAYS, examples=FEWER)
def test_a_compiled_model_is_the_same(impl: Candidate, case: Case, way: Way) -> None:
    trial = impl.trial(case)
    with compiled(trial.module, way) as compiled_model:
        traced = trial.of(compiled_model.model)
        for images in (trial.images, _another_batch(trial))[: 1 if way.dynamic is False else 2]:
            logits = impl.attempted("torch.compile", partial(traced.logits, images))
            what = f"logits of {images.shape[0]} images, compiled ({way})"
            assert_consistent(logits, trial.logits(images), what)
    if not compiled_model.graphs:
        raise NotSupported("nothing of it is captured by torch.compile")


@requirement("VIT-PATH-EXPORT")
@given(case=vit_cases(depths=(1,), batches=SEVERAL), examples=FEWER)
def test_an_exported_model_takes_any_batch(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    module = Logits(impl.adapter, trial.module)
    program = impl.attempted("torch.export", lambda: exported(module, trial.images))
    for images in (trial.images, _another_batch(trial)):
        what = f"logits of {images.shape[0]} images, exported with {case.batch}"
        logits = impl.guarded("exported", partial(program, images))
        assert_consistent(trial.answer("logits", logits, images), trial.logits(images), what)


def _another_batch(trial: Trial) -> torch.Tensor:
    return random_images((trial.case.batch + 3, *trial.images.shape[1:]), trial.case.seed + 1)


def _assert_same_gradients(actual: Trial, expected: Trial, what: str) -> None:
    """All parameters' together, since a gradient that is zero, as the key bias's, has only rounding to compare."""
    found = []
    for trial in (expected, actual):
        torch.manual_seed(trial.case.seed)  # where there is dropout, it falls on the same elements
        found.append([gradient for gradient in own_gradients(trial).values() if gradient is not None])
    shapes = [[tuple(gradient.shape) for gradient in gradients] for gradients in found]
    assert_holds(bool(found[0]), f"{what}: without it, no parameter gets a gradient at all")
    assert_equal(shapes[1], shapes[0], f"shapes of the {what}")
    before, after = (torch.cat([gradient.flatten() for gradient in gradients]) for gradients in found)
    assert_consistent(after, before, what)
