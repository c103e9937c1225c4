"""What the studies train: drawn images, first weights, smoothed losses."""

import pytest
import torch

from vitbench.drawn_images import CLASSES, drawn
from vitbench.miniature import Miniature, smoothed, with_small_filters
from vitbench.reference.config import Conventions
from vitbench.reference.parameters import parameter_shapes


def test_a_seed_draws_the_same_images_and_another_draws_others() -> None:
    first, again, other = drawn(8, 16, 0), drawn(8, 16, 0), drawn(8, 16, 1)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (8, 3, 16, 16)


def test_models_are_judged_by_images_that_no_seed_is_trained_on() -> None:
    miniature = Miniature(steps=1, images=64)
    unseen = miniature.unseen(64).images
    for seed in range(8):
        assert not (miniature.lessons(seed).images == unseen).flatten(1).all(dim=1).any()
    assert torch.equal(miniature.unseen(64).images, unseen)


def test_every_kind_is_drawn_about_as_often_and_brighter_than_its_ground() -> None:
    data = drawn(700, 32, 0)
    assert all(50 < int((data.labels == kind).sum()) < 160 for kind in range(len(CLASSES)))
    assert data.images[:, :, :2].mean() < data.images[:, :, 14:18, 14:18].mean()


def test_a_wide_bar_is_wider_than_it_is_tall_and_a_tall_one_taller() -> None:
    data = drawn(400, 32, 0)
    bright = (data.images.mean(dim=1) > 0).double()
    for name, wider in (("wide bar", True), ("tall bar", False)):
        shapes = bright[data.labels == CLASSES.index(name)]
        columns, rows = (shapes.amax(dim=dimension).sum(dim=1).mean() for dimension in (1, 2))
        assert columns > 1.5 * rows if wider else rows > 1.5 * columns


def test_a_curve_of_losses_has_the_mean_of_each_stretch_at_its_middle() -> None:
    assert smoothed([4, 2, 1, 1, 9], 2) == ([1.5, 3.5], [3, 1])
    assert smoothed([4, 2], 30) == ([1, 2], [4, 2])


def test_weights_to_start_from_are_of_every_canonical_name_and_shape() -> None:
    config = Miniature(steps=10).config
    weights = with_small_filters(config, Conventions(), seed=0)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == parameter_shapes(config, Conventions())
    assert weights["head.weight"].abs().max() == 0
    assert weights["blocks.0.norm1.weight"].min() == 1
    assert weights["patch_embedding.weight"].std().item() == pytest.approx(0.02, rel=0.1)
