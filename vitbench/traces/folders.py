"""Where the traces of a run lie: a folder for each cell, which TensorBoard shows as a run of its own."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

HOME = "traces"  # within a run's folder
_LONGEST = 120  # characters; file systems end at 255 bytes


def trace_folders(keys: Sequence[str], run_folder: Path) -> dict[str, Path]:
    """A folder for the trace of each cell, by its key."""
    return cell_folders(keys, run_folder / HOME)


def cell_folders(keys: Sequence[str], home: Path) -> dict[str, Path]:
    """A folder in ``home`` for each cell's key, by a name that every file system takes; no two keys share one."""
    names = {key: _plain(key) for key in keys}
    shared = [name.casefold() for name in names.values()]
    return {
        key: home.resolve()
        / (name if shared.count(name.casefold()) == 1 and len(name) <= _LONGEST else _marked(name, key))
        for key, name in names.items()
    }


def _plain(key: str) -> str:
    """The key as one word: ``throughput_training_timm_Ti-16@64_float32_eager_batch=8_…``."""
    return re.sub(r"[^\w.=@,+-]", "-", key.replace(" ", "_"), flags=re.ASCII)


def _marked(name: str, key: str) -> str:
    return f"{name[:_LONGEST]}-{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:8]}"
