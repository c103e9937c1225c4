"""When enough pairs of processes were measured to decide, and what is decided.

The unit is a pair of fresh processes, base and head; its datum is the median of log(head's time / base's time). Pairs
are independent of one another, which the samples within a process are not: to count those as independent is what makes
the usual gates cry wolf. For each cell, with mu the true log ratio and delta the smallest slowdown that matters:

- REGRESSION: mu <= 0 is rejected by a one-sided t test, and mu >= delta is not;
- PASS: mu >= delta is rejected by a one-sided t test.

The pairs are looked at several times. Each look has its share of the error rate (Bonferroni), and within a look the
cells share it by Holm's procedure, so that the chance of any false REGRESSION, over all looks and cells, is at most
``alpha``. The PASS of each cell whose true slowdown is delta or more has a chance of at most ``alpha`` too.

Source: Holm, Scandinavian Journal of Statistics 6 (1979); for group-sequential tests Jennison and Turnbull, Group
Sequential Methods (2000), chapters 1 and 2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit

from vitbench.errors import HarnessError
from vitbench.gating.decision import Decision
from vitbench.statistics import rejected_by_holm


@dataclass(frozen=True, kw_only=True)
class Design:
    """How certain a decision has to be, and after how many pairs it may be made."""

    delta: float = 0.02  # as a log ratio: some 2 % slower
    alpha: float = 0.01
    power: float = 0.95  # at which the least detectable change is given
    looks: tuple[int, ...] = (4, 6, 8, 10, 12, 14, 16, 20, 24)

    def __post_init__(self) -> None:
        rising = all(before < after for before, after in zip(self.looks, self.looks[1:], strict=False))
        if not (self.looks and self.looks[0] >= _LEAST_PAIRS and rising):
            raise HarnessError(f"looks {self.looks}: expected rising numbers of pairs from {_LEAST_PAIRS} up")

    @property
    def share(self) -> float:
        """Of the error rate, for one look."""
        return self.alpha / len(self.looks)

    def next_look(self, pairs: int) -> int | None:
        """How many pairs the next look needs; None after the last."""
        return next((look for look in self.looks if look > pairs), None)


_LEAST_PAIRS = 2  # a variance takes two


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the pairs of one cell say, as log ratios: above 0, the head is slower."""

    pairs: int
    mean: float
    sd: float
    low: float  # one-sided bounds, each at the look's share of alpha
    high: float
    p_value: float  # of mu <= 0
    least_detectable: float  # the smallest true slowdown that so many pairs, as noisy, find with the design's power


@dataclass(frozen=True, kw_only=True)
class CellDecision:
    """One cell's state after a look."""

    decision: Decision  # INCONCLUSIVE: not yet
    estimate: Estimate


def estimate(log_ratios: Sequence[float], design: Design) -> Estimate:
    """The estimate from two pairs or more.

    Raises:
        HarnessError: fewer, or a log ratio that is no finite number: a pair without one is no pair.
    """
    pairs = len(log_ratios)
    if pairs < _LEAST_PAIRS or not all(map(math.isfinite, log_ratios)):
        raise HarnessError(f"an estimate takes {_LEAST_PAIRS} finite log ratios or more, got {list(log_ratios)}")
    mean, sd, freedom = fmean(log_ratios), stdev(log_ratios), pairs - 1
    error = sd / math.sqrt(pairs)
    reach = float(stdtrit(freedom, 1 - design.share)) * error
    return Estimate(
        pairs=pairs,
        mean=mean,
        sd=sd,
        low=mean - reach,
        high=mean + reach,
        p_value=_upper_tail(mean, error, freedom),
        least_detectable=reach + float(stdtrit(freedom, design.power)) * error,
    )


def _upper_tail(mean: float, error: float, freedom: int) -> float:
    """P(T >= mean / error) under mu = 0."""
    if error == 0:  # every pair the same: by an injected clock, say
        return 0.0 if mean > 0 else 1.0
    return float(stdtr(freedom, -mean / error))


def look(
    log_ratios: Mapping[str, Sequence[float]], before: Mapping[str, CellDecision], design: Design
) -> dict[str, CellDecision]:
    """Decide, of the cells that are not decided yet, those that can be.

    Args:
        log_ratios: of every cell, by its key; those of decided cells need not have grown.
        before: what the last look came to. A decision that was made stays.
    """
    now = {key: estimate(ratios, design) for key, ratios in log_ratios.items()}
    settled = {key: cell for key, cell in before.items() if cell.decision is not Decision.INCONCLUSIVE}
    # Holm's procedure goes over all cells, the settled ones included.
    slower = rejected_by_holm({key: _p_value(found, settled.get(key)) for key, found in now.items()}, design.share)
    return {
        key: settled.get(key) or CellDecision(decision=_decided(found, design, slower=key in slower), estimate=found)
        for key, found in now.items()
    }


def _decided(found: Estimate, design: Design, *, slower: bool) -> Decision:
    if found.high < design.delta:  # a slowdown that is certain, and certainly too small to matter, passes too
        return Decision.PASS
    return Decision.REGRESSION if slower else Decision.INCONCLUSIVE


def _p_value(found: Estimate, settled: CellDecision | None) -> float:
    """A cell that was found slower stays so; one that passed counts among the cells, and is never found slower."""
    if settled is None:
        return found.p_value
    return 0.0 if settled.decision is Decision.REGRESSION else 1.0
