"""``--update-known``: the file of known failures as it has to be after a run, with everything kept that a person wrote."""

import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitbench.errors import KnownFailuresUnusable, OutputUnwritable
from vitbench.known_failures import KnownFailures
from vitbench.records import RequirementRecord
from vitbench.requirement import Status

_HEADER = re.compile(r"^\[\s*[\"']?([A-Z0-9-]+)[\"']?\s*(?:\.[^\]]*)?\]", re.MULTILINE)
_MARGIN = re.compile(r"^(margin\s*=\s*)[^\s#]+", re.MULTILINE)
_FAILING = (Status.FAILED, Status.KNOWN_FAILURE)


@dataclass(frozen=True)
class Update:
    """What changes in a file."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]  # another margin
    elsewhere: Sequence[str]  # fail here, and their entries' conditions do not hold here
    text: str

    def __str__(self) -> str:
        parts = [
            f"{len(names)} {word} ({', '.join(names)})"
            for names, word in ((self.added, "added"), (self.removed, "removed"), (self.changed, "margins changed"))
            if names
        ]
        if self.added:
            parts.append("say why in each new reason: without one the file is refused")
        if self.elsewhere:
            parts.append(f"change by hand what holds elsewhere only: {', '.join(self.elsewhere)}")
        return "; ".join(parts) or "nothing to change"


def update(known: KnownFailures, here: KnownFailures, records: Sequence[RequirementRecord]) -> Update:
    """The file after a run. What was not judged, and entries whose conditions do not hold here, stay as they are.

    Args:
        known: all entries of the file; ``here``: those whose conditions hold in the run of ``records``.
    Raises:
        KnownFailuresUnusable: the file is written in a way that cannot be kept; it has to be changed by hand.
    """
    by_id = {record.id: record for record in records}
    failing = [record.id for record in records if record.status in _FAILING]
    removed = [name for name in here.entries if name in by_id and here.outdated(name, by_id[name].status)]
    changed = [name for name in failing if _margin_changes(here, by_id[name])]
    added = sorted(name for name in failing if name not in known.entries)
    blocks = dict(_blocks(known.path.read_text(encoding="utf-8") if known.path.exists() else _PREAMBLE))
    for name in removed:
        blocks.pop(name, None)
    for name in changed:
        blocks[name] = _MARGIN.sub(rf"\g<1>{_number(by_id[name].worst_margin)}", blocks[name])
    for name in added:
        blocks[name] = _block(by_id[name])
    text = "\n".join(block.strip("\n") + "\n" for block in blocks.values() if block.strip())
    _require_kept(text, known, {*known.entries, *added} - {*removed})
    elsewhere = [name for name in failing if name in known.entries and name not in here.entries]
    return Update(added, removed, changed, elsewhere, text)


def write(path: Path, text: str) -> None:
    """Put the file in place whole.

    Raises:
        OutputUnwritable: it cannot be written; what was there before stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputUnwritable(f"cannot write known failures {path}: {error.strerror or error}") from error


_PREAMBLE = "# Requirements that are known to fail; see --known-failures in pytest --help.\n"


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The text of each entry with the comments above it, in order; what stands before them under an empty name."""
    starts: list[tuple[str, int]] = []
    for header in _HEADER.finditer(text):
        if not starts or starts[-1][0] != header[1]:  # not a table within the same entry
            starts.append((header[1], _above(text, header.start())))
    yield "", text[: starts[0][1]] if starts else text
    ends = [*(start for _, start in starts[1:]), len(text)][: len(starts)]
    for (name, start), end in zip(starts, ends, strict=True):
        yield name, text[start:end]


def _above(text: str, start: int) -> int:
    """Where the comments begin that stand directly above a line."""
    lines = text[:start].splitlines(keepends=True)
    while lines and lines[-1].startswith("#"):
        start -= len(lines.pop())
    return start


def _block(record: RequirementRecord) -> str:
    margin = "" if record.worst_margin is None else f"margin = {_number(record.worst_margin)}\n"
    return f'[{record.id}]\nreason = ""  # say why; the file is refused without it\n{margin}'


def _number(margin: float | None) -> str:
    return "inf" if margin is None or math.isnan(margin) else f"{margin:.3g}"


def _margin_changes(here: KnownFailures, record: RequirementRecord) -> bool:
    entry = here.entries.get(record.id)
    if entry is None or entry.margin is None or record.worst_margin is None:
        return False
    return f"{entry.margin:.3g}" != _number(record.worst_margin)


def _require_kept(text: str, known: KnownFailures, names: set[str]) -> None:
    """The new text holds the entries it should, and says of the old ones what it said before, but for margins."""
    try:
        found = tomllib.loads(text)
        before = tomllib.loads(known.path.read_text(encoding="utf-8")) if known.path.exists() else {}
    except ValueError:
        found = before = {"": {}}
    same = all(_without_margin(found.get(name)) == _without_margin(before[name]) for name in names if name in before)
    if set(found) != names or not same:
        raise KnownFailuresUnusable(
            f"known failures {known.path}: --update-known cannot keep how this is written; change it by hand, "
            "with one [REQUIREMENT-ID] a line"
        )


def _without_margin(table: Any) -> Any:
    return {key: value for key, value in table.items() if key != "margin"} if isinstance(table, dict) else table
