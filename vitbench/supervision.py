"""Judges in a process apart: a candidate that hangs, crashes or leaves costs one requirement, and never the run.

pytest collects, reports and decides in its own process, which never imports the candidate. What touches it runs in a
fork, and a fresh one takes over where one was lost (docs/decisions/0013).
"""

import gc
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from vitbench.check import Judgement, is_slow
from vitbench.diagnosis.record import BUDGET_S, Diagnosis, from_json
from vitbench.evidence import Evidence, watching
from vitbench.forked import AVAILABLE, Forked, NoAnswer, Tell
from vitbench.imports import undisturbed_imports
from vitbench.records import RequirementRecord
from vitbench.requirement import Status, Verdict
from vitbench.results import to_line
from vitbench.session import ConformanceSession, Introduction
from vitbench.terminal import failure_text

TIME_LIMIT_S = 60.0
"""Of one example. The reference needs milliseconds, a model that is compiled for it half a minute."""

_IMPORT_LIMIT_S = 300.0  # some packages are large, and some disks slow
_IMPATIENT_S = 10.0
_IMPATIENT_FACTOR = 10
_SLOW_FACTOR = 4  # for checks that compile, or train
_KEPT_OUTPUT = 4000  # characters, of what a check printed


def possible(config: pytest.Config) -> bool:
    """Whether checks can be judged apart: not where a debugger wants to be in the same process."""
    option = config.option
    debugging = option.usepdb or getattr(option, "trace", False)
    return AVAILABLE and not debugging and not option.in_process


class Supervisor:
    """Has checks judged in a forked process, and reports in its place where that did not survive."""

    def __init__(self, config: pytest.Config, session: ConformanceSession, items: Sequence[pytest.Item]) -> None:
        self._config, self._session, self._items = config, session, list(items)
        self._places = {id(item): i for i, item in enumerate(self._items)}
        self._limit_s = float(config.option.time_limit or TIME_LIMIT_S)
        self._longest_s = 0.0  # of all the examples that ended
        self._hung = False
        self._fork: Forked | None = None
        self._frozen = False  # in the fork: whether the garbage collector leaves alone what was imported

    def introduced(self) -> Introduction:
        """The candidate, loaded and tried."""
        impl = self._session.options.impl
        try:
            introduction = self._loaded()
        except NoAnswer as lost:
            return Introduction(name=impl, refused=f"adapter {impl!r}: while it was loaded, {lost}")
        if introduction.refused:
            return introduction
        try:
            broken = str(self._ask({"question": "smoke"}, self._limit_s))
        except NoAnswer as lost:
            broken = f"adapter {introduction.name!r}: {lost} (smoke stage)"
        return replace(introduction, broken=broken)

    def reports(self, item: pytest.Function, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        """pytest's reports of a check that was judged apart."""
        place, following = self._places[id(item)], None if nextitem is None else self._places[id(nextitem)]
        start, limit_s = time.time(), self._patience_s(is_slow(item.obj, self._session.options.preset))
        try:
            if self._fork is None:
                self._loaded()
            answer = self._ask({"question": "judge", "item": place, "next": following}, limit_s)
        except NoAnswer as lost:
            self._hung |= lost.hung
            return [self._lost(item, _why(lost, limit_s, self._limit_s), lost.told, start)]
        return [self._report(data) for data in answer]

    def diagnosed(self, requirements: Sequence[str]) -> Diagnosis:
        """Why these requirements failed; of a candidate that hung, or does not survive this either, that it is not known."""
        if self._hung:
            return self._undiagnosed(requirements, "it hung while it was judged, and was asked no more")
        try:
            if self._fork is None:
                self._loaded()
            limit_s = max(self._limit_s, 2 * TIME_LIMIT_S)  # its own budget ends it before
            return from_json(self._ask({"question": "diagnose", "requirements": list(requirements)}, limit_s))
        except NoAnswer as lost:
            return self._undiagnosed(requirements, f"while the cause was looked for, {lost}")

    def _undiagnosed(self, requirements: Sequence[str], why: str) -> Diagnosis:
        return Diagnosis.none(why, failed=len(requirements), budget_s=BUDGET_S)

    def end(self) -> None:
        """End the process that judges."""
        if self._fork is not None:
            self._fork.end()
            self._fork = None

    def _loaded(self) -> Introduction:
        return Introduction(**self._ask({"question": "introduce"}, _IMPORT_LIMIT_S))

    def _ask(self, question: Mapping[str, Any], limit_s: float) -> Any:
        self._fork = fork = self._fork or Forked(self._answer)
        try:
            answer = fork.ask(question, limit_s=limit_s)
        except BaseException:
            self._fork = None
            raise
        if question["question"] == "judge":
            self._longest_s = max(self._longest_s, fork.longest_silence_s)
        return answer

    def _patience_s(self, slow: bool) -> float:
        """The time limit; once an example has reached it, what no other example came near to is enough."""
        if slow:
            return _SLOW_FACTOR * self._limit_s
        return (
            min(self._limit_s, max(_IMPATIENT_S, _IMPATIENT_FACTOR * self._longest_s)) if self._hung else self._limit_s
        )

    def _report(self, data: Mapping[str, Any]) -> pytest.TestReport:
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=dict(data))
        report.location = tuple(report.location)
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)
        return report

    def _lost(self, item: pytest.Function, reason: str, told: Sequence[Any], start: float) -> pytest.TestReport:
        """The failure of a requirement whose process is no more, with the example that it was about."""
        example, ended = told[-1] if told else ("", 0)
        record = self._session.record(
            Judgement(
                requirement=item.function.requirement,
                status=Status.FAILED,
                reason=reason,
                evidence=Evidence(examples=ended, example=example),
                duration_s=time.time() - start,
            )
        )
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords=dict.fromkeys(item.keywords, 1),
            outcome="failed",
            longrepr=None,
            when="call",
            sections=self._printed(),
            duration=time.time() - start,
            start=start,
            stop=time.time(),
        )
        return as_report_of(report, record, item, self._session)

    def _printed(self) -> list[tuple[str, str]]:
        """What the lost process had printed; it must not be taken for the next one's."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is None or not capture.is_globally_capturing():
            return []
        texts = zip(("stdout", "stderr"), capture.read_global_capture(), strict=True)
        return [(f"Captured {name} call", text) for name, text in texts if text]

    # In the fork.

    def _answer(self, question: Mapping[str, Any], tell: Tell) -> Any:
        match question["question"]:
            case "introduce":
                with undisturbed_imports():
                    return asdict(self._session.introduce())
            case "smoke":
                return self._session.smoke()
            case "diagnose":
                with watching(lambda example, ended: tell([example, ended])):
                    return asdict(self._session.diagnosed(question["requirements"]))
        item, following = self._items[question["item"]], question["next"]
        with watching(lambda example, ended: tell([example, ended])):
            reports = runtestprotocol(item, nextitem=None if following is None else self._items[following], log=False)
        if not self._frozen:  # what is imported by now stays; hypothesis has looked among it for random generators
            gc.freeze()
            self._frozen = True
        hook = self._config.hook
        return [hook.pytest_report_to_serializable(config=self._config, report=report) for report in reports]


def broken_report(item: pytest.Function, session: ConformanceSession) -> pytest.TestReport:
    """pytest's report of a check for which there is no candidate."""
    where = (str(item.path), item.reportinfo()[1] or 0, f"{Verdict.ADAPTER_BROKEN}: {session.reason}")
    report = pytest.TestReport(item.nodeid, item.location, {}, "skipped", where, "call")
    report.vitbench_introduction = json.dumps(asdict(session.introduction))  # type: ignore[attr-defined]
    return report


def _why(lost: NoAnswer, limit_s: float, full_limit_s: float) -> str:
    if not lost.hung:
        return f"while this was judged, {lost}"
    if limit_s < full_limit_s:
        return f"{lost} (of {full_limit_s:g} s, shortened since an example hung; no other took as long)"
    return f"{lost}; if it is only slow, give an example more time with --time-limit"


def as_report_of(
    report: pytest.TestReport, record: RequirementRecord, item: pytest.Function, session: ConformanceSession
) -> pytest.TestReport:
    """pytest's report of a check, with the requirement's record, and a text that a person can read."""
    outcomes: dict[str, Any] = {"PASSED": "passed", "NOT_OFFERED": "skipped", "KNOWN_FAILURE": "skipped"}
    outdated = session.outdated(record)
    report.vitbench_record = to_line(record)  # type: ignore[attr-defined]  # plain text, so that it travels
    report.vitbench_introduction = json.dumps(asdict(session.introduction))  # type: ignore[attr-defined]
    report.outcome = "failed" if outdated else outcomes.get(record.status, "failed")
    report.sections = [(name, cut(text)) for name, text in report.sections if name != "Hypothesis"]
    word = record.status.replace("_", " ")
    report.longrepr = {
        "passed": None,
        "skipped": (str(item.path), item.reportinfo()[1] or 0, f"{word}: {record.reason}"),
        "failed": f"{record.id} {outdated}" if outdated else failure_text(record, item.function.requirement.source),
    }[report.outcome]
    return report


def cut(text: str) -> str:
    """The beginning and the end of what was printed; a candidate can print a gigabyte."""
    if len(text) <= _KEPT_OUTPUT:
        return text
    half = _KEPT_OUTPUT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
