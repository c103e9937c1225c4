"""How long a verdict takes, start-up included: whole processes, timed from outside, and the slowest requirements.

    python scripts/time_to_verdict.py --impl timm --preset quick --runs 5
    python scripts/time_to_verdict.py --impl timm --impl timm.models.vision_transformer:VisionTransformer

The second shows what it costs to do without an adapter. Of an implementation that fails, the diagnosis is timed too, by itself;
it is a part of the verdict's time. The figures are seconds of wall clock on whatever else the machine was doing; minimum and median are both shown.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vitbench.registry import installed
from vitbench.results import Run, read


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
    told: dict[str, Run] = {}
    for run in range(options.runs):
        for name in names:
            print(f"run {run + 1} of {options.runs}: {name}", file=sys.stderr)
            seconds, told[name] = judge(name, options.preset)
            times[name].append(seconds)
    wide = max(len("implementation"), *map(len, names))
    print(
        f"{'implementation':<{wide}} {'min s':>7} {'median s':>9} {'max s':>7} {'diagnosis':>10}   slowest requirements (s)"
    )
    for name in names:
        slowest = sorted(told[name].requirements, key=lambda record: -record.duration_s)[: options.slowest]
        listed = ", ".join(f"{record.id} {record.duration_s:.2f}" for record in slowest)
        seconds, (verdict,) = times[name], told[name].verdicts
        diagnosis = "–" if verdict.diagnosis is None else f"{verdict.diagnosis.duration_s:.1f}"
        figures = f"{min(seconds):7.1f} {statistics.median(seconds):9.1f} {max(seconds):7.1f} {diagnosis:>10}"
        print(f"{name:<{wide}} {figures}   {listed}")
    return 0


def judge(name: str, preset: str) -> tuple[float, Run]:
    """One whole pytest process: seconds of wall clock, and its results."""
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
        return seconds, read(results)


if __name__ == "__main__":
    raise SystemExit(main())
