"""One side of a duet: a process that prepares a launch once, and then times blocks of it when it is told to.

It reads a line of JSON for each question from its standard input, and answers on a descriptor of its own, so that
nothing that a candidate prints is taken for an answer.
"""

import gc
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitbench.errors import is_lack_of_memory, one_line
from vitbench.process import die_with_parent

if TYPE_CHECKING:
    from vitbench.gating.slowdown import Slowdown
    from vitbench.suites.throughput.measure import Prepared


def main(argv: list[str]) -> int:
    """``argv``: the task as JSON, and the number of the descriptor that answers go to."""
    die_with_parent()  # also one that hangs in mid-block
    answers = os.fdopen(int(argv[1]), "w", encoding="utf-8")
    questions = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    sys.stdin.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a candidate that reads gets nothing of ours

    def say(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        with _player(Task(**json.loads(argv[0]))) as player:
            say(player.introduction())
            for line in questions:
                say({"seconds": player.block(json.loads(line)["launches"])})
    except Exception as error:  # noqa: BLE001  # whatever a candidate raises is its side's answer
        memory = "out of memory: " if is_lack_of_memory(error) else ""
        say({"failed": f"{memory}{type(error).__name__}: {one_line(error)}"})
        return 1
    return 0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a side is to do."""

    cell: Mapping[str, Any]  # as Cell.to_json() has it
    redrawn: bool  # the memory layout, before each block
    cores: Sequence[int]  # those to run on, once it is ready; none: whichever the system chooses
    slowdown: Mapping[str, Any] | None  # as the fields of Slowdown
    layout_seed: int = 0  # of the memory layouts
    within: Sequence[str] = ()  # folders of which its code has to be imported; none: it may come from anywhere


@contextmanager
def _player(task: Task) -> Iterator["Player"]:
    """A side that is ready to play.

    Raises:
        VitbenchError: the implementation cannot be found, built or measured.
    """
    from vitbench.gating.slowdown import NONE, Slowdown  # noqa: PLC0415  # torch
    from vitbench.plan import Cell  # noqa: PLC0415
    from vitbench.suites.throughput.measure import prepared  # noqa: PLC0415

    with prepared(Cell.from_json(dict(task.cell)), task.layout_seed) as ready:
        ready.launch()  # threads are started by the first
        _pin(task.cores)
        yield Player(ready, task, Slowdown(**task.slowdown) if task.slowdown else NONE)


def _pin(cores: Sequence[int]) -> None:
    """Every thread of this process, which has prepared on all cores, beside the other side, in half of the time."""
    for thread in Path("/proc/self/task").iterdir() if cores else ():
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(thread.name), set(cores))


class Player:
    """A launch that is ready, and its clock."""

    def __init__(self, ready: "Prepared", task: Task, slowdown: "Slowdown") -> None:
        self._clock, self._task = ready.clock, task
        for _ in range(_WARM_UP):
            ready.launch()
        self._launch = slowdown.planted(ready.launch, ready.model, ready.clock.now_s)
        self._renew = ready.renew if task.redrawn else None
        self._ready = ready
        gc.collect()
        gc.freeze()
        gc.disable()

    def introduction(self) -> dict[str, Any]:
        """What it plays, and on what."""
        import torch  # noqa: PLC0415

        return {
            "implementation": self._ready.candidate.name,
            "version": self._ready.candidate.version,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "redrawn": self._renew is not None,
            "from_elsewhere": bool(self._task.within) and not _imported_from(self._task.within),
        }

    def block(self, launches: int) -> float:
        """Seconds of so many launches, back to back.

        After another layout the first launch is a few percent slower than the next. It is left out where launches are
        short; a long one is timed as it is, since twice as many layouts are worth more than warm caches.
        """
        gc.collect()
        if self._renew is not None:
            self._renew()
        if launches > 1:
            self._clock.time(self._launch, 1)
        return sum(self._clock.time(self._launch, launches))


def _imported_from(folders: Sequence[str]) -> bool:
    """Whether any module that is loaded lies in one of them."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    found = [Path(file) for file in files if isinstance(file, str)]
    places = [Path(folder).resolve() for folder in folders]
    # torch has modules whose file is a bare name, which would lie in whatever folder this runs in.
    return any(file.resolve().is_relative_to(place) for file in found if file.is_absolute() for place in places)


_WARM_UP = 3  # launches


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
