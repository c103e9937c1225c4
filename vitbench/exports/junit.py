"""JUnit XML, as CI servers read it: a suite for each implementation, a test case for each requirement and each cell.

No schema is binding. What is written is valid by the two that are widely used: Jenkins' junit-10.xsd, and that of Ant
as Windy Road wrote it down.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from vitbench.exports.junit_cells import Measured, figure, judged, measured, without_result
from vitbench.matrix import Column, Outcome, Row
from vitbench.records import Header, RequirementRecord
from vitbench.requirement import Verdict
from vitbench.results import Run
from vitbench.scorecard import Scorecard, Standing
from vitbench.wording import abridged, plain, xml_text

_LONGEST_MESSAGE = 300
_ELEMENTS = {"failed": "failure", "error": "error", "other": "error", "passed": ""}  # of an outcome; else skipped


def render(card: Scorecard | None, runs: Sequence[Run] = ()) -> str:
    """All requirements of all implementations, whatever is to be listed elsewhere; then all cells of the runs."""
    root = ET.Element("testsuites")
    if card is not None:
        root.extend([_suite(standing, card) for standing in card.standings])
    root.extend(_cells(run, name, records) for run, name, records in measured(runs))
    root.extend(_unfinished(run, cells) for run in runs if (cells := without_result(run)))
    for number, suite in enumerate(root):
        suite.set("id", str(number))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(standing: Standing, card: Scorecard) -> ET.Element:
    place = card.matrix.columns.index(standing.column)
    cases = [_case(row, row.outcomes[place]) for area in card.matrix.areas for row in area.rows]
    cases += _without_requirement(standing, cases)
    properties = {
        "verdict": standing.verdict,
        "implementation": standing.column.implementation,
        "version": standing.column.version,
        **{str(level): str(tally) for level, tally in standing.tallies},
        **({} if standing.diagnosis is None else {"diagnosis": standing.diagnosis.sentence}),
    }
    return _testsuite(
        ("conformance", standing.column.label),
        standing.header,
        cases,
        properties,
        duration_s=standing.duration_s,
        out="\n".join([f"MUST {standing.must}: {standing.said}", *_diagnosis(standing)]),
        err=standing.reason,
    )


def _diagnosis(standing: Standing) -> Iterator[str]:
    """The cause, and what it rests on."""
    if standing.diagnosis is not None:
        yield f"diagnosis: {standing.diagnosis.sentence}"
        yield from (f"  {word}: {text}" for word, text in standing.diagnosis.parts())


def _cells(run: Run, name: str, records: Sequence[Measured]) -> ET.Element:
    cases = [_of_cell(name, record.cell, *judged(record), duration_s=record.duration_s) for record in records]
    told = [f"{plain(record.cell)}: {text}" for record in records if (text := figure(record))]
    properties = {"implementation": records[0].implementation, "version": records[0].version}
    duration_s = sum(record.duration_s for record in records)
    return _testsuite(("measurement", name), run.header, cases, properties, duration_s=duration_s, out="\n".join(told))


def _unfinished(run: Run, cells: Sequence[str]) -> ET.Element:
    name = "without a result"
    cases = [_of_cell(name, cell, "error", "planned, and without a result: the run was stopped") for cell in cells]
    return _testsuite(("measurement", name), run.header, cases, {})


def _of_cell(name: str, cell: str, element: str, said: str, *, duration_s: float = 0.0) -> ET.Element:
    case = ET.Element(
        "testcase", {"classname": _classname(name, "measurement"), "name": _token(cell), "time": _seconds(duration_s)}
    )
    if element:
        message = {"message": xml_text(abridged(said, _LONGEST_MESSAGE)), "type": "measurement"}
        ET.SubElement(case, element, message).text = xml_text(said)
    return case


def _testsuite(
    named: tuple[str, str],
    header: Header,
    cases: Sequence[ET.Element],
    properties: Mapping[str, object],
    *,
    duration_s: float = 0.0,
    out: str = "",
    err: str = "",
) -> ET.Element:
    """In the order that both schemas ask for: properties, cases, what was said."""
    package, name = named
    suite = ET.Element("testsuite", {"name": _token(name), "package": f"vitbench.{package}", "id": "0"})
    for key, element in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(element) is not None for case in cases)))
    suite.attrib |= {
        "tests": str(len(cases)),
        "time": _seconds(duration_s),
        "timestamp": _timestamp(header.started_at),
        "hostname": "localhost",
    }
    all_properties = {
        **properties, "preset": header.preset, "seed": header.seed, "vitbench": header.vitbench_version,
    }  # fmt: skip
    listed = ET.SubElement(suite, "properties")
    for key, value in all_properties.items():
        ET.SubElement(listed, "property", {"name": key, "value": xml_text(plain(value))})
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = xml_text(out)
    ET.SubElement(suite, "system-err").text = xml_text(err)
    return suite


def _case(row: Row, outcome: Outcome) -> ET.Element:
    record = outcome.record
    took = _seconds(record.duration_s if record is not None else 0.0)
    case = ET.Element("testcase", {"classname": _class(outcome.column, row.area), "name": _token(row.id), "time": took})
    element = _ELEMENTS.get(outcome.mark.key, "skipped")
    if element:
        reason = record.reason if record is not None else ""
        said = f"{outcome.mark.word}: {reason}" if reason else outcome.mark.word
        message = {"message": xml_text(abridged(said, _LONGEST_MESSAGE)), "type": _token(row.level)}
        child = ET.SubElement(case, element, message)
        child.text = xml_text(_words(row, outcome, record))
    return case


def _words(row: Row, outcome: Outcome, record: RequirementRecord | None) -> str:
    """What is asked, what came, and how to see it again."""
    lines = [f"{row.id} ({row.level}): {row.statement}"]
    parts = [(outcome.mark.word, record.reason), ("example", record.example)] if record is not None else []
    parts += [("reproduce", record.reproduce)] if record is not None and outcome.mark.key != "not-offered" else []
    return "\n".join([*lines, *(f"  {name}: {text}" for name, text in parts if text)])


def _without_requirement(standing: Standing, cases: list[ET.Element]) -> list[ET.Element]:
    """A test case for a verdict that no requirement's case shows, lest a server be green where a MUST is left open.

    Where all that failed is known to fail, the server is to be green, as with pytest's own expected failures.
    """
    excused = standing.verdict in {Verdict.CONFORMS, Verdict.DOES_NOT_CONFORM}
    if excused or any(case.find(kind) is not None for case in cases for kind in ("failure", "error")):
        return []
    case = ET.Element("testcase", {"classname": _class(standing.column, "verdict"), "name": "verdict", "time": "0.000"})
    kind = "failure" if standing.verdict == Verdict.INCOMPLETE else "error"
    said = xml_text(f"{standing.verdict}: {plain(standing.reason)}" if standing.reason else standing.verdict)
    message = {"message": abridged(said, _LONGEST_MESSAGE), "type": "verdict"}
    ET.SubElement(case, kind, message).text = xml_text(f"MUST {standing.must}: {said}")
    return [case]


def _class(column: Column, area: str) -> str:
    """Servers know a test by class and name, so that the implementation has to be in one of them."""
    return _classname(column.label, area)


def _classname(name: str, area: str) -> str:
    return _token(f"{re.sub(r'[^A-Za-z0-9_-]+', '_', plain(name)).strip('_') or 'unnamed'}.{plain(area)}")


def _token(text: str) -> str:
    return plain(xml_text(text)) or "unnamed"


def _seconds(value: float) -> str:
    return f"{max(0.0, value) if math.isfinite(value) else 0.0:.3f}"


def _timestamp(text: str) -> str:
    """UTC without saying so, as the schemas want it."""
    try:
        when = datetime.fromisoformat(text)
        when = when.astimezone(UTC) if when.tzinfo else when
    except (TypeError, ValueError, OverflowError):  # the last: a time zone that leads out of the calendar
        return "1970-01-01T00:00:00"
    return when.isoformat(timespec="seconds").partition("+")[0]
