"""The specification: every requirement of a Vision Transformer, declared once as data, one module an area."""

from vitbench.errors import HarnessError
from vitbench.requirement import Level, Requirement
from vitbench.specification import (
    attention,
    block,
    config,
    head,
    hybrid,
    mlp,
    norm,
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
    pure,
    path,
    state,
    config,
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
"""Every requirement by its id, in the order of the forward pass."""


def summary(area: str) -> str:
    """An area's name and what it is about: the first line of its module."""
    for module in _AREAS:
        if module.DECLARED[0].area == area:
            return (module.__doc__ or area).splitlines()[0].rstrip(".")
    raise HarnessError(f"there is no area {area!r}")


def total(level: Level) -> int:
    """How many requirements of a level there are: the denominator of every verdict."""
    return sum(requirement.level == level for requirement in REQUIREMENTS.values())
