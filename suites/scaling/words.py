"""What a worker leaves for the process that started it: where it is, and why it ended."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from vitbench.errors import NotSupported, VitbenchError, is_lack_of_memory, one_line
from vitbench.process import how_it_ended
from vitbench.suites.scaling.launch import LOST


@dataclass(frozen=True, kw_only=True)
class LastWords:
    """Why a worker ended."""

    worker: int
    at_s: float  # of the system's clock
    kind: str  # not supported, out of memory, failed
    text: str


NOT_SUPPORTED, OUT_OF_MEMORY, FAILED = "not supported", "out of memory", "failed"


def say(folder: Path, worker: int, error: BaseException) -> None:
    """Leave why a worker ends."""
    memory = next(filter(is_lack_of_memory, _causes(error)), None)
    kind = OUT_OF_MEMORY if memory else NOT_SUPPORTED if isinstance(error, NotSupported) else FAILED
    told = memory or error
    text = str(told) if isinstance(told, VitbenchError) else f"{type(told).__name__}: {one_line(told)}"
    words = LastWords(worker=worker, at_s=time.time(), kind=kind, text=text)
    part = folder / f"worker-{worker}.part"
    part.write_text(json.dumps(asdict(words)), encoding="utf-8")
    part.replace(folder / f"worker-{worker}.json")


def place(folder: Path, worker: int, doing: str) -> None:
    """Leave what a worker is about to do."""
    with suppress(OSError):  # a full disk is no reason to stop
        (folder / f"worker-{worker}.at").write_text(doing, encoding="utf-8")


def places(folder: Path) -> str:
    """What each worker was doing when it was last heard of, on one line."""
    files = sorted(folder.glob("worker-*.at"))
    told = [f"worker {file.stem.rpartition('-')[2]}: {file.read_text(encoding='utf-8')}" for file in files]
    return "; ".join(told) or "no worker had begun"


def why(folder: Path) -> LastWords | None:
    """What ended the workers; None where none of them is known to have ended.

    A worker that was lost without a word takes the others with it, whose words are then of a connection that is gone. Else who
    spoke first is the one.
    """
    spoken = sorted(_spoken(folder), key=lambda words: words.at_s)
    lost: dict[str, int] = {}
    with suppress(OSError, ValueError):
        lost = json.loads((folder / LOST).read_text(encoding="utf-8"))
    silent = {int(worker): code for worker, code in lost.items() if int(worker) not in {one.worker for one in spoken}}
    killed = {
        worker: code for worker, code in silent.items() if code != -signal.SIGTERM
    }  # by torchrun, for another's sake
    for worker, code in sorted((killed or ({} if spoken else silent)).items()):
        return LastWords(worker=worker, at_s=0.0, kind="crashed", text=how_it_ended(code))
    return spoken[0] if spoken else None


def _spoken(folder: Path) -> Iterator[LastWords]:
    for file in folder.glob("worker-*.json"):
        with suppress(OSError, ValueError, TypeError):
            yield LastWords(**json.loads(file.read_text(encoding="utf-8")))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
