"""What an earlier run left in its results file, and how to go on from there: a cell that has its result is not run again.

The file is written anew, with the whole records of finished cells as they stand, and takes the place of the old one in
one step. What is left out of it (a line cut short, an unfinished cell's records) is kept beside it.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitbench.errors import OutputCut, OutputUnwritable
from vitbench.records import SCHEMA_VERSION, Footer, Header, Result
from vitbench.results import from_line, to_line

SET_ASIDE = "set-aside.jsonl"  # beside the results
_NEXT = "choose another folder with --output, or begin anew with --fresh, which keeps the old results beside the new"
_SHOWN = 4  # differences


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A run's file, its lines sorted by whether another run can go on from them."""

    header: Header
    kept: Sequence[str]  # whole records of finished cells, as they stand
    left_out: Sequence[str]
    finished: frozenset[str]  # keys of the cells that have a result
    complete: bool


def earlier(file: Path) -> Earlier | None:
    """What is in a results file; None where there is none, or one that was stopped before its header was whole.

    Raises:
        OutputUnwritable: it is something else, or of a newer vitbench; it is left as it is.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutputUnwritable(f"cannot read {file}: {error.strerror or error}; {_NEXT}") from error
    lines = [line for line in text.split("\n") if line]
    if not lines or (len(lines) == 1 and not text.endswith("\n") and _is_start_of_header(lines[0])):
        return None
    header = _record(lines[0])
    if not isinstance(header, Header):
        raise OutputUnwritable(f"{file} is no results file that a run can go on from; {_NEXT}")
    if header.schema_version > SCHEMA_VERSION:
        raise OutputUnwritable(f"{file} was written by a newer vitbench ({header.vitbench_version}); {_NEXT}")
    return _sorted(header, lines[1:])


def _sorted(header: Header, lines: Sequence[str]) -> Earlier:
    records = [_record(line) for line in lines]
    finished = {record.cell for record in records if isinstance(record, Result)}
    kept, left_out = list[str](), list[str]()
    for line, record in zip(lines, records, strict=True):
        if not isinstance(record, Footer):
            (kept if getattr(record, "cell", None) in finished else left_out).append(line)
    return Earlier(
        header=header,
        kept=kept,
        left_out=left_out,
        finished=frozenset(finished),
        complete=any(isinstance(record, Footer) and record.status == "complete" for record in records),
    )


def _record(line: str) -> Any:
    with suppress(ValueError, RecursionError):
        return from_line(line)
    return None


def _is_start_of_header(line: str) -> bool:
    start = json.dumps({"kind": Header.kind})[:-1]
    return line.startswith(start) or start.startswith(line)


def require_unfinished(found: Earlier | None, folder: Path) -> None:
    """Refuse to go on where nothing is left to do: a finished run is not written over.

    Raises:
        OutputUnwritable: it is finished.
    """
    if found is not None and found.complete:
        raise OutputUnwritable(f"{folder} already holds a finished run; {_NEXT}")


def require_same(found: Earlier, header: Header, folder: Path) -> None:
    """Refuse to mix figures of another plan, another environment or another candidate.

    Raises:
        OutputUnwritable: the text says what differs.
    """
    differing = list(differences(found.header, header))
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        told = "; ".join(differing[:_SHOWN])
        raise OutputUnwritable(f"{folder} holds an unfinished run that differs from this one: {told}{more}; {_NEXT}")


def differences(before: Header, now: Header) -> Iterator[str]:
    """What makes figures of two runs incomparable, in words."""
    missing, added = set(before.planned) - set(now.planned), set(now.planned) - set(before.planned)
    for cells, which in ((missing, "were planned then and are not now"), (added, "are planned now and were not then")):
        if cells:
            yield f"{len(cells)} cells {which}, such as {min(cells)!r}"
    old, new = (dict(_flat(header.environment)) for header in (before, now))
    for name in old | new:
        if old.get(name) != new.get(name):
            yield f"{name} was {_shown(old.get(name))} and is {_shown(new.get(name))}"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Facts by their place, as JSON has them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name} {key}".strip())
    else:
        yield name, json.loads(json.dumps(value))


def _shown(value: Any) -> str:
    return "not known" if value is None else str(value)


def go_on(file: Path, found: Earlier, at: str) -> None:
    """Mend the file, so that records can be appended: a header that says since when, and what there is of finished cells.

    Raises:
        OutputCut: there is no room for it; the file stays as it was.
    """
    header = replace(found.header, resumed_at=[*found.header.resumed_at, at])
    part = file.with_name(f"{file.name}.part")
    try:
        if found.left_out:
            with file.with_name(SET_ASIDE).open("a", encoding="utf-8") as aside:
                aside.writelines(f"{line}\n" for line in found.left_out)
        with part.open("w", encoding="utf-8") as mended:
            mended.writelines(f"{line}\n" for line in [to_line(header), *found.kept])
            mended.flush()
            os.fsync(mended.fileno())
        part.replace(file)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputCut(f"cannot go on in {file}, which stays as it was: {error.strerror or error}") from error
