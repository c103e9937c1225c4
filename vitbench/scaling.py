"""How throughput grows with the workers: what the suite scaling found, and what follows from its rounds.

In each round every number of workers is timed once, in random order. So efficiency and communication share are ratios
within a round, in which the drift of a machine cancels; what is told is their median over the rounds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vitbench.statistics import median, median_interval

DDP, FSDP2 = "ddp", "fsdp2"
STRATEGIES = (DDP, FSDP2)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A median over rounds, with its 95 % confidence interval; null below six rounds."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Point:
    """So many workers in one group, each with the cell's batch."""

    workers: int
    images_per_s: Figure  # of all workers together
    efficiency: Figure  # of a round: throughput / (workers × throughput of one worker alone)
    communication_share: Figure | None  # of a round: 1 - step without communication / step; null of one worker
    samples_s: Sequence[float]  # of a step, by the slowest worker, one a round
    silent_samples_s: Sequence[float]  # of the same step without communication; empty where it was not timed


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The loss after a few steps of plain gradient descent: of one worker on all images, and of all on their parts."""

    workers: int
    steps: int
    loss_before: float
    loss_alone: float | None  # null where it is not finite
    loss_together: float | None


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What one cell of the suite scaling found."""

    strategy: str  # ddp, fsdp2
    backend: str  # nccl, gloo
    rounds: int
    alone_images_per_s: Figure  # of one worker with the model as it is, in no group
    alone_samples_s: Sequence[float]
    points: Sequence[Point]
    agreement: Agreement | None  # null where the loss is not a function of the images alone
    notes: Sequence[str]  # what a reader must know beside the figures


def figure(samples: Sequence[float]) -> Figure:
    """Median and interval of one value a round."""
    interval = median_interval(samples)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Figure(value=median(samples), low=low, high=high)


def images_per_s(samples_s: Sequence[float], images: int) -> Figure:
    """Of steps on so many images: the median step's rate, and those of the ends of its interval."""
    step = figure(samples_s)
    return Figure(
        value=images / step.value,
        low=None if step.high is None else images / step.high,
        high=None if step.low is None else images / step.low,
    )


def point(
    workers: int, batch: int, alone_s: Sequence[float], together_s: Sequence[float], silent_s: Sequence[float]
) -> Point:
    """What a number of workers comes to; the samples are of the same rounds.

    n workers compute n times the images, so efficiency is the ratio of the steps' times: one alone / n together.
    """
    shares = [1 - silent / together for silent, together in zip(silent_s, together_s, strict=True)] if silent_s else []
    return Point(
        workers=workers,
        images_per_s=images_per_s(together_s, workers * batch),
        efficiency=figure([alone / together for alone, together in zip(alone_s, together_s, strict=True)]),
        communication_share=figure(shares) if shares else None,
        samples_s=tuple(together_s),
        silent_samples_s=tuple(silent_s),
    )


def disagreement(agreement: Agreement, tolerance: float) -> str:
    """What is wrong with the gradients of several workers; empty where nothing is.

    Raised or lowered by one factor, or each worker's own, they lead elsewhere: the losses are held against how far the steps
    went. ``tolerance`` is a part of that way.
    """
    steps = f"after {agreement.steps} steps"
    alone, together = agreement.loss_alone, agreement.loss_together
    if alone is None or together is None or not math.isfinite(alone - together):
        return f"the loss is no finite number {steps}: alone {alone}, together {together}"
    if abs(together - alone) <= tolerance * abs(alone - agreement.loss_before):
        return ""
    return (
        f"{agreement.workers} workers are not one: {steps} their loss is {together:.6g}, that of one worker on the same images "
        f"{alone:.6g}, from {agreement.loss_before:.6g}"
    )
