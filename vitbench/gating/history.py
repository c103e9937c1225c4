"""The history tier: stored runs as a series for each cell and machine, and where its level changed."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vitbench.change_points import changes, least_runs
from vitbench.gating.decision import Decision
from vitbench.gating.facts import Facts, facts
from vitbench.gating.outcome import Finding, Outcome, as_relative, percent
from vitbench.results import Run
from vitbench.wording import plural


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run's figure."""

    at: str  # when the run began, ISO 8601
    log_s: float  # logarithm of the median latency in seconds


def history(runs: Sequence[Run], *, delta: float, alpha: float) -> Outcome:
    """Every cell's series, of runs under one key each, and the last change of its level."""
    found = {one.runs[-1].digest: one for one in map(facts, runs)}  # a run that is given twice counts once
    findings = [_finding(name, points, delta, alpha) for name, points in sorted(_series(list(found.values())).items())]
    title = f"the history of {plural(len(found), 'run')}"
    return Outcome(tier="history", title=title, findings=findings, notes=list(_left_out(list(found.values()))))


def _series(runs: Sequence[Facts]) -> Mapping[str, Sequence[Point]]:
    """By cell; runs of another machine make another series, named by what tells it apart."""
    apart = [name for name in (runs[0].key if runs else ()) if len({run.key.get(name) for run in runs}) > 1]
    series: dict[str, list[Point]] = {}
    for run in runs:
        machine = "".join(f" [{name} {run.key.get(name)}]" for name in apart)
        for cell, one in run.measured.items():
            for seconds in one.times_s:
                point = Point(at=run.runs[-1].began, log_s=math.log(seconds))
                series.setdefault(f"{cell}{machine}", []).append(point)
    return {name: sorted(points, key=lambda point: point.at) for name, points in series.items()}


def _left_out(runs: Sequence[Facts]) -> Iterator[str]:
    """Of each cell, in how many runs its time cannot be believed."""
    doubts = Counter(cell for run in runs for cell, one in run.measured.items() if one.doubt)
    for cell, number in sorted(doubts.items()):
        yield f"{cell}: left out of {plural(number, 'run')} whose conditions were INVALID, or whose time is no duration"


def _finding(name: str, points: Sequence[Point], delta: float, alpha: float) -> Finding:
    least = least_runs(alpha)
    if len(points) < least:
        text = f"{plural(len(points), 'run')} of it; {least} are the least that a change can be certain in (--alpha {alpha:g})"
        return Finding(name=name, decision=Decision.NOTHING_MEASURED, text=text)
    found = changes([point.log_s for point in points], alpha=alpha)
    last = found[-1] if found else None
    if last is None:
        return Finding(name=name, decision=Decision.PASS, text=f"no change of level in {len(points)} runs")
    change = as_relative(last.log_ratio)
    text = f"{percent(change)} since {points[last.first].at}, in {len(points) - last.first} of {len(points)} runs (p = {last.p_value:.3f})"
    decision = Decision.REGRESSION if last.log_ratio >= delta else Decision.PASS
    return Finding(name=name, decision=decision, text=text, change=change)
