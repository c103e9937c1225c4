"""PATH: the same model by another way: gradients, kernels, checkpoints, compilers."""

from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitbench.assertions import assert_changed, assert_consistent, assert_equal, assert_holds, assert_same_bits
from vitbench.candidate import Candidate
from vitbench.cases import Case, random_images, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported
from vitbench.evidence import current_evidence
from vitbench.gradients import logits_in_training, own_gradients, random_loss
from vitbench.isolation import repeated_random_numbers
from vitbench.operations import fused_attention_kernels, kept_for_the_way_back
from vitbench.tracing import Logits, Way, compiled, exported, of_any_batch
from vitbench.trial import Trial

STAGES = ("patch_tokens", "tokens", "block_outputs", "attention", "representation")
WAYS = {
    "quick": st.just(Way("eager")),
    "standard": st.sampled_from((Way("eager"), Way("aot_eager", dynamic=True))),
    "full": st.sampled_from((Way("eager"), Way("aot_eager", dynamic=True), Way("inductor"))),
}
FEWER = {"quick": 1, "standard": 2, "full": 4}  # a model is traced and compiled for half a second, or for many
IN_TRAINING = {"quick": st.just(True), "standard": st.booleans(), "full": st.booleans()}
SLOW = {"quick": 2, "standard": 5, "full": 50}  # two models of four blocks, each of whose operations is watched
SEVERAL = (2, 3)  # tracers take a batch of one for a batch that is always one


@requirement("VIT-PATH-GRAD")
@given(case=vit_cases(), examples={"quick": 7})
def test_recording_gradients_changes_nothing(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    before = trial.logits()
    with torch.inference_mode():
        in_inference = trial.logits()
    assert_consistent(in_inference.clone(), before, "logits in inference mode, against no_grad")
    recorded = impl.call("logits", trial.model, trial.images, grad=True)
    assert_consistent(trial.answer("logits", recorded), before, "logits with gradients recorded, against no_grad")
    if impl.framework != "torch":  # whose own way with gradients is another: as it trains, or nothing was tried
        assert_consistent(
            logits_in_training(trial), before, "logits of value_and_grad(), against those without gradients"
        )
    if isinstance(trial.model, nn.Module):
        for parameter in trial.model.parameters():
            parameter.requires_grad_(False)
        frozen = trial.answer("logits", impl.call("logits", trial.model, trial.images, grad=True))
        assert_consistent(frozen, before, "logits of frozen parameters with gradients recorded, against no_grad")


@requirement("VIT-PATH-KERNEL")
@given(case=vit_cases(), examples=FEW)
def test_the_attention_kernel_does_not_show(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    if impl.framework != "torch":
        current_evidence().note(f"computes with {impl.framework}: no attention kernel of torch's was seen to run")
        assert_equal(fused_attention_kernels(trial), [], f"torch's attention kernels that run, in {impl.framework}")
        return
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
    assert_equal(fused_attention_kernels(unfused), [], "fused kernels that run though attention is written out")
    if isinstance(trial.model, nn.Module):
        _assert_same_gradients(unfused, trial, "gradients with attention written out")
        with suppress(NotSupported):
            _assert_still_dropping(impl, trial)


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
@given(case=vit_cases(depths=(4,)), examples=SLOW)
def test_checkpointing_computes_again_and_changes_no_gradient(impl: Candidate, case: Case) -> None:
    trial = _in_training(impl, case)
    checkpointed = trial.by_way_of("checkpointed")
    _assert_same_gradients(checkpointed, trial, "gradients with checkpointing")
    plain, kept = (kept_for_the_way_back(way, random_loss(way)) for way in (trial, checkpointed))
    assert_holds(
        kept.computed_again or kept.bytes < plain.bytes,
        f"with checkpointing {kept.bytes} bytes are kept for the way back, without it {plain.bytes}, and nothing is "
        f"computed again in {case.config.depth} blocks; does checkpointed() switch it on?",
    )


@requirement("VIT-PATH-COMPILE")
@given(case=vit_cases(depths=(2,), batches=SEVERAL), way=WAYS, training=IN_TRAINING, examples=FEWER)
def test_a_compiled_model_is_the_same(impl: Candidate, case: Case, way: Way, training: bool) -> None:
    trial = impl.trial(case)
    training = training and way.backend != "inductor" and not _compiles_itself(trial)  # which draw other random numbers
    trial = _in_training(impl, case) if training else trial
    with compiled(trial.module, way) as compiled_model:
        for images in (trial.images, _another_batch(trial)):
            given_images = of_any_batch(images).to(impl.device)
            with repeated_random_numbers(case.seed):
                ask = partial(impl.adapter.logits, compiled_model.model, given_images)
                logits = trial.answer("logits", impl.attempted("torch.compile", ask), images)
            with repeated_random_numbers(case.seed):
                expected = trial.logits(images)
            mode = "training" if training else "evaluation"
            assert_consistent(logits, expected, f"logits of {images.shape[0]} images in {mode} mode, compiled ({way})")
    if not compiled_model.graphs:
        raise NotSupported("nothing of it is captured by torch.compile")


@requirement("VIT-PATH-EXPORT")
@given(case=vit_cases(depths=(2,), batches=SEVERAL), examples=FEWER)
def test_an_exported_model_takes_any_batch(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    module = Logits(impl.adapter, trial.module)
    program = impl.attempted("torch.export", lambda: exported(module, trial.images))
    for images in (trial.images, _another_batch(trial)):
        what = f"logits of {images.shape[0]} images, exported with {case.batch}"
        logits = impl.guarded("exported", partial(program, images))
        assert_consistent(trial.answer("logits", logits, images), trial.logits(images), what)


def _in_training(impl: Candidate, case: Case) -> Trial:
    """A model in training mode, with dropout where it falls on the same elements again after a seed."""
    trial = impl.trial(impl.with_every_rate(case), exactly=True)
    trial.module.train()
    if not trial.repeats():
        trial = impl.trial(case)
        trial.module.train()
    return trial


def _compiles_itself(trial: Trial) -> bool:
    """Whether the candidate's own torch.compile gives way to the one that it is judged by."""
    from torch._dynamo import OptimizedModule  # noqa: PLC0415  # a second to import, needed here only

    return any(isinstance(module, OptimizedModule) for module in trial.module.modules())


def _assert_still_dropping(impl: Candidate, whole: Trial) -> None:
    """Attention that is written out drops weights in training, if the fused kernel does."""
    trial = impl.trial(replace(whole.case, config=replace(whole.config, attention_dropout=0.5)), exactly=True)
    answers = []
    for way in (trial, trial.by_way_of("unfused")):
        before = way.logits()
        with way.training():
            answers.append((way.logits(), before))
    if not torch.equal(*answers[0]):
        assert_changed(*answers[1], "logits in training mode with attention_dropout 0.5, attention written out")


def _another_batch(trial: Trial) -> torch.Tensor:
    return random_images((trial.case.batch + 3, *trial.images.shape[1:]), trial.case.seed + 1)


def _assert_same_gradients(actual: Trial, expected: Trial, what: str) -> None:
    """All parameters' together, since a gradient that is zero, as the key bias's, has only rounding to compare."""
    found = []
    for trial in (expected, actual):
        with repeated_random_numbers(trial.case.seed):  # where there is dropout, it falls on the same elements
            found.append([gradient for gradient in own_gradients(trial).values() if gradient is not None])
    shapes = [[tuple(gradient.shape) for gradient in gradients] for gradients in found]
    assert_holds(bool(found[0]), f"{what}: without it, no parameter gets a gradient at all")
    assert_equal(shapes[1], shapes[0], f"shapes of the {what}")
    before, after = (torch.cat([gradient.flatten() for gradient in gradients]) for gradients in found)
    assert_consistent(after, before, what)
