"""Markdown as GitHub renders it: the verdicts on top, what differs in a table, each failure folded below.

Text from strangers stands in tables with every character escaped that Markdown or HTML would act on, and everything
longer in fenced blocks, where nothing acts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby

from vitbench import units
from vitbench.exports.tables import Table
from vitbench.matrix import Mark, Outcome, Row
from vitbench.scorecard import Scorecard, Standing
from vitbench.wording import abridged, cleaned, plain, plural

_LONGEST_CELL = 120
_LONGEST_TEXT = 2000
# A line within a word emphasises nothing: CommonMark, section 6.2. [^\W_] is a letter or a digit.
_ACTIVE = re.compile(r"[\\`*\[\]~$]|_(?!(?<=[^\W_]_)[^\W_])")
_BEGINS_BLOCK = re.compile(r"^(\d*)([-+#=.)])(?=[-#=]*(?:\s|$))")  # which a blank or the end has to follow
# An image size, as of Ti/16@224, is no one's name after a digit, too short for a commit, and without a dot no address.
_IN_HTML = re.compile(r"[&<>|]|@(?!(?<=\d@)\d{1,4}(?![\w.-]))(?=\w)|#(?=\w)|:(?=[\w+-]+:|//)")
_SEVERED = "<!-- -->"  # after what GitHub makes people, issues, links and pictures of, escaped or not
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"} | {mark: mark + _SEVERED for mark in "@#:"}
_SYMBOLS = {"passed": "✓", "failed": "✗", "known-failure": "✗", "error": "!", "not-offered": "–", "missing": "·"}
_WORDLESS = {"passed"}
_BOLD = {"failed", "error", "other"}


def render(card: Scorecard | None, tables: Sequence[Table] = ()) -> str:
    """The whole document: what was judged, if anything was, with tables of what was measured below the verdicts."""
    parts = [*_judged(card, list(map(_measured, tables)))] if card else [*map(_measured, tables)]
    return "\n\n".join(parts) + "\n"


def _judged(card: Scorecard, measured: Sequence[str]) -> Iterator[str]:
    yield from (
        f"## vitbench scorecard: {escaped(card.title, 200)}",
        _table(("Implementation", "Verdict", "MUST", "SHOULD", "MAY"), map(_verdict, card.standings)),
        *(f"> {escaped(note, 1000)}" for note in card.notes),
        *_reasons(card.standings),
        *measured,
        *_areas(card),
        *_requirements(card),
        *_evidence(card),
    )


def _measured(table: Table) -> str:
    cells = [[escaped(cell) for cell in row] for row in table.rows]
    note = f"\n\n{escaped(table.note, 1000)}" if table.note else ""
    return f"### {table.title}\n\n{_table(table.head, cells, numbers=table.numbers)}{note}"


def _verdict(standing: Standing) -> list[str]:
    counts = [f"{tally.passed}/{tally.total}" for _, tally in standing.tallies]
    return [escaped(standing.title), f"**{escaped(standing.said)}**", *counts]


def _reasons(standings: Sequence[Standing]) -> Iterator[str]:
    for standing in standings:
        if standing.reason:
            yield f"**{escaped(standing.title)}** {escaped(standing.verdict)}:\n\n{_block(standing.reason)}"


def _areas(card: Scorecard) -> Iterator[str]:
    names = {area.name for area in card.shown.areas}
    areas = [area for area in card.matrix.areas if area.name in names]
    if areas:
        rows = [
            [
                escaped(f"{area.title} ({area.name})" if area.title else area.name),
                *(area.score(place) for place in range(len(area.passed))),
            ]
            for area in areas
        ]
        yield f"### Passed, by area\n\n{_table(('Area', *_headings(card)), rows)}"


def _requirements(card: Scorecard) -> Iterator[str]:
    telling = [row for row in card.shown.rows if not row.passed]
    unanimous = [row for row in card.shown.rows if row.passed]
    if telling:
        yield f"### Not passed{' by all' if len(card.standings) > 1 else ''}\n\n{_row_table(card, telling)}"
    if unanimous:
        by_all = f" by all {len(card.standings)}" if len(card.standings) > 1 else ""
        yield _details(f"Passed{by_all}: {plural(len(unanimous), 'requirement')}", _row_table(card, unanimous))
    left_out = card.matrix.total - card.shown.total
    if left_out:
        yield f"{plural(left_out, 'requirement')} left out by the filters chosen."


def _row_table(card: Scorecard, rows: Sequence[Row]) -> str:
    cells = ([f"`{_code(row.id)}`", escaped(row.level), *(_mark(o.mark) for o in row.outcomes)] for row in rows)
    return _table(("Requirement", "Level", *_headings(card)), cells)


def _mark(mark: Mark) -> str:
    symbol = _SYMBOLS.get(mark.key, "?")
    text = symbol if mark.key in _WORDLESS else f"{symbol} {escaped(mark.word, 30)}"
    return f"**{text}**" if mark.key in _BOLD else text


def _evidence(card: Scorecard) -> Iterator[str]:
    """Failures with everything that helps to see them again; what is not offered by its reason alone."""
    failing = [
        (row, outcome) for row in card.shown.rows for outcome in row.evidence if outcome.mark.key != "not-offered"
    ]
    if failing:
        yield "### Failures"
        yield from (
            _details(f"{row.id} ({row.level}): {outcome.column.label} {outcome.mark.word}", _found(row, outcome))
            for row, outcome in failing
        )
    absent = [
        (plain(outcome.column.label), plain(outcome.record.reason if outcome.record is not None else ""), row)
        for row in card.shown.rows
        for outcome in row.evidence
        if outcome.mark.key == "not-offered"
    ]
    if absent:
        grouped = groupby(sorted(absent, key=lambda one: one[:2]), key=lambda one: one[:2])
        cells = (
            [escaped(name), escaped(reason, 400), ", ".join(f"`{_code(row.id)}`" for *_, row in rows)]
            for (name, reason), rows in grouped
        )
        table = _table(("Implementation", "Reason", "Requirements"), cells)
        yield _details(f"Not offered: {plural(len(absent), 'requirement')}", table)


def _found(row: Row, outcome: Outcome) -> str:
    record = outcome.record
    parts = [escaped(row.statement, 1000)]
    if record is not None:
        parts += [f"Found:\n\n{_block(record.reason)}"] if record.reason else []
        parts += [f"Smallest example:\n\n{_block(record.example)}"] if record.example else []
        if record.worst_margin is not None:
            parts.append(f"Margin: {units.number(record.worst_margin)} times the error that is allowed.")
        parts += [f"Reproduce:\n\n{_block(record.reproduce, 'sh')}"] if record.reproduce else []
    return "\n\n".join(parts)


def _headings(card: Scorecard) -> list[str]:
    return [escaped(column.label) for column in card.matrix.columns]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> str:
    rule = ["---"] * (len(headings) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(cells)} |" for cells in chain([headings, rule], rows))


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{_html(abridged(summary, 400))}</summary>\n\n{body}\n\n</details>"


def escaped(text: object, characters: int = _LONGEST_CELL) -> str:
    """Text that stays what it is, in a table too."""
    line = _ACTIVE.sub(r"\\\g<0>", abridged(text, characters))
    return _BEGINS_BLOCK.sub(r"\1\\\2", _html(line))


def _html(text: str) -> str:
    """Text that is no markup."""
    return _IN_HTML.sub(lambda found: _HTML[found[0]], text)


def _code(text: object) -> str:
    """For between backticks: those, and what would end a table's cell, have no escape there."""
    return abridged(text, _LONGEST_CELL).replace("`", "'").replace("|", "¦") or " "


def _block(text: object, language: str = "text") -> str:
    """A fenced block, with a fence that the text has nowhere."""
    lines = cleaned(text).strip("\n")
    lines = lines if len(lines) <= _LONGEST_TEXT else f"{lines[: _LONGEST_TEXT - 1]}…"
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", lines)), 3)
    return f"{fence}{language}\n{lines}\n{fence}"
