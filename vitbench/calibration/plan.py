"""What a calibration runs: each of its tasks is one check for one candidate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from vitbench.calibration.specimens import Kind, Specimen
from vitbench.check import EXAMPLES
from vitbench.specification import REQUIREMENTS

OTHERS_EXAMPLES = 3
"""On which a check judges a mutant that it is not about, or that is proven to have no defect: enough to see most of what
a defect fails besides, in a third of the time."""

TRACING = frozenset({"VIT-PATH-COMPILE", "VIT-PATH-EXPORT"})
"""Checks that trace and compile a model, for seconds, and compare it with itself: they meet the mutants of their own area,
and would find nothing in another's."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One check for one candidate, on so many examples.

    By the requirement that is about it, a mutant is judged as a user's run judges: the quick preset, once for each of
    its seeds. By the others, and what is right by all, on examples that each have a seed of their own.
    """

    specimen: str  # its key
    requirement: str
    seed: int
    runs: int = 1  # of the quick preset, at seeds from ``seed`` on; of mutants, by what is about them
    examples: int | None = None  # examples with a seed each; of the others

    @property
    def most_examples(self) -> int:
        """How many it takes at most: a rough measure of its time."""
        return self.runs * EXAMPLES["quick"] if self.examples is None else self.examples


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is run. ``quick`` runs a mutant against the requirement that is about it, and against no other."""

    quick: bool
    seed: int
    mutant_seeds: int
    benign_seeds: int
    only: Sequence[str] = ()  # requirements; all of them if empty
    mutants: Sequence[str] = ()  # ids, equivalent ones among them; all of them if empty
    benign: Sequence[str] = ()

    @property
    def partial(self) -> bool:
        """Whether a part was asked for, so that nothing can be said of the whole."""
        return bool(self.only or self.mutants or self.benign)


def plan(specimens: Iterable[Specimen], requirements: Iterable[str], extent: Extent) -> list[Task]:
    """Every task, candidate by candidate."""
    return [
        task
        for specimen in specimens
        if _chosen(specimen, extent)
        for requirement in _requirements(specimen, requirements, extent)
        for task in [_task(specimen, requirement, extent)]
    ]


def _chosen(specimen: Specimen, extent: Extent) -> bool:
    if extent.mutants or extent.benign:
        return specimen.id in (extent.benign if specimen.kind is Kind.BENIGN else extent.mutants)
    return specimen.quick or not extent.quick


def _requirements(specimen: Specimen, requirements: Iterable[str], extent: Extent) -> list[str]:
    asked = [r for r in requirements if REQUIREMENTS[r].subject == specimen.subject]
    chosen = [r for r in asked if not extent.only or r in extent.only]
    if specimen.kind is not Kind.MUTANT or extent.mutants:
        return chosen
    return [r for r in chosen if r == specimen.breaks or not (extent.quick or _traces_another_area(r, specimen))]


def _traces_another_area(requirement: str, mutant: Specimen) -> bool:
    area = REQUIREMENTS[mutant.breaks].area if mutant.breaks else None
    return requirement in TRACING and REQUIREMENTS[requirement].area != area


def _task(specimen: Specimen, requirement: str, extent: Extent) -> Task:
    if requirement == specimen.breaks:
        return Task(specimen=specimen.key, requirement=requirement, seed=extent.seed, runs=extent.mutant_seeds)
    wanted = extent.benign_seeds if specimen.kind is Kind.BENIGN else OTHERS_EXAMPLES * extent.mutant_seeds
    examples = min(wanted, specimen.most_seeds or wanted)
    seed = (extent.seed + crc32(specimen.key.encode())) % 2**32  # each member draws configurations of its own
    return Task(specimen=specimen.key, requirement=requirement, seed=seed, examples=examples)
