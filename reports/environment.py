"""The machines and versions that results hold for, as a table with a column a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vitbench import units
from vitbench.results import Run


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One property, as each recorded it; None where it did not."""

    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        """Whether they disagree."""
        return len(set(self.values)) > 1


def environment(runs: Sequence[Run]) -> tuple[Fact, ...]:
    """All properties of all runs, in the order in which they were recorded."""
    return side_by_side([dict(flat(run.header.environment)) for run in runs])


def side_by_side(recorded: Sequence[Mapping[str, str | None]]) -> tuple[Fact, ...]:
    """Properties that were recorded several times, a fact for each name."""
    names = dict.fromkeys(name for facts in recorded for name in facts)
    return tuple(Fact(name=name, values=tuple(facts.get(name) for facts in recorded)) for name in names)


def flat(value: object, name: str = "") -> Iterator[tuple[str, str | None]]:
    """Nested properties under dotted names; lists of plain values stay together."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        for index, item in enumerate(value):
            yield from flat(item, f"{name}.{index}" if name else str(index))
    elif name or value:
        yield name or "environment", _text(name, value)


def _text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join("–" if item is None else str(item) for item in value)
    if name.endswith("_bytes") and isinstance(value, int | float):
        return units.data_size(value)
    return str(value)
