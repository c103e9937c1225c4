"""Write a report of one run or of several: ``python -m vitbench.report RUN.jsonl -o report.html``; its figures as CSV or LaTeX."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vitbench import units
from vitbench.errors import OutputUnwritable, ResultsUnreadable, UsageError, VitbenchError
from vitbench.folders import runs_in
from vitbench.results import read

_FORMATS = {".html": "html", ".htm": "html", ".csv": "comma_separated", ".tex": "latex", ".md": "markdown"}


def main(argv: Sequence[str] | None = None) -> int:
    """Read the results, write the report, say where it is; the exit code."""
    options = _parser().parse_args(argv)
    try:
        runs = [run for path in options.runs for run in runs_in(path)]
        outputs = options.output or [Path("report.html")]
        _require_writable(outputs, runs)
        for output in outputs:
            if output.suffix:
                _said(output, _write(runs, output))
            else:
                _write_site(runs, output)
    except VitbenchError as error:
        print(f"vitbench.report: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _require_writable(outputs: Sequence[Path], runs: Sequence[Path]) -> None:
    taken = {run.resolve() for run in runs}
    for output in outputs:
        if output.resolve() in taken:
            raise OutputUnwritable(f"{output} is one of the runs, or given twice; name another file with -o")
        taken.add(output.resolve())
        if output.suffix and output.suffix.lower() not in _FORMATS:
            raise UsageError(f"the suffix of {output} tells no format; known: {', '.join(_FORMATS)}")


def _write(runs: Sequence[Path], output: Path) -> int:
    form = _FORMATS[output.suffix.lower()]
    if form == "html":
        return write_report(runs, output)
    from vitbench.exports import figures  # noqa: PLC0415

    return _put(output, getattr(figures, form)([read(path) for path in runs]))


def _write_site(paths: Sequence[Path], folder: Path) -> None:
    """A site of all runs that can be read; what cannot be is told of on its first page.

    Raises:
        ResultsUnreadable: none can be read.
        OutputUnwritable: the place cannot be written to.
    """
    from vitbench.reports import site  # noqa: PLC0415

    runs, unreadable = [], []
    for path in paths:
        try:
            runs.append(read(path))
        except ResultsUnreadable as error:
            unreadable.append(str(error))
    if not runs:
        raise ResultsUnreadable("; ".join(unreadable))
    site.write(runs, folder, unreadable, _said)


def _said(output: Path, size: int) -> None:
    print(f"{output}: {units.data_size(size)}", flush=True)


def _put(output: Path, text: str) -> int:
    content = text.encode("utf-8", errors="replace")  # half a surrogate pair is valid JSON, but no text
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content)
    except OSError as error:
        raise OutputUnwritable(
            f"cannot write {output}: {error.strerror or error}; choose another place with -o"
        ) from error
    return len(content)


def write_report(paths: Sequence[Path], output: Path) -> int:
    """Write one report of all these results files and return its size in bytes.

    Raises:
        ResultsUnreadable: a results file is missing or of another format.
        OutputUnwritable: the report cannot be written where it was asked for.
    """
    from vitbench.reports import model, render  # noqa: PLC0415  # --help must not wait for the template engine

    return render.write(model.build([read(path) for path in paths]), output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vitbench.report",
        description="Write one self-contained HTML file from the results of a run; several runs stand side by side. Or a site "
        "of many runs (-o site), or their figures for other programs (-o figures.csv).",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        type=Path,
        help="results file that vitbench.run wrote (.jsonl), the folder of a run, or a folder of runs",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="repeatable (default: report.html); the suffix tells the format: .html the report, .csv every figure in SI units, .tex a table of "
        "throughput for a paper, .md the same for a pull request; without a suffix, a folder for a static site of all runs "
        "with the history of each cell",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
