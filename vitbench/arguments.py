"""The values that options of several commands take, each mistake as one line."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any

from vitbench.environment import usable_cores
from vitbench.models import canonical
from vitbench.reference.config import ConfigurationError
from vitbench.wording import plural

_LARGEST_SEED = 2**32 - 1
_HIGHEST_RATE = 0.5
_BASELINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def named(option: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """``convert`` as argparse wants it: its ValueError's own text becomes the message."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    converted.__name__ = option
    return converted


def at_least(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` up."""

    def convert(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise ValueError(f"{text!r} is no whole number from {least} up")
        return int(text)

    return convert


def _seed(text: str) -> int:
    number = at_least(0)(text)
    if number > _LARGEST_SEED:
        raise ValueError(f"{text!r} is larger than {_LARGEST_SEED}, the largest seed")
    return number


def _threads(text: str) -> int:
    """More threads than cores wait for each other; thousands take the system's last process."""
    number, cores = at_least(1)(text), usable_cores()
    if number > cores:
        raise ValueError(
            f"{text!r} is more threads than the {plural(cores, 'core')} that this process may use; use {cores} at most"
        )
    return number


def positive(unit: str = "") -> Callable[[str], float]:
    """A finite number above zero; ``unit`` is for the message."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < math.inf:
            raise ValueError(f"{text!r} is no positive number{f' of {unit}' if unit else ''}")
        return value

    return convert


def _rate(text: str) -> float:
    value = positive()(text)
    if value >= _HIGHEST_RATE:
        raise ValueError(f"{text!r} is no rate below {_HIGHEST_RATE}")
    return value


def _baseline_name(text: str) -> str:
    if not _BASELINE_NAME.fullmatch(text):
        raise ValueError(f"{text!r} cannot name a baseline; expected letters, digits, dots and dashes, such as main")
    return text


seed = named("seed", _seed)
threads = named("threads", _threads)
seconds = named("seconds", positive("seconds"))
percent = named("percent", positive())
rate = named("rate", _rate)
model = named("model", canonical)
baseline_name = named("baseline", _baseline_name)
