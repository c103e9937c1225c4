"""What is printed to: a terminal as wide as it is, or a log; in whatever encoding."""

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vitbench.wrapping import hung

WIDTH_OF_LOGS = 120  # characters
WIDTH_OF_TABLES = 80  # below this, lines
_BROKEN = ("MUST", "SHOULD", "Error / bound", "Load or command", "Note")  # at blanks alone
_GAP = 2  # blanks between columns


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


def say(text: str, console: Console, *, style: str = "", indent: int = 2) -> None:
    """A line; what does not fit hangs below it, indented."""
    console.print(Text(hung(text, indent, console.width), style=style))


def fitting_table(*headers: str) -> Table:
    """A table without lines, of which only what reads well on two lines is broken."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header not in _BROKEN)
    return table


def table_or_lines(table: Table, lines: Callable[[Console], None], console: Console) -> None:
    """The table where no word of it has to be broken, else the lines."""
    if console.width < max(WIDTH_OF_TABLES, _least_width(table)):
        lines(console)
    else:
        console.print(table)


def _least_width(table: Table) -> int:
    """Characters that it takes with columns that may be broken at their blanks, all of them as wide as the widest."""

    def widest(column: Column) -> int:
        texts = [str(cell) for cell in (column.header, *column.cells)]
        return max(cell_len(part) for text in texts for part in ([text] if column.no_wrap else text.split() or [""]))

    whole = [widest(column) for column in table.columns if column.no_wrap]
    broken = [widest(column) for column in table.columns if not column.no_wrap]
    return sum(whole) + len(broken) * max(broken, default=0) + _GAP * (len(table.columns) - 1)
