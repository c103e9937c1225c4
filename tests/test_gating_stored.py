"""A run against stored ones: baselines as files, the noise between runs, and what is not compared."""

import json
import math
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sample_runs

from vitbench import gate
from vitbench.conditions.record import Evidence, Validity
from vitbench.errors import OutputUnwritable
from vitbench.gating import baseline
from vitbench.gating.decision import BaseUnavailable, Decision
from vitbench.gating.facts import Facts, facts
from vitbench.gating.stored import LEAST_RUNS, Policy, compare, difference
from vitbench.lock_file import LockFile
from vitbench.records import MeasurementRecord, Outcome
from vitbench.requirement import Status
from vitbench.results import Run

CELL = MeasurementRecord(
    cell="throughput inference mine",
    implementation="mine",
    version="1.0",
    suite="throughput",
    task="inference",
    model="Ti/16@64",
    device="cpu",
    device_name="a processor",
    dtype="float32",
    batch=2,
    mode="eager",
    threads=1,
    outcome=Outcome.MEASURED,
    parameters=100,
    latency_s=0.1,
)
SPOILED = Evidence(
    verdict=Validity.INVALID, reasons=["others used 40 % of the cores"], notes=[], window_s=1, readings=5
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = sample_runs.run_of(sample_runs.records(), tmp_path_factory.mktemp("base"))
    return replace(run, measurements=[CELL], attention=[], memory=[], counts=[], searches=[])


def a_run(sample: Run, latency_s: float | None = 0.1, day: int = 1, **changes: Any) -> Facts:
    """What a run of that day found, whose cell took so long."""
    environment = {**sample.header.environment, **changes.pop("environment", {})}
    header = replace(sample.header, started_at=f"2026-11-{day:02}T00:00:00+00:00", environment=environment)
    return facts(replace(sample, header=header, measurements=[replace(CELL, latency_s=latency_s, **changes)]))


def stored(sample: Run, times_s: Sequence[float]) -> Facts:
    """Runs of the same code that took so long."""
    first = a_run(sample, times_s[0])
    measured = {cell: replace(one, times_s=list(times_s)) for cell, one in first.measured.items()}
    return replace(
        first, runs=[a_run(sample, day=day).runs[0] for day in range(1, 1 + len(times_s))], measured=measured
    )


def decisions(base: Facts, head: Facts) -> dict[str, Decision]:
    return {one.name: one.decision for one in compare(base, head, Policy()).findings}


TIME = f"{CELL.cell}: time"
STEADY = (0.100, 0.101, 0.099, 0.1005, 0.0995)


# --- the noise between runs ---


def test_a_run_like_the_stored_ones_passes_and_one_that_stands_out_does_not(sample: Run) -> None:
    assert decisions(stored(sample, STEADY), a_run(sample, 0.1005, day=9))[TIME] is Decision.PASS
    outcome = compare(stored(sample, STEADY), a_run(sample, 0.115, day=9), Policy())
    assert (outcome.decision, outcome.exit_code) == (Decision.REGRESSION, 1)
    assert "slower by 15.0 %" in outcome.sentence
    assert "5 stored runs" in outcome.sentence


def test_what_the_noise_hides_is_no_regression_and_what_it_could_have_seen_is_said(sample: Run) -> None:
    noisy = stored(sample, (0.08, 0.12, 0.1, 0.09, 0.11))
    assert decisions(noisy, a_run(sample, 0.115, day=9))[TIME] is Decision.PASS
    (finding,) = (f for f in compare(noisy, a_run(sample, 0.115, day=9), Policy()).findings if f.name == TIME)
    assert finding.least_detectable is not None
    assert finding.least_detectable > 0.5
    assert f"no slowdown of {100 * finding.least_detectable:.1f} % or more" in finding.text


def test_a_slowdown_that_is_certain_and_too_small_to_matter_passes(sample: Run) -> None:
    outcome = compare(stored(sample, (0.1, 0.10001, 0.09999) * 3), a_run(sample, 0.102, day=9), Policy())
    assert outcome.decision is Decision.PASS
    assert "no slowdown of 5.0 % or more: +2.0 %" in outcome.findings[-1].text


def test_too_few_stored_runs_give_no_pass(sample: Run) -> None:
    for few in range(1, LEAST_RUNS):
        outcome = compare(stored(sample, STEADY[:few]), a_run(sample, 0.1, day=9), Policy())
        assert outcome.decision is Decision.INCONCLUSIVE
        assert f"takes {LEAST_RUNS} stored ones to tell" in outcome.sentence
    assert decisions(stored(sample, [0.1]), a_run(sample, 0.2, day=9))[TIME] is Decision.REGRESSION


@pytest.mark.parametrize(("runs", "true"), [(3, 0.0), (5, 0.0), (10, 0.0), (10, 1.0)])
def test_error_rates_are_those_stated(runs: int, true: float) -> None:
    """``true``: the slowdown, in noise floors. Four thousand gates on data of which the truth is known."""
    rng, found, trials, policy = random.Random(runs), 0, 4000, Policy()
    for _ in range(trials):
        times_s = [math.exp(rng.gauss(0, 0.03)) for _ in range(runs)]
        # The floor of this very set of stored runs varies with it; the one of a known noise does not.
        floor = true * 0.03 * math.sqrt(1 + 1 / runs) * 4.67  # t quantiles of 9 degrees of freedom: 2.82 + 1.83
        one = difference(times_s, math.exp(floor + rng.gauss(0, 0.03)), policy)
        found += one.p_value <= policy.alpha
    rate = found / trials
    if true:
        assert 0.93 < rate < 0.99
    else:
        assert 0.005 < rate < 0.015


def test_times_that_are_all_the_same_leave_no_doubt() -> None:
    assert difference([1.0] * 4, 1.1, Policy()).p_value == 0
    assert difference([1.0] * 4, 1.0, Policy()).p_value == 1


# --- what is not compared ---


def test_another_machine_gives_no_number(sample: Run) -> None:
    outcome = compare(stored(sample, STEADY), a_run(sample, 0.3, day=9, environment={"cpu": "another"}), Policy())
    assert (outcome.decision, outcome.exit_code) == (Decision.NO_BASELINE, 4)
    assert "now another" in outcome.sentence
    assert all(finding.change is None for finding in outcome.findings)


@pytest.mark.parametrize(
    "environment",
    [{name: "x"} for name in ("device_name", "cpu", "cores", "threads", "torch", "cuda", "cudnn", "machine")]
    + [{"gpu": {"driver": "x"}}],
)
def test_each_part_of_a_key_makes_another_machine(sample: Run, environment: dict[str, Any]) -> None:
    head = a_run(sample, 0.1, day=9, environment=environment)
    assert compare(stored(sample, STEADY), head, Policy()).exit_code == 4


def test_a_time_under_bad_conditions_is_not_judged(sample: Run) -> None:
    outcome = compare(stored(sample, STEADY), a_run(sample, 0.3, day=9, evidence=SPOILED), Policy())
    assert (outcome.decision, outcome.exit_code) == (Decision.INCONCLUSIVE, 3)
    assert "others used 40 % of the cores" in outcome.sentence


@pytest.mark.parametrize("latency_s", [math.nan, math.inf, 0.0, -1.0])
def test_a_time_that_is_no_duration_is_not_judged(sample: Run, latency_s: float) -> None:
    outcome = compare(stored(sample, STEADY), a_run(sample, latency_s, day=9), Policy())
    assert outcome.exit_code == 3
    assert "no duration" in outcome.sentence


def test_a_cell_without_a_time_now_is_no_pass(sample: Run) -> None:
    assert compare(stored(sample, STEADY), a_run(sample, None, day=9), Policy()).exit_code == 5
    failed = a_run(sample, None, day=9, outcome=Outcome.FAILED, reason="it broke")
    assert compare(stored(sample, STEADY), failed, Policy()).exit_code == 6


def test_a_cell_that_no_stored_run_timed_has_no_baseline(sample: Run) -> None:
    spoiled = a_run(sample, evidence=SPOILED)
    assert decisions(spoiled, a_run(sample, day=9))[TIME] is Decision.NO_BASELINE


def test_a_cell_that_the_base_never_had_is_noted(sample: Run) -> None:
    outcome = compare(a_run(sample, None), a_run(sample, day=9, cell="throughput training mine"), Policy())
    assert "not compared, since the base has no such cell: throughput training mine" in outcome.notes


def test_a_spoiled_time_of_a_cell_that_the_base_never_had_leaves_the_rest_decided(sample: Run) -> None:
    head = a_run(sample, 0.1, day=9)
    new = replace(head.measured[CELL.cell], times_s=[], doubt="INVALID: others were busy")
    outcome = compare(stored(sample, STEADY), replace(head, measured={**head.measured, "new": new}), Policy())
    assert outcome.decision is Decision.PASS
    assert any("the base has no such cell: new" in note for note in outcome.notes)


def test_times_beyond_any_ratio_are_told_without_a_number(sample: Run) -> None:
    outcome = compare(stored(sample, (1e-300, 1.0, 1e300)), a_run(sample, 0.1, day=9), Policy())
    assert outcome.findings[-1].decision is Decision.PASS
    assert '"high": null' in outcome.to_json()


def test_a_run_against_itself_is_no_pass(sample: Run) -> None:
    untimed = a_run(sample, None)
    assert compare(untimed, untimed, Policy()).exit_code == 5


# --- files ---


def test_runs_of_the_same_code_are_joined_and_read_back_as_they_were(sample: Run, tmp_path: Path) -> None:
    for day, seconds in enumerate(STEADY, 1):
        file, how = baseline.save("main", a_run(sample, seconds, day=day), tmp_path)
    assert how == "5 runs of the same code"
    kept = baseline.load(file)
    assert kept.measured[CELL.cell].times_s == list(STEADY)
    assert [run.began[8:10] for run in kept.runs] == ["01", "02", "03", "04", "05"]
    one = a_run(sample)
    assert {place: judged.status for place, judged in kept.judged.items()} == {
        place: judged.status for place, judged in one.judged.items()
    }
    assert kept.key == one.key
    assert decisions(kept, a_run(sample, 0.1, day=9))[TIME] is Decision.PASS


def test_the_same_run_is_saved_once(sample: Run, tmp_path: Path) -> None:
    for _ in range(2):
        file, _how = baseline.save("main", a_run(sample), tmp_path)
    assert len(baseline.load(file).runs) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": {"git_commit": "f" * 40}}, "commit"),
        ({"environment": {"git_commit": "c0ffee", "git_clean": False}}, "commit c0ffee before, now c0ffee+"),
        ({"version": "2.0"}, "mine 1.0 before, now 2.0"),
        ({"parameters": 101}, "other cells or counts"),
    ],
)
def test_a_run_of_other_code_begins_anew(sample: Run, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    baseline.save("main", a_run(sample, environment={"git_commit": "c0ffee", "git_clean": True}), tmp_path)
    now = {"environment": {"git_commit": "c0ffee", "git_clean": True}} | changes
    file, how = baseline.save("main", a_run(sample, day=2, **now), tmp_path)
    assert "begun anew" in how
    assert said in how
    assert len(baseline.load(file).runs) == 1


def test_a_spoiled_time_is_not_kept(sample: Run, tmp_path: Path) -> None:
    file, _ = baseline.save("main", a_run(sample, evidence=SPOILED), tmp_path)
    assert list(baseline.load(file).measured[CELL.cell].times_s) == []


def test_a_change_of_one_verdict_changes_one_line_of_the_file(sample: Run, tmp_path: Path) -> None:
    before, _ = baseline.save("one", a_run(sample), tmp_path)
    head = a_run(sample)
    place = next(place for place, one in head.judged.items() if one.status is Status.PASSED)
    judged = {**head.judged, place: replace(head.judged[place], status=Status.FAILED)}
    after, _ = baseline.save("two", replace(head, judged=judged), tmp_path)
    lines = [set(file.read_text().splitlines()) for file in (before, after)]
    assert len(lines[1] - lines[0]) == 1
    assert before.stat().st_size < 200 * len(head.judged) + 5000


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "no whole baseline"),
        (lambda text: "[]", "no vitbench baseline"),
        (lambda text: text.replace('"version": 1', '"version": 2', 1), "has version 2, this vitbench reads 1"),
        (lambda text: text.replace("0.1", "-0.1"), "a time of -0.1 s"),
        (lambda text: text.replace("0.1", "NaN"), "a time of nan s"),
        (lambda text: text.replace('"key"', '"keys"', 1), "no whole baseline"),
        (lambda text: text.replace('"PASSED"', '"SPLENDID"', 1), "no whole baseline"),
        (lambda text: text.replace("0.1\n", f"{10**400}\n"), "no whole baseline"),
        (lambda text: re.sub(r'"times_s": \[[^]]*\]', '"times_s": "123"', text), "123 where a list has to be"),
        (lambda text: re.sub(r'"times_s": \[[^]]*\]', '"times_s": ["0.1"]', text), "a time of 0.1 s"),
        (lambda text: text.replace('"parameters": 100', '"parameters": null'), "a count of None"),
        (lambda text: text.replace('"parameters": 100', '"parameters": -1'), "a count of -1"),
        (lambda text: re.sub(r'"digest": "[^"]*"', '"digest": []', text), "where a text has to be"),
        (lambda text: re.sub(r'"began": "[^"]*"', '"began": "yesterday"', text), "yesterday"),
        (lambda text: re.sub(r'"commit": "[^"]*"', '"commit": null', text), "None where a text has to be"),
    ],
)
def test_a_file_that_is_no_whole_baseline_is_refused(sample: Run, tmp_path: Path, spoil: Any, said: str) -> None:
    file, _ = baseline.save("main", a_run(sample), tmp_path)
    file.write_text(spoil(file.read_text()))
    with pytest.raises(BaseUnavailable, match=said) as raised:
        baseline.base(str(file), a_run(sample).key)
    assert raised.value.exit_code == 4
    with pytest.raises(Exception, match=said):  # and is not written over
        baseline.save("main", a_run(sample, day=2), tmp_path)


def test_a_base_is_a_run_a_file_or_a_name(sample: Run, tmp_path: Path) -> None:
    run, home = sample_runs.run_of(sample_runs.records(), tmp_path / "run"), tmp_path / "home"
    file, _ = baseline.save("main", a_run(sample), home)
    key = a_run(sample).key
    for given in (str(run.path), str(file), "main", str(home / "main")):
        assert baseline.base(given, key, home=home).runs
    with pytest.raises(BaseUnavailable, match=r"'trunk' is no run, no file and no baseline .*there: main"):
        baseline.base("trunk", key, home=home)


def test_of_several_baselines_the_nearest_is_taken(sample: Run, tmp_path: Path) -> None:
    near, _ = baseline.save("main", a_run(sample, environment={"torch": "9.9"}), tmp_path)
    baseline.save("main", a_run(sample, environment={"torch": "9.8", "cpu": "another", "cores": 64}), tmp_path)
    assert baseline.base("main", a_run(sample).key, nearest=True, home=tmp_path).name == str(near)


def test_a_folder_of_another_kind_does_not_hide_a_baseline_of_its_name(
    sample: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    baseline.save("main", a_run(sample))
    (tmp_path / "main").mkdir()
    assert baseline.base("main", a_run(sample).key).runs


def test_a_path_that_is_not_there_is_no_name(sample: Run, tmp_path: Path) -> None:
    baseline.save("main", a_run(sample), tmp_path)
    with pytest.raises(BaseUnavailable, match="elsewhere/main"):
        baseline.base("elsewhere/main", a_run(sample).key, home=tmp_path)
    with pytest.raises(BaseUnavailable, match="File name too long"):
        baseline.base("x" * 5000, a_run(sample).key, home=tmp_path)


def test_a_key_without_its_torch_is_another_machine(sample: Run, tmp_path: Path) -> None:
    file, _ = baseline.save("main", a_run(sample), tmp_path)
    file.write_text(file.read_text().replace('"torch"', '"a torch"', 1))
    assert compare(baseline.load(file), a_run(sample, day=2), Policy()).exit_code == 4


def test_text_that_no_encoding_holds_is_kept(sample: Run, tmp_path: Path) -> None:
    found = a_run(sample, None, outcome=Outcome.FAILED, reason="no file \udcff")
    file, _ = baseline.save("main", found, tmp_path)
    assert baseline.load(file).measured[CELL.cell].reason == "no file \udcff"


def test_runs_that_save_at_once_all_keep_their_times(sample: Run, tmp_path: Path) -> None:
    found = [a_run(sample, 0.1 + day / 1000, day=day) for day in range(1, 13)]
    threads = [threading.Thread(target=baseline.save, args=("main", one, tmp_path)) for one in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (file,) = (tmp_path / "main").iterdir()  # no lock, nothing half-written
    assert sorted(baseline.load(file).measured[CELL.cell].times_s) == [
        one.measured[CELL.cell].times_s[0] for one in found
    ]


def test_whoever_holds_a_baseline_for_ever_is_not_waited_for_as_long(
    sample: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "_PATIENCE_S", 0.05)
    (tmp_path / "main").mkdir()
    lock = LockFile(tmp_path / "main" / "baseline.lock")
    assert lock.acquire()
    with pytest.raises(OutputUnwritable, match="another process has held"):
        baseline.save("main", a_run(sample), tmp_path)
    lock.close()


def test_the_code_of_a_candidate_from_another_repository_counts(sample: Run, tmp_path: Path) -> None:
    for day, commit in enumerate(("a" * 40, "a" * 40, "b" * 40), 1):
        candidates = {"mine": {"git_commit": commit, "git_clean": True}}
        _, how = baseline.save("main", a_run(sample, day=day, environment={"candidates": candidates}), tmp_path)
        assert how.startswith(("begun with", "2 runs", "begun anew (source of mine commit aaaaaa")[day - 1])


def test_a_baseline_of_another_machine_is_told_by_what_differs(sample: Run, tmp_path: Path) -> None:
    baseline.save("main", a_run(sample), tmp_path)
    other = a_run(sample, environment={"torch": "9.9"}).key
    with pytest.raises(BaseUnavailable, match=r"torch: .* before, now 9\.9"):
        baseline.base("main", other, home=tmp_path)
    assert baseline.base("main", other, nearest=True, home=tmp_path).runs


# --- listing and pruning ---


@pytest.fixture
def home(sample: Run, tmp_path: Path) -> Path:
    for name, days in (("main", (1, 2, 3)), ("old", (1,))):
        for day in days:
            environment = {"git_commit": name}
            baseline.save(name, a_run(sample, STEADY[day], day=day, environment=environment), tmp_path)
    return tmp_path


def test_baselines_are_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["baselines", "--home", str(home)]) == 0
    shown = capsys.readouterr().out
    assert "main" in shown
    assert "old" in shown
    assert "±1.0 %" in shown  # of 0.101, 0.099 and 0.1005 s


def test_pruning_drops_what_is_asked_for_and_nothing_else(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["baselines", "main", "--keep", "2", "--home", str(home)]) == 0
    assert "1 run dropped, 2 kept" in capsys.readouterr().out
    (file,) = baseline.saved("main", home)
    assert list(baseline.load(file).measured[CELL.cell].times_s) == [STEADY[2], STEADY[3]]
    assert gate.main(["baselines", "old", "--remove", "--home", str(home)]) == 0
    assert baseline.names(home) == ["main"]


def test_old_ones_are_removed_by_the_age_of_their_newest_run(home: Path) -> None:
    from argparse import Namespace

    from vitbench.gating.pruning import prune

    given = Namespace(names=[], home=home, keep=None, older_than=10, remove=False)
    removed = list(prune(given, now=datetime(2026, 11, 12, tzinfo=UTC)))
    assert len(removed) == 1
    assert baseline.names(home) == ["main"]


def test_an_age_beyond_the_calendar_removes_nothing(home: Path) -> None:
    assert gate.main(["baselines", "--older-than", "9" * 12, "--home", str(home)]) == 0
    assert baseline.names(home) == ["main", "old"]


def test_what_cannot_be_removed_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "old" / "folder.json").mkdir()
    assert gate.main(["baselines", "old", "--remove", "--home", str(home)]) == 2
    assert "cannot remove" in capsys.readouterr().err


def test_mistakes_are_usage_errors(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["baselines", "trunk", "--home", str(home)]) == 2
    assert "there: main, old" in capsys.readouterr().err
    assert gate.main(["baselines", "--remove", "--home", str(home)]) == 2
    assert gate.main(["baselines", "--keep", "0", "--home", str(home)]) == 2


def test_one_that_cannot_be_read_is_listed_with_its_reason(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = baseline.saved("old", home)
    file.write_text(json.dumps({"format": "vitbench baseline", "version": 9}))
    assert gate.main(["baselines", "--home", str(home)]) == 0
    assert "has version 9" in " ".join(capsys.readouterr().out.split())
