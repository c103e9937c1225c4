"""Which format a file's suffix tells, and the file itself; the formats are elsewhere, and not needed to say so."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vitbench.errors import OutputUnwritable, UsageError

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown"),
    "csv": (".csv",),
    "latex": (".tex",),
    "junit": (".xml",),
    "badge": (".svg",),
    "jsonl": (".jsonl",),
    "terminal": (".txt",),
}


def format_of(path: Path, offered: Sequence[str], hint: str = "") -> str:
    """The format that a suffix tells.

    Raises:
        UsageError: none, or one that is not offered here.
    """
    for name in offered:
        if path.suffix.lower() in SUFFIXES[name]:
            return name
    known = ", ".join(suffix for name in offered for suffix in SUFFIXES[name])
    raise UsageError(f"the suffix of {path} tells no format; known: {known}{hint}")


def require_new(outputs: Sequence[Path], runs: Sequence[Path]) -> None:
    """Refuse to write over what is read.

    Raises:
        OutputUnwritable: an output is one of the runs, or given twice.
    """
    taken = {os.path.realpath(run) for run in runs}  # unlike Path.resolve, it takes links that lead in a circle
    for path in outputs:
        place = os.path.realpath(path)
        if place in taken:
            raise OutputUnwritable(f"{path} is one of the runs, or given twice; name another file with -o")
        taken.add(place)


def put(path: Path, text: str) -> int:
    """Write the file, and its folder; the size in bytes.

    Raises:
        OutputUnwritable: the place cannot be written to.
    """
    content = text.encode("utf-8", errors="replace")  # half a surrogate pair is valid JSON, but no text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise OutputUnwritable(
            f"cannot write {path}: {error.strerror or error}; choose another place with -o"
        ) from error
    return len(content)
