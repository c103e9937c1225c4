"""Which baselines are kept, and for how long."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, stdev

from vitbench.errors import ResultsUnreadable, UsageError
from vitbench.gating import baseline
from vitbench.gating.facts import Facts
from vitbench.wording import plural


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One file of a baseline."""

    name: str
    file: Path
    kept: Facts | None  # None: it cannot be read
    problem: str = ""

    @property
    def noise(self) -> float | None:
        """Median over cells of the standard deviation of a time from run to run, relative; None without two runs."""
        found = (
            [] if self.kept is None else [one.times_s for one in self.kept.measured.values() if len(one.times_s) > 1]
        )
        return median(stdev(times) / median(times) for times in found) if found else None


def require_one(given: argparse.Namespace) -> None:
    """Refuse a name that nothing is saved under, and to remove without a name.

    Raises:
        UsageError: the text says what is there.
    """
    there = baseline.names(given.home)
    for name in given.names:
        if name not in there:
            raise UsageError(f"no baseline {name!r} in {given.home}; there: {', '.join(there) or 'none'}")
    if given.remove and not given.names:
        raise UsageError("--remove takes the names of those to remove")


def listed(names: Sequence[str], home: Path) -> list[Listed]:
    """Every file of these baselines; of all, where none is named."""
    return [_read(name, file) for name in names or baseline.names(home) for file in baseline.saved(name, home)]


def _read(name: str, file: Path) -> Listed:
    try:
        return Listed(name=name, file=file, kept=baseline.load(file))
    except ResultsUnreadable as error:
        return Listed(name=name, file=file, kept=None, problem=str(error))


def prune(given: argparse.Namespace, now: datetime | None = None) -> Iterator[str]:
    """Do what was asked for, and tell of each file what was done."""
    oldest = None if given.older_than is None else _before(now or datetime.now(UTC), given.older_than)
    for one in listed(given.names, given.home):
        if given.remove or (oldest is not None and one.kept is not None and _began(one.kept) < oldest):
            baseline.remove(one.file)
            yield f"removed {one.file}"
        elif (
            given.keep is not None and one.kept is not None and (dropped := baseline.keep_newest(one.file, given.keep))
        ):
            yield f"{one.file}: {plural(dropped, 'run')} dropped, {given.keep} kept"


def _before(now: datetime, days: int) -> datetime:
    try:
        return now - timedelta(days=days)
    except OverflowError:  # before the first day that there is
        return datetime.min.replace(tzinfo=UTC)


def _began(kept: Facts) -> datetime:
    when = datetime.fromisoformat(kept.runs[-1].began)
    return when if when.tzinfo else when.replace(tzinfo=UTC)
