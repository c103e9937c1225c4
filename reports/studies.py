"""The paper's studies of all runs: a section for each suite, with charts, pictures, and the figures behind them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vitbench import units
from vitbench.records import Outcome, StudyRecord
from vitbench.reports.series import SeriesChart, told
from vitbench.reports.study_charts import COMPARED, study_charts
from vitbench.reports.study_pictures import Gallery, galleries
from vitbench.reports.study_tables import CurveTable, curve_table
from vitbench.reports.study_texts import READING, TEXTS, Text
from vitbench.results import Run
from vitbench.study import Scalar
from vitbench.wording import abridged

_ORDER = tuple(TEXTS)
_MOST_SETTINGS = 24
_MOST_COLUMNS = 12


@dataclass(frozen=True, kw_only=True)
class Value:
    """A figure as it stands in the table."""

    text: str
    interval: str  # empty where there is none
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of every column; None where it has none."""

    name: str
    series: str
    unit: str
    note: str
    values: tuple[Value | None, ...]


@dataclass(frozen=True, kw_only=True)
class Absence:
    """What was not measured of whom, and why."""

    who: str
    what: str
    hook: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """All records of one suite."""

    id: str
    suite: str
    text: Text
    data: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]  # whose, and what
    seeds: int
    interval: str
    charts: tuple[SeriesChart, ...]
    tables: tuple[CurveTable, ...]  # behind the charts
    galleries: tuple[Gallery, ...]
    readings: Mapping[str, str]  # of a gallery's kind
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    absences: tuple[Absence, ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]  # of the charts, pictures and columns, and why


def studies(runs: Sequence[Run], labels: Sequence[str]) -> tuple[Study, ...]:
    """In the order of the paper; suites that this version does not know come last, with what can be said of any."""
    several = len(runs) > 1
    found: dict[str, list[tuple[StudyRecord, str]]] = {}
    for run, name in zip(runs, labels, strict=True):
        for record in run.studies:
            found.setdefault(str(record.suite), []).append((record, name if several else ""))
    known = [suite for suite in _ORDER if suite in found]
    ordered = [*known, *(suite for suite in found if suite not in known)]
    return tuple(_study(number, suite, found[suite]) for number, suite in enumerate(ordered, 1))


def _study(number: int, suite: str, found: Sequence[tuple[StudyRecord, str]]) -> Study:
    names = {id(record): _label(record, run) for record, run in found}
    records = sorted((record for record, _ in found if record.outcome == Outcome.MEASURED), key=_compared_last)

    def label(record: StudyRecord) -> str:
        return names[id(record)]

    scalars = [scalar for record in records for scalar in record.scalars]
    every = [record for record, _ in found]
    (charts, undrawn), (pictures, unseen) = study_charts(f"study-{number}", records, label), galleries(records, label)
    without_column = [f"figures of {label(record)}: in the results" for record in records[_MOST_COLUMNS:]]
    usual = next((scalar.interval for scalar in scalars if scalar.interval), "")
    return Study(
        id=f"study-{number}",
        suite=suite,
        text=TEXTS.get(suite, Text(title=abridged(suite, 60), done="", paper="")),
        data=tuple(dict.fromkeys(record.data for record in records if record.data)),
        settings=tuple((label(record), _settings(record)) for record in records if record.settings),
        seeds=max((len(record.seeds) for record in records), default=0),
        interval=usual,
        charts=charts,
        tables=tuple(curve_table(chart) for chart in charts),
        galleries=pictures,
        readings=READING,
        columns=tuple(label(record) for record in records[:_MOST_COLUMNS]),
        rows=_rows(records[:_MOST_COLUMNS], usual),
        absences=tuple(absence for record in every for absence in _absences(record, label(record))),
        notes=tuple(f"{label(record)}: {note}" for record in records for note in record.notes),
        left_out=told([*undrawn, *unseen, *without_column]),
    )


def _label(record: StudyRecord, run: str) -> str:
    return abridged(" ".join(filter(None, (record.implementation, record.task, record.model, run and f"({run})"))), 60)


def _compared_last(record: StudyRecord) -> bool:
    """The ResNet that all are compared with stands behind them."""
    return record.implementation == COMPARED


def _settings(record: StudyRecord) -> str:
    if not isinstance(record.settings, Mapping):  # of another writer
        return _said(record.settings)
    pairs = [f"{name} {_said(value)}" for name, value in record.settings.items()]
    further = len(pairs) - _MOST_SETTINGS
    return ", ".join([*pairs[:_MOST_SETTINGS], *([f"and {further} more"] if further > 0 else [])])


def _said(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return abridged(value, 80)
    return units.count(value) if isinstance(value, int) else units.number(value)


def _rows(records: Sequence[StudyRecord], usual: str) -> tuple[Row, ...]:
    """With the kind of interval, where it is another than the usual one."""
    by_name: dict[tuple[str, str, str], dict[int, Scalar]] = {}
    for place, record in enumerate(records):
        for scalar in record.scalars:
            by_name.setdefault((scalar.name, scalar.series, scalar.unit), {})[place] = scalar
    return tuple(
        Row(
            name=name,
            series=series,
            unit=unit,
            note="; ".join([*_notes(found.values()), *_unusual(found.values(), usual)]),
            values=tuple(_value(found[place]) if place in found else None for place in range(len(records))),
        )
        for (name, series, unit), found in by_name.items()
    )


def _notes(scalars: Iterable[Scalar]) -> list[str]:
    return [scalar.note for scalar in scalars if scalar.note][:1]


def _unusual(scalars: Iterable[Scalar], usual: str) -> list[str]:
    return [f"interval: {scalar.interval}" for scalar in scalars if scalar.interval not in ("", usual)][:1]


def _value(scalar: Scalar) -> Value:
    known = scalar.low is not None and scalar.high is not None
    return Value(
        text="not finite" if scalar.value is None else units.number(scalar.value),
        interval=units.interval(scalar.low, scalar.high) if known else "",
        seeds=scalar.seeds,
    )


def _absences(record: StudyRecord, who: str) -> list[Absence]:
    if record.outcome != Outcome.MEASURED:
        return [Absence(who=who, what=str(record.outcome), hook="", reason=record.reason)]
    return [Absence(who=who, what=one.what, hook=one.hook, reason=one.reason) for one in record.missing]
