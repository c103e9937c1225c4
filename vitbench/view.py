"""Open the report of a run in a browser: ``vitbench view RUN``; without RUN, of the latest."""

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from vitbench.errors import ResultsUnreadable, VitbenchError
from vitbench.folders import REPORT, RESULTS, latest_results, results_in
from vitbench.parser import Parser
from vitbench.report import write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report where it is missing or older than its results, and open it; the exit code."""
    try:
        options = _parser().parse_args(argv)
        page = _page(options.run)
    except VitbenchError as error:
        print(f"vitbench view: {error}", file=sys.stderr)
        return error.exit_code
    if options.no_browser or not webbrowser.open(page.resolve().as_uri()):
        print(page)
    return 0


def _page(run: Path | None) -> Path:
    """The report of a run, up to date.

    Raises:
        ResultsUnreadable: there is no such run, or none at all.
    """
    results = latest_results() if run is None else results_in(run)
    if results is None:
        raise ResultsUnreadable(
            "no run in vitbench-results/; vitbench run makes one, and vitbench view RUN opens another"
        )
    page = results.with_name(REPORT) if results.name == RESULTS else results.with_suffix(".html")
    if not page.exists() or (results.exists() and page.stat().st_mtime_ns < results.stat().st_mtime_ns):
        write_report([results], page)
    return page


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vitbench view",
        description="Open the report of a run in a browser. It is written first where it is missing, or older than the results.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "run",
        nargs="?",
        type=Path,
        metavar="RUN",
        help="folder of a run, or its results file (default: the latest run)",
    )
    parser.add_argument("--no-browser", action="store_true", help="only say where the report is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
