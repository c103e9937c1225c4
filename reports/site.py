"""A folder of runs as a static site: an index, each run's report, and the history of every cell with its changes."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from vitbench import units
from vitbench.change_points import Change, changes, least_runs
from vitbench.conditions.record import Validity
from vitbench.errors import OutputUnwritable
from vitbench.matrix import run_labels
from vitbench.records import MeasurementRecord
from vitbench.reports import model, render
from vitbench.reports.doubts import doubts
from vitbench.reports.runs import RunFacts, run_facts
from vitbench.reports.site_verdicts import MOST_TURNS, Place, Timeline, Turn, timeline, turns
from vitbench.reports.throughput import figure
from vitbench.reports.verdicts import TONES
from vitbench.requirement import Verdict
from vitbench.results import Run
from vitbench.series import Point, series
from vitbench.wording import abridged, plural

INDEX, HISTORY, RUNS = "index.html", "history.html", "runs"
ALPHA = 0.01  # of a change that is none, by the permutation test
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")  # no names of files on Windows
_OWN = b'<meta name="generator" content="vitbench '
_HEAD_BYTES = 16_384
_LARGEST_EXPONENT = 700  # math.exp overflows a little above
_LABEL_CHARACTERS = 18  # of a run below its point
MOST_DRAWN = 200  # series; more are in tables only


@dataclass(frozen=True, kw_only=True)
class SiteRun:
    """One run as the index lists it."""

    facts: RunFacts
    href: str  # of its report
    commit: str
    torch: str
    judged: int
    conforming: int
    measured: int


@dataclass(frozen=True, kw_only=True)
class SiteStanding:
    """What the newest run that judged an implementation says of it."""

    implementation: str
    version: str
    verdict: str
    tone: str  # good, bad, unsure
    must: str
    before: str  # the verdict of the run before, where it was another
    href: str
    at: str


@dataclass(frozen=True, kw_only=True)
class SitePoint:
    """One run's figure of a cell."""

    at: str
    run: str  # its label
    href: str
    seconds: float
    low: float | None
    high: float | None
    note: str  # why it is less than sure


@dataclass(frozen=True, kw_only=True)
class SiteChange:
    """A new level, from a run on."""

    at: str
    href: str
    text: str


@dataclass(frozen=True, kw_only=True)
class SiteSeries:
    """One cell on one machine."""

    id: str
    title: str
    points: tuple[SitePoint, ...]
    changes: tuple[SiteChange, ...]
    invalid: int  # points that are left out where changes are looked for
    drawn: bool

    @property
    def without_change(self) -> str:
        """What is said where there is none."""
        least, believed = least_runs(ALPHA), len(self.points) - self.invalid
        few = f"; {least} are the least that a change can be seen in" if believed < least else ""
        aside = f", {self.invalid} INVALID left aside" if self.invalid else ""
        return f"no change of level in {plural(believed, 'run')}{few}{aside}"


@dataclass(frozen=True, kw_only=True)
class Site:
    """The whole; runs newest first, series with changes first."""

    runs: tuple[SiteRun, ...]
    standings: tuple[SiteStanding, ...]
    timeline: Timeline
    turns: tuple[Turn, ...]
    further_turns: int
    series: tuple[SiteSeries, ...]
    unreadable: tuple[str, ...]

    @property
    def title(self) -> str:
        """What there is, in one line."""
        names = [standing.implementation for standing in self.standings]
        judged = (
            f"{abridged(names[0], 40) if len(names) == 1 else plural(len(names), 'implementation')} in "
            if names
            else ""
        )
        changed = f", {plural(len(self.changed), 'cell')} changed" if self.changed else ""
        return f"{judged}{plural(len(self.runs), 'run')}{changed}"

    @property
    def changed(self) -> tuple[SiteSeries, ...]:
        """Those whose level changed."""
        return tuple(one for one in self.series if one.changes)


def build(runs: Sequence[Run], unreadable: Sequence[str] = ()) -> Site:
    """Derive the site of runs in any order; ``unreadable`` says of each results file that is left out why."""
    ordered = sorted(runs, key=lambda run: str(run.header.started_at))
    labels = run_labels(ordered)
    hrefs = _hrefs(labels)
    listed = [_run(run, label, href) for run, label, href in zip(ordered, labels, hrefs, strict=True)]
    places = [
        Place(label=label, href=href, at=str(run.header.started_at))
        for run, label, href in zip(ordered, labels, hrefs, strict=True)
    ]
    found = [_series(place, title, points, places) for place, (title, points) in enumerate(series(ordered).items())]
    turned = turns(ordered, places)
    return Site(
        runs=tuple(reversed(listed)),
        standings=_standings(ordered, hrefs),
        timeline=timeline(ordered, places),
        turns=turned[:MOST_TURNS],
        further_turns=max(0, len(turned) - MOST_TURNS),
        series=tuple(sorted(found, key=lambda one: not one.changes)),
        unreadable=tuple(unreadable),
    )


def _hrefs(labels: Sequence[str]) -> list[str]:
    """A file's name for each run, of what every server and system takes, and that no other run has in any case."""
    names = [re.sub(r"[^A-Za-z0-9.-]+", "-", label).strip("-.")[:80] or "run" for label in labels]
    names = [f"run-{name}" if _DEVICES.match(name) else name for name in names]
    times = Counter(map(str.lower, names))
    taken = {name for name, number in times.items() if number == 1}
    found = []
    for place, name in enumerate(names, 1):
        numbered = (f"{name}-{number}" for number in count(place))
        free = name if times[name.lower()] == 1 else next(one for one in numbered if one.lower() not in taken)
        taken.add(free.lower())
        found.append(f"{RUNS}/{free}.html")
    return found


def _run(run: Run, label: str, href: str) -> SiteRun:
    recorded = run.header.environment
    environment = recorded if isinstance(recorded, Mapping) else {}
    verdicts = list({record.cell: record.verdict for record in run.verdicts}.values())
    return SiteRun(
        facts=run_facts(run, label),
        href=href,
        commit=str(environment.get("git_commit") or "")[:12],
        torch=str(environment.get("torch") or "–"),
        judged=len(verdicts),
        conforming=verdicts.count(Verdict.CONFORMS),
        measured=len(run.of_implementations),
    )


def _standings(ordered: Sequence[Run], hrefs: Sequence[str]) -> tuple[SiteStanding, ...]:
    found: dict[str, SiteStanding] = {}
    for run, href in zip(ordered, hrefs, strict=True):
        for record in run.verdicts:
            known = found.get(record.implementation)
            found[record.implementation] = SiteStanding(
                implementation=record.implementation,
                version=record.version,
                verdict=record.said,
                tone=TONES.get(record.verdict, "unsure"),
                must=str(record.must),
                before=known.verdict if known is not None and known.verdict != record.verdict else "",
                href=href,
                at=str(run.header.started_at),
            )
    return tuple(sorted(found.values(), key=lambda one: one.implementation))


def _series(place: int, title: str, points: Sequence[Point], places: Sequence[Place]) -> SiteSeries:
    """A series with its changes, which are looked for among the figures that can be believed."""
    believed = [point for point in points if not _invalid(point.record)]
    return SiteSeries(
        id=f"cell-{place + 1}",
        title=title,
        points=tuple(_point(point, places[point.run]) for point in points),
        changes=tuple(
            _change(one, believed[one.first], places)
            for one in changes([math.log(point.seconds) for point in believed], alpha=ALPHA)
        ),
        invalid=len(points) - len(believed),
        drawn=place < MOST_DRAWN and len(points) > 1,
    )


def _change(change: Change, first: Point, places: Sequence[Place]) -> SiteChange:
    times = math.exp(change.log_ratio) if change.log_ratio < _LARGEST_EXPONENT else math.inf
    word = "slower" if change.log_ratio > 0 else "faster"
    text = f"{word}: {units.ratio(times)} the time before (p = {change.p_value:.3f})"
    return SiteChange(at=first.at, href=places[first.run].href, text=text)


def _invalid(record: MeasurementRecord) -> bool:
    return record.evidence is not None and record.evidence.verdict == Validity.INVALID


def _point(point: Point, place: Place) -> SitePoint:
    record = point.record
    return SitePoint(
        at=point.at,
        run=place.label,
        href=place.href,
        seconds=point.seconds,
        low=figure(record.latency_low_s),
        high=figure(record.latency_high_s),
        note=", ".join(doubts(record)),
    )


def write(runs: Sequence[Run], folder: Path, unreadable: Sequence[str], tell: Callable[[Path, int], None]) -> None:
    """Write every page, and tell of each as it is there: its place and its size in bytes.

    Raises:
        OutputUnwritable: the place cannot be written to, or pages lie there that vitbench did not write.
    """
    site = build(runs, unreadable)
    _require_own([folder / name for name in (INDEX, HISTORY, *(listed.href for listed in site.runs))])
    ordered = sorted(runs, key=lambda run: str(run.header.started_at), reverse=True)
    for run, listed in zip(ordered, site.runs, strict=True):
        page = folder / listed.href
        tell(page, render.write(model.build([run]), page))
    drawn = [_drawing(one) for one in site.series if one.drawn]
    pages = {
        HISTORY: render.site_page("site_history.html", site=site, drawn=drawn),
        INDEX: render.site_page("site_index.html", site=site),  # last: whoever sees it finds the rest
    }
    for name, text in pages.items():
        page = folder / name
        try:
            page.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise OutputUnwritable(
                f"cannot write {page}: {error.strerror or error}; choose another place with -o"
            ) from error
        tell(page, page.stat().st_size)


def _require_own(pages: Sequence[Path]) -> None:
    """Refuse to write over pages of someone else: a folder of documents may well have an index.html.

    Raises:
        OutputUnwritable: there is one.
    """
    for page in pages:
        try:
            with page.open("rb") as file:
                own = _OWN in file.read(_HEAD_BYTES)
        except OSError:  # there is none, or writing will say what is wrong
            continue
        if not own:
            raise OutputUnwritable(f"{page} was not written by vitbench; choose another folder with -o, or remove it")


def _drawing(one: SiteSeries) -> dict[str, object]:
    """A series as ``history.js`` takes it, in the unit that suits its figures."""
    unit, scale = next(
        ((name, size) for name, size in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)) if one.points[0].seconds * size >= 1),
        ("ns", 1e9),
    )

    changed = {change.href for change in one.changes}

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * scale

    points = [
        {
            "run": abridged(point.run, _LABEL_CHARACTERS),
            "value": point.seconds * scale,
            "low": scaled(point.low),
            "high": scaled(point.high),
            "sure": not point.note,
            "text": f"{abridged(point.run, 60)}, {units.moment(point.at)}\n{units.seconds(point.seconds)}{f', {point.note}' if point.note else ''}",
        }
        for point in one.points
    ]
    return {
        "id": one.id,
        "title": one.title,
        "unit": unit,
        "points": points,
        "changes": [place for place, point in enumerate(one.points) if point.href in changed],
    }
