"""A lock on a file that says who holds it, and that the kernel releases when its holder ends, however it ends.

It is advisory: only programs that ask know of it. A system without such locks, or a folder that cannot be written,
locks nothing.
"""

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None  # type: ignore[assignment]

AVAILABLE = fcntl is not None


class LockFile:
    """A file, opened to be locked. Whoever else may lock it has to be able to open it, and need not be its owner."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._file = _opened(place)

    def acquire(self) -> bool:
        """Whether it is ours now; False: someone else holds it."""
        if self._file is None:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def holder(self) -> str:
        """What the holder said of itself."""
        with suppress(OSError):
            return self._place.read_text(encoding="utf-8", errors="replace").strip() or "an unknown process"
        return "an unknown process"

    def say(self, who: str) -> None:
        """Write down who holds it."""
        if self._file is not None:
            with suppress(OSError):  # opened for reading only, or a full disk
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, f"process {os.getpid()}, {who}\n".encode(), 0)

    def is_in_place(self) -> bool:
        """Whether the file that was locked is still the one of that name; its last holder may have removed it."""
        if self._file is None:
            return True
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._file), self._place.stat())
        return False

    def remove(self) -> None:
        """Leave no file behind; only the holder may."""
        if self._file is not None:
            with suppress(OSError):
                self._place.unlink()

    def close(self) -> None:
        """Let it go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(place: Path) -> int | None:
    if fcntl is None:
        return None
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # another user's may be only readable, and is enough
        with suppress(OSError):
            file = os.open(place, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
            with suppress(OSError):
                os.fchmod(file, 0o666)  # the next run may be another user's
            return file
    return None
