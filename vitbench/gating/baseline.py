"""Baselines: what runs of one state of the code said, in small files that a repository can keep and a person can compare.

``vitbench-baselines/NAME/`` holds a file for each machine and set of packages (``vitbench.machine_key``). A file keeps
verdicts, counts and, for each cell, the median of each run; no samples. A run of the same code adds its times, whose
spread is the noise floor; a run of other code begins the file anew.
"""

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from vitbench.errors import OutputUnwritable, ResultsUnreadable
from vitbench.folders import RESULTS
from vitbench.gating.decision import BaseUnavailable
from vitbench.gating.facts import Facts, Judged, Measured, Source, facts
from vitbench.lock_file import LockFile
from vitbench.machine_key import differences
from vitbench.records import Outcome
from vitbench.requirement import Status
from vitbench.results import read

HOME = Path("vitbench-baselines")
_FORMAT, _VERSION = "vitbench baseline", 1


def file_for(name: str, key: Mapping[str, str], home: Path = HOME) -> Path:
    """Where the baseline of that name is kept for a machine and its packages."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    device = re.sub(r"[^a-z0-9]+", "-", str(key.get("device_name")).lower()).strip("-")
    return home / name / f"{device[:40].strip('-') or 'device'}-{digest}.json"


def save(name: str, found: Facts, home: Path = HOME) -> tuple[Path, str]:
    """Add a run's facts to those of earlier runs of the same code, or begin anew; the file, and which of the two it was.

    Raises:
        OutputUnwritable: the file cannot be written.
        ResultsUnreadable: there is one that cannot be read; it is left as it is.
    """
    file = file_for(name, found.key, home)
    with _alone(file.parent):
        earlier = load(file) if file.exists() else None
        whole, how = found, f"begun with {found.runs[-1].began}"
        if earlier is not None:
            changed = _changed(earlier, found)
            whole = found if changed else _joined(earlier, found)
            how = f"begun anew ({changed})" if changed else f"{len(whole.runs)} runs of the same code"
        _write(file, whole)
    return file, how


def _changed(earlier: Facts, found: Facts) -> str:
    """What shows that the runs are not of the same code; empty where nothing does."""
    before, now = earlier.runs[-1].commit, found.runs[-1].commit
    if before != now:
        return f"commit {before[:12] or 'unknown'} before, now {now[:12] or 'unknown'}"
    for name, version in found.versions.items():
        if earlier.versions.get(name) != version:
            return f"{name} {earlier.versions.get(name, 'not there')} before, now {version}"
    if {place: one.status for place, one in earlier.judged.items()} != {
        p: one.status for p, one in found.judged.items()
    }:
        return "other verdicts"
    if {cell: one.counts for cell, one in earlier.measured.items()} != {
        c: one.counts for c, one in found.measured.items()
    }:
        return "other cells or counts"
    return ""


def _joined(earlier: Facts, found: Facts) -> Facts:
    if found.runs[-1].digest in {run.digest for run in earlier.runs}:
        return earlier
    measured = {
        cell: replace(now, times_s=[*earlier.measured[cell].times_s, *now.times_s])
        for cell, now in found.measured.items()
    }
    return replace(found, runs=[*earlier.runs, *found.runs], measured=measured)


def keep_newest(file: Path, runs: int) -> int:
    """Drop the times of all runs but so many, the newest; how many runs were dropped.

    Raises:
        OutputUnwritable: the file cannot be written.
        ResultsUnreadable: it cannot be read; it is left as it is.
    """
    with _alone(file.parent):
        kept = load(file)
        dropped = len(kept.runs) - runs
        if dropped > 0:
            measured = {cell: replace(one, times_s=list(one.times_s)[-runs:]) for cell, one in kept.measured.items()}
            _write(file, replace(kept, runs=list(kept.runs)[-runs:], measured=measured))
    return max(0, dropped)


def remove(file: Path) -> None:
    """Delete it.

    Raises:
        OutputUnwritable: that cannot be.
    """
    try:
        file.unlink()
    except OSError as error:
        raise OutputUnwritable(f"cannot remove {file}: {error.strerror or error}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only process that changes a baseline's files: another one's times would be lost; it waits for its turn.

    Raises:
        OutputUnwritable: the folder cannot be made, or another process does not let it go.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"cannot write {folder}: {error.strerror or error}") from error
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        with closing(LockFile(folder / _LOCK)) as lock:
            if lock.acquire() and lock.is_in_place():  # else removed by its last holder just before it was ours
                try:
                    yield
                finally:
                    lock.remove()
                return
        if time.monotonic() > until_s:
            raise OutputUnwritable(f"another process has held {folder} for {_PATIENCE_S:.0f} s; end it, and save again")
        time.sleep(_POLL_S)


_LOCK, _PATIENCE_S, _POLL_S = "baseline.lock", 30.0, 0.02


def _write(file: Path, whole: Facts) -> None:
    beside = file.with_name(f"{file.stem}.{os.getpid()}.tmp")
    text = json.dumps(_to_json(whole), indent=1, ensure_ascii=False) + "\n"
    try:  # a lone surrogate, of somebody's message, is written as JSON's own escape
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise OutputUnwritable(f"cannot write {file}: {error.strerror or error}") from error


def _to_json(whole: Facts) -> dict[str, Any]:
    """Sorted, a line for each verdict, count and time, so that a difference shows what changed."""
    verdicts: dict[str, dict[str, Any]] = {}
    for (cell, requirement), one in sorted(whole.judged.items()):
        of_cell = verdicts.setdefault(cell, {"implementation": one.implementation, "requirements": {}})
        of_cell["requirements"][requirement] = one.status
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "key": dict(whole.key),
        "runs": [asdict(run) for run in whole.runs],
        "versions": dict(sorted(whole.versions.items())),
        "verdicts": verdicts,
        "cells": {
            cell: {
                "outcome": one.outcome,
                "reason": one.reason,
                "counts": dict(one.counts),
                "times_s": list(one.times_s),
            }
            for cell, one in sorted(whole.measured.items())
        },
    }


def load(file: Path) -> Facts:
    """The facts that a baseline's file holds.

    Raises:
        ResultsUnreadable: missing, cut short, no baseline, or of a newer format; the text says which.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsUnreadable(f"cannot read baseline {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsUnreadable(f"{file} is no whole baseline: {error}; save it anew with --save-baseline") from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise ResultsUnreadable(f"{file} is no vitbench baseline (vitbench run --save-baseline NAME writes one)")
    if data.get("version") != _VERSION:
        raise ResultsUnreadable(
            f"{file} has version {data.get('version')}, this vitbench reads {_VERSION}; save it anew with --save-baseline"
        )
    try:
        return _from_json(data, str(file))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ResultsUnreadable(
            f"{file} is no whole baseline: {type(error).__name__}: {error}; save it anew with --save-baseline"
        ) from error


def _from_json(data: Mapping[str, Any], name: str) -> Facts:
    runs = [_source(run) for run in data["runs"]]
    if not runs:
        raise ValueError("it names no run")
    return Facts(
        name=name,
        key={str(part): str(value) for part, value in data["key"].items()},
        runs=runs,
        versions={_text(one): _text(version) for one, version in data["versions"].items()},
        judged={
            (cell, requirement): Judged(implementation=_text(of_cell["implementation"]), status=Status(status))
            for cell, of_cell in data["verdicts"].items()
            for requirement, status in of_cell["requirements"].items()
        },
        measured={
            cell: Measured(
                outcome=Outcome(one["outcome"]),
                reason=_text(one["reason"]),
                counts={count: _count(value) for count, value in one["counts"].items()},
                times_s=[_seconds(value) for value in _listed(one["times_s"])],
            )
            for cell, one in data["cells"].items()
        },
    )


def _source(run: Mapping[str, Any]) -> Source:
    datetime.fromisoformat(run["began"])  # raises ValueError
    return Source(digest=_text(run["digest"]), began=run["began"], commit=_text(run["commit"]))


def _seconds(value: Any) -> float:
    if not (_is_number(value) and value > 0):
        raise ValueError(f"a time of {value} s")
    return float(value)


def _count(value: Any) -> float | str:
    if not (isinstance(value, str) or (_is_number(value) and value >= 0)):
        raise ValueError(f"a count of {value}")
    found: float | str = value
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value} where a text has to be")  # noqa: TRY004  # of a file, not of an argument
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value} where a list has to be")  # noqa: TRY004
    return value


def saved(name: str, home: Path = HOME) -> list[Path]:
    """The files of a baseline, one for each machine and its packages."""
    return sorted((home / name).glob("*.json"))


def names(home: Path = HOME) -> list[str]:
    """All that are there."""
    return sorted(folder.name for folder in home.glob("*") if saved(folder.name, home))


def base(given: str, key: Mapping[str, str], *, nearest: bool = False, home: Path = HOME) -> Facts:
    """What a user calls a base: a run's folder, its results, a baseline's file, or the name of a baseline.

    Args:
        given: as on a command line.
        key: of the run that it is for, which decides between the files of a baseline.
        nearest: one under another key will do, the one that differs in the fewest parts.
        home: where baselines are looked for by name.

    Raises:
        BaseUnavailable: there is none, none under this key, or it cannot be read; the text says which.
    """
    try:
        path = _place(given, key, home, nearest=nearest)
        return load(path) if path.suffix == ".json" else facts(read(path))
    except ResultsUnreadable as error:
        raise BaseUnavailable(f"no base to compare with: {error}") from error
    except OSError as error:  # a name too long for the system, say
        raise BaseUnavailable(f"no base to compare with: {given!r}: {error.strerror or error}") from error


def _place(given: str, key: Mapping[str, str], home: Path, *, nearest: bool) -> Path:
    path = Path(given)
    if path.is_dir() and (path / RESULTS).exists():
        return path / RESULTS
    if path.is_file() or path.suffix in {".json", ".jsonl"}:
        return path
    files = saved(path.name, path.parent) if path.is_dir() else []
    if not files and str(path) == path.name:  # a folder of another kind may have the name of a baseline
        files = saved(path.name, home)
    other = {file: differences(load(file).key, key) for file in files}
    if not other:
        there = ", ".join(names(home)) or "none"
        raise BaseUnavailable(
            f"no base to compare with: {given!r} is no run, no file and no baseline in {home} (there: {there}); "
            f"vitbench run --save-baseline {given} makes one"
        )
    file = min(other, key=lambda one: len(other[one]))
    if other[file] and not nearest:
        raise BaseUnavailable(
            f"the baseline {given!r} has none of this machine and these packages ({'; '.join(other[file])}); "
            f"vitbench run --save-baseline {given} makes one"
        )
    return file
