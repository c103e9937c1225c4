"""The scorecard on a terminal: tables where they fit, in parts or as lines where they do not.

Colour is the console's own business, and never the only sign.
"""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vitbench.matrix import Area, Mark, Row
from vitbench.requirement import Verdict
from vitbench.scorecard import Scorecard, Standing
from vitbench.wording import abridged, plain, plural

_NARROW = 60  # below this, lines for tables that do not fit
_LONGEST_LABEL = 24
_LONGEST_ID = 40
_UNBOUNDED = 10_000
_VERDICT_STYLES: dict[str, str] = {
    Verdict.CONFORMS: "bold green",
    Verdict.INCOMPLETE: "bold yellow",
    Verdict.HARNESS_ERROR: "bold magenta",
}
_STYLES = {"passed": "green", "failed": "bold red", "known-failure": "red", "error": "bold magenta", "other": "magenta"}
_SYMBOLS = {"passed": "✓", "failed": "✗", "known-failure": "k", "error": "!", "not-offered": "–", "missing": "·"}
_ASCII = {"passed": "+", "failed": "X", "known-failure": "k", "error": "!", "not-offered": "-", "missing": "."}


def show(card: Scorecard, console: Console, *, everything: bool = False) -> None:
    """Print it; what all passed is only counted, unless everything is asked for."""
    Screen(card, console).show(everything=everything)


class Screen:
    """One scorecard on one console."""

    def __init__(self, card: Scorecard, console: Console) -> None:
        self.card, self.console = card, console
        self.columns = card.matrix.columns
        self.symbols = _SYMBOLS if _encodes(console, "".join(_SYMBOLS.values())) else _ASCII

    def show(self, *, everything: bool) -> None:
        """The verdicts, the areas, the requirements; what failed first."""
        telling = [row for row in self.card.shown.rows if everything or not row.passed]
        if self.card.before_and_after:  # what became of it is what is asked
            telling.sort(key=lambda row: not row.differs)
        self._heading(f"Scorecard: {self.card.title}")
        for note in self.card.notes:
            self.console.print(Text(f"! {note}", style="yellow"))
        self._verdicts()
        names = {area.name for area in self.card.shown.areas}
        areas = [area for area in self.card.matrix.areas if area.name in names]
        if self.card.before_and_after:
            areas.sort(key=lambda area: len(set(area.passed)) == 1)
        if areas:
            self._heading("Passed, by area")
            self._areas(areas)
        if telling:
            by_all = " by all" if len(self.columns) > 1 else ""
            self._heading("Requirements" if everything else f"Requirements not passed{by_all}")
            self._requirements(telling)
        self._left_out(len(telling))

    def _heading(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold underline"))

    def _verdicts(self) -> None:
        standings = self.card.standings
        table = _table("", "Implementation", "Verdict", "MUST", "SHOULD", "MAY")
        for number, standing in enumerate(standings, 1):
            counts = [f"{tally.passed}/{tally.total}" for _, tally in standing.tallies]
            table.add_row(str(number) if len(standings) > 1 else "", Text(standing.title), _verdict(standing), *counts)
        if self._fits(table):
            self.console.print(table)
        else:
            for number, standing in enumerate(standings, 1):
                line = ", ".join(f"{level} {tally.passed}/{tally.total}" for level, tally in standing.tallies)
                which = f"{number} " if len(standings) > 1 else ""
                self.console.print(Text.assemble(which, standing.title, ": ", _verdict(standing)))
                self.console.print(Padding(Text(line), (0, 0, 0, 2), expand=False))
        for standing in standings:
            if standing.reason:
                self.console.print(Text(f"{standing.title}: {abridged(standing.reason, 600)}", style="dim"))

    def _areas(self, areas: Sequence[Area]) -> None:
        """How many of each area passed; where the columns need several parts, only areas that someone misses."""
        parts = self._parts(len("CONFIG"), max(2 * len(str(len(area.rows))) + 1 for area in areas))
        for part, headings in parts:
            table = _table("Area", *headings, right=True)
            for area in areas:
                if len(parts) == 1 or min(area.passed) < len(area.rows):
                    table.add_row(Text(abridged(area.name, _LONGEST_ID)), *(_passed(area, place) for place in part))
            if table.row_count:
                self.console.print(table)

    def _requirements(self, rows: Sequence[Row]) -> None:
        named = max(len(abridged(row.id, _LONGEST_ID)) for row in rows) + 2 + len("SHOULD")
        words = max(len(outcome.mark.word) for row in rows for outcome in row.outcomes)
        parts = self._parts(named, words)
        marks: Callable[[Mark], Text] = self._word
        if len(parts) > 1 or parts[0][1] != self._names():
            parts, marks = self._parts(named, 1), self._symbol
        if len(parts) > 1 and self.console.width < _NARROW:
            self._requirement_lines(rows)
            return
        for part, headings in parts:
            table = _table("Requirement", "Level", *headings)
            for row in rows:
                outcomes = [marks(row.outcomes[place].mark) for place in part]
                table.add_row(Text(abridged(row.id, _LONGEST_ID)), Text(abridged(row.level, 6)), *outcomes)
            self.console.print(table)
        if marks == self._symbol:
            self._legend(rows, numbered=parts[0][1] != self._names()[: len(parts[0][1])])

    def _requirement_lines(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.console.print(Text(f"{abridged(row.id, _LONGEST_ID)} {row.level}", style="bold"))
            for mark in dict.fromkeys(outcome.mark for outcome in (*row.evidence, *row.outcomes)):
                who = [o.column.label for o in row.outcomes if o.mark == mark]
                told = ", ".join(who) if mark.key != "passed" or len(who) == 1 else f"{len(who)} implementations"
                line = Text.assemble(self._symbol(mark), f" {plain(mark.word)}: {told}")
                self.console.print(Padding(line, (0, 0, 0, 2), expand=False))

    def _legend(self, rows: Sequence[Row], *, numbered: bool) -> None:
        found = {outcome.mark.key: outcome.mark for row in rows for outcome in row.outcomes}
        marks = sorted(found.values(), key=lambda mark: -mark.severity)
        lines = [Text()]
        for mark in marks:
            entry = Text.assemble(self._symbol(mark), f" {plain(mark.word)}   ")
            if lines[-1] and lines[-1].cell_len + entry.cell_len > self.console.width + 3:
                lines.append(Text())
            lines[-1].append_text(entry)
        for line in lines:
            line.rstrip()
            self.console.print(line)
        if numbered:
            self.console.print(Text("Columns are numbered as the implementations above.", style="dim"))

    def _left_out(self, listed: int) -> None:
        unanimous = self.card.shown.total - listed
        filtered = self.card.matrix.total - self.card.shown.total
        if unanimous:
            by_all = " by all" if len(self.columns) > 1 else ""
            self.console.print(
                Text(f"{plural(unanimous, 'requirement')} passed{by_all}; --all lists them.", style="dim")
            )
        if filtered:
            self.console.print(Text(f"{plural(filtered, 'requirement')} left out by the filters chosen.", style="dim"))
        if any(row.failing for row in self.card.shown.rows):
            self.console.print(
                Text("Reasons, examples and commands: -o scorecard.html or -o scorecard.md", style="dim")
            )

    def _names(self) -> list[str]:
        return [abridged(column.label, _LONGEST_LABEL) for column in self.columns]

    def _parts(self, named: int, cell: int) -> list[tuple[range, list[str]]]:
        """The columns under their names if all of them fit, else under numbers, in as many parts as it takes."""
        names, room = self._names(), self.console.width - named
        if sum(max(len(name), cell) + 2 for name in names) <= room:
            return [(range(len(names)), names)]
        width = max(cell, len(str(len(names)))) + 2
        many = max(1, room // width)
        starts = range(0, len(names), many)
        return [
            (part := range(start, min(start + many, len(names))), [str(place + 1) for place in part])
            for start in starts
        ]

    def _word(self, mark: Mark) -> Text:
        return Text(abridged(mark.word, 20), style=_STYLES.get(mark.key, "dim"))

    def _symbol(self, mark: Mark) -> Text:
        return Text(self.symbols.get(mark.key, "?"), style=_STYLES.get(mark.key, "dim"))

    def _fits(self, table: Table) -> bool:
        unbounded = self.console.options.update(max_width=_UNBOUNDED)
        return self.console.measure(table, options=unbounded).maximum <= self.console.width


def _table(*headings: str, right: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, heading in enumerate(headings):
        justify = "right" if right and place else "left"
        table.add_column(Text(heading), no_wrap=True, justify=justify)  # type: ignore[arg-type]
    return table


def _verdict(standing: Standing) -> Text:
    return Text(standing.said, style=_VERDICT_STYLES.get(standing.verdict, "bold red"))


def _passed(area: Area, place: int) -> Text:
    return Text(area.score(place), style="" if area.passed[place] == len(area.rows) else "bold")


def _encodes(console: Console, text: str) -> bool:
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
