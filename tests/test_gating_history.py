"""Changes of level in series of which the truth is known."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import sample_runs
from rich.console import Console

from vitbench import gate
from vitbench.change_points import changes, least_runs
from vitbench.conditions.record import Evidence, Validity
from vitbench.gating.decision import Decision
from vitbench.gating.history import history
from vitbench.gating.shown import show
from vitbench.results import Run

NOISE = 0.02
ALPHA = 0.01


def series(rng: random.Random, *levels: tuple[float, int]) -> list[float]:
    return [rng.gauss(level, NOISE) for level, runs in levels for _ in range(runs)]


def test_a_level_that_never_changes_is_hardly_ever_said_to_change() -> None:
    rng = random.Random(1)
    alarms = sum(bool(changes(series(rng, (0.0, 12)), alpha=ALPHA, seed=i)) for i in range(100))
    assert alarms <= 3


def test_a_change_is_found_where_it_was_made() -> None:
    rng = random.Random(2)
    found = [changes(series(rng, (0.0, 10), (0.1, 6)), alpha=ALPHA, seed=i) for i in range(20)]
    assert sum(len(one) == 1 and abs(one[0].first - 10) <= 1 for one in found) >= 18
    assert all(one[0].log_ratio == pytest.approx(0.1, abs=0.05) for one in found if one)


def test_two_changes_are_both_found() -> None:
    found = changes(series(random.Random(3), (0.0, 14), (0.2, 14), (0.0, 14)), alpha=ALPHA)
    assert [change.first for change in found] == [14, 28]
    assert found[0].log_ratio > 0 > found[1].log_ratio


@pytest.mark.parametrize("place", [5, 11])
def test_a_single_run_that_is_off_is_no_change(place: int) -> None:
    values = series(random.Random(4), (0.0, 12))
    values[place] += 1.0
    assert changes(values, alpha=ALPHA) == []


@pytest.mark.parametrize("later", [1, 2])
def test_a_change_waits_for_two_later_runs(later: int) -> None:
    rng = random.Random(5)
    before = series(rng, (0.0, 14))
    assert changes(before + series(rng, (0.3, later)), alpha=ALPHA) == []
    assert changes(before + series(rng, (0.3, 3)), alpha=ALPHA)


# --- of runs ---


def run(folder: Path, number: int, latency_s: float, **environment: str) -> Run:
    records = [sample_runs.header(started_at=f"2026-11-{number + 1:02}T00:00:00+00:00")]
    one = sample_runs.run_of([*records, sample_runs.measurement(latency_s=latency_s)], folder, f"{number}.jsonl")
    return replace(one, header=replace(one.header, environment={**one.header.environment, **environment}))


def test_a_slower_level_is_a_regression_with_its_first_run(tmp_path: Path) -> None:
    levels = [0.10, 0.101, 0.099, 0.10, 0.1005, 0.0995, 0.1, 0.12, 0.121, 0.119, 0.12, 0.12]
    runs = [run(tmp_path, i, level) for i, level in enumerate(levels)]
    outcome = history(runs[::-1], delta=0.05, alpha=ALPHA)  # in whatever order they are given
    assert (outcome.decision, outcome.exit_code) == (Decision.REGRESSION, 1)
    assert "+20.0 % since 2026-11-08T00:00:00+00:00, in 5 of 12 runs" in outcome.findings[0].text


def test_a_faster_level_passes(tmp_path: Path) -> None:
    runs = [run(tmp_path, i, 0.1 + 0.0001 * i - 0.03 * (i > 7)) for i in range(12)]
    assert history(runs, delta=0.05, alpha=ALPHA).decision is Decision.PASS


def test_runs_of_two_machines_are_two_series(tmp_path: Path) -> None:
    runs = [run(tmp_path, i, 0.1 if i % 2 else 0.2, cpu=f"processor {i % 2}") for i in range(24)]
    outcome = history(runs, delta=0.05, alpha=ALPHA)
    assert [finding.decision for finding in outcome.findings] == [Decision.PASS, Decision.PASS]
    assert "[cpu processor 0]" in outcome.findings[0].name


def test_too_few_runs_say_nothing_and_pass_nothing(tmp_path: Path) -> None:
    files = [str(run(tmp_path, i, 0.1).path) for i in range(3)]
    assert gate.main(["history", *files]) == 5


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 0.001])
def test_runs_that_could_show_no_change_however_large_pass_nothing(tmp_path: Path, alpha: float) -> None:
    """A detector that cannot alarm must not say that all is well."""
    least = least_runs(alpha)
    large = [0.0 + i / 1e6 for i in range(least // 2)] + [9.0 + i / 1e6 for i in range(least - least // 2)]
    assert changes(large, alpha=alpha)
    runs = [run(tmp_path, i, 0.1 if i < least // 2 else 0.9 + i / 1e6) for i in range(least - 1)]
    (finding,) = history(runs, delta=0.05, alpha=alpha).findings
    assert finding.decision is Decision.NOTHING_MEASURED
    assert f"{least} are the least" in finding.text


def test_a_run_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    runs = [run(tmp_path, i, 0.1 + 0.0001 * (i % 3)) for i in range(14)]
    slow = run(tmp_path, 14, 0.2)
    outcome = history([*runs, slow, slow, slow], delta=0.05, alpha=ALPHA)
    assert outcome.decision is Decision.PASS
    assert "15 runs" in outcome.title


@pytest.mark.parametrize("latency_s", [-1.0, -1e300])
def test_what_is_no_duration_is_left_out_and_told(tmp_path: Path, latency_s: float) -> None:
    runs = [run(tmp_path, i, 0.1 + 0.0001 * (i % 3)) for i in range(12)]
    outcome = history([*runs, run(tmp_path, 12, latency_s)], delta=0.05, alpha=ALPHA)
    assert outcome.decision is Decision.PASS
    assert "in 12 runs" in outcome.findings[0].text
    assert "left out of 1 run" in outcome.notes[0]


def test_times_under_bad_conditions_make_no_level(tmp_path: Path) -> None:
    spoiled = Evidence(verdict=Validity.INVALID, reasons=["others were busy"], notes=[], window_s=1, readings=5)
    runs = [run(tmp_path, i, 0.1 + 0.0001 * (i % 3)) for i in range(12)]
    for i in range(12, 16):
        one = run(tmp_path, i, 0.3)
        runs.append(replace(one, measurements=[replace(m, evidence=spoiled) for m in one.measurements]))
    assert history(runs, delta=0.05, alpha=ALPHA).decision is Decision.PASS


def test_a_rate_that_no_permutations_can_reach_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main(["history", "--alpha", "1e-9", str(run(tmp_path, 0, 0.1).path)]) == 2
    assert "the least of a permutation test" in capsys.readouterr().err


def test_the_machine_of_a_series_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name has brackets, which the terminal's markup would swallow."""
    levels = [0.1 + 0.0001 * (i % 3) + 0.1 * (i >= 20) for i in range(40)]
    runs = [run(tmp_path, i, level, cpu=f"processor {i % 2}") for i, level in enumerate(levels)]
    show(history(runs, delta=0.05, alpha=ALPHA), Console(width=300))
    assert capsys.readouterr().out.count("[cpu processor 1]") == 2  # in the table, and in the line that says why


def test_a_file_that_is_no_run_is_a_usage_error(tmp_path: Path) -> None:
    assert gate.main(["history", str(tmp_path / "none.jsonl")]) == 2
