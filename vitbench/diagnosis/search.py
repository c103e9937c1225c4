"""The deviations that give every answer that a candidate gave: single ones, then pairs, nearest first."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from vitbench.deviations.deviation import Rewriting, together
from vitbench.diagnosis.answers import Answer, error_of, most_telling, worst_error


@dataclass
class Found:
    """What a search came to."""

    causes: list[Rewriting] = field(default_factory=list)  # each gives every answer
    error: float = 0.0  # with which the worst of them does
    tried: int = 0  # single deviations and pairs
    pairs_tried: int = 0
    out_of_time: bool = False

    def consider(self, rewriting: Rewriting, ordered: Sequence[Answer], error: float = 0.0) -> None:
        """Keep it, if it gives all these answers.

        Args:
            error: with which it gave others.
        """
        found = worst_error(rewriting, ordered)
        if found is not None:
            self.causes.append(rewriting)
            self.error = max(self.error, error, found)


def search(
    given: Sequence[Answer],
    isolated: Callable[[], Sequence[Answer]],
    known: Sequence[Rewriting],
    *,
    late: Callable[[], bool],
) -> Found:
    """The known deviations that give every answer, all of those that do.

    Args:
        given: the candidate's answers, some of which diverge.
        isolated: answers to questions in which only some stages can show; asked for once no single deviation fits.
        late: whether the time is over.
    """
    found, ordered = Found(), most_telling(given)
    errors: dict[str, float] = {}
    for rewriting in known:
        if late():
            found.out_of_time = True
            return found
        found.tried += 1
        errors[rewriting.id] = error_of(rewriting, ordered[0])
        if errors[rewriting.id] <= ordered[0].tolerance:
            found.consider(rewriting, ordered[1:], errors[rewriting.id])
    if not found.causes:
        _search_pairs(found, ordered, isolated(), known, errors, late)
    return found


def _search_pairs(
    found: Found,
    ordered: Sequence[Answer],
    isolated: Sequence[Answer],
    known: Sequence[Rewriting],
    errors: dict[str, float],
    late: Callable[[], bool],
) -> None:
    """Pairs with a half that explains a part before all others; of these, the nearest first."""
    halves = _halves(ordered, isolated, known, late)
    for pairs in (_with_a_half(halves, known), _nearest(known, errors, halves)):
        for first, second in pairs:
            if late():
                found.out_of_time = True
                return
            pair = together(first, second)
            if pair is not None:
                found.tried += 1
                found.pairs_tried += 1
                found.consider(pair, ordered)
        if found.causes:
            return


def _halves(
    ordered: Sequence[Answer], isolated: Sequence[Answer], known: Sequence[Rewriting], late: Callable[[], bool]
) -> dict[str, int]:
    """How many of the diverging answers a deviation gives by itself: those that give one or more, by id."""
    diverging = [answer for answer in (*isolated, *ordered) if answer.diverges and not answer.costly]
    counts: dict[str, int] = {}
    for rewriting in known:
        if late():
            break
        count = sum(error_of(rewriting, answer) <= answer.tolerance for answer in diverging)
        if count:
            counts[rewriting.id] = count
    return counts


def _with_a_half(halves: dict[str, int], known: Sequence[Rewriting]) -> Iterator[tuple[Rewriting, Rewriting]]:
    """Pairs of which one half explains a part; two such halves first."""
    ranked = sorted((one for one in known if one.id in halves), key=lambda one: -halves[one.id])
    yield from combinations(ranked, 2)
    others = [one for one in known if one.id not in halves]
    for first in ranked:
        for second in others:
            yield first, second


def _nearest(
    known: Sequence[Rewriting], errors: dict[str, float], halves: dict[str, int]
) -> Iterator[tuple[Rewriting, Rewriting]]:
    """All the other pairs, by how near each half comes alone."""
    ranked = sorted((one for one in known if one.id not in halves), key=lambda one: errors.get(one.id, 0.0))
    for last in range(1, len(ranked)):
        for first in range(last):
            yield ranked[first], ranked[last]
