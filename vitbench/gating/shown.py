"""A gate on the terminal: progress while it measures, then why it decided as it did; and what baselines there are."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vitbench.gating.decision import Decision
from vitbench.gating.outcome import Finding, Outcome, as_relative, ordered, percent
from vitbench.gating.paired import Event, Gated, Measured
from vitbench.gating.pruning import Listed

if TYPE_CHECKING:
    from vitbench.gating.duet import Pair
    from vitbench.gating.selftest import Condition, Observed

What = TypeVar("What")
Result = TypeVar("Result")

_STYLES = {Decision.PASS: "green", Decision.REGRESSION: "red", Decision.INCORRECT: "red"}
_OTHERWISE = "yellow"


def followed(events: Generator[Event, None, list[Gated]], console: Console, most_s: float) -> list[Gated]:
    """Show what happens until it has ended, and hand on what it came to."""

    def line(event: Event) -> str:
        if not isinstance(event, Measured):
            return ""
        return f"{event.cell}, pair {event.pairs}: {percent(as_relative(event.pair.log_ratio))}"

    return _followed(events, line, console, most_s)


def followed_trials(
    trials: "Generator[tuple[Condition, Pair], None, list[Observed]]", console: Console, most_s: float
) -> "list[Observed]":
    """The same for a self-test."""

    def line(trial: "tuple[Condition, Pair]") -> str:
        return f"{trial[0].name}: {percent(as_relative(trial[1].log_ratio))}"

    return _followed(trials, line, console, most_s)


def _followed(
    events: Generator[What, None, Result], line: Callable[[What], str], console: Console, most_s: float
) -> Result:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with closing(events), Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting the first pair", total=most_s)
        while True:
            try:
                said = line(next(events))
            except StopIteration as stop:
                result: Result = stop.value
                return result
            progress.update(task, completed=min(most_s, progress.tasks[0].elapsed or 0.0))
            if said:
                progress.update(task, description=said)
                if not console.is_terminal:
                    console.print(said, markup=False, highlight=False, soft_wrap=True)


def show(outcome: Outcome, console: Console) -> None:
    """The verdict first, then each finding, what stops the change before what does not."""
    style = _STYLES.get(outcome.decision, _OTHERWISE)
    console.print(f"[bold {style}]{outcome.decision}[/]  {escape(outcome.title)}", highlight=False)
    listed = ordered(outcome.findings)
    timed = [finding for finding in listed if finding.change is not None or finding.pairs is not None]
    if timed:
        console.print(_timed(timed))
    for finding in listed:
        if finding.decision is not Decision.PASS:
            console.print(f"{finding.decision}  {finding.name}: {finding.text}", markup=False, highlight=False)
    if outcome.decision in {Decision.PASS, Decision.NOTHING_MEASURED}:
        console.print(outcome.sentence, markup=False, highlight=False)
    for note in outcome.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _timed(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cell", overflow="fold")
    for heading in ("pairs", "change", "bounds", "could have seen", "decision"):
        table.add_column(heading, justify="right" if heading != "decision" else "left")
    for finding in findings:
        table.add_row(escape(finding.name), *figures(finding), finding.decision)
    return table


def figures(finding: Finding) -> tuple[str, str, str, str]:
    """Pairs, change, bounds, and the least change that could have been seen; a dash for what there is not."""
    pairs = "–" if finding.pairs is None else str(finding.pairs)
    if finding.change is None or finding.low is None or finding.high is None or finding.least_detectable is None:
        return pairs, "–", "–", "–"
    bounds = f"{percent(finding.low)} … {percent(finding.high)}"
    return pairs, percent(finding.change), bounds, f"{percent(finding.least_detectable, signed=False)}"


def show_baselines(listed: Sequence[Listed], home: Path, console: Console) -> None:
    """A line for each file of each baseline."""
    if not listed:
        said = f"no baselines in {home}; vitbench run --save-baseline NAME makes one"
        console.print(said, markup=False, highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("baseline", "device", "torch", "threads", "runs", "newest", "commit", "cells", "run to run"):
        table.add_column(heading, overflow="fold", justify="right" if heading in {"runs", "cells"} else "left")
    for one in listed:
        kept = one.kept
        if kept is None:
            continue
        noise = "–" if one.noise is None else f"±{percent(one.noise, signed=False)}"
        newest = kept.runs[-1]
        of_machine = [kept.key.get(part, "") for part in ("device_name", "torch", "threads")]
        told = [str(len(kept.runs)), newest.began[:16], newest.commit[:12] or "–", str(len(kept.measured)), noise]
        table.add_row(*map(escape, [one.name, *of_machine, *told]))
    console.print(table)
    for one in listed:
        if one.problem:
            console.print(one.problem, style="yellow", markup=False, highlight=False)
