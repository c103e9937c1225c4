"""The pytest plugin: ``--impl mypkg`` or ``--kernel mypkg:attend`` makes ``pytest suites/conformance`` a verdict.

It is loaded into every pytest run of an environment that has vitbench, so it does nothing, and imports nothing
heavy, until a requirement's check is collected.
"""

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import pytest
from _pytest.junitxml import xml_key

from vitbench.benchmark_items import BenchmarkItems
from vitbench.command_line import (
    add_measuring_options,
    add_options,
    is_about_vitbench,
    options_of,
    require_consistent,
    subject_of,
)
from vitbench.errors import OutputCut, VitbenchError
from vitbench.imports import undisturbed_imports

if TYPE_CHECKING:
    from vitbench.candidate import Candidate
    from vitbench.diagnosis.record import Diagnosis
    from vitbench.kernel import Kernel
    from vitbench.records import VerdictRecord
    from vitbench.requirement import Subject
    from vitbench.session import ConformanceSession, Introduction, Options
    from vitbench.stored_example import StoredExample
    from vitbench.supervision import Supervisor

_USUAL_LIST = "fE"  # pytest's own, of -r
_EVIDENCE = pytest.StashKey[Any]()
_NOTHING_SELECTED = {
    "model": "only checks of attention kernels are selected; name what they judge with --kernel package:function",
    "kernel": "only checks of models are selected; name what they judge with --impl NAME",
}
_CHECKS = pytest.StashKey["ConformanceChecks"]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    add_options(parser)
    config: Any = pluginmanager.get_plugin("pytestconfig")
    if is_about_vitbench(config.invocation_params.args):
        add_measuring_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    require_consistent(config.option)
    config.addinivalue_line("markers", "requirement(id): the requirement that a check judges; set by vitbench")
    checks = ConformanceChecks(config)
    config.stash[_CHECKS] = checks
    config.pluginmanager.register(checks, "vitbench-conformance")
    config.pluginmanager.register(BenchmarkItems(config), "vitbench-benchmarks")


@pytest.fixture(scope="session")
def impl(request: pytest.FixtureRequest) -> "Candidate | Kernel":
    """The implementation under test, as ``--impl`` names it, or the attention kernel, as ``--kernel`` does."""
    session = request.config.stash[_CHECKS].session
    if session is None:
        pytest.fail("the fixture 'impl' serves checks that carry @requirement", pytrace=False)
    return session.candidate


class ConformanceChecks:
    """The hooks of one pytest run, and its session once a check was collected."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.session: ConformanceSession | None = None
        self.supervisor: Supervisor | None = None  # None: judged in this process
        self.verdict: VerdictRecord | None = None
        self.interrupted = False
        self.others_failed = False  # a test beside the checks, such as a benchmark
        self.collected: dict[Path, set[str]] = {}  # requirements by the file of their check, before any selection
        self.records_here = not hasattr(config, "workerinput")  # an xdist worker judges; its controller records

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Let ``-k VIT-POS-RESIZE`` and ``-m requirement`` find a check."""
        if _is_check(item):
            self.collected.setdefault(item.path, set()).add(item.function.requirement.id)
            item.extra_keyword_matches.add(item.function.requirement.id)
            item.add_marker(pytest.mark.requirement(item.function.requirement.id))

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, Any, Any]:
        """Import torch and what builds on it at full speed, where checks are to be collected."""
        if self.config.option.impl is None and self.config.option.kernel is None:
            return (yield)
        with undisturbed_imports():
            return (yield)

    @pytest.hookimpl(trylast=True)  # after -k and -m have chosen
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Give each check of what is to be judged the preset's number of examples; the others are not for it."""
        if not any(map(_is_check, items)):
            return
        from vitbench.check import configured  # noqa: PLC0415  # torch, needed only now

        subject = subject_of(self.config.option)
        items[:] = [item for item in items if not _is_check(item) or item.function.requirement.subject == subject]
        checks = [item for item in items if _is_check(item)]
        if not checks:
            raise pytest.UsageError(_NOTHING_SELECTED[subject])
        selected = [item.function.requirement.id for item in checks]
        self.session = self._open(selected, unchecked=self._unchecked(selected, subject))
        options = self.session.options
        stored = self._stored_examples(options)
        for item in checks:
            item.obj = configured(item.obj, options.preset, options.seed, stored=stored(item.function.requirement.id))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Load the candidate, and try it: what cannot build, load or run a model is not judged."""
        if self.session is None or self.config.option.collectonly:
            return None
        from vitbench.supervision import Supervisor, possible  # noqa: PLC0415

        if possible(self.config):
            self.supervisor = Supervisor(self.config, self.session, session.items)
        begun = self._begin(self.session, (self.supervisor or self.session).introduced())
        return True if begun.reason and self.records_here else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Have a check judged apart."""
        if self.session is None or not _is_check(item):
            return None
        if self.session.reason:
            from vitbench.supervision import broken_report  # noqa: PLC0415

            reports = [broken_report(item, self.session)]
        elif self.supervisor is not None:
            reports = self.supervisor.reports(item, nextitem)
        else:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        """Collect the evidence of a check while it runs."""
        if not _is_check(pyfuncitem):
            return (yield)
        from vitbench.evidence import collecting  # noqa: PLC0415

        with collecting() as evidence:
            pyfuncitem.stash[_EVIDENCE] = evidence
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Turn pytest's outcome of a check into the requirement's status, with a reason that a person can read."""
        report: Any = yield
        if self.session is None or not _is_check(item) or call.when != "call":
            return report
        from vitbench.check import Judgement, classify  # noqa: PLC0415
        from vitbench.supervision import as_report_of  # noqa: PLC0415

        evidence = item.stash[_EVIDENCE]
        status, reason = classify(call.excinfo.value if call.excinfo else None, evidence)
        judgement = Judgement(
            requirement=item.function.requirement,
            status=status,
            reason=reason,
            evidence=evidence,
            duration_s=call.duration,
        )
        return as_report_of(report, self.session.record(judgement), item, self.session)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record; with xdist this runs in the controller, for reports of every worker."""
        introduction = getattr(report, "vitbench_introduction", None)
        self.others_failed |= introduction is None and report.failed
        if introduction is None or not self.records_here:
            return
        if self.session is None:  # xdist: nothing is collected here, so what was selected is what arrives
            from vitbench.session import Introduction  # noqa: PLC0415

            self.session = self._begin(self._open(selected=None), Introduction(**json.loads(introduction)))
        record = _record_of(report)
        if record is not None:
            self.session.add(record)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        """The statuses' own words and letters on the terminal."""
        record = _record_of(report)
        if record is None:
            return None
        if record.status == "PASSED" and report.failed:
            return ("failed", "F", "UNEXPECTED PASS")
        words: dict[str, tuple[str, str, Any]] = {
            "PASSED": ("passed", ".", "PASSED"),
            "FAILED": ("failed", "F", "FAILED"),
            "NOT_OFFERED": ("not offered", "-", ("NOT OFFERED", {"yellow": True})),
            "KNOWN_FAILURE": ("known failures", "k", ("KNOWN FAILURE", {"yellow": True})),
            "ERROR": ("failed", "E", "HARNESS ERROR"),
        }
        return words[record.status]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """The verdict decides the exit code; an interrupted run or a selection has none."""
        if self.session is None or not self.records_here or self.config.option.collectonly:
            return
        if session.exitstatus in (
            pytest.ExitCode.INTERRUPTED,
            pytest.ExitCode.INTERNAL_ERROR,
            pytest.ExitCode.USAGE_ERROR,
        ):
            self.interrupted = True
            self.session.interrupt()
            return
        self.session.diagnosis = self._diagnosis(self.session)
        self.verdict = self.session.finish()
        code = self.session.exit_code(self.verdict)
        if code is not None:
            session.exitstatus = code or int(self.others_failed)
        if self.config.option.update_known and not self.session.reason:
            try:
                self.session.updated = self.session.update_known()
            except VitbenchError as error:
                self.session.updated = str(error)
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if self.session.unwritten:
            session.exitstatus = OutputCut.exit_code

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The verdict in one line, below what keeps it from CONFORMS."""
        if self.session is None or self.config.option.collectonly:
            return
        from vitbench.terminal import write_summary  # noqa: PLC0415

        write_summary(terminalreporter, self.session, self.verdict, interrupted=self.interrupted)
        self._leave_out_pytests_own(terminalreporter)

    def _diagnosis(self, session: "ConformanceSession") -> "Diagnosis | None":
        """Why it failed, where that is a matter of parity; a run that passes is over at once."""
        failed = any(record.status == "FAILED" for record in session.records)
        if session.reason or self.config.option.no_diagnosis or not failed:
            return None
        found = self._cause(session)
        if found is not None and self.config.stash.get(xml_key, None) is not None:
            self.config.stash[xml_key].add_global_property("diagnosis", found.sentence)
        return found

    def _cause(self, session: "ConformanceSession") -> "Diagnosis | None":
        from vitbench.diagnosis.of_run import failed  # noqa: PLC0415
        from vitbench.supervision import Supervisor, possible  # noqa: PLC0415

        requirements = failed(session.records)
        if not requirements:
            return None
        if self.supervisor is None and possible(self.config):  # xdist: its workers are gone
            self.supervisor = Supervisor(self.config, session, [])
        return (self.supervisor or session).diagnosed(requirements)

    def _leave_out_pytests_own(self, reporter: pytest.TerminalReporter) -> None:
        """pytest would list what failed once more, by the names of its functions; ``-r`` still asks for that."""
        failed = reporter.stats.get("failed", [])
        if self.config.option.reportchars == _USUAL_LIST and all(_record_of(report) is not None for report in failed):
            reporter.reportchars = reporter.reportchars.replace("f", "")

    def _stored_examples(self, options: "Options") -> Callable[[str], "StoredExample | None"]:
        """Where each requirement's failing example is kept: in pytest's cache, if there is one; in no package."""
        from vitbench.stored_example import StoredExample, folder_of  # noqa: PLC0415

        cache = getattr(self.config, "cache", None)
        try:
            home = None if cache is None or options.update_known else cache.mkdir("vitbench")
        except OSError:  # a folder that is read only
            home = None
        if home is None or "site-packages" in home.parts:
            return lambda _requirement: None
        folder = folder_of(home, options.impl, options.preset, options.seed, options.device)
        return lambda requirement: StoredExample(folder / requirement)

    def pytest_unconfigure(self) -> None:
        if self.supervisor is not None:
            self.supervisor.end()

    def _begin(self, session: "ConformanceSession", introduction: "Introduction") -> "ConformanceSession":
        """A user's mistake ends pytest with one line and exit code 4."""
        self.session = None  # without a candidate there is nothing to tell of
        if introduction.refused and self.records_here:
            raise pytest.UsageError(introduction.refused)
        try:
            session.begin(introduction, records=self.records_here)
        except VitbenchError as error:
            raise pytest.UsageError(str(error)) from error
        self.session = session
        return session

    def _unchecked(self, selected: Sequence[str], subject: "Subject") -> Sequence[str]:
        """Requirements that no check judges, where the suite was asked for whole: no selection, but a hole in it."""
        from vitbench.specification import requirements  # noqa: PLC0415

        asked, found = requirements(subject), {id_ for ids in self.collected.values() for id_ in ids}
        folders = {path.parent for path in self.collected if (path.parent / "suite.py").is_file()}
        files = {path for folder in folders for path in folder.glob("test_*.py")}
        parts = any("::" in argument for argument in self.config.args)
        if parts or files != set(self.collected) or set(selected) != found & set(asked):
            return ()
        return [id_ for id_ in asked if id_ not in found]

    def _open(self, selected: Sequence[str] | None, *, unchecked: Sequence[str] = ()) -> "ConformanceSession":
        from vitbench.session import ConformanceSession  # noqa: PLC0415  # torch, needed only now

        try:
            return ConformanceSession(options_of(self.config.option), selected, unchecked=unchecked)
        except VitbenchError as error:
            raise pytest.UsageError(str(error)) from error


def _is_check(item: pytest.Item) -> TypeGuard[pytest.Function]:
    return isinstance(item, pytest.Function) and hasattr(item.function, "requirement")


def _record_of(report: pytest.TestReport) -> Any:
    line = getattr(report, "vitbench_record", None)
    if line is None:
        return None
    from vitbench.results import from_line  # noqa: PLC0415

    return from_line(line)
