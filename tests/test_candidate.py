"""A candidate is called so that nothing it does can disturb the judgement, and nothing it returns can break a check."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.backends import cuda

from vitbench.adapter import OPTIONAL_HOOKS, Adapter, Conventions, NotSupported, ViTConfig, collect_outputs
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.arrays import as_tensor
from vitbench.candidate import Candidate, CandidateRaised, SideEffect
from vitbench.cases import Case
from vitbench.errors import AdapterBroken, HarnessError, RequirementFailed
from vitbench.isolation import Isolation
from vitbench.reference.vit import ViT
from vitbench.smoke import smoke

CONFIG = ViTConfig(
    image_size=(4, 6), patch_size=(2, 3), channels=2, width=8, depth=2, num_heads=2, mlp_dim=5, num_classes=3
)  # N = 4
CASE = Case(CONFIG, batch=2, seed=7)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Should a test leave a global setting changed, the next ones shall not suffer."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    torch.set_rng_state(state)


class Calling(Adapter):
    """An adapter whose ``logits`` is the function under test."""

    name = "calling"

    def __init__(self, logits: Callable[..., Any]) -> None:
        self._logits = logits

    def build(self, config: ViTConfig) -> Any:
        return SimpleNamespace(config=config)

    def logits(self, model: Any, images: Tensor) -> Any:
        return self._logits(images)


def calling(function: Callable[..., Any]) -> Candidate:
    return Candidate(Calling(function))


def logits_of(function: Callable[..., Any], *images: Tensor, **options: Any) -> tuple[Any, list[SideEffect]]:
    """What the function returns when the harness calls it, and what it was seen to change."""
    candidate = calling(function)
    given = images[0] if images else torch.ones(2, 2, 4, 6, dtype=torch.float64)
    return candidate.call("logits", None, given, **options), candidate.side_effects


# --- isolation ---

SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "the default dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "the default device": (torch.get_default_device, lambda: torch.set_default_device("meta")),
    "grad mode": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(True)),
    "the number of threads": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    "deterministic mode": (
        torch.are_deterministic_algorithms_enabled,
        lambda: torch.use_deterministic_algorithms(True),
    ),
    "autocast": (
        lambda: (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cuda")),
        lambda: (torch.set_autocast_enabled("cpu", True), torch.set_autocast_dtype("cpu", torch.float16)),
    ),
    "float32 precision": (
        torch.get_float32_matmul_precision,
        lambda: torch.set_float32_matmul_precision("high"),
    ),
    "cuDNN's benchmark mode": (
        lambda: torch.backends.cudnn.benchmark,
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
    ),
    "cuDNN's deterministic mode": (
        lambda: torch.backends.cudnn.deterministic,
        lambda: setattr(torch.backends.cudnn, "deterministic", True),
    ),
    "whether flash attention may be used": (cuda.flash_sdp_enabled, lambda: cuda.enable_flash_sdp(False)),
    "whether memory-efficient attention may be used": (
        cuda.mem_efficient_sdp_enabled,
        lambda: cuda.enable_mem_efficient_sdp(False),
    ),
    "whether plain attention may be used": (cuda.math_sdp_enabled, lambda: cuda.enable_math_sdp(False)),
    "whether cuDNN's attention may be used": (cuda.cudnn_sdp_enabled, lambda: cuda.enable_cudnn_sdp(False)),
    "the flushing of denormal numbers": (
        lambda: (torch.tensor(1e-310, dtype=torch.float64) * 0.5).item() == 0.0,
        lambda: torch.set_flush_denormal(True),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_changed_setting_is_reported_and_undone(name: str) -> None:
    read, change = SETTINGS[name]
    before = read()
    _, effects = logits_of(lambda _images: change())
    assert effects == [SideEffect("logits", name)]
    assert read() == before


def test_a_changed_setting_is_undone_after_an_error_too() -> None:
    def fails(_images: Tensor) -> None:
        torch.set_default_dtype(torch.float64)
        raise RuntimeError("no")

    candidate = calling(fails)
    with pytest.raises(CandidateRaised):
        candidate.call("logits", None, torch.ones(1))
    assert candidate.side_effects == [SideEffect("logits", "the default dtype")]
    assert torch.get_default_dtype() == torch.float32


def test_settings_that_were_unusual_before_are_kept_so() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    _, effects = logits_of(lambda _images: torch.set_default_dtype(torch.float16))
    assert effects == [SideEffect("logits", "the default dtype")]
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float64, False)


def test_a_well_behaved_call_leaves_no_trace() -> None:
    result, effects = logits_of(lambda images: images + 1)
    assert effects == []
    assert torch.equal(result, torch.full((2, 2, 4, 6), 2.0, dtype=torch.float64))


def test_candidates_run_without_gradients_unless_asked() -> None:
    assert logits_of(lambda _images: torch.is_grad_enabled())[0] is False
    assert logits_of(lambda _images: torch.is_grad_enabled(), grad=True)[0] is True
    assert torch.is_grad_enabled()


def test_a_use_of_the_global_random_state_is_reported_and_not_undone() -> None:
    """Undone, it would let a stray dropout repeat itself and pass for deterministic."""
    torch.manual_seed(5)
    candidate = calling(lambda _images: torch.rand(()))
    first, second = (candidate.call("logits", None, torch.ones(1)) for _ in range(2))
    assert candidate.side_effects == 2 * [SideEffect("logits", "the global random state")]
    assert first != second


def test_a_generator_of_its_own_is_nobodys_business() -> None:
    assert logits_of(lambda _images: torch.rand((), generator=torch.Generator().manual_seed(0)))[1] == []


def test_several_changes_are_all_reported() -> None:
    with Isolation() as isolation:
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(123)
    assert isolation.changes == ["the default dtype", "the global random state"]
    assert torch.get_default_dtype() == torch.float32


# --- what the candidate is given ---


def test_a_changed_input_is_reported_and_the_harnesss_own_is_untouched() -> None:
    images = torch.ones(2, 2, 4, 6, dtype=torch.float64)
    _, effects = logits_of(lambda given: given.mul_(2), images)
    assert effects == [SideEffect("logits", "its input")]
    assert torch.equal(images, torch.ones_like(images))


def test_an_input_that_is_resized_in_place_is_reported() -> None:
    assert logits_of(lambda given: given.unsqueeze_(0))[1] == [SideEffect("logits", "its input")]


def test_weights_are_given_as_clones() -> None:
    class Scaling(Adapter):
        def build(self, config: ViTConfig) -> Any:
            return config

        def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
            for weight in state.values():
                weight.zero_()

    weights = {"head.weight": torch.ones(3)}
    Candidate(Scaling()).call("load", None, weights)
    assert weights["head.weight"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "images",
    [
        torch.ones(2, 3, 6, 4).transpose(2, 3),
        torch.ones(2, 3, 4, 6).contiguous(memory_format=torch.channels_last),
        torch.ones(3, 2, 4, 6).transpose(0, 1),
    ],
    ids=["transposed", "channels last", "batch and channels exchanged"],
)
def test_the_memory_layout_of_images_reaches_the_candidate(images: Tensor) -> None:
    assert not images.is_contiguous()
    strides, _ = logits_of(lambda given: given.stride(), images)
    assert strides == images.stride()


def test_images_carry_no_history_into_the_candidate() -> None:
    images = torch.ones(2, requires_grad=True) * 2
    (leaf, wants), _ = logits_of(lambda given: (given.is_leaf, given.requires_grad), images)
    assert (leaf, wants) == (True, False)


def test_torch_models_are_put_into_evaluation_mode_in_float64() -> None:
    class Training(ReferenceAdapter):
        def build(self, config: ViTConfig) -> ViT:
            return super().build(config).train()

    model = Candidate(Training()).build(CONFIG)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert {p.dtype for p in Candidate(Training()).build(CONFIG, torch.bfloat16).parameters()} == {torch.bfloat16}


def test_other_models_are_left_as_they_are() -> None:
    model = calling(lambda images: images).build(CONFIG)
    assert model == SimpleNamespace(config=CONFIG)


# --- what the candidate raises ---


def test_not_supported_passes_with_its_reason() -> None:
    def refuse(_images: Tensor) -> None:
        raise NotSupported("square images only")

    with pytest.raises(NotSupported, match=r"^square images only$"):
        logits_of(refuse)


def deep(_images: Tensor) -> None:
    raise ValueError("two  lines\n of text")


def test_any_other_error_is_named_with_its_innermost_place() -> None:
    with pytest.raises(CandidateRaised) as caught:
        logits_of(deep)
    line = deep.__code__.co_firstlineno + 1
    assert str(caught.value) == f"logits() raised ValueError: two lines of text (test_candidate.py:{line})"
    assert isinstance(caught.value, RequirementFailed)


def test_a_long_error_is_cut_to_what_a_terminal_bears() -> None:
    def fails(_images: Tensor) -> None:
        raise ValueError("x" * 1000)

    with pytest.raises(CandidateRaised) as caught:
        logits_of(fails)
    assert str(caught.value).startswith("logits() raised ValueError: " + "x" * 400 + " … (test_candidate.py:")


def test_an_exit_is_a_failure_and_does_not_end_the_run() -> None:
    with pytest.raises(CandidateRaised, match=r"^logits\(\) raised SystemExit: 3 \(test_candidate.py:\d+\)$"):
        logits_of(lambda _images: sys.exit(3))


def test_an_interrupt_stays_an_interrupt() -> None:
    def interrupted(_images: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logits_of(interrupted)


# --- what the candidate offers ---


def test_a_hook_that_is_left_out_is_not_offered() -> None:
    candidate = calling(lambda images: images)
    assert [hook for hook in OPTIONAL_HOOKS if candidate.offers(hook)] == []
    assert candidate.offers("logits")


def test_a_hook_that_is_overridden_is_offered() -> None:
    reference = Candidate(ReferenceAdapter())
    assert [hook for hook in OPTIONAL_HOOKS if reference.offers(hook)] == list(OPTIONAL_HOOKS)


class Duck:
    """The methods of the contract without its base class, and without a name."""

    def build(self, config: ViTConfig) -> nn.Module:
        return ViT(config)

    def logits(self, model: nn.Module, images: Tensor) -> Any:
        return model(images)


def test_a_hook_that_a_plain_object_lacks_is_not_supported_rather_than_failed() -> None:
    candidate = Candidate(Duck())  # type: ignore[arg-type]
    for hook in OPTIONAL_HOOKS:
        assert not candidate.offers(hook)
        with pytest.raises(NotSupported, match=rf"^Duck has no method {hook}\(\)$"):
            candidate.call(hook, None)
    with pytest.raises(NotSupported, match=r"^Duck has no method load\(\)$"):
        candidate.trial(CASE)


def test_a_plain_object_comes_through_the_smoke_stage() -> None:
    smoke(Candidate(Duck()))  # type: ignore[arg-type]


def test_a_module_of_functions_is_named_after_its_file() -> None:
    candidate = Candidate(sys.modules[__name__])  # type: ignore[arg-type]
    assert (candidate.name, candidate.version) == (__name__, "unknown")


def test_conventions_of_another_kind_are_a_broken_adapter() -> None:
    adapter = Calling(lambda images: images)
    adapter.conventions = {"layer_norm_eps": 1e-6}  # type: ignore[assignment]
    with pytest.raises(AdapterBroken) as caught:
        Candidate(adapter)
    assert str(caught.value) == ("adapter 'calling': conventions is a dict, expected vitbench.adapter.Conventions(...)")


# --- what the candidate returns ---


class Array:
    """An array of another framework, of which ``__array__`` is all that is known."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.value


NUMBERS = np.arange(6.0).reshape(2, 3)
READ_ONLY = NUMBERS.copy()
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    "value",
    [
        torch.from_numpy(NUMBERS),
        torch.from_numpy(NUMBERS).requires_grad_(),
        nn.Parameter(torch.from_numpy(NUMBERS)),
        NUMBERS,
        READ_ONLY,
        NUMBERS.copy(order="F"),
        NUMBERS[::-1][::-1],
        NUMBERS[:, ::-1].copy()[:, ::-1],
        NUMBERS.astype(">f8"),
        Array(NUMBERS),
        Array(READ_ONLY),
    ],
    ids=[
        "tensor", "with history", "parameter", "numpy", "read-only", "column-major", "view", "negative strides",
        "big-endian", "__array__", "__array__ read-only",
    ],
)  # fmt: skip
def test_arrays_of_any_framework_become_tensors(value: Any) -> None:
    tensor = as_tensor(value, "logits()")
    assert type(tensor) is Tensor
    assert (tensor.dtype, tensor.requires_grad, tensor.device.type) == (torch.float64, False, "cpu")
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_arrays_keep_their_dtype(dtype: str) -> None:
    assert as_tensor(np.ones(2, dtype), "logits()").dtype == getattr(torch, dtype)


@pytest.mark.parametrize("wrap", [torch.from_numpy, lambda a: a, Array], ids=["tensor", "numpy", "__array__"])
def test_a_result_is_a_copy_since_a_candidate_may_reuse_its_memory(wrap: Callable[[Any], Any]) -> None:
    memory = NUMBERS.copy()
    kept = as_tensor(wrap(memory), "logits()")
    memory[:] = -1
    assert kept.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "logits() returned a NoneType, expected a tensor"),
        ([1.0, 2.0], "logits() returned a list, expected a tensor"),
        ("cat", "logits() returned a str, expected a tensor"),
        ({"logits": NUMBERS}, "logits() returned a dict, expected a tensor"),
        ((torch.ones(1),), "logits() returned a tuple, expected a tensor"),
        (torch.ones(2, 2).to_sparse(), "logits() returned a tensor in layout sparse_coo, expected a dense one"),
        (torch.ones(2, device="meta"), "logits() returned a tensor on the meta device, expected a dense one"),
        (
            FakeTensorMode().from_tensor(torch.ones(2)),
            "logits() returned a tensor without data, which a tracer has left in the model, expected a dense one",
        ),
    ],
)
def test_what_is_no_tensor_is_told_by_its_type(value: Any, told: str) -> None:
    with pytest.raises(RequirementFailed) as caught:
        as_tensor(value, "logits()")
    assert str(caught.value) == told


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["a"]), Array("text"), Array([1.0])], ids=repr)
def test_an_array_of_anything_but_numbers_is_the_candidates_failure(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(RequirementFailed, match=rf"^logits\(\) returned a {kind} that is no array of numbers: "):
        as_tensor(value, "logits()")


# --- trials ---


class Answering(ReferenceAdapter):
    """The reference, with one method's answer altered."""

    def __init__(self, hook: str, alter: Callable[[Any], Any]) -> None:
        super().__init__()
        honest = getattr(self, hook)
        setattr(self, hook, lambda *arguments: alter(honest(*arguments)))


SHAPES = {
    "logits": ("(B, K)", (2, 3)),
    "patch_tokens": ("(B, N, D)", (2, 4, 8)),
    "tokens": ("(B, N+1, D)", (2, 5, 8)),
    "representation": ("(B, D)", (2, 8)),
}
LISTS = {
    "block_outputs": ("(B, N+1, D)", (2, 5, 8)),
    "attention": ("(B, h, N+1, N+1)", (2, 2, 5, 5)),
}


@pytest.mark.parametrize("hook", [*SHAPES, *LISTS])
def test_a_trial_asks_the_candidate_and_the_reference_for_the_same_stage(hook: str) -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    answer, expected = getattr(trial, hook)(), getattr(trial.reference, hook)
    assert type(answer) is type(expected)
    pairs = zip(answer, expected, strict=True) if isinstance(answer, list) else [(answer, expected)]
    assert all(torch.equal(a, e) for a, e in pairs)


@pytest.mark.parametrize("hook", SHAPES)
def test_an_answer_of_another_shape_is_the_candidates_failure(hook: str) -> None:
    letters, shape = SHAPES[hook]
    doubled = (*shape[:-1], 2 * shape[-1])
    trial = Candidate(Answering(hook, lambda answer: torch.cat([answer, answer], dim=-1))).trial(CASE)
    with pytest.raises(RequirementFailed) as caught:
        getattr(trial, hook)()
    assert str(caught.value) == f"{hook}() returned shape {doubled}, expected {letters} = {shape}"


@pytest.mark.parametrize("hook", LISTS)
def test_an_answer_of_another_shape_in_one_block_is_told_with_its_index(hook: str) -> None:
    letters, shape = LISTS[hook]
    trial = Candidate(Answering(hook, lambda answer: [answer[0], answer[1][0]])).trial(CASE)
    with pytest.raises(RequirementFailed) as caught:
        getattr(trial, hook)()
    assert str(caught.value) == f"{hook}()[1] returned shape {shape[1:]}, expected {letters} = {shape}"


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda answer: answer[:1], "returned 1 tensors, expected one per block: 2"),
        (lambda answer: [*answer, answer[0]], "returned 3 tensors, expected one per block: 2"),
        (torch.stack, "returned a Tensor, expected one tensor per block in a list"),
        (iter, "returned a list_iterator, expected one tensor per block in a list"),
        (lambda answer: dict(enumerate(answer)), "returned a dict, expected one tensor per block in a list"),
    ],
)
@pytest.mark.parametrize("hook", LISTS)
def test_blocks_are_answered_by_a_list_of_one_tensor_each(hook: str, alter: Callable[[Any], Any], told: str) -> None:
    trial = Candidate(Answering(hook, alter)).trial(CASE)
    with pytest.raises(RequirementFailed) as caught:
        getattr(trial, hook)()
    assert str(caught.value) == f"{hook}() {told}"


def test_a_tuple_of_blocks_serves_as_well_as_a_list() -> None:
    assert len(Candidate(Answering("attention", tuple)).trial(CASE).attention()) == 2


@pytest.mark.parametrize("hook", ["patch_tokens", "tokens", "representation"])
def test_a_stage_in_another_dtype_is_the_candidates_failure(hook: str) -> None:
    trial = Candidate(Answering(hook, lambda answer: answer.float())).trial(CASE)
    with pytest.raises(RequirementFailed, match=rf"^{hook}\(\) returned dtype float32, expected float64$"):
        getattr(trial, hook)()


def test_logits_of_another_float_are_left_to_the_requirements() -> None:
    assert Candidate(Answering("logits", lambda answer: answer.float())).trial(CASE).logits().dtype == torch.float32
    with pytest.raises(RequirementFailed, match=r"^logits\(\) returned dtype int64, expected float64$"):
        Candidate(Answering("logits", lambda answer: answer.long())).trial(CASE).logits()


def test_answers_on_other_images_are_expected_in_their_batch() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    assert trial.tokens(trial.images.repeat(3, 1, 1, 1)).shape == (6, 5, 8)


def test_an_export_that_is_no_mapping_is_told_by_its_type() -> None:
    trial = Candidate(Answering("export", list)).trial(CASE)
    with pytest.raises(
        RequirementFailed, match=r"^export\(\) returned a list, expected a mapping of names to tensors$"
    ):
        trial.export()


def test_a_resized_table_of_another_shape_is_told_with_the_right_one() -> None:
    table = torch.ones(1, 7, 8)
    candidate = Candidate(Answering("resize_position_embedding", lambda answer: answer[:, 1:]))
    with pytest.raises(RequirementFailed) as caught:
        candidate.resize(table, (2, 3), (3, 3))
    told = "resize_position_embedding() returned shape (1, 9, 8), expected (1, N'+1, D) = (1, 10, 8)"
    assert str(caught.value) == told


def test_a_table_without_a_class_row_has_a_row_per_patch() -> None:
    reference = ReferenceAdapter(Conventions(class_token_has_position=False))
    assert Candidate(reference).resize(torch.ones(1, 6, 8), (2, 3), (3, 3)).shape == (1, 9, 8)


def test_weights_can_be_exchanged_for_one_more_trial() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    blind = trial.zeroed("head.weight", "head.bias")
    assert not blind.logits().any()
    assert trial.logits().any()
    shifted = trial.with_weights({"head.bias": trial.weights["head.bias"] + 1})
    torch.testing.assert_close(shifted.logits(), trial.logits() + 1, rtol=0, atol=1e-14)


def test_a_resized_trial_has_images_of_the_new_size_and_the_same_weights() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    resized = trial.at_image_size((6, 9))
    assert resized.images.shape == (2, 2, 6, 9)
    assert resized.model is not trial.model
    assert torch.equal(resized.export()["head.weight"], trial.weights["head.weight"])


def test_a_resized_trial_has_not_the_reference_of_former_images() -> None:
    trial = Candidate(ReferenceAdapter()).trial(CASE)
    assert trial.reference.logits.shape == (2, CASE.config.num_classes)
    assert "reference" not in vars(trial.at_image_size((6, 9)))


def test_the_same_case_gives_the_same_images_and_weights() -> None:
    first, second = (Candidate(ReferenceAdapter()).trial(CASE) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.logits(), second.logits())
    other = Candidate(ReferenceAdapter()).trial(replace(CASE, seed=8))
    assert not torch.equal(first.images, other.images)


# --- what is out of reach ---


class Limited(ReferenceAdapter):
    """The reference, refusing configurations by a predicate."""

    def __init__(self, refuses: Callable[[ViTConfig], bool], error: type[Exception] = NotSupported) -> None:
        super().__init__()
        self._refuses, self._error = refuses, error
        self.built: list[ViTConfig] = []

    def build(self, config: ViTConfig) -> ViT:
        self.built.append(config)
        if self._refuses(config):
            raise self._error("out of reach")
        return super().build(config)


ODD = ViTConfig(
    image_size=(6, 2), patch_size=(3, 2), channels=2, width=5, depth=1, num_heads=1, mlp_dim=4, num_classes=2
)  # 2 x 1 patches


@pytest.mark.parametrize(
    ("refuses", "changed"),
    [
        (lambda _config: False, {}),
        (lambda c: c.image_size[0] != c.image_size[1], {"image_size": (6, 6), "patch_size": (3, 3)}),
        (lambda c: c.patch_size[0] != c.patch_size[1], {"image_size": (6, 3), "patch_size": (3, 3)}),
        (lambda c: c.channels != 3, {"channels": 3}),
        (lambda c: c.num_heads == 1, {"num_heads": 2, "width": 10}),
        (
            lambda c: c.channels != 3 or c.image_size[0] != c.image_size[1],
            {"image_size": (6, 6), "patch_size": (3, 3), "channels": 3},
        ),
    ],
    ids=["everything", "square images", "square patches", "three channels", "several heads", "two limits"],
)
def test_a_case_is_simplified_by_what_is_out_of_reach_and_by_no_more(
    refuses: Callable[[ViTConfig], bool], changed: dict[str, Any]
) -> None:
    candidate = Candidate(Limited(refuses))
    expected = replace(ODD, **changed)
    assert candidate.within_reach(ODD) == expected
    assert candidate.trial(Case(ODD, 1, 0)).config == expected


def test_a_case_within_reach_is_kept() -> None:
    square = replace(CONFIG, image_size=(4, 4), patch_size=(2, 2))
    assert Candidate(Limited(lambda c: c.image_size[0] != c.image_size[1])).within_reach(square) == square


def test_what_breaks_is_left_to_the_requirement_that_is_about_it() -> None:
    """One crash on rectangles shall not fail every requirement that happens to draw one."""
    candidate = Candidate(Limited(lambda c: c.image_size[0] != c.image_size[1], error=RuntimeError))
    reached = candidate.within_reach(ODD)
    assert reached.image_size[0] == reached.image_size[1]
    with pytest.raises(CandidateRaised, match="out of reach"):
        candidate.trial(Case(ODD, 1, 0), exactly=True)


def test_an_exact_trial_is_not_simplified() -> None:
    candidate = Candidate(Limited(lambda c: c.channels != 3))
    with pytest.raises(NotSupported, match="out of reach"):
        candidate.trial(CASE, exactly=True)


def test_limits_are_probed_once() -> None:
    adapter = Limited(lambda _config: False)
    candidate = Candidate(adapter)
    candidate.within_reach(ODD)
    probes = len(adapter.built)
    assert probes > 0
    candidate.within_reach(CONFIG)
    assert len(adapter.built) == probes


def test_a_resize_that_knows_squares_only_is_noticed() -> None:
    class Square(ReferenceAdapter):
        def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
            if grid[0] != grid[1]:
                raise ValueError("not square")
            return super().resize_position_embedding(table, grid, new_grid)

    assert not Candidate(Square()).resizes_rectangles
    assert not calling(lambda images: images).resizes_rectangles
    assert Candidate(ReferenceAdapter()).resizes_rectangles


# --- smoke ---


def test_the_smoke_stage_lets_the_reference_pass() -> None:
    smoke(Candidate(ReferenceAdapter()))


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda answer: answer[:, :1], "logits() returned shape (2, 1), expected (B, K) = (2, 5)"),
        (lambda answer: answer.tolist(), "logits() returned a list, expected a tensor"),
        (lambda answer: answer + torch.rand(()), "logits() of the same images differ between two calls by up to "),
        (lambda answer: 1 / 0, "logits() raised ZeroDivisionError: division by zero"),
    ],
)
def test_the_smoke_stage_says_what_is_broken_and_on_which_case(alter: Callable[[Any], Any], told: str) -> None:
    with pytest.raises(AdapterBroken) as caught:
        smoke(Candidate(Answering("logits", alter)))
    text = str(caught.value)
    assert text.startswith(f"adapter 'reference': {told}")
    assert text.endswith(
        "(smoke stage: image 16×16, patch 8×8, channels 3, width 24, depth 2, heads 3, mlp 48, classes 5; "
        "batch 2, seed 0)"
    )


def test_noise_in_a_reused_buffer_does_not_pass_the_smoke_stage() -> None:
    """Both answers lie in the same memory; compared there, they would be equal."""
    buffer = torch.zeros(2, 5, dtype=torch.float64)
    with pytest.raises(AdapterBroken, match="differ between two calls"):
        smoke(Candidate(Answering("logits", lambda answer: buffer.copy_(answer + torch.rand(())))))


def test_logits_that_are_nan_are_left_to_the_requirements() -> None:
    smoke(Candidate(Answering("logits", lambda answer: answer * float("nan"))))


def test_a_harness_error_in_the_candidates_code_is_still_the_candidates() -> None:
    def fails(_images: Tensor) -> None:
        raise HarnessError("not mine")

    with pytest.raises(CandidateRaised, match="raised HarnessError: not mine"):
        logits_of(fails)


def test_what_a_module_returned_is_kept_though_the_model_goes_on_in_its_memory() -> None:
    layers = [torch.nn.Identity(), torch.nn.Identity()]

    def run() -> None:
        x = torch.ones(2)
        for layer in layers:
            layer(x).add_(1)

    assert [seen.tolist() for seen in collect_outputs(layers, run)] == [[1.0, 1.0], [2.0, 2.0]]
