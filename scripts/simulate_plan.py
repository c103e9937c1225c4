"""How long a recorded run's plan would take on so many workers, where its tail lies, and what it would cost.

    python scripts/simulate_plan.py vitbench-results/…/results.jsonl --workers 1 10 100 --copies 20 --price-per-hour 2.5

A worker is a machine as the recorded one. Untimed cells share it, timed ones have it alone (docs/scaling.md). Nothing is run.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vitbench.errors import VitbenchError
from vitbench.results import Run, read
from vitbench.schedule import BESIDE, ORDERS, Job, Schedule, as_planned, jobs_of, lower_bound_s, scheduled
from vitbench.units import duration
from vitbench.wording import plural

WORKERS = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)
_HOUR_S = 3600
_LONGEST = 5  # cells that are listed


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each number of workers; 2 where the run has nothing to simulate."""
    options = _options(argv)
    try:
        run = read(options.run)
    except VitbenchError as error:
        print(f"simulate_plan: {error}", file=sys.stderr)
        return error.exit_code
    recorded = jobs_of(run, options.start)
    if not recorded:
        print(f"simulate_plan: {options.run}: no cell of it has a result", file=sys.stderr)
        return 2
    jobs = [job for _ in range(options.copies) for job in recorded]
    print(f"{plural(len(jobs), 'cell')}, {_spent(jobs)}")
    _say_what_is_missing(run, recorded, options.start)
    _say_how_the_run_itself_went(run, recorded, options.beside)
    print(f"longest: {'; '.join(f'{job.cell} {job.seconds:.1f} s' for job in _longest(recorded))}\n")
    _show(jobs, options)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN.jsonl", help="results file of a run")
    parser.add_argument("--workers", type=_positive, nargs="+", default=WORKERS, metavar="N")
    parser.add_argument("--copies", type=_positive, default=1, metavar="K", help="the plan K times (default: 1)")
    parser.add_argument(
        "--beside", type=_positive, default=BESIDE, metavar="N", help="untimed cells at once on a worker"
    )
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="SECONDS", help="what a cell takes beside what its record tells"
    )
    parser.add_argument("--price-per-hour", type=float, metavar="P", help="of one worker; adds what the plan costs")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _spent(jobs: Sequence[Job]) -> str:
    timed = [job.seconds for job in jobs if job.timed]
    rest = [job.seconds for job in jobs if not job.timed]
    return f"{duration(sum(rest) + sum(timed))} of cells: {len(rest)} untimed {sum(rest):.1f} s, {len(timed)} timed {sum(timed):.1f} s"


def _say_what_is_missing(run: Run, jobs: Sequence[Job], start_s: float) -> None:
    known = {ran.cell for ran in run.ran}
    without = sum(job.cell not in known for job in jobs)
    if without:
        print(
            f"{without} of {len(jobs)} cells have no process time: their record's own is taken, {start_s:g} s added to each "
            "(--start)"
        )
    if len(jobs) < len(run.header.planned):
        print(f"{len(run.header.planned) - len(jobs)} of {len(run.header.planned)} planned cells have no result")


def _say_how_the_run_itself_went(run: Run, jobs: Sequence[Job], beside: int) -> None:
    """The simulation of the run as it was: one worker, the order of the plan."""
    if not run.complete or run.footer is None or run.header.resumed_at:
        return
    real_s, simulated_s = run.footer.duration_s, scheduled(as_planned(jobs), 1, beside).makespan_s
    off = 100 * (simulated_s / real_s - 1)
    told = f"{abs(off):.1f} % {'more' if off > 0 else 'less'}"
    print(f"the run itself took {real_s:.1f} s; simulated with 1 worker: {simulated_s:.1f} s, {told}")


def _longest(jobs: Sequence[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: -job.seconds)[:_LONGEST]


def _show(jobs: Sequence[Job], options: argparse.Namespace) -> None:
    names = [f"{name} s" for name in ORDERS]
    cost = [] if options.price_per_hour is None else ["cost"]
    widths = [7, 13, *(max(11, len(name)) for name in names), 7, *([12] if cost else [])]
    head = ["workers", "lower bound s", *names, "tail s", *cost]
    print("  ".join(text.rjust(width) for text, width in zip(head, widths, strict=True)) + "  ends last, as planned")
    for workers in options.workers:
        found = [scheduled(order(jobs), workers, options.beside) for order in ORDERS.values()]
        figures = [lower_bound_s(jobs, workers, options.beside), *(one.makespan_s for one in found), found[0].tail_s]
        texts = [str(workers), *(f"{figure:.1f}" for figure in figures)]
        texts += [f"{_cost(found[0], options.price_per_hour):.3f}"] if cost else []
        last = found[0].last
        row = "  ".join(text.rjust(width) for text, width in zip(texts, widths, strict=True))
        print(f"{row}  {last.job.cell if last else ''}")


def _cost(schedule: Schedule, price_per_hour: float) -> float:
    """Every worker is paid until the last one is done."""
    return schedule.workers * schedule.makespan_s / _HOUR_S * price_per_hour


if __name__ == "__main__":
    raise SystemExit(main())
