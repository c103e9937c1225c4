"""What a node of a cluster does: look at what it has, and run a cell in a child process of its own, as a run does here.

Ray calls these functions in its worker processes, from the vitbench that is installed on the node.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitbench import preflight
from vitbench.engines.wire import is_result_of, told
from vitbench.errors import VitbenchError
from vitbench.executor import Event, Finished, Lost, Recorded, execute
from vitbench.plan import Cell
from vitbench.preflight import Question
from vitbench.records import Outcome, Result, VerdictRecord
from vitbench.requirement import Verdict

_UNSAID = {Outcome.CRASHED, Outcome.FAILED, Outcome.TIMED_OUT}  # of a device that went away as of a candidate's fault
_UNJUDGED = {Verdict.INCOMPLETE, Verdict.HARNESS_ERROR, Verdict.ADAPTER_BROKEN}


def look(question: Mapping[str, Any], data: str) -> dict[str, Any]:
    """Adapters, device and environment of this node; or why it cannot be used. ``data``: a folder that must be there."""
    if data and not Path(data).is_dir():
        return {"refused": "UsageError", "text": f"--data {data}: no such folder there; it must be on every node"}
    try:
        found = preflight.asked(Question(**question))
    except VitbenchError as error:
        return {"refused": type(error).__name__, "text": str(error)}
    return {**asdict(found), "niceness": os.nice(0)}


def run_cell(data: Mapping[str, Any]) -> Iterator[str]:
    """Run a cell, and tell what happens, a line of JSON each. Ended by an exception thrown in, it leaves no process."""
    cell = Cell.from_json(dict(data))
    with closing(execute([cell], beside=1)) as events:
        for event in unless_device_lost(cell, events):
            yield json.dumps(told(event))


def unless_device_lost(cell: Cell, events: Iterable[Event]) -> Iterator[Event]:
    """The events; of a cell on a GPU, none of a failure that is the GPU's: it is ``Lost`` where it answers no more."""
    held: list[Event] = []
    for event in events:
        if cell.device == "cpu" or not _ends(cell, event):
            yield event
            continue
        held.append(event)
        if isinstance(event, Finished):
            gone = _is_doubtful(event.result) and why_gone(cell)
            if gone:
                yield Lost(cell, f"its GPU was lost: {gone}")
            else:
                yield from held


def _ends(cell: Cell, event: Event) -> bool:
    return isinstance(event, Finished) or (isinstance(event, Recorded) and is_result_of(cell, event.record))


def _is_doubtful(result: Result) -> bool:
    """Whether a lost device would look like this too."""
    if isinstance(result, VerdictRecord):
        return result.verdict in _UNJUDGED
    return result.outcome in _UNSAID


def why_gone(cell: Cell) -> str:
    """Why the cell's device cannot be used any more; empty where it can, which another process tries."""
    try:
        preflight.asked(Question(named=(), kernels=(), device=cell.device, threads=cell.threads))
    except VitbenchError as error:
        return str(error)
    return ""
