"""What came of a calibration: a row for each candidate, a cell for each requirement; and what is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vitbench.calibration.specimens import Kind, Specimen
from vitbench.requirement import Status


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One check for one candidate: how often it ran, and how that ended."""

    statuses: Mapping[Status, int]  # of its runs
    examples: int = 0  # configurations judged
    reason: str = ""  # of the first failure or error
    duration_s: float = 0.0

    def count(self, status: Status) -> int:
        """Runs that ended so."""
        return self.statuses.get(status, 0)

    @property
    def failed(self) -> bool:
        """Whether the check failed the candidate at all."""
        return self.count(Status.FAILED) > 0

    @property
    def always_failed(self) -> bool:
        """Whether it did at every seed."""
        return self.failed and self.count(Status.FAILED) == sum(self.statuses.values())


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate, judged."""

    specimen: Specimen
    cells: Mapping[str, Cell] = field(default_factory=dict)  # by requirement

    @property
    def killed_by(self) -> list[str]:
        """The requirements whose checks failed it, in the order of the specification."""
        return [requirement for requirement, cell in self.cells.items() if cell.failed]

    @property
    def false_alarms(self) -> list[str]:
        """Of a candidate that is right: failures that are not recorded."""
        return [requirement for requirement in self.killed_by if requirement not in self.specimen.recorded]

    @property
    def examples(self) -> int:
        """Over all requirements."""
        return sum(cell.examples for cell in self.cells.values())


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All rows."""

    rows: Sequence[Row]
    requirements: Sequence[str]  # those that were judged, in the order of the specification
    every_mutant: bool = True  # else nothing can be said of a check that kills none
    every_check: bool = True  # else nothing can be said of a mutant that none kills

    def of(self, *kinds: Kind) -> list[Row]:
        """The rows of some kinds."""
        return [row for row in self.rows if row.specimen.kind in kinds]

    def kills(self, requirement: str) -> list[Row]:
        """The mutants that a requirement's check failed."""
        return [row for row in self.of(Kind.MUTANT) if requirement in row.killed_by]

    def kills_alone(self, requirement: str) -> list[Row]:
        """The mutants that no other check failed."""
        return [row for row in self.of(Kind.MUTANT) if row.killed_by == [requirement]]

    def faults(self) -> list[str]:
        """Why the checks cannot be trusted, a sentence each; empty where they can."""
        return [*self._harness_errors(), *self._survivors(), *self._idle_checks(), *self._false_alarms()]

    def _harness_errors(self) -> Iterator[str]:
        for row in self.rows:
            for requirement, cell in row.cells.items():
                if cell.count(Status.ERROR):
                    yield f"{row.specimen.key}: {requirement} could not judge it: {cell.reason}"

    def _survivors(self) -> Iterator[str]:
        for row in self.of(Kind.MUTANT):
            specimen, about = row.specimen, row.cells.get(row.specimen.breaks)
            if specimen.breaks in self.requirements and (about is None or not about.always_failed):
                how = "does not fail it" if about is None or not about.failed else "does not fail it at every seed"
                yield f"{specimen.key}: {specimen.breaks}, which is about it, {how}"
            elif self.every_check and not row.killed_by:
                yield f"{specimen.key}: survives every check; prove it equivalent, or write the check that it needs"

    def _idle_checks(self) -> Iterator[str]:
        for requirement in self.requirements if self.every_mutant else ():
            if not self.kills(requirement):
                yield f"{requirement}: its check kills no mutant, so nothing shows that it can fail"
            cells = [row.cells[requirement] for row in self.of(Kind.BENIGN) if requirement in row.cells]
            if cells and not any(cell.count(Status.PASSED) for cell in cells):
                yield f"{requirement}: its check passes no candidate that is right, so nothing shows that it can"

    def _false_alarms(self) -> Iterator[str]:
        for row in self.of(Kind.EQUIVALENT, Kind.BENIGN):
            for requirement in row.false_alarms:
                what = "is proven to be the paper's model" if row.specimen.proof else "is right"
                yield f"{row.specimen.key} {what}, and {requirement} fails it: {row.cells[requirement].reason}"
