"""A trial asks a candidate's model and the reference for the same stages, of what is within reach; the smoke stage first."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from calling import CASE, CONFIG, calling
from torch import Tensor

from vitbench.adapter import Conventions, NotSupported, ViTConfig
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import Case
from vitbench.errors import AdapterBroken, RequirementFailed
from vitbench.reference.vit import ViT
from vitbench.smoke import smoke

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
