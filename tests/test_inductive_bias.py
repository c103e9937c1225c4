"""The study of inductive bias: each definition on a case worked out by hand, then the study on tiny models."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.miniature import Miniature
from vitbench.options import Options
from vitbench.plan import Cell, plan
from vitbench.records import Outcome, StudyRecord
from vitbench.results import from_line, to_line
from vitbench.suites.paper.inductive_bias import measure as inductive_bias
from vitbench.suites.paper.inductive_bias.definitions import (
    distances,
    equivariance_error,
    heard,
    mean_distance,
    moved,
    moved_map,
    receptive_field,
)
from vitbench.suites.paper.inductive_bias.look import _by_distance, bias, fields
from vitbench.suites.paper.inductive_bias.subjects import RESNET, ROUND, SILENT, WITHOUT, CandidateSubject

TINY = Miniature(side=16, patch=4, width=8, depth=2, heads=2, steps=2, batch=4, images=16)
CELL = Cell(suite="paper/inductive_bias", implementation="reference")


# --- definitions, by hand ---


def a_row(*values: float) -> Tensor:
    """A map of one row of cells with one feature. (1, 1, columns, 1)."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1, 1)


def test_an_image_moves_down_and_to_the_right_and_comes_in_again() -> None:
    image = torch.tensor([[[[1.0, 2], [3, 4], [5, 6]]]])
    assert moved(image, (1, 0)).tolist() == [[[[5, 6], [1, 2], [3, 4]]]]
    assert moved(image, (0, 1)).tolist() == [[[[2, 1], [4, 3], [6, 5]]]]


def test_a_map_moved_by_part_of_a_cell_lies_on_the_line_between_two() -> None:
    row = a_row(0, 4, 8)
    assert moved_map(row, (0, 1)).flatten().tolist() == [8, 0, 4]
    assert moved_map(row, (0, 0.25)).flatten().tolist() == [2, 3, 7]  # 3/4 of its own and 1/4 of its left neighbour
    assert moved_map(row, (0, 1.25)).flatten().tolist() == [7, 2, 3]


def test_equal_maps_have_no_error_and_unrelated_ones_an_error_of_one() -> None:
    one, other = a_row(1, 1, -1, -1), a_row(1, -1, 1, -1)  # at right angles, both of mean 0
    assert equivariance_error(one, one).tolist() == [0]
    assert equivariance_error(one, other).tolist() == pytest.approx([1])
    assert equivariance_error(one, -one).tolist() == pytest.approx([2**0.5])
    assert equivariance_error(2 * one, 2 * other).tolist() == pytest.approx([1])  # whatever their scale


def test_distances_are_of_cells_centres() -> None:
    assert distances((1, 3), (4, 4), (2, 2)).tolist() == [[0, 4, 8]]
    assert distances((2, 1), (3, 3), (1.5, 5.5)).tolist() == [[4], [5]]


def test_the_mean_distance_weighs_each_pixel() -> None:
    assert mean_distance(torch.tensor([[3.0, 1]]), torch.tensor([[0.0, 8]])) == 2


def test_a_receptive_field_is_the_size_of_the_gradient_over_channels() -> None:
    gradient = torch.tensor(
        [[[[3.0, 0]], [[4.0, 1]]], [[[0.0, 0]], [[1.0, 3]]]]
    )  # two images, two channels, 1 × 2 pixels
    assert receptive_field(gradient).tolist() == [[3, 2]]


def test_a_change_is_heard_in_parts_of_the_largest() -> None:
    before = torch.zeros(1, 1, 3, 2)
    after = before.clone()
    after[0, 0, 0] = torch.tensor([3.0, 4])
    after[0, 0, 2] = torch.tensor([0.0, 1])
    assert heard(before, after).tolist() == [[1, 0, pytest.approx(0.2)]]


def test_around_the_edge_a_patch_is_near_from_the_other_side() -> None:
    change = torch.tensor([[4.0, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    plain, around = (dict(_by_distance(change, 16, around=way)) for way in (False, True))
    assert (plain[0.0], plain[4.0], plain[12.0]) == (4, pytest.approx(2 / 3), pytest.approx(1 / 5))
    assert around == {0.0: 4, 4.0: pytest.approx(3 / 8), 8.0: 0, 12.0: 0}


class Cells:
    """Layers worked out by hand: the cells of the image, the same with a ramp along one axis, and their mean everywhere."""

    name, side, miniature, variants = "cells", 16, TINY, ("plain",)

    def __init__(self, ramp: str) -> None:
        steps = torch.arange(4.0)
        self.ramp = (steps[:, None] if ramp == "down" else steps[None, :]).expand(4, 4)[None, :, :, None]

    def maps(self, images: Tensor, _variant: str, *, grad: bool = False) -> list[Tensor]:
        cells = avg_pool2d(images, 4).movedim(1, -1)
        return [cells, cells + self.ramp, cells + cells.mean(dim=(1, 2), keepdim=True)]


@pytest.mark.parametrize("ramp", ["down", "right"])
def test_both_ways_of_moving_count_and_the_first_block_alone_is_asked_what_it_hears(ramp: str) -> None:
    found = bias(Cells(ramp), TINY.unseen(4).images, "plain")
    assert found.by_depth_whole[::2] == pytest.approx([0, 0], abs=1e-6)
    assert found.by_depth_whole[1] > 0.1
    assert found.by_shift[3] == pytest.approx(0, abs=1e-6)
    assert [share for _, share in found.heard_by_distance] == [1] + [0] * (len(found.heard_by_distance) - 1)
    assert found.least_heard == 0


def test_the_receptive_field_is_of_the_cell_in_the_middle() -> None:
    found = fields(Cells("down"), TINY.unseen(2).images, "plain")
    middle = torch.zeros(16, 16, dtype=torch.float64)
    middle[8:12, 8:12] = 1
    assert torch.allclose(found.maps[0], middle)
    assert found.maps[2].min() > 0
    assert found.reach[0] == pytest.approx((4 * 0.5**0.5 + 8 * 2.5**0.5 + 4 * 4.5**0.5) / 16)  # pixels of a 4 × 4 cell
    assert found.reach[0] == found.reach[1] < found.reach[2]


# --- the study ---


@pytest.fixture(scope="module")
def records() -> dict[str, StudyRecord]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inductive_bias, "MINIATURES", {"quick": TINY})
        patch.setattr(inductive_bias, "SEEDS", {"quick": 2})
        return {name: inductive_bias.measure(replace(CELL, implementation=name)) for name in ("reference", RESNET)}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductive_bias, "MINIATURES", {"quick": TINY})
    monkeypatch.setattr(inductive_bias, "SEEDS", {"quick": 1})


def value(record: StudyRecord, name: str, series: str) -> float:
    (found,) = [one.value for one in record.scalars if (one.name, one.series) == (name, series)]
    assert found is not None
    return found


@pytest.mark.parametrize("when", ["at the start", "trained"])
def test_what_must_hold_of_any_vit_is_measured(records: dict[str, StudyRecord], when: str) -> None:
    """Without positions a ViT moves with its patches; its MLPs mix no tokens; attention hears every patch at once."""
    record = records["reference"]
    moved_by_patches = "error of the last map, moved by 8 pixels"
    assert value(record, moved_by_patches, f"without positions, {when}") < 1e-4
    assert value(record, moved_by_patches, f"with positions, {when}") > 1e-3
    assert value(record, "error of the last map, moved by 1 pixel", f"without positions, {when}") > 0.1
    assert value(record, "change at other tokens, MLPs alone", when) == 0
    assert value(record, "least change anywhere after one block", f"with positions, {when}") > 0


def test_a_convolution_moves_with_its_cells_but_for_the_zeros_around_the_map(records: dict[str, StudyRecord]) -> None:
    moved_by_cells = "error of the last map, moved by 8 pixels"
    assert value(records[RESNET], moved_by_cells, "circular padding, at the start") < 1e-4
    assert value(records[RESNET], moved_by_cells, "zero padding, at the start") > 0.1


def test_every_curve_goes_over_all_layers_or_shifts_with_its_interval(records: dict[str, StudyRecord]) -> None:
    for record in records.values():
        assert record.missing == ()
        for curve in record.curves:
            assert len(curve.x) == len(curve.y) == len(curve.low) == len(curve.high)
        assert {len(curve.x) for curve in record.curves if curve.name == inductive_bias.BY_SHIFT[0]} == {8}
        assert to_line(from_line(to_line(record))) == to_line(record)
    layers = {name: records[name].arrays[0].shape[0] for name in records}
    assert layers == {"reference": 3, RESNET: 5}


@pytest.mark.usefixtures("tiny")
def test_the_same_seed_gives_the_same_bits() -> None:
    first, again = (replace(inductive_bias.measure(CELL), duration_s=0) for _ in range(2))
    assert to_line(first) == to_line(again)


class Unexported(ReferenceAdapter):
    """A candidate that shows its layers, and neither its weights nor its attention."""

    name = "unexported"
    export = None  # type: ignore[assignment]
    attention = None  # type: ignore[assignment]
    tokens = None  # type: ignore[assignment]


@pytest.mark.usefixtures("tiny")
def test_what_needs_a_hook_is_missed_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductive_bias, "resolve", lambda name: Unexported())
    record = inductive_bias.measure(CELL)
    assert {(one.what, one.hook) for one in record.missing} == {
        ("trained, without positions", "export"),
        ("reach of the first block's attention", "attention"),
    }
    assert "without positions, trained" not in {one.series for one in record.scalars}
    assert record.outcome == Outcome.MEASURED


class Closed(ReferenceAdapter):
    """A candidate that does not show its layers."""

    name = "closed"
    block_outputs = None  # type: ignore[assignment]


@pytest.mark.usefixtures("tiny")
def test_a_candidate_that_shows_no_layers_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductive_bias, "resolve", lambda name: Closed())
    with pytest.raises(NotSupported, match=r"closed offers no block_outputs\(\), by which its layers are seen"):
        inductive_bias.measure(CELL)


class Detached(ReferenceAdapter):
    """A candidate whose layers carry no gradient."""

    def block_outputs(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        return [one.detach() for one in super().block_outputs(model, images)]


@pytest.mark.usefixtures("tiny")
def test_layers_without_a_gradient_have_no_receptive_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductive_bias, "resolve", lambda name: Detached())
    (missing,) = inductive_bias.measure(CELL).missing
    assert (missing.what, missing.hook) == ("effective receptive field", "block_outputs")
    assert missing.reason == "the output of layer 1 carries no gradient to the images"


def test_an_image_smaller_than_the_shift_is_refused() -> None:
    small = replace(TINY, side=8)
    subject = CandidateSubject(Candidate(ReferenceAdapter()), small, seed=0)
    with pytest.raises(NotSupported, match="images of 8 pixels are too small to be moved by 8"):
        bias(subject, small.unseen(2).images, WITHOUT)


def test_a_silenced_candidate_gets_its_attention_back() -> None:
    subject = CandidateSubject(Candidate(ReferenceAdapter()), TINY, seed=0)
    images = TINY.unseen(2).images
    before = subject.maps(images, subject.variants[0])
    assert not torch.equal(subject.maps(images, SILENT)[-1], before[-1])
    assert torch.equal(subject.maps(images, subject.variants[0])[-1], before[-1])


def test_training_begins_with_positions_and_attention_whatever_was_looked_at_before() -> None:
    looked, fresh = (CandidateSubject(Candidate(ReferenceAdapter()), TINY, seed=0) for _ in range(2))
    looked.maps(TINY.unseen(2).images, SILENT)
    looked.train()
    fresh.train()
    assert looked.weights is not None
    assert fresh.weights is not None
    assert all(torch.equal(weight, fresh.weights[name]) for name, weight in looked.weights.items())


def test_the_padding_is_as_it_was_after_a_look_with_another() -> None:
    from vitbench.reference import resnet
    from vitbench.suites.paper.inductive_bias.subjects import ResNetSubject

    padded = resnet.padded
    ResNetSubject(TINY, 0, "cpu").maps(TINY.unseen(1).images, ROUND)
    assert resnet.padded is padded


def test_the_resnet_and_every_implementation_get_a_cell() -> None:
    options = Options(implementations=("reference", "timm"), named=True, suites=("paper/inductive_bias",))
    assert [cell.implementation for cell in plan(options)] == [RESNET, "reference", "timm"]
    assert [cell.implementation for cell in plan(replace(options, named=False))] == [RESNET, "reference"]


class Poisoned(ReferenceAdapter):
    """A candidate whose layers are not numbers."""

    def block_outputs(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        return [one * float("nan") for one in super().block_outputs(model, images)]


@pytest.mark.usefixtures("tiny")
def test_feature_maps_that_are_no_numbers_are_said_with_their_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductive_bias, "resolve", lambda name: Poisoned())
    with pytest.raises(RequirementFailed, match="feature map 1: 2048 of 2048 values are NaN or infinite"):
        inductive_bias.measure(CELL)


class Even(ReferenceAdapter):
    """A candidate that shows attention that looks everywhere alike in its first block, and to its own token in the others."""

    def attention(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        first, *others = super().attention(model, images)
        return [torch.full_like(first, 1 / first.shape[-1]), *(torch.eye(17).expand_as(one) for one in others)]


@pytest.mark.usefixtures("tiny")
def test_the_reach_of_even_attention_is_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the 256 pairs of 4 × 4 patches 124 lie more than two patches apart, half the side."""
    monkeypatch.setattr(inductive_bias, "resolve", lambda name: Even())
    record = inductive_bias.measure(CELL)
    for when in ("at the start", "trained"):
        assert value(record, "first block's attention beyond half the image", when) == pytest.approx(124 / 256)
    assert value(record, "attention beyond half the image", "even attention") == pytest.approx(124 / 256)


class Constant(ReferenceAdapter):
    """A candidate whose layers are the same everywhere, and whose attention is no softmax."""

    def block_outputs(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        return [torch.ones_like(one) for one in super().block_outputs(model, images)]

    def attention(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        return [2 * one for one in super().attention(model, images)]


def test_what_has_no_figure_is_a_gap_and_has_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductive_bias, "MINIATURES", {"quick": TINY})
    monkeypatch.setattr(inductive_bias, "SEEDS", {"quick": 2})
    monkeypatch.setattr(inductive_bias, "resolve", lambda name: Constant())
    record = inductive_bias.measure(CELL)
    depth = next(one for one in record.curves if one.name == inductive_bias.BY_DEPTH_WHOLE[0])
    assert ([y is None for y in depth.y], [low is None for low in depth.low]) == ([False, True, True],) * 2
    (missing,) = [one for one in record.missing if one.hook == "attention"]
    assert "attention() returned no softmax weights, with rows that sum to 2 to 2" in missing.reason


@pytest.mark.usefixtures("tiny")
def test_another_package_has_what_any_vit_must_have() -> None:
    pytest.importorskip("timm")
    record = inductive_bias.measure(replace(CELL, implementation="timm"))
    assert record.missing == ()
    assert value(record, "error of the last map, moved by 8 pixels", "without positions, trained") < 1e-4
    assert value(record, "change at other tokens, MLPs alone", "trained") == 0
