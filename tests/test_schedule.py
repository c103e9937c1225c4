"""Schedules of a plan's cells, against cases worked out by hand."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from sample_runs import header, measurement, requirement, run_of, verdict_of, write

from vitbench.records import Footer, Ran
from vitbench.schedule import (
    Job,
    as_planned,
    jobs_of,
    longest_first,
    longest_of_all_first,
    lower_bound_s,
    scheduled,
)

SCRIPT = Path(__file__).parents[1] / "scripts" / "simulate_plan.py"


def untimed(*seconds: float) -> list[Job]:
    return [Job(f"u{i}", s, timed=False) for i, s in enumerate(seconds)]


def timed(*seconds: float) -> list[Job]:
    return [Job(f"t{i}", s, timed=True) for i, s in enumerate(seconds)]


def times(jobs: list[Job], workers: int, beside: int = 1) -> list[tuple[str, int, float]]:
    return [(one.job.cell, one.worker, one.start_s) for one in scheduled(jobs, workers, beside).placed]


def test_untimed_cells_of_one_worker_run_two_at_once() -> None:
    """Places 1 and 2 begin 3 and 5; the 2 follows the 3, the 4 comes after both 5s are reached."""
    assert times(untimed(3, 5, 2, 4), workers=1, beside=2) == [("u0", 0, 0), ("u1", 0, 0), ("u2", 0, 3), ("u3", 0, 5)]
    assert scheduled(untimed(3, 5, 2, 4), 1, beside=2).makespan_s == 9


def test_a_timed_cell_waits_until_its_worker_is_empty_and_has_it_alone() -> None:
    """Untimed 1 and 4 at once; the timed 2 begins at 4, the untimed 1 behind it not before 6."""
    plan = [*untimed(1, 4), *timed(2), Job("late", 1, timed=False)]
    assert times(plan, workers=1, beside=2) == [("u0", 0, 0), ("u1", 0, 0), ("t0", 0, 4), ("late", 0, 6)]


def test_a_timed_cell_goes_to_the_worker_that_is_empty_first() -> None:
    plan = [*untimed(5, 1), *timed(2)]
    assert times(plan, workers=2) == [("u0", 0, 0), ("u1", 1, 0), ("t0", 1, 1)]


def test_plan_order_can_leave_the_longest_cell_for_last_and_longest_first_does_not() -> None:
    """1 1 1 1 4 on two workers: 1+1 and 1+1, then 4: 6. Longest first: 4 beside 1+1+1+1: 4, which is the lower bound."""
    jobs = timed(1, 1, 1, 1, 4)
    planned, longest = scheduled(as_planned(jobs), 2), scheduled(longest_first(jobs), 2)
    assert (planned.makespan_s, planned.tail_s) == (6, 4)
    assert planned.last is not None
    assert planned.last.job.cell == "t4"
    assert (longest.makespan_s, longest.tail_s) == (4, 0)
    assert lower_bound_s(jobs, 2) == 4


def test_longest_first_is_within_grahams_bound_and_not_always_the_best() -> None:
    """3 3 2 2 2 on two workers: 3+2+2 and 3+2 is 7 where 3+3 and 2+2+2 is 6."""
    jobs = timed(3, 3, 2, 2, 2)
    assert scheduled(longest_first(jobs), 2).makespan_s == 7
    assert lower_bound_s(jobs, 2) == 6


def test_the_lower_bound_is_the_longest_cell_or_the_work_spread_evenly() -> None:
    assert lower_bound_s(timed(10, 1, 1), 2) == 10
    assert lower_bound_s(timed(4, 4, 4, 4), 2) == 8
    assert lower_bound_s([*untimed(4, 4), *timed(2)], 1, beside=2) == 6  # two at once: (4 + 4) / 2 + 2


def test_what_is_not_timed_comes_first_as_in_the_run_itself() -> None:
    jobs = [*timed(1), *untimed(2, 3), *timed(4)]
    assert [job.seconds for job in as_planned(jobs)] == [2, 3, 1, 4]
    assert [job.seconds for job in longest_first(jobs)] == [3, 2, 4, 1]
    assert [job.seconds for job in longest_of_all_first(jobs)] == [4, 3, 2, 1]


def test_more_workers_than_cells_take_as_long_as_the_longest_and_one_of_them_has_nothing_to_do() -> None:
    schedule = scheduled(timed(3, 7), 1000)
    assert (schedule.makespan_s, schedule.tail_s) == (7, 7)


def test_nothing_takes_no_time() -> None:
    schedule = scheduled([], 4)
    assert (schedule.makespan_s, schedule.tail_s, schedule.last, lower_bound_s([], 4)) == (0, 0, None, 0)


def test_a_cells_time_is_its_processs_where_that_was_recorded_and_else_its_results_with_a_start(tmp_path: Path) -> None:
    figure = measurement("timm", cell="throughput timm", suite="throughput", duration_s=4.0)
    verdict = verdict_of([requirement()], cell="conformance timm", duration_s=10.0)
    ran = Ran(cell="throughput timm", started_at="2026-11-22T15:38:03.250+00:00", duration_s=6.5, timed=True)
    plan = header(planned=["throughput timm", "conformance timm", "never ran"])
    run = run_of([plan, verdict, figure, ran], tmp_path)
    assert jobs_of(run, start_s=3.0) == [
        Job("throughput timm", 6.5, timed=True),
        Job("conformance timm", 13.0, timed=False),
    ]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate_plan", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate_plan"] = module
    spec.loader.exec_module(module)
    return module


def recorded(folder: Path) -> Path:
    """Two verdicts at once for 10 and 8 s, then a figure of 5 s: 15 s; the run itself took 16."""
    cells = ["conformance a", "conformance b", "throughput a"]
    spans = zip(cells, (10.0, 8.0, 5.0), (False, False, True), strict=True)
    at = "2026-11-22T15:38:03.250+00:00"
    footer = Footer(finished_at="2026-11-22T15:50:44+00:00", status="complete", duration_s=16.0)
    ran = [Ran(cell=cell, started_at=at, duration_s=s, timed=timed) for cell, s, timed in spans]
    results = [
        verdict_of([requirement()], cell=cells[0]),
        verdict_of([requirement()], cell=cells[1]),
        measurement("a", cell=cells[2]),
    ]
    return write([header(planned=cells), *results, *ran, footer], folder / "results.jsonl")


def test_the_script_holds_its_simulation_against_the_run_and_tells_bound_tail_and_cost(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recorded(tmp_path)
    assert script.main([str(file), "--workers", "1", "2", "--price-per-hour", "3.6"]) == 0
    told = capsys.readouterr().out
    assert "3 cells" in told
    assert "the run itself took 16.0 s; simulated with 1 worker: 15.0 s, 6.2 % less" in told
    rows = [line.split() for line in told.splitlines() if line.strip().startswith(("1 ", "2 "))]
    assert rows[0][:5] == ["1", "14.0", "15.0", "15.0", "15.0"]  # bound (10 + 8) / 2 + 5
    assert rows[0][6] == "0.015"  # 15 s at 3.60 an hour
    assert rows[1][:3] == ["2", "10.0", "10.0"]


def test_the_script_repeats_a_matrix_and_says_what_has_no_process_time(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = verdict_of([requirement()], cell="conformance a", duration_s=10.0)
    file = write([header(planned=["conformance a"]), verdict], tmp_path / "results.jsonl")
    assert script.main([str(file), "--workers", "1", "--copies", "4", "--start", "2"]) == 0
    told = capsys.readouterr().out
    assert "4 cells" in told
    assert "1 of 1 cells have no process time" in told
    assert "24.0" in told  # four of 12 s, two at once


def test_the_script_refuses_a_run_without_results(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write([header()], tmp_path / "results.jsonl")
    assert script.main([str(file)]) == 2
    assert "no cell of it has a result" in capsys.readouterr().err
