"""Judges for the tests of calibration; they stand in a module of their own, since they travel to processes by name."""

import os
import time
from collections.abc import Callable

from vitbench.calibration.matrix import Cell
from vitbench.calibration.plan import Task
from vitbench.requirement import Status

FAILED, PASSED = (
    Cell(statuses={Status.FAILED: 1}, examples=1, reason="wrong"),
    Cell(statuses={Status.PASSED: 1}, examples=3),
)


def as_named() -> Callable[[Task], Cell]:
    """What comes of a candidate is its name."""

    def judge(task: Task) -> Cell:
        match task.specimen.split()[1]:
            case "crashes":
                os._exit(7)
            case "hangs":
                time.sleep(600)
            case "wrong":
                return FAILED
        return PASSED

    return judge
