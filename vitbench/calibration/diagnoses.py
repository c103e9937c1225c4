"""Whether a diagnosis names what is wrong: single mutants, random pairs of them, and what is right."""

import math
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from vitbench.adapter import Adapter, Conventions
from vitbench.benign import POOL
from vitbench.candidate import Candidate
from vitbench.deviations import BANK, EQUIVALENTS, DeviantAdapter, Deviation
from vitbench.deviations.deviation import Rewriting, together
from vitbench.diagnosis.answers import answers, worst_error
from vitbench.diagnosis.asked import CONFIRMING, SUGGESTING, of_size, questions
from vitbench.diagnosis.compared import relative_error
from vitbench.diagnosis.diagnose import Failures, diagnose
from vitbench.diagnosis.known import known
from vitbench.diagnosis.questions import Question
from vitbench.diagnosis.record import Diagnosis
from vitbench.errors import VitbenchError, one_line


class Sample(StrEnum):
    """What is diagnosed."""

    SINGLE = "single"  # a mutant whose deviation can show in parity
    PAIR = "pair"  # two of these at once
    BEYOND = "beyond"  # a mutant whose deviation shows elsewhere
    RIGHT = "right"  # an equivalent mutant, or a benign candidate


class Outcome(StrEnum):
    """How a diagnosis came out."""

    NAMED = "named"  # what is wrong, and nothing else that is not the same
    SEVERAL = "several"  # what is wrong, and something that other questions tell from it
    NONE = "none"  # no name
    WRONG = "wrong"  # a name of something else


@dataclass(frozen=True, kw_only=True)
class Task:
    """One candidate to diagnose: a mutant, two of them, or one that is right."""

    sample: Sample
    ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was diagnosed."""

    task: Task
    outcome: Outcome
    causes: tuple[str, ...]
    stage: str
    tried: int
    processor_s: float
    wall_s: float
    error: str = ""  # why it could not be diagnosed


def tasks(pairs: int, seed: int) -> list[Task]:
    """Every mutant by itself, so many random pairs, and everything that is right."""
    singles = [deviation for deviation in BANK.values() if deviation.remedy]
    right = [*EQUIVALENTS, *(b.id for b in POOL.values() if b.subject == "model" and b.quick)]
    return [
        *(Task(sample=Sample.SINGLE, ids=(one.id,)) for one in singles),
        *(Task(sample=Sample.PAIR, ids=ids) for ids in drawn(singles, pairs, seed)),
        *(Task(sample=Sample.BEYOND, ids=(one.id,)) for one in BANK.values() if not one.remedy),
        *(Task(sample=Sample.RIGHT, ids=(id_,)) for id_ in right),
    ]


def drawn(singles: Sequence[Deviation], number: int, seed: int) -> Iterator[tuple[str, str]]:
    """Random pairs, none twice, of deviations that can be put together and of which neither hides the other."""
    chance, seen = random.Random(seed), set[frozenset[str]]()  # noqa: S311  # a sample, no secret
    asked = _third_round()
    while number:
        first, second = chance.sample(list(singles), 2)
        ids, pair = frozenset((first.id, second.id)), together(first, second)
        if ids in seen or pair is None:
            continue
        seen.add(ids)
        if not any(_same(pair, half, asked) for half in (first, second)):
            yield first.id, second.id
            number -= 1


def found(given: Sequence[Task], jobs: int) -> Iterator[Found]:
    """Each diagnosed, in processes of their own."""
    if jobs == 1:
        yield from map(diagnosed, given)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(diagnosed, given)


def diagnosed(task: Task) -> Found:
    """One candidate, diagnosed as at the end of a run that failed."""
    torch.set_num_threads(1)
    wall, processor, error = time.perf_counter(), time.process_time(), ""
    told: Diagnosis | None = None
    try:
        told = diagnose(Candidate(_adapter(task)), Failures(count=0, checks={}), clock=time.process_time)
    except VitbenchError as raised:  # a package that is not installed
        error = one_line(raised)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    causes = () if told is None else tuple(cause.id for cause in told.causes)
    return Found(
        task=task,
        outcome=_outcome(task, causes),
        causes=causes,
        stage="" if told is None else told.stage,
        tried=0 if told is None else told.tried,
        processor_s=processor,
        wall_s=wall,
        error=error,
    )


def _adapter(task: Task) -> Adapter:
    if task.sample is not Sample.RIGHT:
        return DeviantAdapter(_deviation(task.ids))
    (id_,) = task.ids
    found: Adapter = DeviantAdapter(EQUIVALENTS[id_]) if id_ in EQUIVALENTS else POOL[id_].make()
    return found


def _deviation(ids: Sequence[str], *, as_named: bool = False) -> Rewriting:
    """By id, one or two at once, as the bank has it; or as a diagnosis named it, which for some is written otherwise."""
    tried: dict[str, Rewriting] = {one.id: one for one in known(Conventions())}
    every = {**BANK, **tried} if as_named else {**tried, **BANK}
    if len(ids) == 1:
        return every[ids[0]]
    pair = together(every[ids[0]], every[ids[1]])
    if pair is None:
        raise ValueError(f"{ids} replace the same function")
    return pair


def _outcome(task: Task, causes: Sequence[str]) -> Outcome:
    if not causes:
        return Outcome.NONE
    if task.sample is Sample.RIGHT:
        return Outcome.WRONG
    others = [cause.split(" + ") for cause in causes if set(cause.split(" + ")) != set(task.ids)]
    same = [True] * (len(causes) - len(others))
    if others:
        given = list(answers(Candidate(_adapter(task)), _third_round()))
        # A mutant that answers nothing would agree with whatever is named.
        same += [bool(given) and worst_error(_deviation(ids, as_named=True), given) is not None for ids in others]
    if all(same):
        return Outcome.NAMED
    return Outcome.SEVERAL if any(same) else Outcome.WRONG


def _third_round() -> list[Question]:
    """Questions that no diagnosis asks: other weights and images, and the sizes of both its rounds."""
    from vitbench.adapters.reference import ReferenceAdapter  # noqa: PLC0415

    reference = Candidate(ReferenceAdapter())
    rounds = (replace(SUGGESTING, seed=1000), replace(CONFIRMING, seed=2000))
    small = [question for sizes in rounds for question in questions(reference, sizes)]
    return [*small, *of_size(reference, rounds[0], gradients=False)]


def _same(one: Rewriting, other: Rewriting, asked: Sequence[Question]) -> bool:
    """Whether nothing that is asked tells them apart."""
    return all(_difference(one, other, question) <= _ROUNDING for question in asked)


def _difference(one: Rewriting, other: Rewriting, question: Question) -> float:
    answers: list[Tensor | None] = []
    for rewriting in (one, other):
        with rewriting.applied():
            try:
                answers.append(question.expected())
            except Exception:  # noqa: BLE001  # a deviation may break the reference
                answers.append(None)
    first, second = answers
    if first is None or second is None:
        return 0.0 if first is second else math.inf
    return relative_error(first, second)


_ROUNDING = 1e-10
