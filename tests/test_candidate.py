"""A candidate is called so that nothing it does can disturb the judgement, and nothing it returns can break a check."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from calling import CASE, CONFIG, Calling, calling
from torch import Tensor, nn
from torch.backends import cuda

from vitbench.adapter import OPTIONAL_HOOKS, Adapter, NotSupported, ViTConfig, collect_inputs, collect_outputs
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate, CandidateRaised, SideEffect
from vitbench.errors import AdapterBroken, HarnessError, RequirementFailed
from vitbench.isolation import Isolation
from vitbench.reference.vit import ViT
from vitbench.smoke import smoke


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


def test_a_warning_is_no_failure_whatever_those_who_run_the_tests_make_of_theirs() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("error")
        assert logits_of(lambda _images: warnings.warn("old", DeprecationWarning, stacklevel=1))[0] is None
        with pytest.raises(DeprecationWarning):
            warnings.warn("own", DeprecationWarning, stacklevel=1)
    assert [str(one.message) for one in told] == ["old"]


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


def test_a_model_whose_own_train_and_to_return_nothing_is_a_model_all_the_same() -> None:
    class Silent(ViT):
        def train(self, mode: bool = True) -> None:  # type: ignore[override]
            super().train(mode)

        def to(self, *arguments: Any, **options: Any) -> None:  # type: ignore[override]
            super().to(*arguments, **options)

    class Building(ReferenceAdapter):
        def build(self, config: ViTConfig) -> ViT:
            return Silent(config)

    candidate = Candidate(Building())
    model = candidate.build(CONFIG)
    assert isinstance(model, Silent)
    assert not model.training
    assert torch.equal(candidate.trial(CASE).logits(), Candidate(ReferenceAdapter()).trial(CASE).logits())


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


class Slipping(ReferenceAdapter):
    """The reference, whose adapter looks for what the model has not, and whose model does the same."""

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return model.no_such_part(images)

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return deep(images)  # type: ignore[return-value]

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        raise ValueError("refused")


@pytest.mark.parametrize(
    ("hook", "where"), [("tokens", " in the adapter's own code, not in the model"), ("patch_tokens", "")]
)
def test_only_a_slip_in_the_adapters_own_method_is_told_as_such(hook: str, where: str) -> None:
    with pytest.raises(CandidateRaised, match=rf"^{hook}\(\) raised \w+{where}: "):
        getattr(Candidate(Slipping()).trial(CASE), hook)()


def test_a_slip_in_what_the_adapter_calls_is_not_the_adapters() -> None:
    with pytest.raises(CandidateRaised, match=r"^representation\(\) raised \w+: "):
        Candidate(Slipping()).trial(CASE).representation()


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


def test_what_a_module_received_is_seen_before_it_writes_into_it() -> None:
    class Residual(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x += 1
            return x

    layers = [Residual(), Residual()]
    run = partial(nn.Sequential(*layers), torch.zeros(2))
    assert [seen.tolist() for seen in collect_inputs(layers, run)] == [[0.0, 0.0], [1.0, 1.0]]
