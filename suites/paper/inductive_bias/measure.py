"""One cell: a candidate's miniature or the comparison ResNet, at the start and trained, over several seeds."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vitbench import __version__
from vitbench.candidate import Candidate
from vitbench.drawn_images import CLASSES
from vitbench.environment import device_name
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.looks import Looks, mixing, patch_distances
from vitbench.measurement import study
from vitbench.miniature import JUDGED, Miniature
from vitbench.plan import Cell
from vitbench.records import Outcome, StudyRecord
from vitbench.registry import resolve
from vitbench.seeds import POSITIVE, SHARE, curve_over_seeds, over_seeds
from vitbench.study import Curve, Missing, NamedArray, Scalar
from vitbench.suites.paper.inductive_bias.look import CELL, Bias, Fields, bias, fields, others_heard
from vitbench.suites.paper.inductive_bias.subjects import RESNET, SILENT, SIZES, CandidateSubject, ResNetSubject

MINIATURES = {
    "quick": Miniature(steps=150, images=4096),
    "standard": Miniature(steps=1200, images=32_768),
    "full": Miniature(steps=6000, images=131_072, batch=64),
}
SEEDS = {"quick": 3, "standard": 3, "full": 5}
START, TRAINED = "at the start", "trained"
_IMAGES = 16  # to look at
_TRACED = 8  # of them, for gradients
_FAR = 0.5  # of the image's side
ATTENTION = "reach of the first block's attention"

Key = tuple[str, str]
"""Variant and time."""


@dataclass
class Found:
    """Of every seed, by variant and time."""

    biases: dict[Key, list[Bias]] = field(default_factory=dict)
    fields: dict[Key, list[Fields]] = field(default_factory=dict)
    silenced: dict[str, list[float]] = field(default_factory=dict)  # by time
    far: dict[str, list[float]] = field(default_factory=dict)  # by time
    accuracies: list[float] = field(default_factory=list)
    missing: dict[str, Missing] = field(default_factory=dict)  # by what


def measure(cell: Cell) -> StudyRecord:
    """Look at as many models as the preset has seeds, each before and after training.

    Raises:
        NotSupported: the candidate has no such model, does not show its layers, or cannot be trained.
        TrainingDiverged: a loss is not finite.
    """
    started = time.monotonic()
    torch.set_num_threads(cell.threads)
    miniature, seeds = MINIATURES[cell.preset], [cell.seed + number for number in range(SEEDS[cell.preset])]
    candidate = None if cell.implementation == RESNET else Candidate(resolve(cell.implementation), cell.device)
    found = Found()
    for seed in seeds:
        if candidate is None:
            subject: CandidateSubject | ResNetSubject = ResNetSubject(miniature, seed, cell.device)
        else:
            subject = CandidateSubject(candidate, miniature, seed)
        _look(subject, found, START)
        subject.train()
        found.accuracies.append(subject.accuracy())
        _look(subject, found, TRAINED)
    return study(
        cell,
        Outcome.MEASURED,
        implementation=RESNET if candidate is None else candidate.name,
        version=__version__ if candidate is None else candidate.version,
        device_name=device_name(cell.device),
        dtype="float32",
        data=miniature.data,
        seeds=seeds,
        settings=_settings(subject, miniature),
        scalars=_scalars(found, miniature),
        curves=_curves(found),
        arrays=_arrays(found),
        missing=tuple(found.missing.values()),
        duration_s=time.monotonic() - started,
    )


def _look(subject: CandidateSubject | ResNetSubject, found: Found, when: str) -> None:
    images = subject.miniature.unseen(_IMAGES).images
    if subject.missing is not None:
        hook, reason = subject.missing
        what = f"{when}, without positions"
        found.missing.setdefault(what, Missing(what=what, hook=hook, reason=reason))
    for variant in subject.variants:
        if variant == SILENT:
            found.silenced.setdefault(when, []).append(others_heard(subject, images, variant))
        else:
            found.biases.setdefault((variant, when), []).append(bias(subject, images, variant))
    plain = subject.variants[0]
    try:
        seen = fields(subject, images[:_TRACED], plain)
        found.fields.setdefault((plain, when), []).append(seen)
    except (NotSupported, RequirementFailed) as error:
        what = "effective receptive field"
        found.missing.setdefault(what, Missing(what=what, hook="block_outputs", reason=str(error)))
    if isinstance(subject, CandidateSubject):
        looks = Looks(subject.candidate)
        share = looks.look(ATTENTION, "attention", lambda: _far_share(subject, images))
        if share is not None:
            found.far.setdefault(when, []).append(share)
        found.missing.update({one.what: one for one in looks.missing})


def _far_share(subject: CandidateSubject, images: Tensor) -> float:
    """Of the first block's attention between patches, what goes further than half the image's side."""
    config = subject.pupil.config
    weights = mixing(subject.pupil.trial.attention(images)[0], ATTENTION)[:, :, 1:, 1:].double()
    between = weights / weights.sum(dim=-1, keepdim=True)
    far = patch_distances(config.grid, config.patch_size) > _FAR * subject.side
    return (between * far).sum(dim=-1).mean().item()


def _scalars(found: Found, miniature: Miniature) -> list[Scalar]:
    whole = 2 * CELL
    scalars = [
        over_seeds(
            "accuracy on unseen images",
            found.accuracies,
            note=f"of {JUDGED}; chance is 1 in {len(CLASSES)}",
            within=SHARE,
        )
    ]
    for (variant, when), seen in found.biases.items():
        series = ", ".join(filter(None, (variant, when)))
        scalars += [
            over_seeds(
                f"error of the last map, moved by {whole} pixels",
                [b.by_depth_whole[-1] for b in seen],
                series=series,
                within=POSITIVE,
            ),
            over_seeds(
                "error of the last map, moved by 1 pixel",
                [b.by_depth_single[-1] for b in seen],
                series=series,
                within=POSITIVE,
            ),
            over_seeds(
                "least change anywhere after one block",
                [b.least_heard for b in seen],
                series=series,
                note=_HEARD,
                within=SHARE,
            ),
        ]
    for (_, when), seen_fields in found.fields.items():
        for layer, name in ((1, "first block"), (-1, "last block")):
            reach = [one.reach[layer] for one in seen_fields]
            scalars.append(
                over_seeds(f"receptive field, {name}", reach, series=when, unit="pixels", note=_REACH, within=POSITIVE)
            )
    for when, worst in found.silenced.items():
        scalars.append(
            over_seeds("change at other tokens, MLPs alone", worst, series=when, note=_SILENCED, within=POSITIVE)
        )
    for when, far in found.far.items():
        scalars.append(over_seeds("first block's attention beyond half the image", far, series=when, within=SHARE))
    if found.far:
        even = patch_distances(miniature.config.grid, miniature.config.patch_size) > _FAR * miniature.side
        scalars.append(
            over_seeds("attention beyond half the image", [even.double().mean().item()], series="even attention")
        )
    return scalars


def _curves(found: Found) -> list[Curve]:
    curves = []
    for (variant, when), seen in found.biases.items():
        series = ", ".join(filter(None, (variant, when)))
        shifts = range(1, len(seen[0].by_shift) + 1)
        curves.append(_curve(BY_SHIFT, series, shifts, [one.by_shift for one in seen]))
        layers = range(len(seen[0].by_depth_whole))
        curves.append(_curve(BY_DEPTH_WHOLE, series, layers, [one.by_depth_whole for one in seen]))
        curves.append(_curve(BY_DEPTH_SINGLE, series, layers, [one.by_depth_single for one in seen]))
        apart = [pixels for pixels, _ in seen[0].heard_by_distance]
        heard = [[share for _, share in one.heard_by_distance] for one in seen]
        curves.append(_curve(HEARD, series, apart, heard))
    for (_, when), seen_fields in found.fields.items():
        curves.append(_curve(REACH, when, range(len(seen_fields[0].reach)), [one.reach for one in seen_fields]))
    return curves


def _curve(axes: tuple[str, str, str], series: str, x: Iterable[float], by_seed: Sequence[Sequence[float]]) -> Curve:
    """The mean over the seeds at each place, with its interval."""
    name, x_axis, y_axis = axes
    return curve_over_seeds(name, series, (x_axis, y_axis), list(x), by_seed, within=POSITIVE)


def _arrays(found: Found) -> list[NamedArray]:
    """Of the first seed."""
    return [
        NamedArray.of(
            "effective receptive field",
            ("layer", "row", "column"),
            (len(seen[0].maps), *seen[0].maps[0].shape),
            torch.stack(list(seen[0].maps)).flatten().tolist(),
            series=when,
            note="size of the gradient, the largest of each layer 1",
        )
        for (_, when), seen in found.fields.items()
    ]


def _settings(subject: CandidateSubject | ResNetSubject, miniature: Miniature) -> dict[str, object]:
    if isinstance(subject, CandidateSubject):
        return miniature.described(subject.pupil.config)
    apart = ("patch", "blocks", "heads", "MLP width")
    kept = {name: value for name, value in miniature.described(miniature.config).items() if name not in apart}
    return {**kept, "width": SIZES.width, "blocks": " + ".join(map(str, SIZES.depths)), "groups": SIZES.num_groups}


BY_SHIFT = ("equivariance error by shift", "image moved by, pixels", "error of the last map")
BY_DEPTH_WHOLE = ("equivariance error by depth, whole patches", "layer", f"error, moved by {2 * CELL} pixels")
BY_DEPTH_SINGLE = ("equivariance error by depth, one pixel", "layer", "error, moved by 1 pixel")
HEARD = ("how far one patch is heard after one block", "distance from the patch, pixels", "change, over the largest")
REACH = ("receptive field by depth", "layer", "mean distance of the gradient, pixels")
_HEARD = "when one corner patch changes, over the change at that patch"
_REACH = "mean distance from the middle cell of the pixels that it hears, weighted by gradient"
_SILENCED = "when one corner patch changes, over the change at that patch; attention adds nothing"
