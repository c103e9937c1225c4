"""Text from strangers, made fit to stand in a line with other text."""

import re

_TERMINAL_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_DIRECTION_MARKS = re.compile(r"[\u061c\u200e\u200f]")  # of the letter beside them
_DIRECTION_TURNS = re.compile(
    r"[\u202a-\u202e\u2066-\u2069]"
)  # of all that follows, so that it reads as something else


def cleaned(text: object) -> str:
    """Its lines, without what commands a terminal; what turns the direction of all that follows is shown instead."""
    lines = _LINE_ENDS.sub("\n", _TERMINAL_SEQUENCES.sub("", str(text)))
    return straight(_DIRECTION_MARKS.sub("", _CONTROLS.sub("", lines)))


def straight(text: object) -> str:
    """With the characters that turn its direction shown by their code, such as ``⟨U+202E⟩``: nothing reads as another thing."""
    return _DIRECTION_TURNS.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(text))


def plain(text: object) -> str:
    """The same on one line."""
    return " ".join(cleaned(text).split())


def abridged(text: object, characters: int) -> str:
    """At most so many characters."""
    line = plain(text)
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def plural(number: int, noun: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def xml_text(text: object) -> str:
    """Its lines, without the characters that XML 1.0 has no way to write."""
    return _NOT_IN_XML.sub("", cleaned(text))


_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
