"""Baselines: what runs of one state of the code said, in small files that a repository can keep and a person can compare.

``vitbench-baselines/NAME/`` holds a file for each machine and set of packages (``vitbench.gating.key``). A file keeps
verdicts, counts and, for each cell, the median of each run; no samples. A run of the same code adds its times, whose
spread is the noise floor; a run of other code begins the file anew.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vitbench.errors import OutputUnwritable, ResultsUnreadable
from vitbench.folders import RESULTS
from vitbench.gating.decision import BaseUnavailable
from vitbench.gating.facts import Facts, Judged, Measured, Source, facts
from vitbench.gating.key import differences
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


def newest(kept: Facts, runs: int) -> Facts:
    """The same with the times of no more than so many runs, the newest."""
    measured = {cell: replace(one, times_s=list(one.times_s)[-runs:]) for cell, one in kept.measured.items()}
    return replace(kept, runs=list(kept.runs)[-runs:], measured=measured)


def rewrite(file: Path, kept: Facts) -> None:
    """Put facts in the place of those that a file holds."""
    _write(file, kept)


def _write(file: Path, whole: Facts) -> None:
    beside = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(_to_json(whole), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(file)
    except OSError as error:
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
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsUnreadable(
            f"{file} is no whole baseline: {type(error).__name__}: {error}; save it anew with --save-baseline"
        ) from error


def _from_json(data: Mapping[str, Any], name: str) -> Facts:
    runs = [Source(**run) for run in data["runs"]]
    if not runs:
        raise ValueError("it names no run")
    return Facts(
        name=name,
        key={str(part): str(value) for part, value in data["key"].items()},
        runs=runs,
        versions=dict(data["versions"]),
        judged={
            (cell, requirement): Judged(implementation=of_cell["implementation"], status=Status(status))
            for cell, of_cell in data["verdicts"].items()
            for requirement, status in of_cell["requirements"].items()
        },
        measured={
            cell: Measured(
                outcome=Outcome(one["outcome"]),
                reason=one["reason"],
                counts=dict(one["counts"]),
                times_s=[_seconds(value) for value in one["times_s"]],
            )
            for cell, one in data["cells"].items()
        },
    )


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a time of {value} s")
    return seconds


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


def _place(given: str, key: Mapping[str, str], home: Path, *, nearest: bool) -> Path:
    path = Path(given)
    if path.is_dir() and (path / RESULTS).exists():
        return path / RESULTS
    if path.is_file() or path.suffix in {".json", ".jsonl"}:
        return path
    other = {
        file: differences(load(file).key, key) for file in saved(path.name, path.parent if path.is_dir() else home)
    }
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
