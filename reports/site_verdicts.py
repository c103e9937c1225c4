"""What became of verdicts from run to run: a line for each implementation, and each requirement that turned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitbench.matrix import Mark, mark
from vitbench.records import VerdictRecord
from vitbench.reports.verdicts import TONES
from vitbench.results import Run

MOST_RUNS = 12  # that a line has room for, the newest; the table of runs has all
MOST_TURNS = 200  # the newest; the runs' own reports have all


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run stands in the site."""

    label: str
    href: str
    at: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An implementation as one run judged it."""

    place: Place
    version: str
    verdict: str
    tone: str  # good, bad, unsure
    passed: int  # of the MUSTs
    total: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """An implementation over several runs; None where a run did not judge it."""

    implementation: str
    standings: tuple[Standing | None, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The newest runs that judged anything, the oldest of them first."""

    places: tuple[Place, ...]
    lines: tuple[Line, ...]
    further: int  # older runs that judged something


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A requirement that came out otherwise than in the run before that judged it."""

    implementation: str
    version: str
    id: str
    before: Mark
    now: Mark
    place: Place


def timeline(runs: Sequence[Run], places: Sequence[Place]) -> Timeline:
    """Of runs from the oldest to the newest."""
    judged = [
        (place, {record.implementation: record for record in run.verdicts})
        for run, place in zip(runs, places, strict=True)
        if run.verdicts
    ]
    shown = judged[-MOST_RUNS:]
    names = dict.fromkeys(name for _, records in reversed(shown) for name in records)
    return Timeline(
        places=tuple(place for place, _ in shown),
        lines=tuple(
            Line(implementation=name, standings=tuple(_standing(place, records.get(name)) for place, records in shown))
            for name in sorted(names)
        ),
        further=len(judged) - len(shown),
    )


def turns(runs: Sequence[Run], places: Sequence[Place]) -> tuple[Turn, ...]:
    """The newest first; of runs from the oldest to the newest."""
    last: dict[tuple[str, str], str] = {}
    found: list[Turn] = []
    for run, place in zip(runs, places, strict=True):
        versions = _versions(run)
        for record in {(one.implementation, one.id): one for one in run.requirements}.values():
            key = (record.implementation, record.id)
            if last.get(key, record.status) != record.status:
                found.append(
                    Turn(
                        implementation=record.implementation,
                        version=versions.get(record.implementation, ""),
                        id=record.id,
                        before=mark(last[key]),
                        now=mark(record.status),
                        place=place,
                    )
                )
            last[key] = record.status
    return tuple(reversed(found))


def _versions(run: Run) -> Mapping[str, str]:
    return {record.implementation: record.version for record in run.verdicts}


def _standing(place: Place, record: VerdictRecord | None) -> Standing | None:
    if record is None:
        return None
    return Standing(
        place=place,
        version=record.version,
        verdict=str(record.verdict),
        tone=TONES.get(record.verdict, "unsure"),
        passed=record.must.passed,
        total=record.must.total,
    )
