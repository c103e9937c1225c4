"""A calibration's results: JSON Lines, a header, a row for each candidate as it ends, a footer once all have."""

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from vitbench.calibration.matrix import Cell, Row
from vitbench.calibration.plan import Extent
from vitbench.calibration.specimens import Specimen
from vitbench.errors import OutputUnwritable, ResultsUnreadable
from vitbench.requirement import Status
from vitbench.specification import REQUIREMENTS


@dataclass(frozen=True, kw_only=True)
class Header:
    """What was run, and on what."""

    started_at: str  # ISO 8601, UTC
    extent: Extent
    vitbench: str
    environment: Mapping[str, Any]

    def same_run(self, other: Mapping[str, Any]) -> bool:
        """Whether rows under another header can stand beside this one's."""
        mine = json.loads(json.dumps(asdict(self)))
        return all(mine[name] == other.get(name) for name in ("extent", "vitbench")) and all(
            mine["environment"].get(name) == other.get("environment", {}).get(name)
            for name in ("torch", "python", "packages", "git_commit")
        )


class Recorder:
    """Appends what is found to a file, if there is one; nothing is lost when the run is stopped.

    Raises:
        OutputUnwritable: the file cannot be written.
    """

    def __init__(self, path: Path | None, header: Header, kept: Sequence[Row] = ()) -> None:
        self._file: TextIO | None = None
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise OutputUnwritable(
                f"cannot write {path}: {error.strerror or error}; choose another folder with --output"
            ) from error
        self._write({"kind": "calibration", **asdict(header)})
        for row in kept:
            self.add(row)

    def add(self, row: Row) -> None:
        """One candidate, judged by all that it was to be judged by."""
        line = {"kind": "row", "specimen": row.specimen.key, "examples": _by(row, lambda cell: str(cell.examples))}
        line["statuses"] = _by(row, lambda cell: " ".join(sorted(Counter(cell.statuses).elements())))
        reasons = {
            id_: textwrap.shorten(cell.reason, _LONGEST_REASON) for id_, cell in row.cells.items() if cell.reason
        }
        seconds = round(sum(cell.duration_s for cell in row.cells.values()), 2)
        self._write({**line, "reasons": reasons, "duration_s": seconds})

    def finish(self, duration_s: float, faults: Sequence[str]) -> None:
        """The footer of a run that came to its end."""
        self._write({"kind": "footer", "duration_s": round(duration_s, 1), "faults": list(faults)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()


def unfinished(path: Path, header: Header, known: Mapping[str, Specimen]) -> list[Row]:
    """The rows of an interrupted run that this one would only repeat; none where the file is another run's.

    Raises:
        ResultsUnreadable: the file is none of a calibration.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        first, rest = lines[0], lines[1:]
        if first["kind"] != "calibration" or not header.same_run(first):
            return []
        return [_row(line, known[line["specimen"]]) for line in rest if line["kind"] == "row"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ResultsUnreadable(f"{path} is no results file of a calibration ({error}); remove it") from error


def _by(row: Row, fact: Callable[[Cell], str]) -> dict[str, list[str]]:
    """A row's requirements by what is the same of them, since most are alike."""
    found: dict[str, list[str]] = {}
    for id_, cell in row.cells.items():
        found.setdefault(fact(cell), []).append(id_.removeprefix(_PREFIX))
    return found


def _row(line: Mapping[str, Any], specimen: Specimen) -> Row:
    examples = {_PREFIX + short: int(count) for count, ids in line["examples"].items() for short in ids}
    cells = {
        _PREFIX + short: Cell(
            statuses=Counter(map(Status, statuses.split())),
            examples=examples[_PREFIX + short],
            reason=line["reasons"].get(_PREFIX + short, ""),
        )
        for statuses, ids in line["statuses"].items()
        for short in ids
    }
    return Row(specimen=specimen, cells={id_: cells[id_] for id_ in REQUIREMENTS if id_ in cells})


_PREFIX = "VIT-"
_LONGEST_REASON = 160
