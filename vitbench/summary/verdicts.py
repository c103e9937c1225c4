"""Who conforms, who does not and by which requirements, and who was not judged."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from vitbench import units
from vitbench.console import fitting_table, say
from vitbench.records import Outcome, RequirementRecord, VerdictRecord
from vitbench.requirement import Level, Status, Verdict
from vitbench.results import Run
from vitbench.wording import plain

_FAILURES_SHOWN = 4
_STYLES = {Verdict.CONFORMS: "bold green", Verdict.INCOMPLETE: "bold yellow", Verdict.HARNESS_ERROR: "bold magenta"}


def verdict_table(verdicts: Sequence[VerdictRecord], console: Console) -> None:
    """A row for each implementation that was judged."""
    table = fitting_table("Implementation", "Verdict", "MUST", "SHOULD")
    for record in verdicts:
        table.add_row(Text(_who(record)), _verdict(record), *_tallies(record))
    console.print(table)


def verdict_lines(verdicts: Sequence[VerdictRecord], console: Console) -> None:
    """The same, lines for each."""
    for record in verdicts:
        must, should = _tallies(record)
        console.print(Text.assemble(_who(record), ": ", _verdict(record)))
        say(f"  MUST {must}\n  SHOULD {should}", console, indent=4)


def _tallies(record: VerdictRecord) -> tuple[str, str]:
    broken = record.verdict == Verdict.ADAPTER_BROKEN
    return (units.MISSING, units.MISSING) if broken else (str(record.must), str(record.should))


def show_failures(
    verdicts: Sequence[VerdictRecord], requirements: Sequence[RequirementRecord], console: Console
) -> None:
    """The cause, where it is known, and which MUSTs each implementation misses; why stands in the report."""
    for record in verdicts:
        if record.diagnosis is not None:
            say(f"{record.implementation}: diagnosis: {plain(record.diagnosis.sentence)}", console)
            if record.diagnosis.causes:
                told = f"  explains {plain(record.diagnosis.extent)}; to do: {plain(record.diagnosis.remedy)}"
                say(told, console, indent=4)
        failed = [r.id for r in requirements if r.cell == record.cell and _is_missed(r)]
        if failed:
            more = f" and {len(failed) - _FAILURES_SHOWN} more" if len(failed) > _FAILURES_SHOWN else ""
            shown = ", ".join(failed[:_FAILURES_SHOWN])
            say(f"{record.implementation} fails {shown}{more}", console, style="dim")


def show_unjudged(run: Run, console: Console) -> None:
    """Whose speed is shown though nobody looked at what it computes."""
    judged = {record.implementation for record in run.verdicts}
    measured = (record.implementation for record in run.measurements if record.outcome == Outcome.MEASURED)
    unjudged = [name for name in dict.fromkeys(measured) if name not in judged]
    if unjudged:
        told = "the conformance suite tells whether what was timed computes a ViT"
        say(f"not judged in this run: {', '.join(unjudged)}; {told}", console)


def _is_missed(record: RequirementRecord) -> bool:
    return record.level == Level.MUST and record.status in {Status.FAILED, Status.KNOWN_FAILURE}


def _who(record: VerdictRecord) -> str:
    return f"{record.implementation} {record.version}".strip()


def _verdict(record: VerdictRecord) -> Text:
    return Text(record.said, style=_STYLES.get(record.verdict, "bold red"))
