"""One cell: train the miniature, then look inside. What a candidate does not show is left out, and named."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vitbench.candidate import Candidate
from vitbench.drawn_images import CLASSES
from vitbench.environment import device_name
from vitbench.looks import Looks, finite, mixing
from vitbench.measurement import study
from vitbench.miniature import JUDGED, Miniature, Pupil, smoothed, with_small_filters
from vitbench.plan import Cell
from vitbench.records import Outcome, StudyRecord
from vitbench.registry import resolve
from vitbench.seeds import COSINE, POSITIVE, SHARE, curve_over_seeds, over_seeds
from vitbench.study import Curve, NamedArray, Scalar
from vitbench.suites.paper.inner_views.definitions import (
    attention_distances,
    filter_components,
    position_similarity,
    rollout,
    similarity_by_distance,
    uniform_distance,
)

FILTERS, POSITIONS, DISTANCE, ROLLOUT = (
    "filters of the patch embedding",
    "similarity of position embeddings",
    "attention distance",
    "attention rollout",
)
MINIATURES = {
    "quick": Miniature(steps=360),
    "standard": Miniature(steps=1200, width=64, depth=6, images=32_768),
    "full": Miniature(steps=6000, side=64, patch=8, width=96, depth=8, heads=6, images=65_536, batch=64),
}
SEEDS = {"quick": 1, "standard": 3, "full": 3}
_IMAGES = 128  # for attention distance, as in appendix D.7
_SHOWN = 4  # images
_THUMBNAIL = 32  # pixels
_COMPONENTS = 28  # as many as Figure 7 shows
_POINTS = 30  # of the training curve


@dataclass
class Views:
    """What was seen of each seed's model."""

    losses: list[list[float]] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    filters: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    similarities: dict[str, list[Tensor]] = field(default_factory=dict)  # when: one a seed
    distances: dict[str, list[Tensor]] = field(default_factory=dict)  # when: one a seed, (L, h)
    rollouts: list[Tensor] = field(default_factory=list)


START, TRAINED = "at the start", "trained"


def measure(cell: Cell) -> StudyRecord:
    """Train as many models as the preset has seeds, and look into each before and after.

    Raises:
        NotSupported: the candidate has no such model, or it cannot be trained.
        TrainingDiverged: a loss is not finite.
    """
    started = time.monotonic()
    candidate = Candidate(resolve(cell.implementation), cell.device)
    torch.set_num_threads(cell.threads)
    miniature, seeds = MINIATURES[cell.preset], [cell.seed + number for number in range(SEEDS[cell.preset])]
    looks, views = Looks(candidate), Views()
    for seed in seeds:
        pupil = Pupil(candidate, miniature, seed, with_small_filters)
        _look(pupil, looks, views, START)
        views.losses.append(pupil.train())
        views.accuracies.append(pupil.accuracy())
        _look(pupil, looks, views, TRAINED)
    return study(
        cell,
        Outcome.MEASURED,
        implementation=candidate.name,
        version=candidate.version,
        device_name=device_name(cell.device),
        dtype="float32",
        data=miniature.data,
        seeds=seeds,
        settings=miniature.described(pupil.config),
        scalars=_scalars(views, miniature),
        curves=_curves(views, len(seeds)),
        arrays=_arrays(views, miniature),
        missing=looks.missing,
        notes=() if pupil.start is not None else ("it takes no weights: it started from its own",),
        duration_s=time.monotonic() - started,
    )


def _look(pupil: Pupil, looks: Looks, views: Views, when: str) -> None:
    grid, patch = pupil.config.grid, pupil.config.patch_size
    trial = pupil.trial
    weights = looks.look(FILTERS, "export", trial.export) or {}
    filters, table = weights.get("patch_embedding.weight"), weights.get("position_embedding")
    if filters is not None and when == TRAINED:
        seen = looks.look(FILTERS, "export", lambda: filter_components(finite(filters, FILTERS), _COMPONENTS))
        views.filters += [] if seen is None else [seen]
    if table is not None:
        alike = looks.look(POSITIONS, "export", lambda: position_similarity(finite(table, POSITIONS), grid))
        if alike is not None:
            views.similarities.setdefault(when, []).append(alike)
    else:
        looks.miss(POSITIONS, "export", looks.reason(FILTERS) or "export() gives no position_embedding")
    images = pupil.miniature.unseen(_IMAGES).images
    attention = looks.look(DISTANCE, "attention", lambda: [mixing(one, DISTANCE) for one in trial.attention(images)])
    if attention is None:
        looks.miss(ROLLOUT, "attention", looks.reason(DISTANCE))
        return
    by_head = torch.stack([attention_distances(one, grid, patch).mean(dim=0) for one in attention])  # (L, h)
    views.distances.setdefault(when, []).append(by_head)
    if when == TRAINED:
        views.rollouts.append(rollout([one[:_SHOWN] for one in attention], grid))


def _scalars(views: Views, miniature: Miniature) -> list[Scalar]:
    grid, patch = miniature.config.grid, miniature.config.patch_size
    found = [
        over_seeds(
            "accuracy on unseen images",
            views.accuracies,
            note=f"of {JUDGED}; chance is 1 in {len(CLASSES)}",
            within=SHARE,
        )
    ]
    if views.filters:
        share = [shares[:_LEADING].sum().item() for _, shares in views.filters]
        found.append(
            over_seeds(f"variance in the first {_LEADING} filter components", share, series=TRAINED, within=SHARE)
        )
    for when, maps in views.similarities.items():
        near = [similarity_by_distance(one)[1] for one in maps]
        found.append(
            over_seeds("similarity of neighbours' positions", near, series=when, note="mean cosine", within=COSINE)
        )
    for when, tables in views.distances.items():
        for block, name in ((0, "first"), (-1, "last")):
            over = [table[block].mean().item() for table in tables]
            found.append(
                over_seeds(f"attention distance, {name} block", over, series=when, unit="pixels", within=POSITIVE)
            )
    if views.distances:
        even = over_seeds(
            "attention distance", [uniform_distance(grid, patch)], unit="pixels", series="of even attention"
        )
        found.append(even)
    return found


def _curves(views: Views, seeds: int) -> list[Curve]:
    curves = []
    for number, losses in enumerate(views.losses):
        steps, means = smoothed(losses, _POINTS)
        series = f"seed {number + 1}" if seeds > 1 else "loss"
        curves.append(
            Curve(name="training loss", series=series, x_axis="step", y_axis="cross-entropy, nats", x=steps, y=means)
        )
    for when, maps in views.similarities.items():
        each = [similarity_by_distance(one) for one in maps]
        apart = sorted(each[0])
        by_seed = [[one[x] for x in apart] for one in each]
        name, axes = "similarity of positions by distance", ("distance, patches", "mean cosine similarity")
        curves.append(curve_over_seeds(name, when, axes, apart, by_seed, within=COSINE))
    return curves


def _arrays(views: Views, miniature: Miniature) -> list[NamedArray]:
    """Of the first seed's model; attention distances of every seed's."""
    arrays = []
    if views.filters:
        components, shares = views.filters[0]
        arrays.append(_array(FILTERS, ("component", "channel", "row", "column"), components, TRAINED))
        arrays.append(_array("share of the filters' variance", ("component",), shares, TRAINED))
    pairs = ("row", "column", "row of the other", "column of the other")
    arrays += [_array(POSITIONS, pairs, maps[0], when) for when, maps in views.similarities.items()]
    for when, tables in views.distances.items():
        each = torch.stack(tables)
        arrays.append(_array(DISTANCE, ("seed", "block", "head"), each, when, unit="pixels"))
    if views.rollouts:
        images = miniature.unseen(_SHOWN).images
        small = avg_pool2d(images, miniature.side // _THUMBNAIL) if miniature.side > _THUMBNAIL else images
        arrays.append(_array("images", ("image", "channel", "row", "column"), small, ""))
        arrays.append(_array(ROLLOUT, ("image", "row", "column"), views.rollouts[0], TRAINED))
    return arrays


def _array(name: str, axes: tuple[str, ...], numbers: Tensor, series: str, unit: str = "") -> NamedArray:
    flat = numbers.double().flatten().tolist()
    return NamedArray.of(name, axes, tuple(numbers.shape), flat, series=series, unit=unit)


_LEADING = 3
