"""The candidates of a calibration, by key: mutants with a defect, mutants without one that shows, and benign ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vitbench.benign import POOL
from vitbench.candidate import Candidate, ForeignCode
from vitbench.deviations import BANK, EQUIVALENTS, KERNEL_BANK, DeviantAdapter, Deviation, KernelDeviation
from vitbench.kernel import Kernel
from vitbench.requirement import Subject


class Kind(StrEnum):
    """What is known of a candidate beforehand."""

    MUTANT = "mutant"  # has one defect, which a requirement is about
    EQUIVALENT = "equivalent"  # was mutated, and proven to be the same model
    BENIGN = "benign"  # is right


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A candidate with what is known of it, without the candidate itself: plain data that travels to a process."""

    kind: Kind
    id: str
    summary: str
    subject: Subject = "model"  # requirements of the other are not asked of it
    breaks: str = ""  # of a mutant: the requirement that is about its defect
    known_from: str = ""
    proof: str = ""  # of an equivalent mutant
    recorded: frozenset[str] = frozenset()  # of a benign one: failures that were traced to its source
    most_seeds: int | None = None
    quick: bool = True

    @property
    def key(self) -> str:
        """Unique over all kinds."""
        return f"{self.kind} {self.id}"

    def candidate(self) -> ForeignCode:
        """What checks are given.

        Raises:
            AdapterNotFound: a real package that is not installed here.
        """
        if self.subject == "kernel":
            return Kernel(KERNEL_BANK[self.id].kernel if self.kind is Kind.MUTANT else POOL[self.id].make(), self.id)
        match self.kind:
            case Kind.MUTANT:
                return Candidate(DeviantAdapter(BANK[self.id]))
            case Kind.EQUIVALENT:
                return Candidate(DeviantAdapter(EQUIVALENTS[self.id]))
            case Kind.BENIGN:
                return Candidate(POOL[self.id].make())


_BANKS: Mapping[Subject, Mapping[str, Deviation | KernelDeviation]] = {"model": BANK, "kernel": KERNEL_BANK}


def specimens() -> Mapping[str, Specimen]:
    """Every candidate by key, in the order of bank and pool."""
    mutants = [
        Specimen(
            kind=Kind.MUTANT,
            id=d.id,
            summary=d.summary,
            subject=subject,
            breaks=d.breaks,
            known_from=d.known_from,
        )
        for subject, bank in _BANKS.items()
        for d in bank.values()
    ]
    equivalents = [
        Specimen(kind=Kind.EQUIVALENT, id=e.id, summary=e.summary, proof=e.proof) for e in EQUIVALENTS.values()
    ]
    benign = [
        Specimen(
            kind=Kind.BENIGN,
            id=b.id,
            summary=b.summary,
            subject=b.subject,
            recorded=b.recorded,
            most_seeds=b.most_seeds,
            quick=b.quick,
        )
        for b in POOL.values()
    ]
    return {specimen.key: specimen for specimen in (*mutants, *equivalents, *benign)}
