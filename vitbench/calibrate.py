"""``python -m vitbench.calibrate``: prove that the checks can tell. Plan, judge, record, document, verdict."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import vitbench
from vitbench import environment, units
from vitbench.calibration.diagnoses import Found, found, tasks
from vitbench.calibration.diagnoses import Task as DiagnosisTask
from vitbench.calibration.diagnosis_document import faults, section, section_of, with_section
from vitbench.calibration.document import document
from vitbench.calibration.judging import conformance
from vitbench.calibration.matrix import Cell, Matrix, Row
from vitbench.calibration.plan import Extent, Task, plan
from vitbench.calibration.record import Header, Recorder, unfinished
from vitbench.calibration.specimens import Kind, Specimen, specimens
from vitbench.calibration.workers import Judge, judged
from vitbench.console import speak_any_language, suitable_console
from vitbench.errors import OutputUnwritable, UsageError, VitbenchError
from vitbench.specification import REQUIREMENTS

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
DOCUMENT, RESULTS, DIAGNOSES = "calibration.md", "calibration.jsonl", "calibration-diagnosis.jsonl"
_PAIRS = 300
_BETWEEN_LINES = 25  # diagnoses
_QUICK_SEEDS, _FULL_SEEDS = 4, 200
_TIME_LIMIT_S = 600.0  # for one check of one candidate
_BETWEEN_LINES_S = 60.0  # of progress, where there is no terminal for a bar

_DESCRIPTION = """Prove that the conformance checks can be trusted.

Each check is tried on mutants, the reference with one defect planted, and on benign candidates, which are right in
every way that a Vision Transformer can be. It fails unless every mutant is killed by the requirement that is about its
defect (or is proven equivalent), every check kills a mutant, and nothing benign is accused."""

_EPILOG = """examples:
  python -m vitbench.calibrate                  the whole matrix, written to docs/calibration.md and .jsonl
  python -m vitbench.calibrate --quick          each mutant against its own requirement; minutes, writes nothing
  python -m vitbench.calibrate --only VIT-POS-RESIZE
                                                one check against everything, after it was changed
  python -m vitbench.calibrate --mutants norm-rms activation-tanh
                                                two mutants against every check
  python -m vitbench.calibrate --resume         go on where an interrupted run stopped
  python -m vitbench.calibrate --diagnosis      what diagnoses name, of mutants, of pairs and of what is right

exit codes: 0 calibrated, 1 something survives or is accused, 2 usage, 3 vitbench itself failed, 130 interrupted"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for."""

    extent: Extent
    jobs: int
    output: Path | None  # a folder
    resume: bool
    time_limit_s: float
    diagnosed_pairs: int | None = None  # None: the checks are calibrated, and no diagnoses


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code; ``--help`` lists them."""
    speak_any_language()
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        if options.diagnosed_pairs is not None:
            return calibrate_diagnosis(options, tasks(options.diagnosed_pairs, options.extent.seed))
        return calibrate(options, list(specimens().values()), conformance)
    except VitbenchError as error:
        print(f"vitbench calibrate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vitbench calibrate: interrupted; what was judged is kept, --resume goes on from there", file=sys.stderr)
        return INTERRUPTED


def calibrate(options: Options, candidates: Sequence[Specimen], prepare: Callable[[], Judge]) -> int:
    """Judge these candidates, by what ``prepare`` gives each process; 0 if that proves the checks, else 1."""
    started, console = time.monotonic(), suitable_console()
    header = _header(options)
    results = options.output / RESULTS if options.output else None
    kept = unfinished(results, header, {c.key: c for c in candidates}) if results and options.resume else []
    done = {row.specimen.key for row in kept}
    tasks = [task for task in plan(candidates, REQUIREMENTS, options.extent) if task.specimen not in done]
    with Recorder(results, header, kept) as recorder:
        rows = [*kept, *_rows(tasks, candidates, prepare, options, recorder, console)]
        matrix, duration_s = _matrix(rows, candidates, options.extent), time.monotonic() - started
        recorder.finish(duration_s, faults := matrix.faults())
    if options.output:
        text, kept_section = document(matrix, header, duration_s), section_of(_read(options.output / DOCUMENT))
        _write(options.output / DOCUMENT, with_section(text, kept_section) if kept_section else text)
    for fault in faults:
        console.print(f"- {fault}", markup=False, soft_wrap=True)
    console.print(_verdict(matrix, faults, duration_s), markup=False, soft_wrap=True)
    return 1 if faults else 0


def calibrate_diagnosis(options: Options, given: Sequence[DiagnosisTask]) -> int:
    """Diagnose mutants, pairs of them and what is right; 0 if the names given are right, else 1."""
    console, kept, stopped = suitable_console(), list[Found](), False
    with ExitStack() as stack:
        lines = _opened(options.output / DIAGNOSES, stack) if options.output else None
        try:
            for one in found(given, options.jobs):
                kept.append(one)
                if lines is not None:
                    lines.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
                    lines.flush()
                if len(kept) % _BETWEEN_LINES == 0:
                    console.print(f"{len(kept)} of {len(given)} diagnosed")
        except KeyboardInterrupt:
            stopped = True
    if options.output:
        text = section(kept, planned=len(given), seed=options.extent.seed, version=vitbench.__version__)
        _write(options.output / DOCUMENT, with_section(_read(options.output / DOCUMENT), text))
    wrong = faults(kept)
    for fault in wrong:
        console.print(f"- {fault}", markup=False, soft_wrap=True)
    word = "interrupted" if stopped else "NOT CALIBRATED" if wrong else "CALIBRATED"
    console.print(f"{word}: {len(kept)} of {len(given)} candidates diagnosed", markup=False)
    return INTERRUPTED if stopped else int(bool(wrong))


def parse(arguments: Sequence[str]) -> Options:
    """Options out of a command line.

    Raises:
        UsageError: a requirement, mutant or benign candidate that there is not.
    """
    given = _parser().parse_args(arguments)
    known = specimens().values()
    mutants = [s.id for s in known if s.kind is not Kind.BENIGN]
    _require_known("requirement", given.only, list(REQUIREMENTS))
    _require_known("mutant", given.mutants, mutants)
    _require_known("benign candidate", given.benign, [s.id for s in known if s.kind is Kind.BENIGN])
    extent = Extent(
        quick=given.quick,
        seed=given.seed,
        mutant_seeds=given.mutant_seeds,
        benign_seeds=given.seeds or (_QUICK_SEEDS if given.quick else _FULL_SEEDS),
        only=tuple(given.only),
        mutants=tuple(given.mutants),
        benign=tuple(given.benign),
    )
    output = given.output
    if output is None and not (extent.quick or extent.partial):
        output = Path("docs") if Path("docs", "SPEC.md").is_file() else Path("calibration")
    return Options(
        extent=extent,
        jobs=given.jobs,
        output=output,
        resume=given.resume,
        time_limit_s=given.time_limit,
        diagnosed_pairs=given.pairs if given.diagnosis else None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vitbench calibrate",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="each mutant against the requirement that is about it; benign ones on few seeds",
    )
    add("--only", nargs="+", default=[], metavar="ID", help="these requirements' checks only")
    add("--mutants", nargs="+", default=[], metavar="NAME", help="these mutants only, against every check")
    add("--benign", nargs="+", default=[], metavar="NAME", help="these benign candidates only")
    add(
        "--seeds",
        type=_positive,
        metavar="N",
        help=f"seeds of weights and images for what is right, per check (default: {_FULL_SEEDS}; quick: {_QUICK_SEEDS})",
    )
    add("--mutant-seeds", type=_positive, default=1, metavar="N", help="quick-preset runs of each mutant (default: 1)")
    add("--seed", type=int, default=0, metavar="N", help="the first seed; the same seed runs the same (default: 0)")
    cores = environment.usable_cores()
    add("--jobs", type=_positive, default=cores, metavar="N", help="processes (default: every core; here %(default)s)")
    add(
        "--time-limit",
        type=float,
        default=_TIME_LIMIT_S,
        metavar="S",
        help="of one check of one candidate (default: 600)",
    )
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"where {DOCUMENT} and {RESULTS} go (default: docs in a checkout, else calibration; quick or partial: nowhere)",
    )
    add("--diagnosis", action="store_true", help="calibrate diagnoses, and not the checks")
    add("--pairs", type=_positive, default=_PAIRS, metavar="N", help=f"random pairs to diagnose (default: {_PAIRS})")
    add("--resume", action="store_true", help="keep what an interrupted run of the same extent has in the folder")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _require_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, cutoff=0.4) or known[:5]
            raise UsageError(f"there is no {what} {name!r}; did you mean {', '.join(near)}?")


def _rows(
    tasks: Sequence[Task],
    candidates: Sequence[Specimen],
    prepare: Callable[[], Judge],
    options: Options,
    recorder: Recorder,
    console: Console,
) -> Iterator[Row]:
    """A row for each candidate, once the last of its tasks has ended."""
    known, open_tasks = {c.key: c for c in candidates}, Counter(task.specimen for task in tasks)
    cells: dict[str, dict[str, Cell]] = {key: {} for key in open_tasks}
    ended = judged(tasks, prepare, jobs=options.jobs, time_limit_s=options.time_limit_s)
    log, total = _Log(console), sum(task.most_examples for task in tasks)
    with _progress(console) as bar, closing(ended):
        shown = bar.add_task("judging", total=total)
        for task, cell in ended:
            cells[task.specimen][task.requirement] = cell
            bar.update(shown, advance=task.most_examples, description=task.specimen)
            log.tell(int(bar.tasks[0].completed), total)
            open_tasks[task.specimen] -= 1
            if not open_tasks[task.specimen]:
                found = cells.pop(task.specimen)
                row = Row(
                    specimen=known[task.specimen], cells={id_: found[id_] for id_ in REQUIREMENTS if id_ in found}
                )
                recorder.add(row)
                yield row


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=2)


class _Log:
    """What becomes of the progress bar where there is no terminal: a line now and then."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._began = self._told = clock()

    def tell(self, done: int, total: int) -> None:
        """How far it is, unless that was told a short while ago."""
        now = self._clock()
        if self._console.is_terminal or now - self._told < _BETWEEN_LINES_S or not 0 < done < total:
            return
        self._told = now
        left = (now - self._began) / done * (total - done)
        self._console.print(f"{done:,} of {total:,} examples judged, some {units.duration(left)} left")


def _matrix(rows: Sequence[Row], candidates: Sequence[Specimen], extent: Extent) -> Matrix:
    order = {candidate.key: place for place, candidate in enumerate(candidates)}
    return Matrix(
        rows=sorted(rows, key=lambda row: order[row.specimen.key]),
        requirements=[id_ for id_ in REQUIREMENTS if not extent.only or id_ in extent.only],
        every_mutant=not (extent.mutants or extent.benign),
        every_check=not extent.only,
    )


def _verdict(matrix: Matrix, faults: Sequence[str], duration_s: float) -> str:
    mutants = [row for row in matrix.of(Kind.MUTANT) if row.specimen.breaks in matrix.requirements]
    right = matrix.of(Kind.EQUIVALENT, Kind.BENIGN)
    killed = sum(bool(row.killed_by) for row in mutants)
    alarms, examples = sum(len(row.false_alarms) for row in right), sum(row.examples for row in right)
    whole = matrix.every_mutant and matrix.every_check
    word = "NOT CALIBRATED" if faults else "CALIBRATED" if whole else "NO FAULT in the part that was run"
    return (
        f"{word}: {killed} of {len(mutants)} mutants killed; {alarms} false alarms in {examples:,} examples of "
        f"{len(right)} candidates that are right ({duration_s:.0f} s)"
    )


def _header(options: Options) -> Header:
    return Header(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        extent=options.extent,
        vitbench=vitbench.__version__,
        environment=environment.describe("cpu", threads=1),
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _opened(path: Path, stack: ExitStack) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(path.open("w", encoding="utf-8"))
    except OSError as error:
        raise OutputUnwritable(
            f"cannot write {path}: {error.strerror or error}; choose another folder with --output"
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputUnwritable(
            f"cannot write {path}: {error.strerror or error}; choose another folder with --output"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
