"""``python -m vitbench.run``: judge and measure implementations. Options, plan, execute, record, report, summary."""

import errno
import math
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from vitbench import __version__, report, results, resume, summary
from vitbench.console import speak_any_language, suitable_console
from vitbench.engine_options import LOCAL, without_address
from vitbench.engines.engine import Engine, chosen
from vitbench.environment import without_places
from vitbench.errors import AdapterBroken, ClusterLost, OutputCut, OutputUnwritable, VitbenchError
from vitbench.executor import Finished, Recorded
from vitbench.folders import REPORT, RESULTS, STATES, holding, new_folder, put_aside, require_free
from vitbench.options import Options, parse
from vitbench.plan import Cell, plan, widest_first
from vitbench.process import termination_as_interrupt
from vitbench.progress import display, waiting
from vitbench.records import Footer, Header, Outcome, Ran
from vitbench.requirement import Verdict
from vitbench.results import ResultsWriter, Run
from vitbench.suite import load
from vitbench.traces import tables
from vitbench.traces.folders import cell_folders, trace_folders

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
UNREAD = 141  # 128 + SIGPIPE
COMPLETE, STOPPED, OUT_OF_TIME = "complete", "interrupted", "out of time"  # in the footer
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a run; ``--help`` lists them."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    speak_any_language()
    try:
        with termination_as_interrupt():
            options = parse(arguments)
            cells = plan(options)
            if options.dry_run:
                print(dry_run_text(cells), flush=True)
                return 0
            return _run(options, cells, arguments)
    except VitbenchError as error:
        print(f"vitbench run: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vitbench run: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # | head
        _print_no_more()
        return UNREAD
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _print_no_more()  # it may be the output's own disk
        print(f"vitbench run: {error.strerror}: {error.filename or 'standard output'}", file=sys.stderr)
        return OutputCut.exit_code


def _print_no_more() -> None:
    """Let what is still to be flushed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def dry_run_text(cells: Sequence[Cell]) -> str:
    """The cells that would run, a line each."""
    return "\n".join([*(cell.key for cell in cells), f"{len(cells)} cells; nothing was run (--dry-run)"])


def _run(options: Options, cells: Sequence[Cell], arguments: Sequence[str]) -> int:
    until_s = time.monotonic() + (options.max_seconds or math.inf)
    folder = options.output or new_folder()
    _require_startable(folder, fresh=options.fresh)
    console = suitable_console()
    with chosen(options) as engine:
        return _run_on(engine, options, cells, arguments, folder=folder, console=console, until_s=until_s)


def _run_on(
    engine: Engine,
    options: Options,
    cells: Sequence[Cell],
    arguments: Sequence[str],
    *,
    folder: Path,
    console: Console,
    until_s: float,
) -> int:
    with waiting(console, "looking at implementations and device"):
        found = engine.check(options)
    for note in found.notes:
        console.print(note, markup=False, soft_wrap=True)
    gated = options.baseline is not None or options.save_baseline is not None
    if gated:
        from vitbench.gating import held  # noqa: PLC0415  # scipy, which no other run needs

        base = held.base_of(options, found.environment, console)
    cells = [replace(cell, name=found.names.get(cell.implementation, cell.name)) for cell in cells]
    if options.engine == LOCAL:  # a folder of this machine
        cells = _keeping(cells, folder)
    if options.profile:
        cells = _traced(cells, folder, console)
    with holding(folder):
        kept = _begun(folder, _header(options, cells, arguments, found.environment), fresh=options.fresh)
        if kept:
            console.print(f"resumed: {len(kept)} of {len(cells)} cells have their result", markup=False, soft_wrap=True)
        ordered = cells if options.max_seconds is None else widest_first(cells)
        again = _command_again(arguments, folder)
        left = [cell for cell in ordered if cell.key not in kept]
        try:
            status = _executed(engine, left, folder / RESULTS, console, until_s)
        except (OutputCut, ClusterLost) as error:
            first = "make room, then" if isinstance(error, OutputCut) else "to go on"
            saved = f"{_finished(folder)} of {len(cells)} cells are saved there"
            raise type(error)(f"{error}; {saved}; {first}: {again}") from error
        if status != COMPLETE:
            console.print(f"to go on: {again}", markup=False, soft_wrap=True)
            told = f"{status}: {_finished(folder)} of {len(cells)} cells are finished and kept in {folder / RESULTS}"
            console.print(f"{told}; to read them: {_report_command(folder / RESULTS)}", markup=False, soft_wrap=True)
        if status == STOPPED:
            return INTERRUPTED
        run = _report(folder, console)
        code = exit_code(run)
        if gated and (not code or (code == AdapterBroken.exit_code and base is not None)):
            return held.hold(base, run, options, console) or code  # what is broken now may have worked before
        return code


def _finished(folder: Path) -> int:
    """Cells that have their result, as the file has it."""
    saved = resume.earlier(folder / RESULTS)
    return 0 if saved is None else len(saved.finished & frozenset(saved.header.planned))


def _report(folder: Path, console: Console) -> Run:
    """Write the report of a run that is complete, and show what it found."""
    run = results.read(folder / RESULTS)
    try:
        report.write_report([run.path], folder / REPORT)
    except OutputUnwritable as error:
        raise OutputCut(f"{error}; all results are saved; for the report: {_report_command(run.path)}") from error
    summary.show(run, console)
    console.print(f"\nreport: {folder / REPORT}", markup=False, soft_wrap=True)
    return run


def _keeping(cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """The same cells, each that trains with a folder for the state of it."""
    folders = cell_folders([cell.key for cell in cells if load(cell.suite).keeps], folder / STATES)
    return [replace(cell, keep=str(folders[cell.key])) if cell.key in folders else cell for cell in cells]


def _traced(cells: Sequence[Cell], folder: Path, console: Console) -> list[Cell]:
    """The same cells, each that can be profiled with a folder for its trace; and a word on what tables need."""
    if not tables.installed():
        said = f"traces will have no tables: {tables.PACKAGE} is not installed; {tables.EXTRA}"
        console.print(said, markup=False, soft_wrap=True)
    folders = trace_folders([cell.key for cell in cells if load(cell.suite).traces], folder)
    return [replace(cell, trace=str(folders[cell.key])) if cell.key in folders else cell for cell in cells]


def _executed(engine: Engine, cells: Sequence[Cell], file: Path, console: Console, until_s: float) -> str:
    """Run the cells, and record what they give as they give it; how it ended, as the footer has it."""
    started, finished, status = time.monotonic(), 0, STOPPED
    with ResultsWriter(file, go_on=True) as writer:
        with (
            suppress(KeyboardInterrupt, SystemExit),  # rich's answer to a pipe that nobody reads any more
            closing(engine.execute(cells, until_s=until_s)) as events,
            display(console, len(cells)) as shown,
        ):
            for event in events:
                if isinstance(event, Recorded):
                    writer.write(event.record)
                if isinstance(event, Finished):
                    finished += 1
                    writer.write(_ran(event))
                shown.show(event)
            status = OUT_OF_TIME
        status = COMPLETE if finished == len(cells) else status
        writer.write(Footer(finished_at=_now(), status=status, duration_s=time.monotonic() - started))
    return status


def exit_code(run: Run) -> int:
    """0 for a run that found something out, whatever it is; 3 if vitbench failed; 4 if every adapter is broken."""
    verdicts = {record.verdict for record in run.verdicts}
    if Verdict.HARNESS_ERROR in verdicts:
        return 3
    outcomes = {record.outcome for record in (*run.of_implementations, *run.timers)}
    measured = Outcome.MEASURED in outcomes | {record.outcome for record in run.studies}
    return AdapterBroken.exit_code if verdicts == {Verdict.ADAPTER_BROKEN} and not measured else 0


def _header(
    options: Options, cells: Sequence[Cell], arguments: Sequence[str], environment: Mapping[str, Any]
) -> Header:
    return Header(
        vitbench_version=__version__,
        started_at=_now(),
        command=["python", "-m", "vitbench.run", *map(without_places, without_address(arguments))],
        preset=options.preset,
        seed=options.seed,
        environment=environment,
        planned=[cell.key for cell in cells],
    )


def _require_startable(folder: Path, *, fresh: bool) -> None:
    """Refuse what is plain before anything heavy is imported: a folder in use, or one with a run that is finished."""
    require_free(folder)
    if not fresh:
        resume.require_unfinished(resume.earlier(folder / RESULTS), folder)


def _begun(folder: Path, header: Header, *, fresh: bool) -> frozenset[str]:
    """The folder's results file, ready for more records; the cells that have their result in it."""
    file = folder / RESULTS
    found = None if fresh else resume.earlier(file)
    if found is None:
        if file.exists() and file.stat().st_size:
            put_aside(file)
        with ResultsWriter(file) as writer:
            writer.write(header)
        return frozenset()
    resume.require_unfinished(found, folder)
    resume.require_same(found, header, folder)
    resume.go_on(file, found, _now())
    return found.finished & frozenset(header.planned)  # beside them there are tries of a search


def _command_again(arguments: Sequence[str], folder: Path) -> str:
    words = [word for word in arguments if word != "--fresh"]
    named = any(word.partition("=")[0] == "--output" for word in words)
    return shlex.join(["python", "-m", "vitbench.run", *words, *([] if named else ["--output", str(folder)])])


def _report_command(file: Path) -> str:
    return shlex.join(["python", "-m", "vitbench.report", str(file), "-o", str(file.with_name(REPORT))])


def _ran(event: Finished) -> Ran:
    """When the cell's process ran; its end was noticed just now."""
    started = datetime.now(UTC) - timedelta(seconds=event.duration_s)
    at = started.isoformat(timespec="milliseconds")
    cell, node = event.cell, event.result.node
    return Ran(cell=cell.key, started_at=at, duration_s=event.duration_s, timed=cell.timed, node=node)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
