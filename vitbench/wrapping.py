"""Long lines on a terminal: broken at blanks where it ends, and indented so that the eye finds the next entry."""

import os
import shutil
import sys
import textwrap

_LEAST = 24  # characters beside the indent; a terminal that is narrower breaks lines itself


def terminal_width() -> int | None:
    """Characters of a line; None where nobody says how long one may be, as in a log."""
    if "COLUMNS" in os.environ or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def hung(text: str, indent: int, width: int | None) -> str:
    """The text with whatever does not fit on its first line below it, indented by so many blanks.

    Words are never broken: a path or a command is copied whole.
    """
    if width is None or width < indent + _LEAST:
        return text
    lines = text.split("\n")
    return "\n".join(_broken(line, indent, width) for line in lines)


def _broken(line: str, indent: int, width: int) -> str:
    if len(line) <= width:
        return line
    head, rest = line[:indent], line[indent:]  # the head is aligned with blanks, which wrapping would take away
    parts = textwrap.wrap(rest, width - indent, break_long_words=False, break_on_hyphens=False)
    return head + ("\n" + " " * indent).join(parts)
