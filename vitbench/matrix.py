"""Every requirement against every implementation: failing first, each failure with its evidence."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vitbench.folders import RESULTS
from vitbench.records import RequirementRecord, VerdictRecord
from vitbench.requirement import AREAS, Level, Status
from vitbench.results import Run
from vitbench.wording import plain

AREA_TITLES = {
    "PATCH": "Patch embedding",
    "TOKEN": "Tokens and positions",
    "BLOCK": "Encoder block",
    "ATTN": "Self-attention",
    "MLP": "Multi-layer perceptron",
    "NORM": "Layer normalisation",
    "HEAD": "Head and pooling",
    "POS": "Position resizing",
    "HYBRID": "Hybrid stem",
    "TRAIN": "Training",
    "NUM": "Numerics",
    "PURE": "Purity",
    "PATH": "Execution paths",
    "STATE": "State",
    "CONFIG": "Configuration",
    "KERNEL": "Attention kernels",
}


@dataclass(frozen=True)
class Mark:
    """An outcome as it is shown: a key for symbol and colour, and its word."""

    key: str  # passed, failed, known-failure, error, not-offered, missing, other
    word: str
    severity: int  # larger is worse

    @property
    def has_evidence(self) -> bool:
        """Whether a reader will ask why."""
        return self.key not in {"passed", "missing"}


MARKS: dict[str, Mark] = {
    Status.FAILED: Mark("failed", "failed", 6),
    Status.ERROR: Mark("error", "harness error", 5),
    Status.KNOWN_FAILURE: Mark("known-failure", "known failure", 4),
    Status.NOT_OFFERED: Mark("not-offered", "not offered", 2),
    Status.PASSED: Mark("passed", "passed", 0),
}
NOT_JUDGED = Mark("missing", "not judged", 1)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One implementation, as judged in one cell of one run."""

    run: int
    cell: str
    implementation: str
    version: str  # of the package judged; empty where no record has it
    label: str  # implementation, with what else tells it from the other columns
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One requirement for one implementation."""

    column: Column
    anchor: str
    mark: Mark
    record: RequirementRecord | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One requirement for all implementations."""

    id: str
    anchor: str
    area: str
    level: str
    statement: str
    outcomes: tuple[Outcome, ...]

    @property
    def differs(self) -> bool:
        """Whether the implementations come out differently."""
        return len({outcome.mark for outcome in self.outcomes}) > 1

    @property
    def failing(self) -> bool:
        """Whether it failed somewhere, known or not, or could not be judged for a fault of vitbench."""
        return any(outcome.mark.severity > MARKS[Status.NOT_OFFERED].severity for outcome in self.outcomes)

    @property
    def passed(self) -> bool:
        """Whether all passed."""
        return all(outcome.mark.key == "passed" for outcome in self.outcomes)

    @property
    def evidence(self) -> tuple[Outcome, ...]:
        """The outcomes that need an explanation, worst first."""
        explained = [outcome for outcome in self.outcomes if outcome.mark.has_evidence]
        return tuple(sorted(explained, key=lambda outcome: -outcome.mark.severity))

    @property
    def severity(self) -> int:
        """Of the worst outcome, then of how many there are of it; a MUST before a SHOULD."""
        worst = max((outcome.mark.severity for outcome in self.outcomes), default=0)
        many = sum(outcome.mark.severity == worst for outcome in self.outcomes) if worst else 0
        return (worst * 4 + (3 - _level_rank(self.level))) * 1000 + min(many, 999)


@dataclass(frozen=True, kw_only=True)
class Area:
    """The requirements on one part of the model."""

    name: str
    title: str
    rows: tuple[Row, ...]
    passed: tuple[int, ...]  # per column, of len(rows)

    def score(self, place: int) -> str:
        """``8/10`` of a column; a dash where nothing was judged, which is no zero."""
        judged = any(row.outcomes[place].record is not None for row in self.rows)
        return f"{self.passed[place]}/{len(self.rows)}" if judged else "–"

    @property
    def worst(self) -> Mark:
        """The mark of its worst outcome."""
        marks = [outcome.mark for row in self.rows for outcome in row.outcomes]
        return max(marks, key=lambda mark: mark.severity, default=NOT_JUDGED)

    @property
    def counts(self) -> tuple[tuple[Mark, int], ...]:
        """How many requirements have an outcome of each kind somewhere, worst first, passed left out."""
        found = [{outcome.mark for outcome in row.outcomes} for row in self.rows]
        marks = sorted({mark for marks in found for mark in marks}, key=lambda mark: -mark.severity)
        return tuple((mark, sum(mark in marks for marks in found)) for mark in marks if mark.key != "passed")


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Requirements by area; areas and requirements with the worst outcome first."""

    columns: tuple[Column, ...]
    areas: tuple[Area, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The requirements of all areas, worst first."""
        return tuple(sorted((row for area in self.areas for row in area.rows), key=lambda row: -row.severity))

    @property
    def total(self) -> int:
        """How many requirements there are."""
        return sum(len(area.rows) for area in self.areas)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that occur, most binding first."""
        return tuple(sorted({row.level for area in self.areas for row in area.rows}, key=_level_rank))

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The outcomes that occur, worst first; one of each key."""
        found = {outcome.mark.key: outcome.mark for area in self.areas for row in area.rows for outcome in row.outcomes}
        return tuple(sorted(found.values(), key=lambda mark: -mark.severity))


def matrix(runs: Sequence[Run], columns: Sequence[Column]) -> Matrix:
    """Lay out the requirement records of all runs under the columns."""
    by_id: dict[str, dict[Column, RequirementRecord]] = {}
    place = {(column.run, column.cell): column for column in columns}
    for index, run in enumerate(runs):
        for record in run.requirements:  # of a resumed cell the last word counts
            by_id.setdefault(str(record.id), {})[place[index, record.cell]] = record
    rows = [_row(number, records, columns) for number, records in enumerate(by_id.values())]
    names = dict.fromkeys([*AREAS, *(row.area for row in rows)])
    areas = [_area(name, [row for row in rows if row.area == name]) for name in names]
    areas = [area for area in areas if area.rows]
    return Matrix(columns=tuple(columns), areas=tuple(sorted(areas, key=_worst, reverse=True)))


def chosen(table: Matrix, wanted: Callable[[Row], bool]) -> Matrix:
    """The requirements that are wanted, and the areas that have any."""
    areas = [_area(area.name, [row for row in area.rows if wanted(row)]) for area in table.areas]
    return replace(table, areas=tuple(area for area in areas if area.rows))


def columns(runs: Sequence[Run], labels: Sequence[str]) -> tuple[Column, ...]:
    """One per implementation and conformance cell, as planned; what no plan has comes last, as in the results."""
    found: dict[tuple[int, str], Column] = {}
    for index, run in enumerate(runs):
        measured = {str(record.implementation): str(record.version) for record in run.measurements}
        place = {str(cell): i for i, cell in enumerate(run.header.planned)}
        records: list[VerdictRecord | RequirementRecord] = [*run.verdicts, *run.requirements]
        for record in sorted(records, key=lambda one: place.get(str(one.cell), len(place))):  # cells end as they may
            name = str(record.implementation)
            column = Column(
                run=index,
                cell=str(record.cell),
                implementation=name,
                version=str(record.version) if isinstance(record, VerdictRecord) else measured.get(name, ""),
                label=name,
                anchor=f"implementation-{len(found) + 1}",
            )
            found.setdefault((index, record.cell), column)
    every = tuple(found.values())
    return tuple(replace(column, label=_label(column, every, labels)) for column in every)


def run_labels(runs: Sequence[Run]) -> list[str]:
    """A short name for each run that no other has: the file's, with as many of its folders as that needs.

    A run that has a folder of its own is called by that.
    """
    paths = [run.path.parts[:-1] if run.path.name == RESULTS and run.path.parts[1:] else run.path.parts for run in runs]
    deepest = max((len(parts) for parts in paths), default=1)
    names: list[str] = []
    for depth in range(1, deepest + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{parts[-1]} ({number})" for number, parts in enumerate(paths, 1)]  # the same file given twice


def mark(status: str) -> Mark:
    """How a status is shown; one that this version does not know is shown by its own word."""
    return MARKS.get(str(status)) or Mark("other", str(status).lower().replace("_", " "), 3)


def _label(column: Column, every: Sequence[Column], labels: Sequence[str]) -> str:
    """Add to the name the least that tells all columns of that name apart: version, run, or the cell in it."""
    alike = [other for other in every if other.implementation == column.implementation]
    ways = zip(*(_ways(other, labels[other.run]) for other in alike), strict=True)
    told = next(names for names in ways if len(set(names)) == len(names))
    return told[alike.index(column)]


def _ways(column: Column, run: str) -> Iterator[str]:
    name, version = column.implementation, column.version
    versioned = f"{name} {version}".rstrip()
    for parts in ((name,), (versioned,), (name, run), (versioned, run), (name, column.cell), (name, run, column.cell)):
        yield plain(", ".join(parts))
    yield plain(f"{name}, {column.anchor}")  # cells that differ in nothing that can be seen


def _row(number: int, records: dict[Column, RequirementRecord], columns: Sequence[Column]) -> Row:
    first = next(iter(records.values()))
    anchor = first.id if re.fullmatch(r"[A-Z][A-Z0-9-]{1,79}", str(first.id)) else f"requirement-{number + 1}"
    outcomes = tuple(
        Outcome(
            column=column,
            anchor=f"{anchor}.{column.anchor}",
            mark=mark(records[column].status) if column in records else NOT_JUDGED,
            record=records.get(column),
        )
        for column in columns
    )
    return Row(
        id=str(first.id),
        anchor=anchor,
        area=str(first.area),
        level=str(first.level),
        statement=str(first.statement),
        outcomes=outcomes,
    )


def _area(name: str, rows: Sequence[Row]) -> Area:
    width = len(rows[0].outcomes) if rows else 0
    return Area(
        name=name,
        title=AREA_TITLES.get(name, ""),
        rows=tuple(sorted(rows, key=lambda row: -row.severity)),
        passed=tuple(sum(row.outcomes[index].mark.key == "passed" for row in rows) for index in range(width)),
    )


def _worst(area: Area) -> list[int]:
    """Areas compare by their worst requirement, then by the next."""
    return [row.severity for row in area.rows]


def _level_rank(level: str) -> int:
    order = [str(known) for known in Level]
    return order.index(level) if level in order else len(order)
