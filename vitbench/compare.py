"""Put implementations side by side: ``python -m vitbench.compare RUN…``, on the terminal or as a file."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console

from vitbench import units
from vitbench.console import WIDTH_OF_LOGS, speak_any_language, suitable_console
from vitbench.errors import UsageError, VitbenchError
from vitbench.exports.files import SUFFIXES, format_of, put, require_new
from vitbench.folders import HOME, latest_results, results_in
from vitbench.matrix import Row
from vitbench.parser import Parser
from vitbench.results import Run, read
from vitbench.scorecard import Scorecard, judged_part, scorecard, showing

FORMATS = ("terminal", "markdown", "html", "junit", "badge", "csv", "latex")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the runs, write what was asked for; 0 once that is written, whatever the verdicts say."""
    speak_any_language()
    try:
        return _compare(_parser().parse_args(argv))
    except VitbenchError as error:
        print(f"vitbench compare: {error}", file=sys.stderr)
        return error.exit_code


def _compare(options: argparse.Namespace) -> int:
    paths = [results_in(path) for path in options.runs] or [_latest()]
    chosen = [options.format or format_of(path, FORMATS, "; or say --format") for path in options.output]
    require_new(options.output, paths)
    runs = judged_part([read(path) for path in paths], options.impl)
    card = showing(scorecard(runs), _wanted(options, runs))
    if not options.output:
        _print(card, runs, options)
    refused: list[str] = []
    for path, name in zip(options.output, chosen, strict=True):
        try:
            text = render(card, runs, name, everything=options.all)
        except UsageError as error:  # a badge is of one implementation; the others need not wait for that
            refused.append(f"{path}: {error}")
            continue
        print(f"{path}: {units.data_size(put(path, text))}")
    if refused:
        raise UsageError(f"not written: {'; '.join(refused)}")
    return 0


def render(card: Scorecard, runs: Sequence[Run], form: str, *, everything: bool = False) -> str:
    """The scorecard in one of the formats.

    Raises:
        UsageError: the format cannot hold it.
    """
    if form == "html":
        from vitbench.reports import model  # noqa: PLC0415  # the template engine, needed only here
        from vitbench.reports import render as page  # noqa: PLC0415

        return page.render(model.build(runs), scorecard=True)
    if form == "terminal":
        return _plain_text(card, everything=everything)
    from vitbench.exports import formats  # noqa: PLC0415

    return formats.render(form, runs, card)


def _print(card: Scorecard, runs: Sequence[Run], options: argparse.Namespace) -> None:
    from vitbench.exports import text  # noqa: PLC0415

    if options.format in {None, "terminal"}:
        text.show(card, suitable_console(), everything=options.all)
    else:
        _pipe(render(card, runs, options.format))


def _pipe(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has enough; lest the interpreter complain when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain_text(card: Scorecard, *, everything: bool) -> str:
    from vitbench.exports import text  # noqa: PLC0415

    file = StringIO()
    text.show(card, Console(file=file, width=WIDTH_OF_LOGS, highlight=False, color_system=None), everything=everything)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).lstrip("\n") + "\n"


def _latest() -> Path:
    path = latest_results()
    if path is None:
        raise UsageError(
            f"no RUN given, and no run in {HOME}/; name results files or run folders, "
            "or make one: vitbench run --suite conformance"
        )
    print(f"vitbench compare: no RUN given, so the latest: {path.parent}", file=sys.stderr)
    return path


def _wanted(options: argparse.Namespace, runs: Sequence[Run]) -> Callable[[Row], bool]:
    present = sorted({str(record.area) for run in runs for record in run.requirements})
    areas = {area.upper() for area in options.area}
    for area in areas - set(present):
        raise UsageError(f"no requirement of an area {area!r} in these runs; there are: {', '.join(present) or 'none'}")

    def wanted(row: Row) -> bool:
        return (
            (not areas or row.area in areas)
            and (not options.only_differences or row.differs)
            and (not options.failing or row.failing)
        )

    return wanted


def _parser() -> Parser:
    parser = Parser(
        prog="vitbench compare",
        description="Put implementations side by side: the verdict on each, and every requirement against all of them, "
        "what failed first. Reads results and judges nothing itself.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        type=Path,
        help="results file, or the folder of a run (default: the latest run in vitbench-results/)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="write a file instead, repeatable; its suffix tells the format: "
        + ", ".join(f"{SUFFIXES[name][0]} {name}" for name in FORMATS),
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="format of what is printed (default: terminal), or of each -o FILE whatever its suffix",
    )
    _add_choices(parser)
    return parser


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--impl",
        metavar="NAME",
        action="append",
        default=[],
        help="only this implementation, repeatable",
    )
    listed = parser.add_argument_group(
        "what is listed", "on the terminal and in Markdown; HTML has filters of its own, JUnit XML is always whole"
    )
    listed.add_argument("--only-differences", action="store_true", help="where implementations come out differently")
    listed.add_argument("--failing", action="store_true", help="what failed somewhere")
    listed.add_argument("--area", metavar="AREA", action="append", default=[], help="PATCH, POS, …, repeatable")
    listed.add_argument("--all", action="store_true", help="also what all passed, which the terminal only counts")


_EPILOG = """examples:
  vitbench run --suite conformance --impl timm --impl torchvision && vitbench compare
                                         judge two, and see them side by side
  vitbench compare before.jsonl after.jsonl --only-differences
                                         what a change changed; pytest … --results FILE writes such files
  vitbench compare vitbench-results/*/ -o scorecard.html -o scorecard.md
                                         all runs, as a page and for a pull request
  vitbench compare mine.jsonl -o badge.svg -o junit.xml
                                         for a README, and for a CI server

In JUnit XML a requirement that is not offered, not judged or known to fail is skipped; a verdict that no failed
requirement explains (incomplete, adapter broken, no verdict) is a test case of its own, which fails.

exit codes:
  0  written, whatever the verdicts say: this command reports, pytest judges
  2  an option cannot be used, or a run cannot be read; nothing was written
"""


if __name__ == "__main__":
    sys.exit(main())
