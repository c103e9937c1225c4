"""How long one image takes: percentiles of latency at batch 1, as far as the samples of a cell can tell them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vitbench.records import MeasurementRecord
from vitbench.statistics import Interval, median, median_interval, quantile, quantile_interval

SHARES = (0.5, 0.9, 0.99)
_BEYOND = 1  # samples that have to lie beyond a percentile, lest it is the largest of them under another name


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """The latency that this share of calls does not exceed."""

    share: float
    latency_s: float | None  # None: too few samples
    interval: Interval | None  # 95 %; None: too few samples for its ends

    @property
    def name(self) -> str:
        """As p99."""
        return f"p{self.share * 100:g}"

    @property
    def least_samples(self) -> int:
        """What it takes to be given."""
        return least_samples(self.share)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A cell of batch 1 with its percentiles."""

    record: MeasurementRecord
    percentiles: tuple[Percentile, ...]

    @property
    def samples(self) -> int:
        """How many they rest on."""
        return len(self.record.samples_s)


def least_samples(share: float) -> int:
    """The fewest samples of which one may lie beyond: 10 for p90, 100 for p99; for the median any."""
    return 1 if share == SHARES[0] else round(_BEYOND / (1 - share))


def latencies(records: Iterable[MeasurementRecord]) -> list[Latency]:
    """Of every cell that infers one image at a time and has samples."""
    one_by_one = [r for r in records if r.batch == 1 and r.task == "inference" and r.samples_s]
    return [Latency(record=r, percentiles=percentiles(r.samples_s)) for r in one_by_one]


def percentiles(samples_s: Sequence[float]) -> tuple[Percentile, ...]:
    """p50 (the median), p90 and p99, each where there are samples enough."""
    middle, *others = SHARES
    first = Percentile(share=middle, latency_s=median(samples_s), interval=median_interval(samples_s))
    return (first, *(_percentile(samples_s, share) for share in others))


def _percentile(samples_s: Sequence[float], share: float) -> Percentile:
    enough = len(samples_s) >= least_samples(share)
    return Percentile(
        share=share,
        latency_s=quantile(samples_s, share) if enough else None,
        interval=quantile_interval(samples_s, share) if enough else None,
    )
