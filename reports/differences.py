"""What differs between runs, the first of them being what the others are held against: machine, verdicts, times."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from vitbench.parts import named_in
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reports.doubts import doubts
from vitbench.reports.environment import Fact, flat, side_by_side
from vitbench.requirement import Status
from vitbench.results import Run


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A cell's time in a run, over its time in the first; the interval is of both medians' intervals together."""

    value: float
    low: float | None
    high: float | None
    doubts: tuple[str, ...]  # why it is less than sure

    @property
    def word(self) -> str:
        """What it comes to, as far as the processes of these runs tell."""
        if self.low is None or self.high is None:
            return "no interval"
        return "slower" if self.low > 1 else "faster" if self.high < 1 else "alike"


@dataclass(frozen=True, kw_only=True)
class CellTimes:
    """One cell in every run; None where it has no time."""

    title: str
    seconds: tuple[float | None, ...]
    ratios: tuple[Ratio | None, ...]  # of the first run too, where it is 1 and says nothing


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A requirement that does not come out alike in all runs."""

    implementation: str
    id: str
    statuses: tuple[str, ...]  # in words; a dash where a run has no verdict on it


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Between several runs."""

    environment: tuple[Fact, ...]  # properties that differ
    judged: tuple[Judged, ...]
    cells: tuple[CellTimes, ...]  # those that two runs at least have timed
    only_once: int  # cells that one run alone has


def differences(runs: Sequence[Run]) -> Differences | None:
    """Of several runs, in the order given; None for a single one, which has nothing to differ from."""
    if len(runs) < 2:  # noqa: PLR2004  # one is no comparison
        return None
    timed = [{record.cell: record for record in run.of_implementations if _seconds(record)} for run in runs]
    cells = dict.fromkeys(cell for of_run in timed for cell in of_run)
    shared = [cell for cell in cells if sum(cell in of_run for of_run in timed) > 1]
    return Differences(
        environment=_conditions(runs),
        judged=_judged(runs),
        cells=tuple(_times(cell, timed) for cell in shared),
        only_once=len(cells) - len(shared),
    )


def _conditions(runs: Sequence[Run]) -> tuple[Fact, ...]:
    """Properties that differ, and in one row the implementations whose code is told of in some runs because only these have them."""
    sources = [_sources(run) for run in runs]
    present = [dict.fromkeys([*named_in([run]), *told]) for run, told in zip(runs, sources, strict=True)]
    some = {name for names in present for name in names if not all(name in others for others in present)}
    folded = {
        name
        for name in some.intersection(chain.from_iterable(sources))
        if _alike([told.get(name) for names, told in zip(present, sources, strict=True) if name in names])
    }
    facts = side_by_side([dict(flat(_without(run.header.environment, folded))) for run in runs])
    differing = tuple(fact for fact in facts if fact.differs)
    if not differing or not folded:
        return differing
    rest = (", ".join(name for name in names if name in some) or None for names in present)
    return (*differing, Fact(name="implementations that only some runs have", values=tuple(rest)))


def _alike(values: Sequence[object]) -> bool:
    return all(value == values[0] for value in values)


def _sources(run: Run) -> Mapping[str, object]:
    """Where the code of implementations stood, as far as the run tells."""
    known = run.header.environment
    told = known.get("candidates") if isinstance(known, Mapping) else None
    return told if isinstance(told, Mapping) else {}


def _without(environment: object, names: Collection[str]) -> object:
    if not isinstance(environment, Mapping) or not isinstance(environment.get("candidates"), Mapping):
        return environment
    candidates = {name: told for name, told in environment["candidates"].items() if name not in names}
    return {**environment, "candidates": candidates}


def _judged(runs: Sequence[Run]) -> tuple[Judged, ...]:
    """Requirements by implementation and id, where two runs at least judged the implementation."""
    said = [{(one.implementation, one.id): one.status for one in run.requirements} for run in runs]
    found = dict.fromkeys(place for of_run in said for place in of_run)
    rows = []
    for implementation, requirement in found:
        judging = [of_run for of_run in said if any(name == implementation for name, _ in of_run)]
        statuses = [of_run.get((implementation, requirement)) for of_run in said]
        if len(judging) > 1 and len({of_run.get((implementation, requirement)) for of_run in judging}) > 1:
            words = tuple("–" if status is None else _word(status) for status in statuses)
            rows.append(Judged(implementation=implementation, id=requirement, statuses=words))
    return tuple(rows)


def _word(status: Status | str) -> str:
    return str(status).replace("_", " ").lower()


def _times(cell: str, timed: Sequence[Mapping[str, MeasurementRecord]]) -> CellTimes:
    records = [of_run.get(cell) for of_run in timed]
    first = records[0]
    return CellTimes(
        title=cell,
        seconds=tuple(None if record is None else _seconds(record) for record in records),
        ratios=tuple(None if record is None or first is None else _ratio(first, record) for record in records),
    )


def _ratio(first: MeasurementRecord, now: MeasurementRecord) -> Ratio | None:
    before_s, now_s = _seconds(first), _seconds(now)
    if before_s is None or now_s is None:
        return None
    bounds = (first.latency_low_s, first.latency_high_s, now.latency_low_s, now.latency_high_s)
    known = all(bound is not None and math.isfinite(bound) and bound > 0 for bound in bounds)
    low = now.latency_low_s / first.latency_high_s if known and now.latency_low_s and first.latency_high_s else None
    high = now.latency_high_s / first.latency_low_s if known and now.latency_high_s and first.latency_low_s else None
    return Ratio(value=now_s / before_s, low=low, high=high, doubts=doubts(first, now))


def _seconds(record: MeasurementRecord) -> float | None:
    seconds = record.latency_s
    usable = record.outcome == Outcome.MEASURED and seconds is not None and math.isfinite(seconds) and seconds > 0
    return seconds if usable else None
