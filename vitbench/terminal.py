"""What a conformance run says on the terminal."""

from typing import TYPE_CHECKING

from vitbench.assertions import margin_text
from vitbench.requirement import Status, Verdict
from vitbench.results import RequirementRecord, VerdictRecord
from vitbench.specification import REQUIREMENTS

if TYPE_CHECKING:
    import pytest

    from vitbench.session import ConformanceSession

_COLOURS = {
    Verdict.CONFORMS: {"green": True, "bold": True},
    Verdict.INCOMPLETE: {"yellow": True, "bold": True},
}


def failure_text(record: RequirementRecord, source: str) -> str:
    """A failed requirement: what is asked, what came, on which example, and how to see it again."""
    lines = [
        f"{record.id} ({record.level}): {record.statement}",
        f"  found:     {record.reason}",
        f"  example:   {record.example or 'its only one'} (after {record.examples} that passed)",
        f"  margin:    {margin_text(record.worst_margin)}",
        f"  source:    {source}",
        f"  reproduce: {record.reproduce}",
    ]
    return "\n".join(lines)


def write_summary(
    reporter: "pytest.TerminalReporter", session: "ConformanceSession", verdict: VerdictRecord | None
) -> None:
    """The requirements that stand between the candidate and CONFORMS, then the verdict."""
    options, candidate = session.options, session.candidate
    reporter.section(f"conformance of {candidate.name} {candidate.version} ({options.preset}, seed {options.seed})")
    order = (Status.ERROR, Status.FAILED, Status.NOT_OFFERED)
    for record in sorted((r for r in session.records if r.status in order), key=lambda r: order.index(r.status)):
        reporter.line(f"{record.status.replace('_', ' '):<12} {record.level:<6} {record.id:<28} {record.reason}")
    for record in session.records:
        if record.status is Status.PASSED and record.reason:
            reporter.line(f"{'note':<12} {record.level:<6} {record.id:<28} {record.reason}")
    if session.reason:
        reporter.line(f"{Verdict.ADAPTER_BROKEN}: {session.reason}", red=True)
    elif verdict is None:
        judged, all_of_them = len(session.records), len(REQUIREMENTS)
        reporter.line(f"{judged} of {all_of_them} requirements were judged: a selection has no verdict")
    else:
        for level, tally in (("SHOULD", verdict.should), ("MAY", verdict.may)):
            reporter.line(f"{level} {tally}")
        colour = _COLOURS.get(verdict.verdict, {"red": True, "bold": True})
        reporter.line(f"MUST {verdict.must}: {verdict.verdict}", **colour)
    if options.results is not None and options.cell is None:
        reporter.line(f"results: {options.results} (python -m vitbench.report {options.results} -o report.html)")
