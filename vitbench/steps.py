"""How far a cell has come with steps that it can count, told by its process to the one that shows it.

It stands in a file beside the cell's records; whoever reads it may find an old number, and none that is half written.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

_EVERY_S = 0.2


class Steps:
    """Counts the steps of a cell, and tells of them now and then."""

    def __init__(self, results: Path, total: int) -> None:
        self._file, self._total = _beside(results), total
        self._done, self._told_at_s = 0, 0.0

    def advance(self, steps: int = 1) -> None:
        """So many more are done."""
        self._done += steps
        if time.monotonic() - self._told_at_s >= _EVERY_S or self._done == self._total:
            self._told_at_s = time.monotonic()
            part = self._file.with_suffix(".part")
            with suppress(OSError):  # a bar is no reason to stop
                part.write_text(json.dumps([self._done, self._total]), encoding="utf-8")
                part.replace(self._file)


def steps_of(results: Path) -> tuple[int, int] | None:
    """Steps done and steps in all, as last told; None of a cell that counts none."""
    with suppress(OSError, ValueError, TypeError):
        done, total = json.loads(_beside(results).read_text(encoding="utf-8"))
        return int(done), int(total)
    return None


def _beside(results: Path) -> Path:
    return results.with_suffix(".steps")
