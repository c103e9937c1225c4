"""TRAIN: dropout and drop path (appendix B.1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from vitbench.assertions import (
    assert_bernoulli,
    assert_changed,
    assert_consistent,
    assert_equal,
    assert_holds,
    assert_rate,
    can_tell_rate,
)
from vitbench.candidate import Candidate
from vitbench.cases import Case, vit_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported
from vitbench.probes import ATTENTION_FEATURES, MLP_FEATURES, apart, hidden_read_out, together, uniform_attention
from vitbench.statistics import binomial_probability
from vitbench.trial import Trial

SLOW = {"quick": 2, "standard": 5, "full": 50}  # examples that take tens of passes each

Ask = Callable[[Tensor], Tensor]

RATES = st.sampled_from((0.3, 0.1, 0.7))
PATH_RATES = st.sampled_from((0.5, 0.3))  # so that few images tell
SEVERAL_HEADS = (2, 3, 4)  # features enough that either branch has several to itself
DIGITS = 6  # of a rate: schedules are computed in float32
MASKED_ELEMENTS = 3000  # at least so many draws of each mask
MOST_PASSES = 60  # a branch that is not kept in any of them never is
BRANCHES = ((ATTENTION_FEATURES, "attention"), (MLP_FEATURES, "MLP"))


@requirement("VIT-TRAIN-DROPOUT-TOKENS")
@given(examples=FEW, case=vit_cases(), rate=RATES)
def test_elements_of_the_tokens_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    if impl.conventions.pre_norm:
        raise NotSupported("declares pre_norm = True, which hides what was dropped before it")
    trial = _with_dropout(impl, case, rate)
    drawn = _drawn(trial, trial.tokens, trial.config.num_tokens * trial.config.width)
    _assert_dropped(drawn, rate, "elements of z_0")


@requirement("VIT-TRAIN-DROPOUT-BRANCHES")
@given(examples=FEW, case=vit_cases(heads=SEVERAL_HEADS), rate=RATES)
def test_elements_behind_both_branches_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    trial = _with_dropout(impl, case, rate)
    by_values = not trial.config.attention_dropout  # which would show too, in a package with one rate for both
    constant = {"norm.weight": torch.zeros_like(trial.weights["norm.weight"])}
    trial = trial.with_weights(apart(trial.weights, trial.config, by_values=by_values) | constant)
    drawn = _drawn(trial, _added(trial), trial.config.num_tokens * (trial.config.width // 2))
    for features, what in BRANCHES:
        _assert_dropped(drawn.of(features), rate, f"elements behind the {what}, (image, block, token, feature)")
    _assert_masks_differ(trial, rate)
    expected = trial.logits()
    with trial.training():
        what = "logits in training mode, of a final norm that returns its bias whatever was dropped before it"
        assert_consistent(trial.logits(), expected, what)


@requirement("VIT-TRAIN-DROPOUT-HIDDEN")
@given(examples=FEW, case=vit_cases(), rate=RATES)
def test_elements_of_the_hidden_layer_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    reached = impl.within_reach(case.config)  # which may be wider
    wide = replace(reached, mlp_dim=max(reached.mlp_dim, reached.width))  # a unit for each feature
    trial = _with_dropout(impl, replace(case, config=wide), rate)
    trial = trial.with_weights(hidden_read_out(trial.weights, trial.config))
    drawn = _drawn(trial, _added(trial), trial.config.num_tokens * trial.config.width)
    _assert_dropped(
        drawn, 1 - (1 - rate) ** 2, "hidden units, and elements behind the MLP, (image, block, token, feature)"
    )


@requirement("VIT-TRAIN-DROPOUT-ATTENTION")
@given(examples=FEW, case=vit_cases(), rate=RATES)
def test_attention_weights_are_dropped(impl: Candidate, case: Case, rate: float) -> None:
    trial = _regularised(impl, case, attention_dropout=rate)
    trial = trial.with_weights(uniform_attention(trial.weights, trial.config))
    heads, keys = trial.config.num_heads, trial.config.num_tokens
    drawn = _drawn(trial, _added(trial), heads * keys)
    for i in range(trial.config.depth):
        found, values = drawn.in_training[:, :, i], drawn.in_evaluation[:, i]
        assert_changed(found, values.expand_as(found), f"block {i} in training mode with attention_dropout {rate}")
        kept = (found / values * keys * (1 - rate)).unflatten(-1, (heads, -1))  # so many weights of a query and head
        by_head = kept[..., :1].round()
        what = f"attention weights of block {i} kept and scaled up, of {keys} for a query"
        assert_consistent(kept + 1, by_head.expand_as(kept) + 1, what)
        assert_rate(int(by_head.sum()), by_head.numel() * keys, 1 - rate, f"attention weights of block {i} kept")
        alike = sum(binomial_probability(k, keys, rate) ** 2 for k in range(keys + 1))
        neighbours = by_head.flatten()[: by_head.numel() // 2 * 2].unflatten(0, (-1, 2))
        differing = int((neighbours[:, 0] != neighbours[:, 1]).sum())
        what = f"neighbouring heads or queries of block {i} that keep another number of weights"
        assert_rate(differing, len(neighbours), 1 - alike, what)


@requirement("VIT-TRAIN-DROP-PATH")
@given(examples=SLOW, case=vit_cases(heads=SEVERAL_HEADS, depths=(2, 3)), rate=PATH_RATES)
def test_branches_are_dropped_for_each_image(impl: Candidate, case: Case, rate: float) -> None:
    trial = _regularised(impl, case, drop_path=rate)
    trial = trial.with_weights(apart(trial.weights, trial.config, by_values=False))
    last = trial.config.depth - 1
    for batch, passes in ((32, 5), (1, 64)):  # and one image at a time
        drawn = _drawn(trial, _added(trial), batch=batch, passes=passes)
        masks: list[tuple[str, float, Tensor]] = []
        for i in range(trial.config.depth):
            for features, what in BRANCHES:
                where = f"{what} of block {i}, in batches of {batch}"
                found, expected = drawn.in_training[:, :, i, :, features], drawn.in_evaluation[:, i, :, features]
                dropped = (found == 0).flatten(2)
                whole_images = dropped.all(dim=2) | ~dropped.any(dim=2)
                assert_holds(bool(whole_images.all()), f"{where}: dropped in a part of an image")
                read = _rate_read(found, expected)
                kept = torch.where(found == 0, torch.zeros_like(found), expected / (1 - read))
                assert_consistent(found, kept, f"{where}: those kept, scaled alike")
                assert_holds(
                    read > 0 or not dropped.any(),
                    f"{where}: dropped in {int(dropped[..., 0].sum())} images though what is kept is not scaled up",
                )
                assert_holds(read > 0 or i < last, f"{where}: never dropped, at a drop-path rate of {rate}")
                masks.append((where, read, dropped[..., 0]))
        read = masks[-1][1]
        assert_equal(round(read, DIGITS), rate, f"{masks[-1][0]}: drop-path rate, from the scale of what is kept")
        _assert_independent(masks)


@requirement("VIT-TRAIN-PATH-SCHEDULE")
@given(examples=SLOW, case=vit_cases(heads=SEVERAL_HEADS, depths=(3, 2)), rate=PATH_RATES)
def test_drop_path_never_falls_with_depth(impl: Candidate, case: Case, rate: float) -> None:
    trial = _regularised(impl, case, drop_path=rate)
    trial = trial.with_weights(apart(trial.weights, trial.config, by_values=False))
    attention, mlp = _path_rates(trial)
    assert_equal(mlp, sorted(mlp), "drop-path rates of the blocks' MLPs, from the scale of what is kept")
    assert_equal(mlp[-1], rate, "drop-path rate of the last block's MLP, from the scale of what is kept")
    branches = [rate for block in zip(attention, mlp, strict=True) for rate in block]
    steps = [after - before for before, after in pairwise(branches)]
    assert_holds(
        attention == mlp or max(steps) - min(steps) < 10**-DIGITS * len(branches),
        f"drop-path rates of the blocks' attention {attention} and of their MLPs {mlp}: expected the same for both "
        "branches of a block, or equal steps from each branch to the next",
    )


def _regularised(impl: Candidate, case: Case, **rates: Any) -> Trial:
    """A model with dropout, or a refusal that says why there is none."""
    return impl.trial(replace(case, config=replace(impl.within_reach(case.config), **rates)), exactly=True)


def _with_dropout(impl: Candidate, case: Case, rate: float) -> Trial:
    """Dropout of tokens and branches; attention weights too where a package has one rate for both."""
    try:
        return _regularised(impl, case, dropout=rate)
    except NotSupported:
        return _regularised(impl, case, dropout=rate, attention_dropout=rate)


@dataclass(frozen=True)
class Drawn:
    """What the stages of a model are with dropout, and without. ``...`` begins with the blocks where it is about them."""

    in_training: Tensor  # (passes, B, ...)
    alone: Tensor  # (1, ...): the first image by itself
    in_evaluation: Tensor  # (B, ...)

    def of(self, features: slice) -> "Drawn":
        """Some of the features only."""
        return Drawn(self.in_training[..., features], self.alone[..., features], self.in_evaluation[..., features])


def _added(trial: Trial) -> Ask:
    """What each block adds to a stream that begins with zeros. (B, C, H, W) -> (B, L, N+1, D)."""

    def ask(images: Tensor) -> Tensor:
        z = torch.stack(trial.block_outputs(images), dim=1)
        return z.diff(dim=1, prepend=torch.zeros_like(z[:, :1]))

    return ask


def _drawn(trial: Trial, ask: Ask, elements: int = 1, *, batch: int = 0, passes: int = 2) -> Drawn:
    """Answers in training mode, and what evaluation mode answers.

    The batch is as large as it takes for ``MASKED_ELEMENTS`` draws of ``elements`` an image.
    """
    batch = batch or -(-MASKED_ELEMENTS // (passes * elements))
    images = trial.images.repeat(-(-batch // trial.case.batch), 1, 1, 1)[:batch]
    expected = ask(images)
    with trial.training():
        return Drawn(torch.stack([ask(images) for _ in range(passes)]), ask(images[:1]), expected)


def _rate_read(found: Tensor, expected: Tensor) -> float:
    """The rate that kept branches tell: they are 1 / (1 - rate) times what evaluation has; 0 where it is rounding."""
    kept = found != 0
    assert_holds(bool(kept.any()), f"not one branch of {len(found) * len(expected)} is kept")
    rate = 1 - (expected.expand_as(found)[kept] / found[kept]).mean().item()
    return rate if abs(rate) > 10**-DIGITS else 0.0


def _path_rates(trial: Trial) -> list[list[float]]:
    """The drop-path rates of the blocks, for each of both branches.

    As many passes as it takes until each branch was kept once: one, unless a whole batch is dropped at once.
    """
    seen: list[Drawn] = []
    for _ in range(MOST_PASSES):
        seen.append(_drawn(trial, _added(trial), batch=32, passes=1))
        found = torch.cat([drawn.in_training for drawn in seen])
        if all(
            bool((found[..., features] != 0).flatten(3).any(-1).flatten(0, 1).any(0).all()) for features, _ in BRANCHES
        ):
            break
    return [
        [
            round(_rate_read(found[:, :, i, :, features], seen[0].in_evaluation[:, i, :, features]), DIGITS)
            for i in range(trial.config.depth)
        ]
        for features, _ in BRANCHES
    ]


def _assert_independent(masks: Sequence[tuple[str, float, Tensor]]) -> None:
    """Each mask (passes, B) has its rate, and is drawn by itself: for each image, and apart from the branch before."""
    for where, rate, mask in masks:
        if can_tell_rate(mask.numel(), rate):
            assert_bernoulli(mask, rate, where)
    for (before, first, one), (where, second, other) in pairwise(masks):
        differing = first * (1 - second) + second * (1 - first)
        if can_tell_rate(one.numel(), differing):
            what = f"{where}: images in which it and {before.partition(',')[0]} are not dropped alike"
            assert_rate(int((one != other).sum()), one.numel(), differing, what)


def _assert_masks_differ(trial: Trial, rate: float) -> None:
    """Behind the MLP other elements fall than behind the attention of the same block."""
    shared = trial.with_weights(together(trial.weights, trial.config))
    drawn = _drawn(shared, _added(shared), trial.config.num_tokens * trial.config.width)
    added = (drawn.in_training * (1 - rate)).round()  # 1 by the attention, 2 by the MLP
    behind_attention, behind_mlp = added % 2 == 0, added < 2  # noqa: PLR2004
    what = "elements that fall behind one branch and not behind the other, (image, block, token, feature)"
    assert_rate(int((behind_attention != behind_mlp).sum()), added.numel(), 2 * rate * (1 - rate), what)


def _assert_dropped(drawn: Drawn, rate: float, what: str) -> None:
    """Every element is dropped with ``rate``, by itself, and what is kept has the mean that evaluation has."""
    found, expected = drawn.in_training, drawn.in_evaluation
    assert_changed(found[0], expected, f"{what}: training mode against evaluation mode")
    every, right = torch.cat([*found, drawn.alone]), torch.cat([*expected.expand_as(found), expected[:1]])
    kept = torch.where(every == 0, torch.zeros_like(every), right / (1 - rate))
    assert_consistent(every, kept, f"{what}: those kept, scaled by 1 / (1 - {rate:.3g}), in a batch and alone")
    assert_bernoulli(found == 0, rate, what)
