"""What a conformance run says on the terminal."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vitbench.adapter import UNKNOWN
from vitbench.assertions import margin_text
from vitbench.diagnosis.record import Diagnosis
from vitbench.records import RequirementRecord, VerdictRecord
from vitbench.requirement import Status, Verdict, failed_besides
from vitbench.specification import requirements
from vitbench.wording import abridged
from vitbench.wrapping import hung, terminal_width

if TYPE_CHECKING:
    import pytest

    from vitbench.session import ConformanceSession

_COLOURS = {
    Verdict.CONFORMS: {"green": True, "bold": True},
    Verdict.INCOMPLETE: {"yellow": True, "bold": True},
}


def failure_text(record: RequirementRecord, source: str) -> str:
    """A failed requirement: what is asked, what came, on which example, and how to see it again.

    The command is never broken, so that it can be copied.
    """
    parts = {
        "found": record.reason,
        "example": f"{record.example or 'its only one'} ({_tried(record.examples)})",
        "margin": margin_text(_telling(record.worst_margin)),
        "source": source,
    }
    width = terminal_width()
    lines = [
        hung(f"{record.id} ({record.level}): {record.statement}", len("  "), width),
        *(hung(f"  {name + ':':<10} {text}", _PART, width) for name, text in parts.items()),
        f"  {'reproduce:':<10} {record.reproduce}",
    ]
    return "\n".join(lines)


_PART = len("  reproduce: ")
_WORD = len("NOT OFFERED  ")
_LONGEST_REASON = 120  # characters: what a failure is about, for who has read it above


def _telling(margin: float | None) -> float | None:
    """The margin, unless what failed is not what was compared by a bound."""
    return None if margin is not None and margin <= 1 else margin


def _tried(examples: int) -> str:
    return "the first tried" if examples == 1 else f"{examples} tried before a smaller one was sought"


def write_summary(
    reporter: "pytest.TerminalReporter",
    session: "ConformanceSession",
    verdict: VerdictRecord | None,
    *,
    interrupted: bool = False,
) -> None:
    """What stands between the candidate and CONFORMS, a line each, then the verdict."""
    options, candidate = session.options, session.introduction
    asked = len(requirements(options.subject))
    version = "" if candidate.version == UNKNOWN else f" {candidate.version}"
    reporter.section(f"conformance of {candidate.name}{version} ({options.preset}, seed {options.seed})")
    told_above = reporter.config.option.tbstyle != "no"
    assumed = [f"{'assumed':<12} {line}" for line in candidate.inferred]
    findings = [*assumed, *_findings(session, _LONGEST_REASON if told_above else sys.maxsize)]
    width = terminal_width()
    for line in [*_diagnosis(session.diagnosis), *findings]:
        reporter.line(hung(line, _WORD, width))
    if session.reason:
        reporter.line(f"{Verdict.ADAPTER_BROKEN}: {session.reason}", red=True)
    elif interrupted:
        reporter.line(f"interrupted after {len(session.records)} of {asked} requirements: no verdict")
    elif verdict is None:
        reporter.line(f"{len(session.records)} of {asked} requirements were judged: a selection has no verdict")
    else:
        for level, tally in (("SHOULD", verdict.should), ("MAY", verdict.may)):
            if tally.total:
                reporter.line(f"{level} {tally}")
        colour = _COLOURS.get(verdict.verdict, {"red": True, "bold": True})
        reporter.line(f"MUST {verdict.must}{failed_besides(verdict.should, verdict.may)}: {verdict.said}", **colour)
        if why := _exit_code_explained(session, verdict):
            reporter.line(why)
    if session.updated:
        reporter.line(f"known failures in {session.updated}")
    if options.results is not None:
        _write_results(reporter, session)


def _write_results(reporter: "pytest.TerminalReporter", session: "ConformanceSession") -> None:
    """Where the results are and what can be made of them, or why they are not whole."""
    file = session.options.results
    if session.unwritten:
        reporter.line(f"results: {session.unwritten}; what was written before stays", red=True)
    elif session.options.cell is None:
        reporter.line(f"results: {file}")
        reporter.line(f"  as a page:        python -m vitbench.report {file} -o report.html")
        reporter.line(f"  beside others:    python -m vitbench.compare {file} OTHER.jsonl")


def _exit_code_explained(session: "ConformanceSession", verdict: VerdictRecord) -> str:
    """Where verdict and exit code look as if they did not agree."""
    code, known, missing = session.exit_code(verdict), session.options.known_failures, verdict.must.not_offered
    if verdict.verdict is Verdict.INCOMPLETE and not code:
        why = "--allow-incomplete" if session.options.allow_incomplete else f"as listed in {known}"
        return f"exit code 0: {missing} MUSTs are not offered, {why}"
    if verdict.verdict is Verdict.DOES_NOT_CONFORM and not code:
        return f"every failure is known ({known}): exit code 0"
    if verdict.verdict is Verdict.INCOMPLETE and not known and session.options.subject == "model":
        adapted = "an adapter's methods offer them (docs/adapters.md; vitbench adapt writes one to begin with)"
        return f"exit code {code}: {missing} MUSTs are not offered; {adapted}, --allow-incomplete does without"
    if known and code and not verdict.must.failed and missing:
        return f"exit code {code}: {missing} MUSTs are not offered (not_offered = true, or --allow-incomplete, accept that)"
    return ""


def _diagnosis(found: Diagnosis | None) -> Iterator[str]:
    """The cause before all that follows from it."""
    if found is None:
        return
    yield f"{'DIAGNOSIS':<12} {found.sentence}"
    for word, text in found.parts():
        yield f"  {word + ':':<10} {text}"


def _findings(session: "ConformanceSession", longest: int) -> Iterator[str]:
    """Errors and failures first; what is not offered by its reason, since one missing method explains many.

    Args:
        longest: characters of a failure's reason, which stands in full above.
    """
    records: Sequence[RequirementRecord] = session.records
    for record in records:
        if outdated := session.outdated(record):
            yield _finding("OUTDATED", replace(record, reason=outdated))
    words = {Status.ERROR: "ERROR", Status.FAILED: "FAILED", Status.KNOWN_FAILURE: "KNOWN"}
    for status, word in words.items():
        yield from (_finding(word, record, longest) for record in records if record.status is status)
    reasons: dict[str, list[RequirementRecord]] = {}
    for record in records:
        if record.status is Status.NOT_OFFERED:
            reasons.setdefault(record.reason, []).append(record)
    for reason, concerned in reasons.items():
        why = abridged(reason, 2 * _LONGEST_REASON)  # torch.export tells a page; the results have it whole
        yield f"{'NOT OFFERED':<12} {why}: {', '.join(f'{r.level} {r.id}' for r in concerned)}"
    yield from _notes(records)


def _notes(records: Sequence[RequirementRecord]) -> Iterator[str]:
    """What passed and still has something to tell, by what it is, since one habit shows in many requirements."""
    notes: dict[str, list[str]] = {}
    for record in records:
        if record.status is Status.PASSED and record.reason:
            notes.setdefault(record.reason.rpartition(": ")[2], []).append(record.id)
    for note, ids in notes.items():
        yield f"{'note':<12} {note}: {', '.join(ids)}"


def _finding(word: str, record: RequirementRecord, longest: int = sys.maxsize) -> str:
    return f"{word:<12} {record.level:<6} {record.id:<28} {abridged(record.reason, longest)}"
