"""A gate for those who were not there: Markdown for a job's page, JUnit XML for a CI server, annotations for GitHub."""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

from vitbench.errors import OutputUnwritable
from vitbench.exports.markdown import escaped
from vitbench.gating.decision import Decision
from vitbench.gating.outcome import Outcome, ordered
from vitbench.gating.shown import figures
from vitbench.wording import plain, xml_text

_LONGEST = 1000  # characters of a line
_FAILURES = {Decision.REGRESSION, Decision.INCORRECT}


def require_place(path: Path) -> None:
    """Say at once, and not after minutes of measuring, that a file cannot be written.

    Raises:
        OutputUnwritable: its folder is none, or it is one itself, or the system forbids it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        problem = "it is a folder" if path.is_dir() else ""
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            problem = "permission denied"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise OutputUnwritable(f"cannot write {path}: {problem}; choose another place")


def write(path: Path, text: str) -> None:
    """Put a text into a file, folders made as needed.

    Raises:
        OutputUnwritable: that cannot be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a lone surrogate of somebody's
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path}: {error.strerror or error}") from error


def markdown(outcome: Outcome) -> str:
    """For a job's page or a pull request: the decision, what stops the change, then the figures."""
    listed = ordered(outcome.findings)
    lines = [
        f"### vitbench gate: {outcome.decision}",
        "",
        escaped(outcome.title, _LONGEST),
        "",
        escaped(outcome.sentence, _LONGEST),
        "",
    ]
    stops = [finding for finding in listed if finding.decision is not Decision.PASS]
    if stops:
        lines += [
            *(
                f"- **{finding.decision}** {escaped(finding.name, _LONGEST)}: {escaped(finding.text, _LONGEST)}"
                for finding in stops
            ),
            "",
        ]
    if any(finding.change is not None for finding in listed):
        lines += ["| what | decision | pairs | change | bounds | could have seen |", "|---|---|---|---|---|---|"]
        lines += [f"| {escaped(one.name, _LONGEST)} | {one.decision} | {' | '.join(figures(one))} |" for one in listed]
        lines += [""]
    lines += [f"- {escaped(note, _LONGEST)}" for note in outcome.notes]
    return "\n".join(lines).rstrip() + "\n"


def junit(outcome: Outcome) -> str:
    """A test case for each finding: what is worse has failed, what could not be told is an error, a pass is a pass.

    An error is what CI servers show as neither passed nor failed; the job's own exit code decides.
    """
    suite = ET.Element("testsuite", {"name": f"vitbench gate {outcome.tier}", "hostname": "localhost", "time": "0.000"})
    for finding in outcome.listed:
        case = ET.SubElement(
            suite,
            "testcase",
            {"classname": f"vitbench.gate.{outcome.tier}", "name": xml_text(plain(finding.name)), "time": "0.000"},
        )
        if finding.decision is not Decision.PASS:
            said = {"message": xml_text(plain(finding.text)), "type": str(finding.decision)}
            kind = "failure" if finding.decision in _FAILURES else "error"
            ET.SubElement(case, kind, said).text = xml_text(f"{finding.decision}: {finding.text}")
    for key, element in (("failures", "failure"), ("errors", "error")):
        suite.set(key, str(sum(case.find(element) is not None for case in suite)))
    suite.set("tests", str(len(suite)))
    ET.SubElement(suite, "system-out").text = xml_text(f"{outcome.decision}: {outcome.title}: {outcome.sentence}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def annotations(outcome: Outcome) -> list[str]:
    """Lines that mark what stops the change on a GitHub job's page: an error each, a warning where nothing is certain.

    Source: https://docs.github.com/actions/reference/workflow-commands.
    """
    stops = [finding for finding in outcome.listed if finding.decision is not Decision.PASS]
    return [
        f"::{'error' if finding.decision in _FAILURES else 'warning'} "
        f"title={_property(f'vitbench gate: {finding.decision}')}::{_data(f'{finding.name}: {finding.text}')}"
        for finding in stops
    ]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
