"""One conformance run: the candidate, its records as they are made, and the verdict."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

import vitbench
from vitbench import environment, known_failures_file
from vitbench.candidate import Candidate
from vitbench.check import Judgement
from vitbench.devices import of_this_process, require_device
from vitbench.diagnosis.record import Diagnosis
from vitbench.errors import AdapterBroken, HarnessError, OutputCut, OutputUnwritable, VitbenchError, one_line
from vitbench.evidence import Evidence
from vitbench.kernel import Kernel, smoke_kernel
from vitbench.known_failures import NONE, KnownFailures, Situation, load
from vitbench.records import Footer, Header, Record, RequirementRecord, VerdictRecord
from vitbench.registry import resolve, resolve_kernel
from vitbench.requirement import Level, Status, Subject, Tally, Verdict, tally
from vitbench.requirement import verdict as requirement_verdict
from vitbench.results import ResultsWriter
from vitbench.smoke import smoke
from vitbench.specification import REQUIREMENTS, requirements, total


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    impl: str  # as --impl names a model's implementation, or --kernel an attention kernel
    device: str
    preset: str
    seed: int
    results: Path | None
    cell: str | None  # part of a larger run, which writes header and footer itself
    known_failures: Path | None = None
    update_known: bool = False  # write that file as this run has it
    allow_incomplete: bool = False  # what is not offered does not fail the run
    subject: Subject = "model"

    @property
    def key(self) -> str:
        """The cell's key where no larger run gives one."""
        return self.cell or f"conformance {self.impl}"

    def load(self) -> Candidate | Kernel:
        """What is to be judged.

        Raises:
            AdapterNotFound, AdapterBroken: it cannot be had.
        """
        device = of_this_process(self.device)
        if self.subject == "kernel":
            return Kernel(resolve_kernel(self.impl), self.impl, device)
        return Candidate(resolve(self.impl), device)


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What the process that judges says of its candidate, in words that another process understands."""

    name: str
    version: str = ""
    conventions: Mapping[str, Any] = field(default_factory=dict)  # as declared
    inferred: Sequence[str] = ()  # of an adapter that was inferred: what it assumes
    environment: Mapping[str, Any] | None = None  # where results are written that need it
    broken: str = ""  # what the smoke stage found
    refused: str = ""  # why there is no candidate at all; a user's mistake


def _without_check(requirement_id: str) -> Judgement:
    """A hole in the suite: an error of the harness, never a pass."""
    return Judgement(
        requirement=REQUIREMENTS[requirement_id],
        status=Status.ERROR,
        reason="no check of it in the suite, though this vitbench declares it; is the suite of the same version?",
        evidence=Evidence(),
        duration_s=0.0,
    )


class ConformanceSession:
    """Collects what a run finds out of one candidate, whoever runs the checks, and in whichever process.

    Raises:
        KnownFailuresUnusable: the file of known failures is missing, or holds what cannot be meant.
    """

    def __init__(self, options: Options, selected: Sequence[str] | None, *, unchecked: Sequence[str] = ()) -> None:
        self.options = options
        self.introduction = Introduction(name=options.impl)  # until it is known better
        self.records: list[RequirementRecord] = []
        self.reason = ""  # why there is no verdict from records: the adapter is broken
        self.selected = selected  # ids of the requirements to be judged; None: those that arrive
        self.unchecked = unchecked  # ids of requirements asked for that have no check
        self.updated = ""  # what --update-known has changed
        path = options.known_failures
        self._known = NONE if path is None else load(path, for_update=options.update_known)
        self._started = datetime.now(UTC)
        self._output = ExitStack()
        self._write: Callable[[Record], None] = lambda _record: None
        self.unwritten = ""  # why the results file is not whole: a full disk
        self.diagnosis: Diagnosis | None = None  # of what failed

    @cached_property
    def candidate(self) -> Candidate | Kernel:
        """What is under test, loaded into the process that asks for it.

        Raises:
            VitbenchError: the device or the implementation cannot be had.
        """
        require_device(self.options.device)
        torch.set_num_threads(1)  # models this small only lose by more, and results do not depend on the machine
        return self.options.load()

    @cached_property
    def known(self) -> KnownFailures:
        """The known failures of this candidate in this run; asked for once it is introduced.

        Raises:
            KnownFailuresUnusable: a condition cannot be decided.
        """
        options = self.options
        here = Situation.here(version=self.introduction.version, preset=options.preset, device=options.device)
        return self._known.among(here)

    def introduce(self) -> Introduction:
        """What the candidate is, or why there is none. Of the process that judges."""
        try:
            candidate = self.candidate
        except VitbenchError as error:
            return Introduction(name=self.options.impl, refused=str(error))
        except Exception as error:  # noqa: BLE001  # a property of the adapter, say; it is the adapter's own
            refused = (
                f"adapter {self.options.impl!r} raised {type(error).__name__} when asked what it is: {one_line(error)}"
            )
            return Introduction(name=self.options.impl, refused=refused)
        writes_header = self.options.results is not None and self.options.cell is None
        self.introduction = Introduction(
            name=candidate.name,
            version=candidate.version,
            conventions={} if isinstance(candidate, Kernel) else candidate.conventions.declared(),
            inferred=() if isinstance(candidate, Kernel) else candidate.inferred,
            environment=environment.describe(self.options.device, torch.get_num_threads()) if writes_header else None,
        )
        return self.introduction

    def smoke(self) -> str:
        """Why the candidate cannot be judged; empty if it can. Of the process that judges."""
        try:
            if isinstance(self.candidate, Kernel):
                smoke_kernel(self.candidate)
            else:
                smoke(self.candidate)
        except AdapterBroken as error:
            return str(error)
        return ""

    def introduced(self) -> Introduction:
        """The candidate, loaded and tried, in this process."""
        introduction = self.introduce()
        return introduction if introduction.refused else replace(introduction, broken=self.smoke())

    def diagnosed(self, requirements: Sequence[str]) -> Diagnosis:
        """Why these requirements failed. Of the process that judges."""
        from vitbench.diagnosis.of_run import diagnosis  # noqa: PLC0415  # the bank of deviations, needed only now

        if isinstance(self.candidate, Kernel):
            raise HarnessError("a diagnosis was asked for of an attention kernel")
        return diagnosis(self.candidate, requirements, self.options.seed)

    def begin(self, introduction: Introduction, *, records: bool = True) -> None:
        """Open the results, unless another process records.

        Raises:
            KnownFailuresUnusable: a condition in the file of known failures cannot be decided.
            OutputUnwritable: the results file cannot be written.
        """
        self.introduction, self.reason = introduction, introduction.broken or introduction.refused
        if not self.reason:
            _ = self.known
        if records and self.options.results is not None:
            writer = self._output.enter_context(ResultsWriter(self.options.results))
            self._write = writer.write
            if self.options.cell is None:
                self._write_header()
            self._write = lambda record: self._write_while_possible(writer, record)

    def _write_while_possible(self, writer: ResultsWriter, record: Record) -> None:
        """A verdict does not need the file; that it is not whole is told at the end."""
        if not self.unwritten:
            try:
                writer.write(record)
            except OutputCut as error:
                self.unwritten = str(error)

    def record(self, judgement: Judgement) -> RequirementRecord:
        """The record of one requirement."""
        declared, evidence, margin = judgement.requirement, judgement.evidence, judgement.evidence.worst_margin
        status, reason = self.known.judged(declared.id, judgement.status, judgement.reason, margin)
        failed = judgement.status in {Status.FAILED, Status.ERROR}
        return RequirementRecord(
            cell=self.options.key,
            implementation=self.introduction.name,
            id=declared.id,
            area=declared.area,
            level=declared.level,
            statement=declared.statement,
            status=status,
            examples=evidence.examples + (judgement.status is Status.FAILED),
            unsupported=evidence.unsupported,
            worst_margin=margin,
            reason=reason,
            example=evidence.example if failed else "",
            reproduce=self.reproduce(declared.id),
            duration_s=judgement.duration_s,
        )

    def add(self, record: RequirementRecord) -> None:
        """Keep a record, and append it to the results at once."""
        self.records.append(record)
        self._write(record)

    def finish(self) -> VerdictRecord | None:
        """The verdict, appended to the results; None where only a selection of the requirements was judged."""
        with self._output:
            for id_ in () if self.reason else self.unchecked:
                self.add(self.record(_without_check(id_)))
            record = None if self.partial and not self.reason else self._verdict()
            if record is not None:
                self._write(record)
            self._close("complete")
        return record

    def outdated(self, record: RequirementRecord) -> str:
        """Why the file of known failures has to be changed for a requirement; empty where it need not."""
        return self.known.outdated(record.id, record.status)

    def exit_code(self, verdict: VerdictRecord | None) -> int | None:
        """That of the verdict without what is accepted; 1 where the file of known failures is out of date.

        Without a verdict, on a selection, that of an error of the harness; else None, and pytest's own holds.
        """
        if verdict is None:
            erred = any(record.status is Status.ERROR for record in self.records)
            return Verdict.HARNESS_ERROR.exit_code if erred else None
        if self.reason:
            return verdict.verdict.exit_code
        accepted = requirement_verdict(*self._tallies(self._accepted)).exit_code
        return accepted or int(any(self.outdated(record) for record in self.records))

    def _accepted(self, record: RequirementRecord) -> Status:
        """The status of a requirement, with what is known of it, or allowed, counted as passed."""
        absent = self.options.allow_incomplete or self.known.accepts_absence(record.id)
        accepted = {Status.KNOWN_FAILURE: True, Status.NOT_OFFERED: absent}.get(record.status, False)
        return Status.PASSED if accepted else record.status

    def update_known(self) -> str:
        """Write the file of known failures as this run has it; what has changed.

        Raises:
            KnownFailuresUnusable: the file is written in a way that cannot be kept.
            OutputUnwritable: it cannot be written.
        """
        update = known_failures_file.update(self._known, self.known, self.records)
        known_failures_file.write(self._known.path, update.text)
        return f"{self._known.path}: {update}"

    def interrupt(self) -> None:
        """Close the results without a verdict; what was judged stays."""
        with self._output:
            self._close("interrupted")

    def _close(self, status: str) -> None:
        if self.options.cell is None:
            finished = datetime.now(UTC)
            duration = (finished - self._started).total_seconds()
            self._write(Footer(finished_at=finished.isoformat(), status=status, duration_s=duration))

    @property
    def partial(self) -> bool:
        """Whether the user asked for some of the requirements only."""
        selected = [record.id for record in self.records] if self.selected is None else self.selected
        return {*selected, *self.unchecked} != set(requirements(self.options.subject))

    def reproduce(self, requirement_id: str) -> str:
        """One command that judges a requirement again."""
        in_checkout = Path("suites/conformance").is_dir()
        words = (
            ["pytest", "suites/conformance"] if in_checkout else ["pytest", "--pyargs", "vitbench.suites.conformance"]
        )
        option = "--kernel" if self.options.subject == "kernel" else "--impl"
        words += ["-k", requirement_id, option, self.options.impl]
        words += ["--preset", self.options.preset, "--seed", str(self.options.seed)]
        if self.options.device != "cpu":
            words += ["--device", self.options.device]
        return shlex.join(words)

    def _verdict(self) -> VerdictRecord:
        must, should, may = self._tallies()
        return VerdictRecord(
            cell=self.options.key,
            implementation=self.introduction.name,
            version=self.introduction.version,
            verdict=Verdict.ADAPTER_BROKEN if self.reason else requirement_verdict(must, should, may),
            must=must,
            should=should,
            may=may,
            conventions=self.introduction.conventions,
            reason=self.reason,
            inferred=self.introduction.inferred,
            duration_s=(datetime.now(UTC) - self._started).total_seconds(),
            diagnosis=self.diagnosis,
        )

    def _tallies(self, status: Callable[[RequirementRecord], Status] = attrgetter("status")) -> list[Tally]:
        """MUST, SHOULD and MAY, with each requirement counted as ``status`` says."""
        statuses = [(record.level, status(record)) for record in self.records]
        return [
            tally(statuses, level, total(level, self.options.subject))
            for level in (Level.MUST, Level.SHOULD, Level.MAY)
        ]

    def _write_header(self) -> None:
        try:
            self._write(self._header())
        except OutputUnwritable:
            self._output.close()
            raise

    def _header(self) -> Record:
        return Header(
            vitbench_version=vitbench.__version__,
            started_at=self._started.isoformat(),
            command=["pytest", *sys.argv[1:]],
            preset=self.options.preset,
            seed=self.options.seed,
            environment=self.introduction.environment or {},
            planned=[self.options.key],
        )
