"""What the scores come to: curves over the sizes of data, where a ViT overtakes a ResNet, and all of them as arrays."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import isnan

from vitbench.seeds import SHARE, curve_over_seeds, over_seeds
from vitbench.study import Curve, NamedArray, Scalar
from vitbench.suites.paper.data_scaling.crossing import BY_BOOTSTRAP, RESAMPLES, crossing

Scores = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""By metric and model: for each size of data, the accuracy with each seed; NaN where there is none."""

CHARTS = {
    "few_shot": "Linear few-shot accuracy (Experiment 2)",
    "fine_tuned": "Accuracy after fine-tuning (Experiment 1)",
    "upstream": "Accuracy on the classes of pre-training",
}
_COMPARED = ("few_shot", "fine_tuned")
_AXES = ("images to pre-train on", "accuracy on test images")


def curves(scores: Scores, sizes: Sequence[int], classes: int) -> list[Curve]:
    """A line of each model in each chart that has any figure."""
    return [
        curve_over_seeds(
            CHARTS[metric],
            name,
            _AXES,
            sizes,
            list(zip(*by_size, strict=True)),
            note="" if metric == "upstream" else f"chance is 1 in {classes}",
            within=SHARE,
        )
        for metric, by_model in scores.items()
        for name, by_size in by_model.items()
        if any(not isnan(score) for column in by_size for score in column)
    ]


def with_the_most(scores: Scores, sizes: Sequence[int]) -> list[Scalar]:
    """Each model's accuracies when pre-trained on the largest subset."""
    return [
        over_seeds(
            f"{CHARTS[metric].partition(' (')[0]}, {sizes[-1]} images",
            [score for score in by_size[-1] if not isnan(score)],
            series=name,
            within=SHARE,
        )
        for metric in _COMPARED
        for name, by_size in scores[metric].items()
        if any(not isnan(score) for score in by_size[-1])
    ]


def arrays(scores: Scores, sizes: Sequence[int], seeds: Sequence[int]) -> list[NamedArray]:
    """Every score, so that a reader can reckon with other intervals."""
    return [
        NamedArray.of(
            CHARTS[metric],
            ("images", "seed"),
            (len(sizes), len(seeds)),
            (score for column in by_size for score in column),
            series=name,
            note=f"images: {', '.join(map(str, sizes))}; seeds: {', '.join(map(str, seeds))}",
        )
        for metric, by_model in scores.items()
        for name, by_size in by_model.items()
    ]


def crossings(
    scores: Scores, sizes: Sequence[int], vits: Sequence[str], resnets: Sequence[str]
) -> tuple[list[Scalar], list[str]]:
    """From how many images on each ViT is no worse than each ResNet; and, in words, which pairs do not cross."""
    found, apart = list[Scalar](), list[str]()
    for metric in _COMPARED:
        chart = CHARTS[metric].partition(" (")[0]
        ahead = list[str]()
        for vit, resnet in product(vits, resnets):
            if any(isnan(score) for name in (vit, resnet) for column in scores[metric][name] for score in column):
                continue
            where = crossing(sizes, scores[metric][vit], scores[metric][resnet])
            if where.size is None:
                ahead.append(
                    f"{vit if where.ahead == 'first' else resnet} over {resnet if where.ahead == 'first' else vit}"
                )
                continue
            found.append(
                Scalar(
                    name=f"{chart}: no worse from",
                    value=where.size,
                    series=f"{vit} than {resnet}",
                    unit="images",
                    low=where.low,
                    high=where.high,
                    interval="" if where.low is None else BY_BOOTSTRAP,
                    seeds=len(scores[metric][vit][0]),
                    note=f"they cross in {where.resamples:.0%} of {RESAMPLES} resamples of the seeds",
                )
            )
        apart += list(_told(chart, ahead))
    return found, apart


def _told(chart: str, ahead: Sequence[str]) -> Iterator[str]:
    if ahead:
        yield f"{chart}, no crossing between the sizes measured, ahead in the mean with the most images: {', '.join(ahead)}"
