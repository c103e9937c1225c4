"""Rounds of blocks: in each round every way to compute a step is timed once, whoever takes part in it."""

import gc
import math
import random
from collections.abc import Mapping, Sequence

from vitbench.plan import Cell
from vitbench.scaling import figure
from vitbench.suites.scaling.steps import Way
from vitbench.suites.scaling.team import Team
from vitbench.timer import Effort, clock_for

EFFORT = {
    "quick": Effort(relative_width=0.05, least_samples=8, least_s=4.0, most_s=20.0),
    "standard": Effort(relative_width=0.03, least_samples=12, least_s=10.0, most_s=90.0),
    "full": Effort(relative_width=0.02, least_samples=20, least_s=20.0, most_s=400.0),
}
BLOCK_S = {"quick": 0.2, "standard": 0.4, "full": 1.0}  # a barrier's end differs between workers by some 0.1 ms
_WARM_UP = 3  # steps: libraries, buckets and optimizer state are made in the first


class Rounds:
    """Times the ways, round after round, until the efficiency of all workers is known well enough."""

    def __init__(self, team: Team, ways: Mapping[str, Way], cell: Cell) -> None:
        self.team, self._ways = team, ways
        self.samples_s: dict[str, list[float]] = {name: [] for name in ways}
        self.converged = False
        self.warmup_steps = _WARM_UP
        self.not_finite: list[str] = []
        self.notes: list[str] = []
        self._effort, self._block_s = EFFORT[cell.preset], BLOCK_S[cell.preset]
        self._order = random.Random(cell.seed)  # noqa: S311  # the same for all workers
        self._clock = clock_for(str(team.device))
        self._steps: dict[str, int] = {}

    def warm_up(self) -> None:
        """Compute each way until its libraries are loaded; and find out how many steps make a block."""
        for name in self._ways:
            self._block(name, _WARM_UP)
            step_s = self._block(name, _WARM_UP)
            self._steps[name] = max(1, math.ceil(self._block_s / step_s))

    def run(self) -> None:
        """The rounds."""
        started_s = self._clock.now_s()
        while not self._enough(self._clock.now_s() - started_s):
            gc.collect()
            names = list(self._ways)
            self._order.shuffle(names)
            for name in names:
                self.samples_s[name].append(self._block(name, self._steps[name]))

    def _block(self, name: str, steps: int) -> float:
        """Seconds of a step, by the slowest worker that takes part."""
        way, mine = self._ways[name], self.team.rank < self._ways[name].workers
        self.team.at(f"{steps} steps of {way}")
        if mine:
            way.renew()
            way.step()  # with what was drawn anew, and unsampled
        self._clock.now_s()
        self.team.wait()
        started_s = self._clock.now_s()
        for _ in range(steps if mine else 0):
            way.step()
        taken_s = self._clock.now_s() - started_s
        told = self.team.told((taken_s, way.loss() if mine else 0.0))
        self._look(way, [loss for _, loss in told[: way.workers]])
        return max(seconds for seconds, _ in told[: way.workers]) / steps

    def _look(self, way: Way, losses: Sequence[float]) -> None:
        """Nobody trains with a loss that is no number."""
        lost = [f"worker {worker}" for worker, loss in enumerate(losses) if not math.isfinite(loss)]
        if lost and not self.not_finite:
            taken = len(self.samples_s["alone"])
            self.not_finite.append(f"the loss of {', '.join(lost)} was no finite number after {taken} rounds ({way})")

    def _enough(self, spent_s: float) -> bool:
        """The first worker decides, for clocks differ."""
        alone_s, together_s = self.samples_s["alone"], self.samples_s[f"{self.team.workers}"]
        if len(alone_s) >= self._effort.least_samples:
            ratio = figure([alone / together for alone, together in zip(alone_s, together_s, strict=True)])
            width = math.inf if ratio.low is None or ratio.high is None else ratio.high - ratio.low
            self.converged = width <= self._effort.relative_width * ratio.value
        late = bool(alone_s) and spent_s >= self._effort.most_s
        return bool(self.team.told(late or (self.converged and spent_s >= self._effort.least_s))[0])
