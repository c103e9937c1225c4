"""Implementations side by side: each one's verdict, and every requirement against all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vitbench.diagnosis.record import Diagnosis
from vitbench.errors import UsageError
from vitbench.matrix import Column, Matrix, Row, chosen, columns, matrix, run_labels
from vitbench.records import Header, RequirementRecord, VerdictRecord, in_words
from vitbench.requirement import Level, Subject, Tally, Verdict, tally
from vitbench.results import Run
from vitbench.specification import total
from vitbench.wording import plain, plural

NO_VERDICT = "NO VERDICT"
_SUITE = "conformance"  # begins the keys of its cells


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One implementation's verdict; every tally is of all requirements that its level has."""

    column: Column
    verdict: str
    must: Tally
    should: Tally
    may: Tally
    reason: str  # why there is no other verdict; empty where the requirements say it
    header: Header  # of its run
    duration_s: float
    diagnosis: Diagnosis | None = None
    inferred: bool = False  # judged behind an adapter that vitbench inferred

    @property
    def said(self) -> str:
        """The verdict as it is shown."""
        return in_words(self.verdict, self.inferred)

    @property
    def conforms(self) -> bool:
        """Whether it does, as judged."""
        return self.verdict == Verdict.CONFORMS

    @property
    def title(self) -> str:
        """Its name and version."""
        name, label = plain(self.column.implementation), plain(self.column.label)
        versioned = plain(f"{name} {self.column.version}")
        return label if versioned in label else label.replace(name, versioned, 1)

    @property
    def tallies(self) -> tuple[tuple[Level, Tally], ...]:
        """By level, the most binding first."""
        return (Level.MUST, self.must), (Level.SHOULD, self.should), (Level.MAY, self.may)


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """What is compared."""

    standings: tuple[Standing, ...]  # one for each column of the matrix
    matrix: Matrix
    shown: Matrix  # what is to be listed of it
    notes: tuple[str, ...]  # what a reader has to know before believing it

    @property
    def before_and_after(self) -> bool:
        """Whether it is one implementation, judged in several runs."""
        names = {standing.column.implementation for standing in self.standings}
        return len(names) == 1 and len({standing.column.run for standing in self.standings}) > 1

    @property
    def title(self) -> str:
        """The outcome of the whole in one line."""
        number = len(self.standings)
        conforming = sum(standing.conforms for standing in self.standings)
        if number == 1:
            return f"{self.standings[0].title}: {self.standings[0].said}"
        if self.before_and_after:
            often = "all" if conforming == number else conforming or "none"
            return f"{plain(self.standings[0].column.implementation)} conforms in {often} of {plural(number, 'run')}"
        return f"{conforming or 'none'} of {plural(number, 'implementation')} {'conforms' if conforming == 1 else 'conform'}"


def scorecard(runs: Sequence[Run]) -> Scorecard:
    """Compare everything that these runs judged.

    Raises:
        UsageError: none of them judged anything.
    """
    names = run_labels(runs)
    found = columns(runs, names)
    if not found:
        raise UsageError(
            f"nothing was judged in {', '.join(names)}; to judge: vitbench run --suite conformance --impl NAME"
        )
    table = matrix(runs, found)
    return Scorecard(
        standings=tuple(_standing(column, runs[column.run], table) for column in found),
        matrix=table,
        shown=table,
        notes=tuple(_notes(runs, names)),
    )


def showing(card: Scorecard, wanted: Callable[[Row], bool]) -> Scorecard:
    """The same with some of the requirements listed; verdicts and counts stay those of all."""
    return replace(card, shown=chosen(card.shown, wanted))


def judged_part(runs: Sequence[Run], names: Sequence[str] = ()) -> list[Run]:
    """The runs without measurements, and of the implementations named only, if any are.

    Raises:
        UsageError: a name that none of the runs judged.
    """
    present = dict.fromkeys(str(record.implementation) for run in runs for record in _records(run))
    for name in names:
        if name not in present:
            known = ", ".join(map(plain, present)) or "none"
            raise UsageError(f"no implementation {plain(name)!r} was judged in these runs; there are: {known}")
    return [_part(run, set(names or present), whole=not names) for run in runs]


def _records(run: Run) -> list[VerdictRecord | RequirementRecord]:
    return [*run.verdicts, *run.requirements]


def _part(run: Run, names: set[str], *, whole: bool) -> Run:
    verdicts = [record for record in run.verdicts if record.implementation in names]
    requirements = [record for record in run.requirements if record.implementation in names]
    cells = {record.cell for record in _records(run) if record.implementation in names}
    planned = [cell for cell in run.header.planned if cell in cells or (whole and str(cell).startswith(_SUITE))]
    return Run(
        path=run.path,
        header=replace(run.header, planned=planned),
        requirements=requirements,
        verdicts=verdicts,
        measurements=[],
        footer=run.footer,
        damaged_lines=run.damaged_lines,
    )


def _standing(column: Column, run: Run, table: Matrix) -> Standing:
    records = [record for record in run.verdicts if record.cell == column.cell]
    return _judged(column, run, records[-1]) if records else _unjudged(column, run, table)


def _judged(column: Column, run: Run, record: VerdictRecord) -> Standing:
    return Standing(
        column=column,
        verdict=plain(record.verdict),
        must=record.must,
        should=record.should,
        may=record.may,
        reason=str(record.reason or ""),
        header=run.header,
        duration_s=record.duration_s,
        diagnosis=record.diagnosis,
        inferred=bool(record.inferred),
    )


def _unjudged(column: Column, run: Run, table: Matrix) -> Standing:
    """Stopped before its end, or a selection: what was judged is counted against all there is to be judged."""
    place = table.columns.index(column)
    records = [row.outcomes[place].record for row in table.rows]
    statuses = [(record.level, record.status) for record in records if record is not None]
    subject: Subject = "kernel" if any(record and record.area == "KERNEL" for record in records) else "model"
    must, should, may = (
        tally(statuses, level, max(_total(run, level, subject), sum(its == level for its, _ in statuses)))
        for level in Level
    )
    return Standing(
        column=column,
        verdict=NO_VERDICT,
        must=must,
        should=should,
        may=may,
        reason=f"the results hold {plural(len(statuses), 'requirement')} of it and no verdict",
        header=run.header,
        duration_s=sum(record.duration_s for record in records if record is not None),
    )


def _total(run: Run, level: Level, subject: Subject) -> int:
    """How many requirements of a level there were: by another verdict of the run, else by this version's specification."""
    for record in run.verdicts:
        return {Level.MUST: record.must, Level.SHOULD: record.should, Level.MAY: record.may}[level].total
    return total(level, subject)


def _notes(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    for run, name in zip(runs, map(plain, names), strict=True):
        if not run.verdicts and not run.requirements:
            yield f"{name}: nothing was judged in this run."
            continue
        if not run.complete:
            yield f"{name}: this run did not come to its end, so what follows is only a part of it."
        judged = {record.cell for record in run.verdicts}
        missing = [plain(cell) for cell in run.header.planned if str(cell).startswith(_SUITE) and cell not in judged]
        if missing:
            yield f"{name}: planned, and without a verdict: {', '.join(missing)}."
        if run.damaged_lines:
            yield f"{name}: {plural(run.damaged_lines, 'line')} could not be read and {'is' if run.damaged_lines == 1 else 'are'} left out."
    for what in ("preset", "seed", "vitbench_version"):
        values = [plain(getattr(run.header, what)) for run in runs]
        if len(set(values)) > 1:
            listed = ", ".join(f"{value} in {name}" for value, name in zip(values, map(plain, names), strict=True))
            yield f"The runs differ in their {_WORDS[what]}: {listed}."


_WORDS = {"preset": "preset", "seed": "seed", "vitbench_version": "version of vitbench"}
