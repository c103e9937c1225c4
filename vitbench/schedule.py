"""How long a plan takes on how many workers: list scheduling of a recorded run's cell times, and what no order can beat.

The local engine's rules: a timed cell has its worker alone, untimed ones share it, so many at once; untimed cells come first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vitbench.records import ATTENTION, LIMITS, MEMORY, SCALING, SELF, MeasurementRecord, Result
from vitbench.results import Run

BESIDE = 2
"""Untimed cells at once on one worker, as ``vitbench.run`` has it where there are cores for them."""

_TIMED_SUITES = ("throughput", ATTENTION, LIMITS, SCALING, SELF)


@dataclass(frozen=True)
class Job:
    """A cell, as a scheduler sees it."""

    cell: str
    seconds: float
    timed: bool


@dataclass(frozen=True)
class Placed:
    """A job with its time and its worker."""

    job: Job
    worker: int
    start_s: float

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.start_s + self.job.seconds


@dataclass(frozen=True)
class Schedule:
    """Jobs on workers, in the order in which they were handed out."""

    placed: Sequence[Placed]
    workers: int

    @property
    def makespan_s(self) -> float:
        """From the first start to the last end."""
        return max((one.end_s for one in self.placed), default=0.0)

    @property
    def tail_s(self) -> float:
        """How long some worker has nothing left to do while another still works."""
        ends = [0.0] * self.workers
        for one in self.placed:
            ends[one.worker] = max(ends[one.worker], one.end_s)
        return self.makespan_s - min(ends)

    @property
    def last(self) -> Placed | None:
        """What ends last."""
        return max(self.placed, key=lambda one: one.end_s, default=None)


def scheduled(jobs: Sequence[Job], workers: int, beside: int = BESIDE) -> Schedule:
    """Each job in its turn goes where it can start the earliest.

    Source: Graham, Bell System Technical Journal 45 (1966): list scheduling, at most twice the best.
    """
    slots = [[0.0] * beside for _ in range(workers)]  # when each of a worker's places is free
    placed = []
    for job in jobs:
        free = max if job.timed else min
        worker = min(range(workers), key=lambda one: free(slots[one]))
        start_s = free(slots[worker])
        placed.append(Placed(job, worker, start_s))
        if job.timed:
            slots[worker] = [start_s + job.seconds] * beside
        else:
            slots[worker][slots[worker].index(start_s)] = start_s + job.seconds
    return Schedule(placed, workers)


def lower_bound_s(jobs: Sequence[Job], workers: int, beside: int = BESIDE) -> float:
    """What no order can beat: the longest cell, and all the work spread evenly."""
    work_s = sum(job.seconds if job.timed else job.seconds / beside for job in jobs)
    return max(work_s / workers, max((job.seconds for job in jobs), default=0.0))


def as_planned(jobs: Sequence[Job]) -> list[Job]:
    """As ``vitbench.run`` goes through a plan: what is not timed, then what is."""
    return sorted(jobs, key=lambda job: job.timed)


def longest_first(jobs: Sequence[Job]) -> list[Job]:
    """The longest of what is not timed first, then the longest of what is."""
    return sorted(jobs, key=lambda job: (job.timed, -job.seconds))


def longest_of_all_first(jobs: Sequence[Job]) -> list[Job]:
    """The longest first, timed or not."""
    return sorted(jobs, key=lambda job: -job.seconds)


ORDERS: Mapping[str, Callable[[Sequence[Job]], list[Job]]] = {
    "as planned": as_planned,
    "longest first": longest_first,
    "longest of all first": longest_of_all_first,
}


def jobs_of(run: Run, start_s: float = 0.0) -> list[Job]:
    """The cells of a run in the order of its plan, each with its process's time.

    Results of older versions leave out what a process takes until its cell begins: ``start_s`` is added to those.
    """
    results: list[Result] = [*run.verdicts, *run.studies, *run.of_implementations, *run.limits, *run.timers]
    found = {one.cell: Job(one.cell, one.duration_s + start_s, _timed(one)) for one in results}
    for ran in run.ran:
        found[ran.cell] = Job(ran.cell, ran.duration_s, ran.timed)
    return [found[cell] for cell in run.header.planned if cell in found]


def _timed(result: Result) -> bool:
    """Whether a cell of this kind runs alone; bytes of a device are shared, those of a process are its own."""
    if not isinstance(result, MeasurementRecord):
        return False
    return result.suite in _TIMED_SUITES or (result.suite == MEMORY and result.device != "cpu")
