r"""Tables for a paper; they take ``\usepackage{booktabs}``."""

import re
from collections.abc import Iterable, Sequence

from vitbench.exports.tables import Table
from vitbench.wording import plain


def render(tables: Sequence[Table]) -> str:
    """One ``tabular`` after the other, each named and explained by comments."""
    return "\n\n".join(map(_tabular, tables)) + "\n"


def _tabular(table: Table) -> str:
    lines = [
        f"% {table.title}",
        r"\begin{tabular}{" + "l" * (len(table.head) - table.numbers) + "r" * table.numbers + "}",
        r"\toprule",
        _row(table.head),
        r"\midrule",
        *map(_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *([f"% {plain(table.note)}"] if table.note else []),
    ]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    """Braces before a bracket, which a command that ends the row before would take for its option."""
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def escaped(text: object) -> str:
    """Text that TeX takes for text; letters beyond Latin ones take LuaLaTeX or XeLaTeX."""
    line = _ACTIVE.sub(lambda found: _LATEX.get(found[0]) or _power(found[0]), plain(text))
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _power(digits: str) -> str:
    return f"$^{{{digits.translate(_PLAIN_DIGITS)}}}$"


_SUPERSCRIPT = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_PLAIN_DIGITS = str.maketrans(_SUPERSCRIPT, "-0123456789")
_LATEX = {mark: rf"\{mark}" for mark in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "µ": r"\textmu{}",
    "∞": r"$\infty$",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
}
_ACTIVE = re.compile("|".join([*map(re.escape, _LATEX), f"[{_SUPERSCRIPT}]+"]))
