"""The paper's recipes: the tables as printed, and learning rates by hand."""

from dataclasses import replace
from math import sqrt

import pytest
import torch
from torch import nn

from vitbench.reference.config import ConfigurationError
from vitbench.reference.recipes import (
    TABLE_3,
    TABLE_4,
    Recipe,
    learning_rate,
    optimizer,
    pretraining,
    update,
)

RECIPE = Recipe(decay="linear", learning_rate=0.8, steps=12, warmup_steps=4, batch=8)


def test_the_rate_rises_linearly_over_the_warm_up_and_falls_linearly_to_zero() -> None:
    rates = [learning_rate(RECIPE, step) for step in (0, 1, 2, 3, 4, 6, 8, 10, 12, 13)]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0])


def test_a_cosine_is_half_way_down_in_the_middle() -> None:
    cosine = replace(RECIPE, decay="cosine")
    rates = [learning_rate(cosine, step) for step in (2, 4, 6, 8, 10, 12)]
    a_quarter = 0.4 * (1 + sqrt(0.5))
    assert rates == pytest.approx([0.4, 0.8, a_quarter, 0.4, 0.8 - a_quarter, 0.0])


def test_without_warm_up_the_first_step_has_the_base_rate() -> None:
    assert learning_rate(replace(RECIPE, warmup_steps=0), 0) == 0.8


def test_table_3_has_the_papers_rows() -> None:
    assert len(TABLE_3) == 13
    row = pretraining("ViT-*", "ImageNet").recipe
    assert (row.learning_rate, row.decay, row.weight_decay, row.dropout, row.clip_norm) == (3e-3, "cosine", 0.3, 0.1, 1)
    assert (row.optimizer, row.betas, row.batch, row.warmup_steps) == ("adam", (0.9, 0.999), 4096, 10_000)
    row = pretraining("ViT-H/14", "JFT-300M").recipe
    assert (row.learning_rate, row.decay, row.weight_decay, row.dropout) == (3e-4, "linear", 0.1, 0.0)
    assert row.clip_norm is None
    assert row.steps == pytest.approx(14 * 303e6 / 4096, abs=1)
    assert pretraining("R152x{1,2}", "JFT-300M").learning_rate == 6e-4
    assert pretraining("R50+ViT-L/32", "JFT-300M").learning_rate == 2e-4


def test_table_4_fine_tunes_by_sgd_with_momentum_and_without_weight_decay() -> None:
    assert [(row.dataset, row.steps) for row in TABLE_4] == [
        ("ImageNet", 20_000),
        ("CIFAR100", 10_000),
        ("CIFAR10", 10_000),
        ("Oxford-IIIT Pets", 500),
        ("Oxford Flowers-102", 500),
        ("VTAB (19 tasks)", 2_500),
    ]
    for row in TABLE_4:
        for rate in row.learning_rates:
            found = row.recipe(rate)
            assert (found.optimizer, found.momentum, found.decay, found.batch) == ("sgd", 0.9, "cosine", 512)
            assert (found.weight_decay, found.clip_norm, found.learning_rate) == (0.0, 1.0, rate)


def test_an_unknown_row_lists_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no row for ViT-G on JFT-300M; it has ViT-B/\{16,32\} on JFT-300M"):
        pretraining("ViT-G", "JFT-300M")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion"}, "optimizer must be one of adam, sgd, got 'lion'"),
        ({"decay": "steps"}, "decay must be one of linear, cosine"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"warmup_steps": 12}, "warmup_steps 12 leaves nothing of steps 12 to decay in"),
        ({"optimizer": "sgd", "weight_decay": 0.1}, "weight_decay 0.1 is Adam's"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
    ],
)
def test_a_recipe_that_cannot_be_says_why(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(RECIPE, **changes)


def stepped(recipe: Recipe, start: float, gradient: list[float], step: int) -> list[float]:
    parameter = nn.Parameter(torch.full((len(gradient),), start, dtype=torch.float64))
    made = optimizer(recipe, [parameter])
    parameter.grad = torch.tensor(gradient, dtype=torch.float64)
    update(recipe, made, step)
    assert parameter.grad is None
    found: list[float] = parameter.tolist()
    return found


def test_sgd_goes_down_the_gradient_at_the_steps_rate() -> None:
    assert stepped(replace(RECIPE, optimizer="sgd"), 1.0, [1.0, -2.0], 2) == pytest.approx([0.6, 1.8])


def test_the_global_norm_is_clipped_before_the_step() -> None:
    clipped = replace(RECIPE, optimizer="sgd", clip_norm=1.0)
    assert stepped(clipped, 0.0, [3.0, -4.0], 4) == pytest.approx([-0.48, 0.64], rel=1e-5)
    assert stepped(clipped, 0.0, [0.3, -0.4], 4) == pytest.approx([-0.24, 0.32])


def test_adams_first_step_has_the_size_of_the_rate_and_its_weight_decay_is_decoupled() -> None:
    assert stepped(RECIPE, 1.0, [5.0, -0.01], 4) == pytest.approx([0.2, 1.8], rel=1e-5)
    assert stepped(replace(RECIPE, weight_decay=0.25), 1.0, [5.0, -0.01], 4) == pytest.approx([0.0, 1.6], abs=1e-5)
