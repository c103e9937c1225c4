"""Write an HTML report of one run or of several: ``python -m vitbench.report RUN.jsonl -o report.html``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vitbench import units
from vitbench.errors import OutputUnwritable, VitbenchError
from vitbench.folders import results_in
from vitbench.results import read


def main(argv: Sequence[str] | None = None) -> int:
    """Read the results, write the report, say where it is; the exit code."""
    options = _parser().parse_args(argv)
    try:
        runs = [results_in(path) for path in options.runs]
        if options.output.resolve() in {run.resolve() for run in runs}:
            raise OutputUnwritable(f"{options.output} is one of the runs; name another file with -o")
        size = write_report(runs, options.output)
    except VitbenchError as error:
        print(f"vitbench.report: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{options.output}: {units.data_size(size)}")
    return 0


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
        description="Write one self-contained HTML file from the results of a run; several runs stand side by side.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="results file that vitbench.run wrote (.jsonl), or its folder"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=Path("report.html"), help="default: %(default)s"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
