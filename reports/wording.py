"""Text from strangers, made fit to stand in a line with other text."""

import re

_BIDIRECTIONAL_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: object) -> str:
    """On one line, and without the characters that turn the direction of all that follows them."""
    return " ".join(_BIDIRECTIONAL_CONTROLS.sub("", str(text)).split())


def abridged(text: object, characters: int) -> str:
    """At most so many characters."""
    line = plain(text)
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def plural(number: int, noun: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
