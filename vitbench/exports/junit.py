"""JUnit XML, as CI servers read it: a suite for each implementation, a test case for each requirement.

No schema is binding. What is written is valid by the two that are widely used: Jenkins' junit-10.xsd, and that of Ant
as Windy Road wrote it down.
"""

import math
import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from vitbench.matrix import Column, Outcome, Row
from vitbench.records import RequirementRecord
from vitbench.requirement import Verdict
from vitbench.scorecard import Scorecard, Standing
from vitbench.wording import abridged, plain, xml_text

_LONGEST_MESSAGE = 300
_ELEMENTS = {"failed": "failure", "error": "error", "other": "error", "passed": ""}  # of an outcome; else skipped


def render(card: Scorecard) -> str:
    """All requirements of all implementations, whatever is to be listed elsewhere."""
    suites = [_suite(number, standing, card) for number, standing in enumerate(card.standings)]
    root = ET.Element("testsuites")
    root.extend(suites)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(number: int, standing: Standing, card: Scorecard) -> ET.Element:
    place = card.matrix.columns.index(standing.column)
    cases = [_case(row, row.outcomes[place]) for area in card.matrix.areas for row in area.rows]
    cases += _without_requirement(standing, cases)
    name = _token(standing.column.label)
    suite = ET.Element("testsuite", {"name": name, "package": "vitbench.conformance", "id": str(number)})
    for key, element in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(element) is not None for case in cases)))
    suite.attrib |= {
        "tests": str(len(cases)),
        "time": _seconds(standing.duration_s),
        "timestamp": _timestamp(standing.header.started_at),
        "hostname": "localhost",
    }
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(standing).items():
        ET.SubElement(properties, "property", {"name": key, "value": xml_text(plain(value))})
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = xml_text(f"MUST {standing.must}: {standing.said}")
    ET.SubElement(suite, "system-err").text = xml_text(standing.reason)
    return suite


def _properties(standing: Standing) -> dict[str, object]:
    header = standing.header
    return {
        "verdict": standing.verdict,
        "implementation": standing.column.implementation,
        "version": standing.column.version,
        "preset": header.preset,
        "seed": header.seed,
        "vitbench": header.vitbench_version,
        **{str(level): str(tally) for level, tally in standing.tallies},
    }


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
    return _token(f"{re.sub(r'[^A-Za-z0-9_-]+', '_', plain(column.label)).strip('_') or 'unnamed'}.{plain(area)}")


def _token(text: str) -> str:
    return plain(xml_text(text)) or "unnamed"


def _seconds(value: float) -> str:
    return f"{max(0.0, value) if math.isfinite(value) else 0.0:.3f}"


def _timestamp(text: str) -> str:
    """UTC without saying so, as the schemas want it."""
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return "1970-01-01T00:00:00"
    return (when.astimezone(UTC) if when.tzinfo else when).strftime("%Y-%m-%dT%H:%M:%S")
