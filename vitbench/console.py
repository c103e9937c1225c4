"""What is printed to: a terminal as wide as it is, or a log; in whatever encoding."""

import os
import sys
from io import TextIOWrapper

from rich.console import Console

WIDTH_OF_LOGS = 120  # characters


def speak_any_language() -> None:
    """Let the terminal's encoding cost a character, and never the run: what it lacks is written as its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def suitable_console(*, stderr: bool = False) -> Console:
    """A console as wide as its terminal; without one as wide as COLUMNS says, or as a log bears."""
    found = Console(stderr=stderr, highlight=False)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(stderr=stderr, highlight=False, width=WIDTH_OF_LOGS)
