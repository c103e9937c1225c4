"""The specification: every requirement of a Vision Transformer, or of a kernel of one, declared once as data."""

from difflib import get_close_matches

from vitbench.errors import HarnessError
from vitbench.requirement import Level, Requirement, Subject
from vitbench.specification import (
    attention,
    block,
    config,
    head,
    hybrid,
    kernel,
    mlp,
    norm,
    numerics,
    patch,
    path,
    position,
    pure,
    state,
    token,
    training,
)

_AREAS = (
    patch,
    token,
    block,
    attention,
    mlp,
    norm,
    head,
    position,
    hybrid,
    training,
    numerics,
    pure,
    path,
    state,
    config,
    kernel,
)


def _by_id() -> dict[str, Requirement]:
    declared: dict[str, Requirement] = {}
    for area in _AREAS:
        for requirement in area.DECLARED:
            if requirement.id in declared:
                raise HarnessError(f"requirement {requirement.id} is declared twice")
            declared[requirement.id] = requirement
    return declared


REQUIREMENTS = _by_id()
"""Every requirement by its id, in the order of the forward pass; those of an attention kernel come last."""


def summary(area: str) -> str:
    """An area's name and what it is about: the first line of its module."""
    return _documented(area)[0].rstrip(".")


def introduction(area: str) -> str:
    """What has to be known of an area before its requirements, where there is anything: the rest of that text."""
    return "\n".join(_documented(area)[1:]).strip()


def _documented(area: str) -> list[str]:
    for module in _AREAS:
        if module.DECLARED[0].area == area:
            return (module.__doc__ or area).splitlines()
    raise HarnessError(f"there is no area {area!r}")


def did_you_mean(name: str) -> str:
    """What may have been meant by an id that no requirement has, as the end of a sentence; empty where nothing is near."""
    near = get_close_matches(name.upper(), REQUIREMENTS, n=3, cutoff=0.6)
    return f"; did you mean {', '.join(near)}?" if near else ""


def requirements(subject: Subject) -> dict[str, Requirement]:
    """What is asked of a model, or of an attention kernel alone."""
    return {id_: requirement for id_, requirement in REQUIREMENTS.items() if requirement.subject == subject}


def total(level: Level, subject: Subject = "model") -> int:
    """How many requirements of a level there are: the denominator of every verdict."""
    return sum(requirement.level == level for requirement in requirements(subject).values())
