"""The process of one cell: ``python -m vitbench.cell CELL-AS-JSON RESULTS-FILE``, started by the executor.

It appends its records to the file. Whatever goes wrong in Python becomes a record too; what ends the process
outright is the executor's to tell.
"""

import faulthandler
import json
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from vitbench.errors import NotSupported, VitbenchError, is_lack_of_memory
from vitbench.exclusive import exclusively
from vitbench.plan import Cell
from vitbench.process import die_with_parent
from vitbench.records import Outcome
from vitbench.results import append
from vitbench.suite import Ending, load

_GRACE_S = 30  # after its time limit, for a cell that outlived its executor, where the kernel does not end it
_LONGEST_ALARM_S = 2**31 - 1  # what the system takes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cell that the command line holds."""
    text, file = sys.argv[1:] if argv is None else argv
    cell = Cell.from_json(json.loads(text))
    faulthandler.enable()
    die_with_parent()
    if hasattr(signal, "alarm"):
        signal.alarm(min(int(cell.time_limit_s) * (2 if cell.trace else 1) + _GRACE_S, _LONGEST_ALARM_S))
    return run(cell, Path(file))


def run(cell: Cell, results: Path) -> int:
    """Run a cell in this process; the exit code is its suite's own, or 0 once an error is recorded."""
    suite, started = load(cell.suite), time.monotonic()
    try:
        with exclusively(cell.device, f"cell {cell.key}") if cell.timed else nullcontext():
            return suite.run(cell, results)
    except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to this cell alone
        if not isinstance(error, VitbenchError):
            traceback.print_exc()
        outcome, reason = _outcome(error)
        append(results, suite.lost(cell, Ending(outcome=outcome, reason=reason, duration_s=time.monotonic() - started)))
        return 0


def _outcome(error: Exception) -> tuple[Outcome, str]:
    """What the error means for the cell, and why, on one line."""
    memory = next(filter(is_lack_of_memory, _causes(error)), None)
    if memory is not None:
        return Outcome.OUT_OF_MEMORY, _one_line(memory)
    if isinstance(error, NotSupported):
        return Outcome.NOT_SUPPORTED, str(error)
    return Outcome.FAILED, str(error) if isinstance(error, VitbenchError) else _one_line(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _one_line(error: BaseException) -> str:
    """Kind, text and innermost place."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(place[0].filename).name}:{place[0].lineno})" if place else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' * bool(text)}{text[:400]}{where}"


if __name__ == "__main__":
    sys.exit(main())
