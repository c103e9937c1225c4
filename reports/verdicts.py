"""Each implementation in one sentence, with the figure that matters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitbench.diagnosis.record import Diagnosis
from vitbench.matrix import Column, Mark, Matrix, Outcome, Row
from vitbench.records import VerdictRecord
from vitbench.reports.environment import flat
from vitbench.reports.throughput import Comparison, Measurement
from vitbench.requirement import Level, Tally, Verdict
from vitbench.results import Run
from vitbench.wording import plain, plural

TONES: dict[str, str] = {
    Verdict.CONFORMS: "good",
    Verdict.DOES_NOT_CONFORM: "bad",
    Verdict.INCOMPLETE: "unsure",
    Verdict.ADAPTER_BROKEN: "bad",
    Verdict.HARNESS_ERROR: "unsure",
}
NO_VERDICT = "NO VERDICT"
NOT_JUDGED = "NOT JUDGED"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A requirement that keeps an implementation from a better verdict."""

    id: str
    anchor: str
    level: str
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class FaultGroup:
    """The faults of one kind."""

    mark: Mark
    faults: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of the bar that shows all requirements of one level."""

    key: str  # of a Mark
    word: str
    count: int
    start: int


@dataclass(frozen=True, kw_only=True)
class Lesser:
    """The requirements of a level whose subject can be left out."""

    level: str
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on one implementation, and why."""

    column: Column | None  # None: it was measured, but not judged
    run: str
    implementation: str
    version: str
    label: str  # implementation, or what tells it from another of that name
    tone: str  # good, bad, unsure, none
    verdict: str
    must: Tally | None
    should: Tally | None
    may: Tally | None
    reason: str
    diagnosis: Diagnosis | None
    conventions: tuple[tuple[str, str | None], ...]  # as the adapter declares them
    inferred: tuple[str, ...]  # what an adapter that vitbench inferred assumes; empty for any other
    faults: tuple[Fault, ...]  # MUST before SHOULD before MAY, failures first
    measurement: Measurement | None  # under the conditions of the headline
    elsewhere: Measurement | None  # the first figure under other conditions, where the headline has no row of it

    @property
    def measured(self) -> bool:
        """Whether its throughput was measured, under whatever conditions."""
        return self.measurement is not None or self.elsewhere is not None

    @property
    def versioned(self) -> bool:
        """Whether the label has the version in it, to tell it from another."""
        return plain(f"{self.implementation} {self.version}") in self.label

    @property
    def must_bar(self) -> tuple[Segment, ...]:
        """All MUST requirements, in the order passed, failed, in error, not offered, not judged."""
        return tuple(_segments(self.must)) if self.must else ()

    @property
    def deciding(self) -> tuple[FaultGroup, ...]:
        """The requirements that keep it from a better verdict: a MUST, and whatever failed."""
        found = [fault for fault in self.faults if fault.level == Level.MUST or fault.mark.key != "not-offered"]
        marks = dict.fromkeys(fault.mark for fault in found)
        return tuple(FaultGroup(mark=mark, faults=tuple(f for f in found if f.mark == mark)) for mark in marks)

    @property
    def lesser(self) -> tuple[Lesser, ...]:
        """The levels of what can be left out; what failed there decides too."""
        tallies = ((Level.SHOULD, self.should), (Level.MAY, self.may))
        return tuple(Lesser(level=str(level), tally=tally) for level, tally in tallies if tally and tally.total)


class Figures:
    """Which measurement stands beside a verdict."""

    def __init__(self, groups: Sequence[Comparison], shown: Comparison | None) -> None:
        self._shown = {(row.run, row.implementation): row for row in shown.rows} if shown else {}
        others = (row for group in groups if group is not shown for row in group.rows if row.measured)
        self._others: dict[tuple[str, str], Measurement] = {}
        for row in others:
            self._others.setdefault((row.run, row.implementation), row)

    def shown(self, run: str, implementation: str) -> Measurement | None:
        """Under the conditions of the headline."""
        return self._shown.get((run, implementation))

    def elsewhere(self, run: str, implementation: str) -> Measurement | None:
        """The first one under other conditions, of what the headline has no row of."""
        return None if self.shown(run, implementation) else self._others.get((run, implementation))


def judgements(
    runs: Sequence[Run],
    labels: Sequence[str],
    table: Matrix,
    groups: Sequence[Comparison],
    shown: Comparison | None,
) -> tuple[Judgement, ...]:
    """One per column of the matrix, then the implementations that were only measured."""
    verdicts = {(index, record.cell): record for index, run in enumerate(runs) for record in run.verdicts}
    figures = Figures(groups, shown)
    judged = [
        _judgement(column, verdicts.get((column.run, column.cell)), labels[column.run], table, figures)
        for column in table.columns
    ]
    known = {(judgement.run, judgement.implementation) for judgement in judged}
    return (*judged, *_only_measured(runs, labels, known, figures))


def _judgement(
    column: Column,
    record: VerdictRecord | None,
    run_label: str,
    table: Matrix,
    figures: Figures,
) -> Judgement:
    judged = sum(outcome.record is not None for _, outcome in _outcomes(table, column))
    stopped = f"the results hold {plural(judged, 'requirement')} of it and no verdict"
    return Judgement(
        column=column,
        run=run_label,
        implementation=column.implementation,
        version=column.version,
        label=column.label,
        tone=TONES.get(record.verdict, "unsure") if record else "unsure",
        verdict=str(record.verdict) if record else NO_VERDICT,
        must=record.must if record else None,
        should=record.should if record else None,
        may=record.may if record else None,
        reason=str(record.reason or "") if record else stopped,
        diagnosis=record.diagnosis if record else None,
        conventions=tuple(flat(record.conventions)) if record else (),
        inferred=tuple(map(str, record.inferred)) if record else (),
        faults=_faults(table, column),
        measurement=figures.shown(run_label, column.implementation),
        elsewhere=figures.elsewhere(run_label, column.implementation),
    )


def _only_measured(
    runs: Sequence[Run],
    labels: Sequence[str],
    known: set[tuple[str, str]],
    figures: Figures,
) -> Iterator[Judgement]:
    for run, label in zip(runs, labels, strict=True):
        versions = {str(record.implementation): str(record.version) for record in reversed(run.measurements)}
        for name in dict.fromkeys(str(record.implementation) for record in run.measurements):
            if (label, name) not in known:
                yield Judgement(
                    column=None,
                    run=label,
                    implementation=name,
                    version=versions[name],
                    label=name if len(runs) == 1 else f"{name}, {label}",
                    tone="none",
                    verdict=NOT_JUDGED,
                    must=None,
                    should=None,
                    may=None,
                    reason="measured only; the conformance suite tells whether what was timed computes a ViT",
                    diagnosis=None,
                    conventions=(),
                    inferred=(),
                    faults=(),
                    measurement=figures.shown(label, name),
                    elsewhere=figures.elsewhere(label, name),
                )


def _faults(table: Matrix, column: Column) -> tuple[Fault, ...]:
    order = [str(level) for level in table.levels]
    faults = [
        Fault(id=row.id, anchor=outcome.anchor, level=row.level, mark=outcome.mark)
        for row, outcome in _outcomes(table, column)
        if outcome.mark.has_evidence
    ]
    return tuple(sorted(faults, key=lambda fault: (order.index(fault.level), -fault.mark.severity)))


def _outcomes(table: Matrix, column: Column) -> Iterator[tuple[Row, Outcome]]:
    place = table.columns.index(column)
    return ((row, row.outcomes[place]) for area in table.areas for row in area.rows)


def _segments(tally: Tally) -> Iterator[Segment]:
    judged = tally.passed + tally.failed + tally.errors + tally.not_offered
    start = 0
    for key, word, number in (
        ("passed", "passed", tally.passed),
        ("failed", "failed", tally.failed),
        ("error", "harness errors", tally.errors),
        ("not-offered", "not offered", tally.not_offered),
        ("missing", "not judged", max(0, tally.total - judged)),
    ):
        if number:
            yield Segment(key=key, word=word, count=number, start=start)
            start += number
