"""How long a verdict takes, start-up included: whole processes, timed from outside, and the slowest requirements.

    python scripts/time_to_verdict.py --impl timm --preset quick --runs 5

The figures are seconds of wall clock on whatever else the machine was doing; minimum and median are both shown.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vitbench.records import RequirementRecord
from vitbench.registry import installed
from vitbench.results import read


def main() -> int:
    """Time each implementation in turn; runs of different implementations alternate, so that all see the same machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impl", action="append", help="implementation (repeatable; default: all installed)")
    parser.add_argument("--preset", default="quick", choices=("quick", "standard", "full"))
    parser.add_argument("--runs", type=int, default=3, help="processes per implementation (default: 3)")
    parser.add_argument("--slowest", type=int, default=5, help="requirements to list (default: 5)")
    options = parser.parse_args()
    names = options.impl or installed()
    times: dict[str, list[float]] = {name: [] for name in names}
    records: dict[str, list[RequirementRecord]] = {}
    for run in range(options.runs):
        for name in names:
            print(f"run {run + 1} of {options.runs}: {name}", file=sys.stderr)
            seconds, records[name] = judge(name, options.preset)
            times[name].append(seconds)
    print(f"{'implementation':<16} {'min s':>7} {'median s':>9} {'max s':>7}   slowest requirements (s)")
    for name in names:
        slowest = sorted(records[name], key=lambda record: -record.duration_s)[: options.slowest]
        listed = ", ".join(f"{record.id} {record.duration_s:.2f}" for record in slowest)
        seconds = times[name]
        print(f"{name:<16} {min(seconds):7.1f} {statistics.median(seconds):9.1f} {max(seconds):7.1f}   {listed}")
    return 0


def judge(name: str, preset: str) -> tuple[float, list[RequirementRecord]]:
    """One whole pytest process: seconds of wall clock, and its records."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "run.jsonl")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--pyargs",
            "vitbench.suites.conformance",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        command += ["--impl", name, "--preset", preset, "--results", str(results)]
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        seconds = time.perf_counter() - start
        if not results.is_file():
            raise SystemExit(f"{name}: no results\n{done.stdout}")
        return seconds, list(read(results).requirements)


if __name__ == "__main__":
    raise SystemExit(main())
