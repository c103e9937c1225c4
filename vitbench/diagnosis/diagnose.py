"""From a candidate that failed to a diagnosis: ask, localise, search, confirm, and say what it rests on."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vitbench.candidate import Candidate
from vitbench.deviations import DeviantAdapter
from vitbench.deviations.deviation import Rewriting
from vitbench.diagnosis.answers import Answer, answers, most_telling, repeats, worst_error
from vitbench.diagnosis.asked import CONFIRMING, SUGGESTING, TOPICS, Round, isolating, of_size, questions, shown
from vitbench.diagnosis.explained import Check, Explained, explained
from vitbench.diagnosis.known import known
from vitbench.diagnosis.place import first_divergence
from vitbench.diagnosis.record import BUDGET_S, Cause, Diagnosis
from vitbench.diagnosis.search import Found, search
from vitbench.diagnosis.stages import Place
from vitbench.diagnosis.words import agreeing, evidence_of, sentence_of, unsteady

_WAITING = 6
"""Who compiles in other processes, or waits for a device, takes little of that: a sixth of the time waited counts too."""

_SEARCHED = 0.6  # of the budget, by then what was found is confirmed, and counted what it explains


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What a candidate failed."""

    count: int
    checks: Mapping[str, Check]  # of those whose check is at hand, by requirement
    seed: int = 0


def diagnose(
    candidate: Candidate,
    failures: Failures,
    *,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] | None = None,
) -> Diagnosis:
    """Why a candidate fails, as far as logits, gradients and resized positions tell.

    A deviation is named where it gives every answer that the candidate gave in two rounds of questions, to tier S.
    """
    now = clock or _stopwatch()
    start = now()

    def late(share: float = 1.0) -> bool:
        return now() - start > share * budget_s

    def none(why: str) -> Diagnosis:
        over, duration_s = late(_SEARCHED), now() - start
        return Diagnosis.none(why, failed=failures.count, out_of_time=over, budget_s=budget_s, duration_s=duration_s)

    silent: dict[str, str] = {}
    suggesting = _asked(candidate, SUGGESTING, lambda: late(_SEARCHED), silent)
    diverging = [answer for answer in suggesting if answer.diverges]
    if not diverging:
        return none(agreeing(suggesting, silent))
    first = min(diverging, key=lambda answer: TOPICS.index(answer.question.topic))
    if not repeats(candidate, first):
        return none(unsteady())
    place = first_divergence(candidate, first.question, first.error, first.tolerance, late)
    found = _searched(candidate, suggesting, late)
    rest, causes = _confirmed(candidate, found, first.question.topic, late)
    told = Explained()
    if causes:
        place = (_place_of(causes[0], candidate, first) if found.as_shown else None) or place
        told = explained(causes[0], candidate, failures.checks, seed=failures.seed, late=late)
    every = [*suggesting, *rest]
    return Diagnosis(
        sentence=sentence_of(causes, place, found),
        evidence=evidence_of(causes, every, found, float32_inside=candidate.float32_inside),
        causes=[Cause(id=one.id, summary=one.summary, remedy=one.remedy) for one in causes],
        stage=str(place),
        found_by=place.by,
        failed=failures.count,
        explained=told.explained,
        unexplained=told.unexplained,
        tried=found.tried,
        out_of_time=found.out_of_time,
        budget_s=budget_s,
        duration_s=now() - start,
    )


def _stopwatch() -> Callable[[], float]:
    processor, wall = time.process_time(), time.monotonic()
    return lambda: max(time.process_time() - processor, (time.monotonic() - wall) / _WAITING)


def _asked(candidate: Candidate, sizes: Round, late: Callable[[], bool], silent: dict[str, str]) -> list[Answer]:
    """One round, and of large models what is needed to see that something diverges at all."""
    given = list(answers(candidate, questions(candidate, sizes), until=late, silent=silent))
    alike = not any(answer.diverges for answer in given)
    return given + list(answers(candidate, of_size(candidate, sizes, gradients=alike), until=late))


def _searched(candidate: Candidate, suggesting: Sequence[Answer], late: Callable[[float], bool]) -> Found:
    """What fits the first round. Float32's rounding would hide what tells deviations apart, so nothing fits that has it."""
    if candidate.float32_inside:
        return Found()

    def isolated() -> list[Answer]:
        return list(answers(candidate, isolating(candidate, SUGGESTING), until=lambda: late(_SEARCHED)))

    return search(
        suggesting,
        isolated,
        known(candidate.conventions, inferred=bool(candidate.inferred)),
        late=lambda: late(_SEARCHED),
    )


def _confirmed(
    candidate: Candidate, found: Found, topic: str, late: Callable[[], bool]
) -> tuple[list[Answer], list[Rewriting]]:
    """A second round of what diverges, and what fits it too: each that taps can tell apart, and a reader by its remedy."""
    if not found.causes:
        return [], []
    fresh = list(answers(candidate, questions(candidate, CONFIRMING, [topic]), until=late))
    if not any(answer.diverges for answer in fresh):
        fresh += answers(candidate, of_size(candidate, CONFIRMING, gradients=True), until=late)
    if topic == "logits":
        fresh += answers(candidate, isolating(candidate, CONFIRMING), until=late)
    confirmed = Found()
    for cause in found.causes if any(answer.diverges for answer in fresh) else ():
        confirmed.consider(cause, most_telling(fresh), found.error)
    found.error, causes = confirmed.error, confirmed.causes
    if causes:
        taps = list(answers(candidate, shown(candidate, CONFIRMING), until=late))
        alike = [cause for cause in causes if worst_error(cause, taps) is not None]
        found.as_shown, causes = bool(alike), alike or causes
    return fresh, list({cause.remedy: cause for cause in reversed(causes)}.values())[::-1]


def _place_of(cause: Rewriting, candidate: Candidate, first: Answer) -> Place | None:
    """Where the deviation that was named diverges first: it shows all of its stages, as the candidate may not."""
    deviant = Candidate(DeviantAdapter(cause, candidate.conventions))
    place = first_divergence(deviant, first.question, first.error, first.tolerance)
    return Place(stage=place.stage, by="the deviation named", error=first.error)
