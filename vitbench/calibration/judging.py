"""What a calibration's process does: a task's check, for a task's candidate."""

import importlib
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import torch

from vitbench.calibration.matrix import Cell
from vitbench.calibration.plan import Task
from vitbench.calibration.specimens import specimens
from vitbench.candidate import ForeignCode
from vitbench.check import collect, configured, judge, sampled
from vitbench.errors import VitbenchError, one_line
from vitbench.requirement import Status

_FAULTS = {Status.FAILED, Status.ERROR}


def conformance() -> Callable[[Task], Cell]:
    """Judges by the conformance suite; prepared once in each process."""
    torch.set_num_threads(1)  # as conformance runs do; the cores have other tasks
    # By its name: the checks stand on a floor above, which only this process needs.
    checks = collect(importlib.import_module("vitbench.suites.conformance"))
    known = specimens()

    @lru_cache(maxsize=2)  # what a candidate finds out about itself serves its next tasks; they come in its order
    def candidate(key: str) -> ForeignCode:
        return known[key].candidate()

    def judged(task: Task) -> Cell:
        try:
            return _cell(task, checks[task.requirement], candidate(task.specimen))
        except VitbenchError as error:  # a package that is not installed, a broken adapter
            return Cell(statuses={Status.ERROR: 1}, reason=one_line(error))

    return judged


def _cell(task: Task, check: Callable[..., None], candidate: ForeignCode) -> Cell:
    if task.examples is None:
        runs = [configured(check, "quick", task.seed + run, shrink=False) for run in range(task.runs)]
    else:
        runs = [sampled(check, task.examples, task.seed)]
    judgements = [judge(run, candidate) for run in runs]
    faults = [judgement.reason for judgement in judgements if judgement.status in _FAULTS]
    return Cell(
        statuses=Counter(judgement.status for judgement in judgements),
        examples=sum(j.evidence.examples + (j.status is Status.FAILED) for j in judgements),
        reason=faults[0] if faults else "",
        duration_s=sum(judgement.duration_s for judgement in judgements),
    )
