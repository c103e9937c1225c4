"""The formats that results leave in: each is written by one module."""

from collections.abc import Callable, Mapping, Sequence

from vitbench.errors import ResultsUnreadable, UsageError
from vitbench.exports import badge, junit, latex, markdown, spreadsheet, tables
from vitbench.parts import name_of, named_in
from vitbench.records import LIMITS, SELF, Footer, Header, MeasurementRecord, Ran
from vitbench.results import Run, from_line, to_line
from vitbench.scorecard import Scorecard
from vitbench.traces.record import TraceRecord


def render(form: str, runs: Sequence[Run], card: Scorecard | None) -> str:
    """Everything that runs hold, in a format that is text; the scorecard is None where nothing was judged.

    Raises:
        UsageError: the format cannot hold it.
    """
    writers: Mapping[str, Callable[[], str]] = {
        "markdown": lambda: markdown.render(card, _tables(card, runs)),
        "csv": lambda: spreadsheet.render(runs),
        "latex": lambda: latex.render([*([tables.verdicts(card)] if card else []), *_tables(card, runs)]),
        "junit": lambda: junit.render(card, runs),
        "badge": lambda: badge.render(card) if card else _no_badge(),
        "jsonl": lambda: _lines(runs),
    }
    return writers[form]()


def _tables(card: Scorecard | None, runs: Sequence[Run]) -> Sequence[tables.Table]:
    found = tables.measured(runs)
    if not found and card is None:
        names = ", ".join(str(run.path) for run in runs)
        raise UsageError(
            f"nothing was judged, and of throughput, attention kernels, memory, several workers and studies there is nothing in {names}, "
            "so there is no table to write; what there is stands in the report (-o report.html)"
        )
    return found


def _no_badge() -> str:
    raise UsageError("a badge is of a verdict, and nothing was judged; to judge: vitbench run --suite conformance")


def _lines(runs: Sequence[Run]) -> str:
    """The results file as it is; of a part of it, the lines of that part.

    Raises:
        UsageError: a results file is of one run.
        ResultsUnreadable: the file has gone since it was read.
    """
    if len(runs) > 1:
        raise UsageError(f"a results file is of one run, and there are {len(runs)}; name one RUN")
    (run,) = runs
    try:
        text = run.path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ResultsUnreadable(f"cannot read results {run.path}: {error.strerror or error}") from error
    names = set(named_in(runs))
    return "".join(f"{kept}\n" for line in text.split("\n") if (kept := _kept(line, run, names)))


def _kept(line: str, run: Run, names: set[str]) -> str:
    """The line where the run, or the part of it that is wanted, has it; what cannot be read stays as it is."""
    try:
        record = from_line(line)
    except (ValueError, RecursionError):
        return line
    if isinstance(record, Header):
        return line if record.planned == run.header.planned else to_line(run.header)
    if isinstance(record, Footer):
        return line
    if isinstance(record, TraceRecord | Ran):
        return line if record in run.traces or record in run.ran else ""
    if isinstance(record, MeasurementRecord) and record.suite in {LIMITS, SELF}:
        return line if record.suite == LIMITS or run.timers else ""
    return line if name_of(record) in names else ""
