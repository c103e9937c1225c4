"""The study of inner views: each definition on a case worked out by hand, then the study itself on tiny models."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.errors import NotSupported
from vitbench.looks import patch_distances
from vitbench.measurement import unstudied
from vitbench.miniature import Miniature
from vitbench.options import Options
from vitbench.plan import Cell, plan
from vitbench.records import Outcome, StudyRecord
from vitbench.results import from_line, to_line
from vitbench.suite import load
from vitbench.suites.paper.inner_views import measure as inner_views
from vitbench.suites.paper.inner_views.definitions import (
    attention_distances,
    filter_components,
    position_similarity,
    rollout,
    similarity_by_distance,
    uniform_distance,
)
from vitbench.training import TrainingDiverged

TINY = Miniature(side=8, patch=4, width=8, depth=2, heads=2, steps=3, batch=4, images=16)
CELL = Cell(suite="paper/inner_views", implementation="reference")


# --- definitions, by hand ---


def test_filters_on_two_lines_have_two_components_with_their_shares() -> None:
    """Four filters of one channel and 1 × 2 pixels: ±3 along the first pixel, ±1 along the second."""
    weight = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]]).reshape(4, 1, 1, 2)
    components, shares = filter_components(weight, 28)
    assert torch.allclose(components.reshape(2, 2), torch.eye(2))
    assert shares.tolist() == pytest.approx([0.9, 0.1])


def test_the_mean_filter_is_no_component_and_a_sign_is_no_matter() -> None:
    weight = torch.tensor([[5.0, 0], [5, 2], [5, -2]]).reshape(3, 1, 1, 2)
    components, shares = filter_components(-weight, 28)
    assert torch.allclose(components.flatten(), torch.tensor([0.0, 1]))
    assert shares.tolist() == pytest.approx([1])


def test_positions_are_compared_by_their_angle_and_the_class_token_is_left_out() -> None:
    """Three patches in a row: the second like the first but longer, the third at a right angle to both."""
    table = torch.tensor([[[9.0, 9], [1, 0], [5, 0], [0, 2]]])
    similarity = position_similarity(table, (1, 3))
    assert similarity.shape == (1, 3, 1, 3)
    assert similarity[0, :, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert similarity_by_distance(similarity) == {1: 0.5, 2: 0.0}  # pairs 0-1 and 1-2; pair 0-2
    assert position_similarity(table[:, 1:], (1, 3)).equal(similarity)  # a table without a row for the class token


def test_patches_lie_as_far_apart_as_their_centres() -> None:
    expected = [[0, 3, 4, 5], [3, 0, 5, 4], [4, 5, 0, 3], [5, 4, 3, 0]]
    assert patch_distances((2, 2), (4, 3)).tolist() == expected


def test_a_heads_distance_is_weighted_by_attention_between_patches() -> None:
    """Two patches of 4 pixels side by side; of the weight on patches, one looks away by 1/2, the other by 1/4."""
    weights = torch.tensor([[[[1.0, 0, 0], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]]])
    assert attention_distances(weights, (1, 2), (4, 4)).item() == pytest.approx((0.5 * 4 + 0.25 * 4) / 2)
    assert uniform_distance((1, 2), (4, 4)) == 2


def test_rollout_multiplies_the_blocks_with_the_residual_path_counted_as_much() -> None:
    """One image of two patches and two blocks, worked out by hand from (A + I) / 2."""
    first = torch.tensor([[[[0.0, 1, 0], [0, 1, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 0], [0, 0, 1]]]])  # heads differ
    second = torch.tensor([[[[0.0, 0, 1], [0, 1, 0], [0, 0, 1]]] * 2])
    # mean of the first block's heads: class row (0, 1/2, 1/2); with the residual: (1/2, 1/4, 1/4); patches keep theirs.
    # the second's class row with the residual: (1/2, 0, 1/2); product: 1/2 (1/2, 1/4, 1/4) + 1/2 (0, 0, 1)
    assert rollout([first, second], (1, 2)).tolist() == [[[0.125, 0.625]]]


# --- the study ---


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_views, "MINIATURES", {"quick": TINY})


def adapted(monkeypatch: pytest.MonkeyPatch, adapter: object) -> StudyRecord:
    monkeypatch.setattr(inner_views, "resolve", lambda name: adapter)
    return inner_views.measure(CELL)


@pytest.fixture(scope="module")
def record() -> StudyRecord:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inner_views, "MINIATURES", {"quick": TINY})
        return inner_views.measure(CELL)


def test_the_study_shows_every_view_of_a_candidate_with_the_hooks(record: StudyRecord) -> None:
    assert (record.outcome, record.missing) == (Outcome.MEASURED, ())
    shapes = {(array.name, array.series): tuple(array.shape) for array in record.arrays}
    assert shapes == {
        (inner_views.FILTERS, "trained"): (7, 3, 4, 4),
        ("share of the filters' variance", "trained"): (7,),
        (inner_views.POSITIONS, "at the start"): (2, 2, 2, 2),
        (inner_views.POSITIONS, "trained"): (2, 2, 2, 2),
        (inner_views.DISTANCE, "at the start"): (1, 2, 2),
        (inner_views.DISTANCE, "trained"): (1, 2, 2),
        ("images", ""): (4, 3, 8, 8),
        (inner_views.ROLLOUT, "trained"): (4, 2, 2),
    }
    assert {curve.name for curve in record.curves} == {"training loss", "similarity of positions by distance"}
    assert to_line(from_line(to_line(record))) == to_line(record)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(record: StudyRecord) -> None:
    again, other = inner_views.measure(CELL), inner_views.measure(replace(CELL, seed=1))
    assert to_line(replace(again, duration_s=0)) == to_line(replace(record, duration_s=0))
    assert other.arrays != record.arrays


def test_filters_and_positions_are_those_of_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[dict[str, Tensor]] = []

    class Remembered(ReferenceAdapter):
        def export(self, model: nn.Module) -> dict[str, Tensor]:
            exported.append({name: weight.clone() for name, weight in super().export(model).items()})
            return exported[-1]

    found = {(array.name, array.series): array.numbers for array in adapted(monkeypatch, Remembered()).arrays}
    start, trained = exported
    components, _ = filter_components(trained["patch_embedding.weight"], 28)
    assert found[inner_views.FILTERS, "trained"] == pytest.approx(components.flatten().tolist(), abs=1e-6)
    for weights, when in ((start, "at the start"), (trained, "trained")):
        alike = position_similarity(weights["position_embedding"], (2, 2))
        assert found[inner_views.POSITIONS, when] == pytest.approx(alike.flatten().tolist(), abs=1e-6)


class Bare(ReferenceAdapter):
    """A candidate whose hooks are not offered."""

    name = "bare"
    export = None  # type: ignore[assignment]
    attention = None  # type: ignore[assignment]


def test_a_hook_that_is_not_offered_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = adapted(monkeypatch, Bare())
    assert {(one.what, one.hook) for one in found.missing} == {
        (inner_views.FILTERS, "export"),
        (inner_views.POSITIONS, "export"),
        (inner_views.DISTANCE, "attention"),
        (inner_views.ROLLOUT, "attention"),
    }
    assert {one.reason for one in found.missing} == {"bare offers no export()", "bare offers no attention()"}
    assert [array.name for array in found.arrays] == []
    assert [scalar.name for scalar in found.scalars] == ["accuracy on unseen images"]


class Damaged(ReferenceAdapter):
    """A candidate that shows NaN."""

    def attention(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        return [one * math.nan for one in super().attention(model, images)]

    def export(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: weight * math.inf for name, weight in super().export(model).items()}


def test_not_a_number_is_said_and_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = adapted(monkeypatch, Damaged())
    reasons = {one.what: one.reason for one in found.missing}
    assert reasons[inner_views.DISTANCE] == "attention distance: 6400 of 6400 values are NaN or infinite"
    assert "values are NaN or infinite" in reasons[inner_views.FILTERS]
    assert "values are NaN or infinite" in reasons[inner_views.POSITIONS]
    assert found.outcome == Outcome.MEASURED


class Unnormalised(ReferenceAdapter):
    """A candidate that shows attention before its softmax."""

    def attention(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        return [one.log() for one in super().attention(model, images)]


def test_attention_whose_rows_do_not_sum_to_1_is_said_and_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = adapted(monkeypatch, Unnormalised())
    assert {one.what for one in found.missing} == {inner_views.DISTANCE, inner_views.ROLLOUT}
    assert "attention() returned no softmax weights, with rows that sum to -" in found.missing[0].reason


class Diverging(ReferenceAdapter):
    """A candidate whose loss is not a number from the start."""

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return super().logits(model, images) * math.nan


def test_a_loss_that_is_not_finite_ends_the_study_with_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingDiverged, match=r"the loss is nan at step 1 of 3; training stopped there"):
        adapted(monkeypatch, Diverging())


class OneSize(ReferenceAdapter):
    """A candidate that has one model."""

    name = "one size"
    configs = (replace(TINY.config, patch_size=(2, 2)),)


def test_a_candidate_for_other_patches_alone_is_not_studied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        NotSupported, match=r"one size has no model of patch_size \(4, 4\), .* its nearest has \(2, 2\)"
    ):
        adapted(monkeypatch, OneSize())


def test_the_settings_are_those_of_the_model_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = OneSize()
    wide.configs = (replace(TINY.config, width=24, mlp_dim=4 * 24, num_heads=3),)
    settings = adapted(monkeypatch, wide).settings
    assert [settings[name] for name in ("width", "blocks", "heads", "MLP width")] == [24, TINY.depth, 3, 96]


class NoModule(ReferenceAdapter):
    """A candidate whose model torch cannot train."""

    def build(self, config: object) -> object:  # type: ignore[override]
        return object()

    def load(self, model: object, state: object) -> None:  # type: ignore[override]
        pass

    export = None  # type: ignore[assignment]
    attention = None  # type: ignore[assignment]


def test_a_model_that_is_no_module_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSupported, match="its model is a object, no torch module that a torch optimizer trains"):
        adapted(monkeypatch, NoModule())


def test_every_implementation_gets_a_cell_and_a_lost_one_a_record() -> None:
    options = Options(implementations=("reference", "timm"), named=True, suites=("paper/inner_views",))
    assert [cell.implementation for cell in plan(options)] == ["reference", "timm"]
    assert [cell.implementation for cell in plan(replace(options, named=False))] == ["reference"]
    assert load("paper/inner_views").lost is unstudied


@pytest.mark.parametrize("name", ["timm", "vit_pytorch"])
def test_packages_show_every_view_and_start_alike(name: str, record: StudyRecord) -> None:
    """vit-pytorch too, whose patches are normalised before they are embedded."""
    pytest.importorskip(name)
    found = inner_views.measure(replace(CELL, implementation=name))
    assert (found.missing, found.notes) == ((), ())
    assert [array.name for array in found.arrays] == [array.name for array in record.arrays]
    starts = [next(a for a in one.arrays if a.name == inner_views.POSITIONS) for one in (found, record)]
    assert starts[0].numbers == pytest.approx(starts[1].numbers, abs=1e-6)
