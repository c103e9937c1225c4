"""The deviations that give every answer that a candidate gave: single ones, then pairs, nearest first."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vitbench.deviations.conventions import USUAL
from vitbench.deviations.deviation import Rewriting, together
from vitbench.diagnosis.answers import Answer, error_of, most_telling, worst_error


@dataclass
class Found:
    """What a search came to."""

    causes: list[Rewriting] = field(default_factory=list)  # each gives every answer
    error: float = 0.0  # with which the worst of them does
    tried: int = 0  # single deviations and pairs
    out_of_time: bool = False
    singles: bool = True  # each of these was tried
    as_shown: bool = True  # some cause gives what the taps show too

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
            found.out_of_time, found.singles = True, False
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
    errors: Mapping[str, float],
    late: Callable[[], bool],
) -> None:
    """Pairs with a half that explains some answer by itself, answer by answer; with the usual one; then the nearest first."""
    tried = set[frozenset[str]]()
    cheap = [answer for answer in (*isolated, *ordered) if not answer.costly]
    diverging, agreeing = ([answer for answer in cheap if answer.diverges is so] for so in (True, False))
    # What shows where the candidate is right is none of its defects.
    silent = [one for one in known if not late() and worst_error(one, agreeing) is not None]
    explained = (_with_a_half(answer, silent) for answer in diverging)
    for pairs in (*explained, _with_usual(silent, known), _nearest(silent, errors)):
        for first, second in pairs:
            if late():
                found.out_of_time = True
                return
            ids = frozenset((first.id, second.id))
            pair = None if ids in tried else together(first, second)
            tried.add(ids)
            if pair is not None:
                found.tried += 1
                found.consider(pair, ordered)
        if found.causes:
            return


def _with_a_half(answer: Answer, known: Sequence[Rewriting]) -> Iterator[tuple[Rewriting, Rewriting]]:
    """Pairs of which one half gives this answer alone; the other one shows elsewhere."""
    for half in [one for one in known if error_of(one, answer) <= answer.tolerance]:
        for other in known:
            if other is not half:
                yield half, other


def _with_usual(silent: Sequence[Rewriting], known: Sequence[Rewriting]) -> Iterator[tuple[Rewriting, Rewriting]]:
    """Pairs with what torch does by itself: where the other half is far off, the nearest would come to them late."""
    return ((usual, other) for usual in known if usual.id == USUAL for other in silent if other is not usual)


def _nearest(known: Sequence[Rewriting], errors: Mapping[str, float]) -> Iterator[tuple[Rewriting, Rewriting]]:
    """All pairs, by how near each half comes alone."""
    ranked = sorted(known, key=lambda one: errors.get(one.id, math.inf))
    for last in range(1, len(ranked)):
        for first in range(last):
            yield ranked[first], ranked[last]
