"""Curves and points in a plane, as data for ``charts-series.js``; every text that it shows is made here."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

from vitbench.wording import abridged

LABEL_CHARACTERS = 28
MOST_SERIES = 8  # as many colours and symbols as can be told apart; the others are in the table only
MOST_LEFT_OUT = 12
MOST_POINTS = 100  # of a series
DOUBTFUL = "Hollow on a yellow ground: not converged, or conditions not VALID."
_SMALLEST, _LARGEST = 1e-100, 1e100  # beyond these nothing was measured, and axes run out of numbers
_ROOM = 0.07  # beyond the outermost points, as a part of what a logarithmic axis spans
_LEAST_ROOM = 1.15  # as a factor
_WIDE = 1000  # a logarithmic axis that spans more than this has its ticks at powers of ten only
_POWER = re.compile(r"^1·(?=10)")
_ZEROS = re.compile(r"(\.\d*?)0+(?=\D|$)")


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A value on an axis, and how it is written."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One direction of a chart, from ``low`` to ``high``."""

    label: str
    low: float
    high: float
    log: bool
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure."""

    x: float
    y: float
    text: str  # what hovering says: the values with their units
    low: float | None = None  # its 95 % interval, along the chart's ``interval``
    high: float | None = None
    note: str = ""  # why it is less than sure
    mark: str = ""  # what stands beside it
    best: bool = False  # on the Pareto front
    beyond: bool = False  # of a result that is wrong
    row: str = ""  # the id of its row in the table


@dataclass(frozen=True, kw_only=True)
class Series:
    """Figures that belong together, with one colour and one symbol."""

    label: str
    points: tuple[Point, ...]
    note: str = ""  # what holds against all of it
    subject: str = ""  # whose figures they are: the chart's ``about`` by its whole name
    row: str = ""  # where all of its points have one


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A line to read the points against."""

    label: str
    points: tuple[tuple[float, float], ...]
    steps: bool = False  # level until the next point


@dataclass(frozen=True, kw_only=True)
class SeriesChart:
    """Series under conditions that are equal but for what an axis shows."""

    id: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    joined: bool  # a line through the points of each series
    dotted: bool = True  # a symbol at every point
    interval: Literal["x", "y"] = "y"
    guides: tuple[Guide, ...] = ()
    remarks: tuple[str, ...] = ()  # how to read it
    left_out: tuple[str, ...] = ()
    about: Literal["implementation", "kernel"] = "implementation"
    kind: Literal["series"] = "series"


def drawable(value: float | None) -> TypeGuard[float]:
    """Whether a logarithmic axis can have it: positive, finite, and of a size that something can have."""
    return value is not None and _SMALLEST < value < _LARGEST


def linear_axis(label: str, most: float, text: Callable[[float], str]) -> Axis:
    """From zero to a little beyond the largest value."""
    high = most * 1.05 or 1.0
    return Axis(label=label, low=0.0, high=high, log=False, ticks=ticks(linear_ticks(0.0, high), text))


def log_axis(
    label: str, values: Iterable[float], text: Callable[[float], str], at: Sequence[float] | None = None
) -> Axis:
    """Around positive values, with ticks at round numbers or where they are asked for."""
    known = list(values)
    room = max(_LEAST_ROOM, (max(known) / min(known)) ** _ROOM)
    low, high = min(known) / room, max(known) * room
    return Axis(
        label=f"{label}, log scale",
        low=low,
        high=high,
        log=True,
        ticks=ticks(log_ticks(low, high) if at is None else at, text),
    )


def ticks(values: Iterable[float], text: Callable[[float], str]) -> tuple[Tick, ...]:
    """Written without zeros at the end, powers of ten without a factor: they are round numbers, not figures."""
    return tuple(
        Tick(at=value, text=_POWER.sub("", _ZEROS.sub(_without_a_bare_point, text(value)))) for value in values
    )


def linear_ticks(low: float, high: float) -> list[float]:
    """Four to ten multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with 2 and 5 times as much where there are few, and even steps where there are none."""
    factors = (1,) if high / low > _WIDE else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [value for power in powers for factor in factors if low <= (value := float(f"{factor}e{power}")) <= high]
    return found if len(found) > 1 else linear_ticks(low, high)


def distinct_labels(names: Sequence[str], characters: int = LABEL_CHARACTERS) -> list[str]:
    """Short enough for a chart, and numbered where that leaves several the same."""
    short = [abridged(name, characters) for name in names]
    times = Counter(short)
    return [name if times[name] == 1 else f"{name} ({index})" for index, name in enumerate(short, 1)]


def told(absences: Sequence[str]) -> tuple[str, ...]:
    """What is not drawn: some of it by name, and how much more there is."""
    further = len(absences) - MOST_LEFT_OUT
    return (*absences[:MOST_LEFT_OUT], *((f"{further:,} more",) if further > 0 else ()))


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> tuple[Point, ...]:
    """At most so many, evenly chosen, with the first and the last."""
    if len(points) <= most:
        return tuple(points)
    step = (len(points) - 1) / (most - 1)
    return tuple(points[round(place * step)] for place in range(most))


def _without_a_bare_point(found: re.Match[str]) -> str:
    return "" if found[1] == "." else found[1]
