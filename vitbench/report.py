"""Write a report of one run or of several: ``python -m vitbench.report RUN.jsonl -o report.html``; or the same for programs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vitbench import units
from vitbench.errors import ResultsUnreadable, UsageError, VitbenchError
from vitbench.exports.files import format_of, put, require_new
from vitbench.folders import runs_in
from vitbench.results import Run, read

FORMATS = ("html", "csv", "latex", "markdown", "junit", "badge", "jsonl")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the results, write the report, say where it is; the exit code."""
    options = _parser().parse_args(argv)
    try:
        paths = [run for path in options.runs for run in runs_in(path)]
        outputs = options.output or [Path("report.html")]
        require_new(outputs, paths)
        forms = [format_of(output, FORMATS) if output.suffix else "site" for output in outputs]
        if options.impl and "site" in forms:
            raise UsageError("a site is of all implementations; leave --impl out, or write a file (-o report.html)")
        _write(paths, list(zip(outputs, forms, strict=True)), options.impl)
    except VitbenchError as error:
        print(f"vitbench.report: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _write(paths: Sequence[Path], outputs: Sequence[tuple[Path, str]], names: Sequence[str]) -> None:
    """Every file that is text is made before any is kept, so that a mistake leaves nothing half-done.

    Raises:
        UsageError: a format cannot hold these runs; files of the others are written.
    """
    from vitbench.exports import formats  # noqa: PLC0415  # --help must not wait for what writing takes
    from vitbench.parts import part  # noqa: PLC0415
    from vitbench.scorecard import judged_part, scorecard  # noqa: PLC0415

    runs: list[Run] = []
    texts: dict[Path, str] = {}
    refused: dict[Path, str] = {}
    if any(form != "site" for _, form in outputs):
        runs = part([read(path) for path in paths], names)
        card = scorecard(judged_part(runs)) if any(run.verdicts or run.requirements for run in runs) else None
        for path, form in outputs:
            try:
                texts |= {path: formats.render(form, runs, card)} if form not in {"site", "html"} else {}
            except UsageError as error:  # a badge is of one verdict; the others need not wait for that
                refused[path] = str(error)
    for path, form in outputs:
        if form == "site":
            _write_site(paths, path)
        elif path not in refused:
            _said(path, put(path, texts[path]) if path in texts else _page(runs, path))
    if refused:
        raise UsageError(f"not written: {'; '.join(f'{path}: {why}' for path, why in refused.items())}")


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


def write_report(paths: Sequence[Path], output: Path) -> int:
    """Write one report of all these results files and return its size in bytes.

    Raises:
        ResultsUnreadable: a results file is missing or of another format.
        OutputUnwritable: the report cannot be written where it was asked for.
    """
    return _page([read(path) for path in paths], output)


def _page(runs: Sequence[Run], output: Path) -> int:
    from vitbench.reports import model, render  # noqa: PLC0415

    return render.write(model.build(runs), output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vitbench.report",
        description="Write one self-contained HTML file from the results of a run; several runs stand side by side. Or a site "
        "of many runs (-o site), or the same for programs, papers, pull requests, CI servers and READMEs (-o figures.csv).",
        allow_abbrev=False,
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
        help="repeatable (default: report.html); the suffix tells the format: .html the report, .csv everything in SI units, .tex "
        "tables for a paper, .md a summary for a pull request, .xml JUnit for a CI server (a case for each requirement and each "
        "cell), .svg a badge, .jsonl the results; without a suffix, a folder for a static site of all runs with the history of "
        "each cell",
    )
    parser.add_argument(
        "--impl",
        metavar="NAME",
        action="append",
        default=[],
        help="only this implementation or kernel, repeatable; a badge is of one",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
