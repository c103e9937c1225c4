"""One timed cell at a time on a device, whichever run it belongs to: two that time each other measure neither.

An advisory lock on a file in the system's temporary folder, which the kernel releases when its holder ends, however it
ends. The file says who holds it. A system without such locks, or a folder that cannot be written, locks nothing.
"""

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None  # type: ignore[assignment]

_POLL_S = 0.2


@contextlib.contextmanager
def exclusively(
    device: str, who: str, folder: Path | None = None, tell: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the device alone; wait for whoever holds it, and tell once who that is.

    The wait counts against the cell's time limit; what was told is the last output that its record then shows.
    """
    place = (folder or Path(tempfile.gettempdir())) / f"vitbench-{identity(device)}.lock"
    with contextlib.ExitStack() as stack:
        file = _opened(place)
        if file is not None:
            stack.callback(os.close, file)
            _acquire(file, place, device, tell or _print)
            _say(file, who)
        yield


def identity(device: str) -> str:
    """One name for one device, in every process: torch's numbers for GPUs depend on what a process may see."""
    if not device.startswith("cuda"):
        return device
    import torch  # noqa: PLC0415

    return re.sub(r"[^\w.-]", "-", f"gpu-{torch.cuda.get_device_properties(device).uuid}")


def _opened(place: Path) -> int | None:
    if fcntl is None:
        return None
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # another user's may be only readable, and is enough
        with contextlib.suppress(OSError):
            file = os.open(place, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
            with contextlib.suppress(OSError):
                os.fchmod(file, 0o666)  # the next run may be another user's
            return file
    return None


def _acquire(file: int, place: Path, device: str, tell: Callable[[str], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not told:
                tell(f"waiting for {device}, on which another cell is being timed: {_holder(place)}")
                told = True
            time.sleep(_POLL_S)
        else:
            return


def _holder(place: Path) -> str:
    with contextlib.suppress(OSError):
        return place.read_text(encoding="utf-8", errors="replace").strip() or "of an unknown process"
    return "of an unknown process"


def _say(file: int, who: str) -> None:
    with contextlib.suppress(OSError):  # opened for reading only
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()}, {who}\n".encode(), 0)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
