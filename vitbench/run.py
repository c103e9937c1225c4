"""``python -m vitbench.run``: judge and measure implementations. Options, plan, execute, record, report, summary."""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from vitbench import __version__, preflight, report, results, summary
from vitbench.console import speak_any_language, suitable_console
from vitbench.environment import usable_cores, without_places
from vitbench.errors import OutputUnwritable, VitbenchError
from vitbench.executor import Finished, Recorded, execute
from vitbench.folders import RESULTS, new_folder
from vitbench.options import Options, parse
from vitbench.plan import Cell, plan
from vitbench.progress import display, waiting
from vitbench.requirement import Verdict
from vitbench.results import Footer, Header, Outcome, ResultsWriter, Run

REPORT = "report.html"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
UNREAD = 141  # 128 + SIGPIPE
_ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_BESIDE = 2  # conformance cells at once, where there are cores for them


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a run; ``--help`` lists them."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    speak_any_language()
    try:
        with _termination_as_interrupt():
            options = parse(arguments)
            cells = plan(options)
            if options.dry_run:
                print(dry_run_text(cells))
                return 0
            return _run(options, cells, arguments)
    except VitbenchError as error:
        print(f"vitbench run: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vitbench run: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed has no reader
        return UNREAD


def dry_run_text(cells: Sequence[Cell]) -> str:
    """The cells that would run, a line each."""
    return "\n".join([*(cell.key for cell in cells), f"{len(cells)} cells; nothing was run (--dry-run)"])


def _run(options: Options, cells: Sequence[Cell], arguments: Sequence[str]) -> int:
    folder = options.output or new_folder()
    _require_no_run(folder)
    console = suitable_console()
    with waiting(console, "looking at implementations and device"):
        found = preflight.check(options)
    cells = [replace(cell, name=found.names.get(cell.implementation, cell.name)) for cell in cells]
    with ResultsWriter(_claimed(folder)) as writer:
        writer.write(_header(options, cells, arguments, found.environment))
        finished = _execute(cells, writer, console)
    if finished < len(cells):
        console.print(_how_to_read(writer.path, finished, len(cells)), markup=False, soft_wrap=True)
        return INTERRUPTED
    run = results.read(writer.path)
    report.write_report([run.path], folder / REPORT)
    summary.show(run, console)
    console.print(f"\nreport: {folder / REPORT}", markup=False, soft_wrap=True)
    return exit_code(run)


def _execute(cells: Sequence[Cell], writer: ResultsWriter, console: Console) -> int:
    """Run the cells, and record what they give as they give it; how many came to their end before an interrupt."""
    started, finished = time.monotonic(), 0
    with (
        suppress(KeyboardInterrupt, SystemExit),  # rich's answer to a pipe that nobody reads any more
        closing(execute(cells, beside=min(_BESIDE, usable_cores()))) as events,
        display(console, len(cells)) as shown,
    ):
        for event in events:
            if isinstance(event, Recorded):
                writer.write(event.record)
            finished += isinstance(event, Finished)
            shown.show(event)
    status = "complete" if finished == len(cells) else "interrupted"
    writer.write(Footer(finished_at=_now(), status=status, duration_s=time.monotonic() - started))
    return finished


def exit_code(run: Run) -> int:
    """0 for a run that found something out, whatever it is; 3 if vitbench failed; 4 if every adapter is broken."""
    verdicts = {record.verdict for record in run.verdicts}
    if Verdict.HARNESS_ERROR in verdicts:
        return 3
    measured = any(record.outcome == Outcome.MEASURED for record in (*run.measurements, *run.attention, *run.memory))
    return 4 if verdicts == {Verdict.ADAPTER_BROKEN} and not measured else 0


def _header(
    options: Options, cells: Sequence[Cell], arguments: Sequence[str], environment: Mapping[str, Any]
) -> Header:
    return Header(
        vitbench_version=__version__,
        started_at=_now(),
        command=["python", "-m", "vitbench.run", *map(without_places, arguments)],
        preset=options.preset,
        seed=options.seed,
        environment=environment,
        planned=[cell.key for cell in cells],
    )


def _require_no_run(folder: Path) -> None:
    if (folder / RESULTS).exists():
        raise OutputUnwritable(f"{folder} already holds a run ({RESULTS}); choose another folder with --output")


def _claimed(folder: Path) -> Path:
    """The results file, made by this run and no other."""
    file = folder / RESULTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(exist_ok=False)
    except FileExistsError:
        _require_no_run(folder)
        raise OutputUnwritable(f"cannot write to {folder}: it is a file; choose a folder with --output") from None
    except OSError as error:
        raise OutputUnwritable(
            f"cannot write to {folder}: {error.strerror or error}; choose another folder with --output"
        ) from error
    return file


def _how_to_read(kept: Path, finished: int, planned: int) -> str:
    command = shlex.join(["python", "-m", "vitbench.report", str(kept), "-o", str(kept.with_name(REPORT))])
    return f"interrupted: {finished} of {planned} cells are finished and kept in {kept}; to read them: {command}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, or a terminal that is closed, end a run as Ctrl-C does: what there is kept, no process left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [one for one in _ENDINGS if signal.getsignal(one) is not signal.SIG_IGN]  # nohup has it ignored
    before = {one: signal.signal(one, signal.default_int_handler) for one in heard}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


if __name__ == "__main__":
    sys.exit(main())
