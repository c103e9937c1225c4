"""Which questions are put to a candidate: sizes unlike each other, weights that leave nothing asleep, images that come too.

Two rounds share no size, no weight and no image: what the first suggests, the second confirms.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor

from vitbench.candidate import Candidate
from vitbench.cases import MANY_BLOCKS, MANY_TOKENS, Case
from vitbench.diagnosis.blind import probes
from vitbench.diagnosis.questions import Gradients, Logits, Question, Resized, Shown, Table
from vitbench.errors import RequirementFailed
from vitbench.probes import equal_tokens, of_odd_brightness
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import exercised_weights

TOPICS = ("logits", "gradients", "positions")
"""What can diverge, in the order in which one is taken for the cause of the next."""

Grids = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Round:
    """The sizes of one round of questions."""

    first: ViTConfig
    deep: ViTConfig
    single: ViTConfig  # one head
    seed: int
    resizes: Sequence[Grids]
    square_resizes: Sequence[Grids]

    def cases(self) -> list[Case]:
        """``first``, ``deep``, ``first`` with a mean and a square image, with the pre-training head, and ``single``."""
        side = 3 * self.first.patch_size[0], 2 * self.first.patch_size[1]
        mean = replace(self.first, pool="mean", image_size=side)
        mlp = replace(self.first, head="mlp", width=2 * self.first.width, num_heads=2 * self.first.num_heads)
        sized = enumerate((self.first, self.deep, mean, mlp, self.single))
        return [Case(config, batch=2 + place % 2, seed=self.seed + place) for place, config in sized]


SUGGESTING = Round(
    first=ViTConfig(
        image_size=(4, 9), patch_size=(2, 3), channels=2, width=8, depth=2, num_heads=2, mlp_dim=7, num_classes=3
    ),
    deep=ViTConfig(
        image_size=(9, 8), patch_size=(3, 2), channels=4, width=15, depth=3, num_heads=3, mlp_dim=16, num_classes=5
    ),
    single=ViTConfig(
        image_size=(10, 4), patch_size=(2, 2), channels=1, width=5, depth=2, num_heads=1, mlp_dim=7, num_classes=4
    ),
    seed=0,
    resizes=(
        ((2, 3), (3, 5)),
        ((4, 2), (2, 2)),
        ((2, 8), (4, 4)),  # as many rows in another shape
        ((4, 4), (7, 1)),
        ((3, 3), (1, 1)),
        ((3, 4), (3, 4)),
        ((5, 3), (37, 7)),  # where others are large
        ((11, 13), (24, 61)),
    ),
    square_resizes=(
        ((2, 2), (3, 3)),
        ((4, 4), (2, 2)),
        ((4, 4), (2, 8)),
        ((2, 8), (4, 4)),
        ((3, 3), (1, 1)),
        ((3, 3), (3, 3)),
        ((5, 5), (37, 37)),
    ),
)
CONFIRMING = Round(
    first=ViTConfig(
        image_size=(6, 8), patch_size=(3, 2), channels=3, width=12, depth=3, num_heads=4, mlp_dim=9, num_classes=4
    ),
    deep=ViTConfig(
        image_size=(8, 6), patch_size=(2, 3), channels=1, width=10, depth=4, num_heads=2, mlp_dim=24, num_classes=2
    ),
    single=ViTConfig(
        image_size=(5, 9), patch_size=(5, 3), channels=2, width=8, depth=1, num_heads=1, mlp_dim=5, num_classes=6
    ),
    seed=100,
    resizes=(
        ((3, 2), (5, 4)),
        ((4, 4), (2, 3)),
        ((9, 1), (3, 3)),
        ((2, 5), (6, 8)),
        ((2, 4), (1, 1)),
        ((5, 3), (5, 3)),
        ((3, 5), (9, 61)),
        ((7, 5), (96, 13)),
    ),
    square_resizes=(
        ((3, 3), (5, 5)),
        ((5, 5), (3, 3)),
        ((2, 2), (1, 4)),
        ((9, 1), (3, 3)),
        ((2, 2), (1, 1)),
        ((4, 4), (4, 4)),
        ((3, 3), (61, 61)),
    ),
)


def questions(candidate: Candidate, sizes: Round, topics: Collection[str] = TOPICS) -> Iterator[Question]:
    """One round, the cheapest first; sizes are within the candidate's reach."""
    cases = _reached(candidate, sizes)
    if "logits" in topics:
        yield from _of_logits(cases, candidate.conventions)
    if "gradients" in topics:
        first, _, mean, mlp, _ = cases
        for case in (first, mean, mlp):
            yield Gradients(case, candidate.conventions)
    if "positions" in topics:
        yield from _of_positions(candidate, cases[0], sizes)


def _of_logits(cases: Sequence[Case], conventions: Conventions) -> Iterator[Question]:
    for case in cases:
        yield Logits(case, conventions)
    yield from _of_small_variance(cases[0], conventions)
    for case in cases[:2]:
        yield Logits(case, conventions, images=of_odd_brightness(case.images(), case.config))
        yield Logits(case, conventions, images=_with_a_hole(case.images()))


def of_size(candidate: Candidate, sizes: Round, *, gradients: bool) -> Iterator[Question]:
    """Models as large as those in use: each takes as long as twenty of the others, and some defects show in no smaller."""
    large = [replace(case, seed=case.seed + sizes.seed) for case in (MANY_TOKENS, MANY_BLOCKS)]
    for case in large:
        yield Logits(replace(case, config=candidate.within_reach(case.config)), candidate.conventions)
    if gradients:
        yield Gradients(replace(large[0], config=candidate.within_reach(large[0].config)), candidate.conventions)


def isolating(candidate: Candidate, sizes: Round) -> Iterator[Question]:
    """Questions in which only some stages can show, so that one of two defects shows alone."""
    conventions, case = candidate.conventions, _reached(candidate, sizes)[0]
    weights = exercised_weights(case.config, conventions, case.seed)
    for probe in probes(weights, case.config, conventions):
        yield Logits(case, conventions, weights={**weights, **probe.changes})


def shown(candidate: Candidate, sizes: Round) -> Iterator[Question]:
    """What taps tell of the stages, of which the logits cannot tell all apart."""
    for case in _reached(candidate, sizes)[:2]:
        for hook in ("patch_tokens", "tokens", "block_outputs", "representation"):
            yield Shown(case, candidate.conventions, hook)


def _reached(candidate: Candidate, sizes: Round) -> list[Case]:
    return [replace(case, config=candidate.within_reach(case.config)) for case in sizes.cases()]


def _of_small_variance(case: Case, conventions: Conventions) -> Iterator[Question]:
    """Tokens whose variance is near epsilon, so that its digits show; that of the conventions, and the least in use."""
    weights = exercised_weights(case.config, conventions, case.seed)
    for epsilon in dict.fromkeys((conventions.layer_norm_eps, 1e-12)):
        tokens = equal_tokens(weights, scale=sqrt(epsilon), class_row=conventions.class_token_has_position)
        yield Logits(case, conventions, weights={**weights, **tokens})


def _with_a_hole(images: Tensor) -> Tensor:
    """The first image with a pixel that is not a number. Shapes kept."""
    broken = images.clone()
    broken[0, 0, 0, 0] = torch.nan
    return broken


def _of_positions(candidate: Candidate, case: Case, sizes: Round) -> Iterator[Question]:
    conventions = candidate.conventions
    grids = sizes.square_resizes if _squares_only(candidate) else sizes.resizes
    for grid, new_grid in grids:
        yield Table(grid, new_grid, conventions, sizes.seed)
    yield Table(*grids[0], conventions, sizes.seed, with_gradient=True)
    (rows, columns), (patch_h, patch_w) = case.config.grid, case.config.patch_size
    for new_rows, new_columns in ((columns, rows), (rows + 2, columns + 1), (rows, max(columns - 1, 1))):
        other = replace(case.config, image_size=(new_rows * patch_h, new_columns * patch_w))
        other = candidate.within_reach(other)
        if other.grid != case.config.grid:
            yield Resized(case, conventions, other.image_size)
    mean = replace(case, config=replace(case.config, pool="mean"))
    yield Resized(mean, conventions, (2 * case.config.image_size[0], 2 * case.config.image_size[1]))


def _squares_only(candidate: Candidate) -> bool:
    if not candidate.offers("resize_position_embedding"):
        return False
    try:
        return not candidate.resizes_rectangles
    except RequirementFailed:  # it does, to another size
        return False
