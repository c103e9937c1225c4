"""The smallest example on which a requirement failed, kept for the next run, which tries it first."""

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import SkipTest

from hypothesis.database import ExampleDatabase
from hypothesis.errors import Unsatisfiable

from vitbench.evidence import current_evidence


class StoredExample(ExampleDatabase):
    """One file for one requirement. Hypothesis' other notes (larger failures, a front of pareto optima) are not kept.

    What cannot be read or written is as if it were not there: an example only saves time.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    @property
    def exists(self) -> bool:
        """Whether a run before has failed."""
        return self._file.is_file()

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """The example, if there is one."""
        if not _is_note(key):
            with suppress(OSError):
                seal, value = self._file.read_bytes()[:_SEAL_BYTES], self._file.read_bytes()[_SEAL_BYTES:]
                if seal == _seal(key, value):
                    yield value

    def save(self, key: bytes, value: bytes) -> None:
        """Keep an example in place of any other."""
        if _is_note(key):
            return
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside = self._file.with_suffix(".new")
            beside.write_bytes(_seal(key, value) + value)
            beside.replace(self._file)

    def delete(self, key: bytes, value: bytes) -> None:
        """Forget an example that fails no more, or for which a smaller one was found."""
        if value in self.fetch(key):
            with suppress(OSError):
                self._file.unlink()


def folder_of(cache: Path, impl: str, preset: str, seed: int, device: str) -> Path:
    """Where the examples of one implementation lie, as they were drawn with these options."""
    digest = hashlib.sha256(f"{impl} {device}".encode()).hexdigest()[:8]
    name = re.sub(r"\W+", "-", impl)[-40:].strip("-")
    return cache / f"{name}-{digest}" / f"{preset}-{seed}"


def after_replay(replay: Callable[..., None], check: Callable[..., None]) -> Callable[..., None]:
    """The check, but the stored example first: if it still fails that is enough, else everything begins anew."""

    @wraps(check)
    def run(*args: Any, **kwargs: Any) -> None:
        with suppress(SkipTest, Unsatisfiable):  # what is stored is damaged, or of another version of the check
            replay(*args, **kwargs)
        current_evidence().forget()
        check(*args, **kwargs)

    return run


def _seal(key: bytes, value: bytes) -> bytes:
    """Known to fit the check (its source, as ``key`` has it), and whole."""
    return hashlib.sha256(key + value).digest()[:_SEAL_BYTES]


_SEAL_BYTES = 16


def _is_note(key: bytes) -> bool:
    return key.endswith((b".secondary", b".pareto")) or key.startswith(b".")
