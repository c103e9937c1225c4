"""One timed cell at a time on a device, whichever run it belongs to: two that time each other measure neither.

A lock on a file in the system's temporary folder, which says who holds it and goes with its holder.
"""

import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vitbench.conditions.nvml import uuid_of
from vitbench.lock_file import LockFile

_POLL_S = 0.2
_waits_s = list[float]()  # of this process, for devices that others held


@contextlib.contextmanager
def exclusively(
    device: str, who: str, folder: Path | None = None, tell: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the device alone; wait for whoever holds it, and tell once who that is.

    The wait counts against the cell's time limit; what was told is the last output that its record then shows.
    """
    with contextlib.closing(
        LockFile((folder or Path(tempfile.gettempdir())) / f"vitbench-{identity(device)}.lock")
    ) as lock:
        _wait_for(lock, device, tell or _print)
        lock.say(who)
        yield


def identity(device: str) -> str:
    """One name for one device, in every process: torch's numbers for GPUs depend on what a process may see."""
    if not device.startswith("cuda"):
        return device
    return re.sub(r"[^\w.-]", "-", uuid_of(device).lower())


def _wait_for(lock: LockFile, device: str, tell: Callable[[str], None]) -> None:
    if lock.acquire():
        return
    tell(f"waiting for {device}, on which another cell is being timed: {lock.holder()}")
    started = time.monotonic()
    while not lock.acquire():
        time.sleep(_POLL_S)
    _waits_s.append(time.monotonic() - started)


def waited_s() -> float:
    """How long this process has waited for devices so far: time that is not its candidate's."""
    return sum(_waits_s)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
