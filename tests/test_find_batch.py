"""``--find-batch``: which batches are tried, why no more are, and what is recorded; on injected tries, and once for real."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vitbench import resume
from vitbench.batch_search import BatchSearch, Try, memory_forbids, rises, search
from vitbench.errors import NotSupported, UsageError
from vitbench.measurement import record
from vitbench.memory_available import available_bytes
from vitbench.models import model_config
from vitbench.options import parse
from vitbench.plan import Cell, plan
from vitbench.progress import title
from vitbench.records import Header, MeasurementRecord, Outcome
from vitbench.reference.memory import activation_bytes
from vitbench.results import Follower, append, from_line, read, to_line
from vitbench.run import main
from vitbench.suites.throughput import find_batch
from vitbench.workload import POOL_SIZE

GIB = 2**30
TINY = "Ti/16@32,depth=1,width=48,num_classes=7"


def never(batch: int, tries: Any) -> str:
    return ""


def device(fits: int, rate: Callable[[int], float] = lambda batch: 100.0 * batch) -> Callable[[int], Try]:
    """Measures whatever fits, with intervals of 1 %."""

    def measure(batch: int) -> Try:
        if batch > fits:
            return Try(batch=batch, rate=None, out_of_memory=True, reason="no 2 GiB left")
        return Try(batch=batch, rate=rate(batch), lowest_rate=rate(batch) * 0.99, highest_rate=rate(batch) * 1.01)

    return measure


# --- the search ---


def test_on_a_device_it_doubles_until_memory_runs_out_and_bisects_between() -> None:
    found = search(device(fits=90), never, until_full=True)
    assert found.tried == [1, 2, 4, 8, 16, 32, 64, 128, 96, 80, 88, 92]
    assert (found.best, found.largest_fitting, found.smallest_refused) == (88, 88, 92)
    assert found.stopped == "batch 128 ran out of memory: no 2 GiB left"


def test_small_batches_are_found_exactly() -> None:
    found = search(device(fits=11), never, until_full=True)
    assert (found.largest_fitting, found.smallest_refused) == (11, 12)


def test_the_best_batch_need_not_be_the_largest() -> None:
    found = search(device(fits=64, rate=lambda batch: 1000.0 - abs(batch - 16)), never, until_full=True)
    assert (found.best, found.largest_fitting) == (16, 66 - 2)


def test_where_not_even_one_image_fits_there_is_no_best() -> None:
    found = search(device(fits=0), never, until_full=True)
    assert found == BatchSearch(
        tried=[1],
        best=None,
        largest_fitting=None,
        smallest_refused=1,
        stopped="batch 1 ran out of memory: no 2 GiB left",
    )


def test_on_the_cpu_it_stops_once_throughput_no_longer_rises() -> None:
    found = search(device(fits=10**6, rate=lambda batch: min(batch, 8) * 100.0), never, until_full=False)
    assert found.tried == [1, 2, 4, 8, 16, 32]
    assert (found.best, found.largest_fitting, found.smallest_refused) == (8, 32, None)
    assert found.stopped == "throughput no longer rose by more than its interval, 2 doublings in a row"


def test_one_flat_doubling_may_be_chance() -> None:
    rates = {1: 100.0, 2: 200.0, 4: 195.0, 8: 400.0, 16: 400.0, 32: 400.0}
    assert search(device(10**6, rates.__getitem__), never, until_full=False).best == 8


def test_a_rise_within_the_intervals_is_none() -> None:
    before = Try(batch=1, rate=100.0, lowest_rate=98.0, highest_rate=103.0)
    assert not rises(Try(batch=2, rate=104.0, lowest_rate=102.0, highest_rate=106.0), [before])
    assert rises(Try(batch=2, rate=106.0, lowest_rate=104.0, highest_rate=108.0), [before])


def test_what_is_forbidden_is_not_tried() -> None:
    found = search(device(10**6), lambda batch, tries: "too much" if batch > 4 else "", until_full=False)
    assert found == BatchSearch(tried=[1, 2, 4], best=4, largest_fitting=4, smallest_refused=8, stopped="too much")


def test_a_batch_for_which_no_time_is_left_is_not_said_not_to_fit() -> None:
    def late(batch: int) -> str:
        return "no time" if batch > 4 else ""

    found = search(device(10**6), never, until_full=True, late=late)
    assert (found.tried, found.largest_fitting, found.smallest_refused, found.stopped) == (
        [1, 2, 4],
        4,
        None,
        "no time",
    )


def test_a_bisection_that_ends_early_says_why() -> None:
    measured = device(fits=90)

    def fails_at_96(batch: int) -> Try:
        return Try(batch=96, rate=None, reason="killed by SIGSEGV") if batch == 96 else measured(batch)

    ends = "batch 128 ran out of memory: no 2 GiB left; "
    found = search(fails_at_96, never, until_full=True)
    assert (found.largest_fitting, found.smallest_refused) == (64, 128)
    assert found.stopped == ends + "batch 96 was not measured: killed by SIGSEGV"
    late = search(measured, never, until_full=True, late=lambda batch: "no time" if batch == 96 else "")
    assert (late.largest_fitting, late.smallest_refused, late.stopped) == (64, 128, ends + "no time")


def test_another_failure_ends_the_search_with_its_reason() -> None:
    def measure(batch: int) -> Try:
        return device(10**6)(batch) if batch < 4 else Try(batch=batch, rate=None, reason="killed by SIGSEGV")

    found = search(measure, never, until_full=True)
    assert (found.tried, found.best, found.smallest_refused) == ([1, 2, 4], 2, None)
    assert found.stopped == "batch 4 was not measured: killed by SIGSEGV"


# --- the host's memory ---


def forbidden(batch: int, *peaks_gib: tuple[int, float], available_gib: float = 10.0) -> str:
    tries = [Try(batch=b, rate=1.0, peak_bytes=int(peak * GIB)) for b, peak in peaks_gib]
    return memory_forbids(
        batch, tries, fixed_bytes=GIB, per_image_bytes=GIB / 4, available_bytes=int(available_gib * GIB)
    )


def test_first_tries_are_predicted_in_closed_form() -> None:
    assert not forbidden(28)  # 1 + 7 = 8 of 10
    assert forbidden(29).startswith(
        "batch 29 was not tried: it would take some 8.25 GiB, more than 80% of the 10.0 GiB"
    )


def test_later_tries_lie_on_the_steepest_line_through_the_peaks() -> None:
    assert not forbidden(8, (1, 1.0), (2, 1.0), (4, 2.0))  # 2 + 4 · 0.5
    assert forbidden(8, (1, 1.0), (2, 1.0), (4, 5.0))  # 5 + 4 · 2: the start of the process had hidden the growth


def test_no_try_is_expected_to_take_less_than_its_closed_form() -> None:
    assert forbidden(32, (4, 0.5))  # its peak hides in what a process takes to start: 1 + 8 of 10 all the same
    assert forbidden(32, (1, 4.0), (2, 4.0))  # no growth seen, but 4 + 7.5 by the closed form's slope
    assert not forbidden(16, (1, 4.0), (2, 4.0))  # 4 + 3.5


def test_what_is_left_is_the_least_of_host_and_control_groups(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert available_bytes(tmp_path) is None
    write("proc/meminfo", "MemTotal: 64 kB\nMemAvailable: 32 kB\n")
    assert available_bytes(tmp_path) == 32 * 1024
    write("proc/self/cgroup", "0::/a/b\n")
    write("sys/fs/cgroup/a/b/memory.max", "max\n")
    write("sys/fs/cgroup/a/memory.max", "20480\n")
    write("sys/fs/cgroup/a/memory.current", "10240\n")
    assert available_bytes(tmp_path) == 10240
    write("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 4096\n")
    assert available_bytes(tmp_path) == 10240 + 4096
    write("proc/self/cgroup", "5:cpu:/c\n4:memory:/c\n")
    write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "8192\n")
    write("sys/fs/cgroup/memory/c/memory.usage_in_bytes", "8000\n")
    assert available_bytes(tmp_path) == 192


# --- the cell ---

CELL = Cell(
    suite="throughput", implementation="timm", task="inference", model=TINY, dtype="float32", mode="eager",
    time_limit_s=100.0,
)  # fmt: skip


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Tries in place of processes: throughput rises up to batch 4."""
    cells: list[Cell] = []

    def in_a_process(cell: Cell) -> MeasurementRecord:
        cells.append(cell)
        rate = 100.0 * min(cell.batch, 4)
        return record(
            cell,
            Outcome.MEASURED,
            throughput_images_per_s=rate,
            latency_s=cell.batch / rate,
            latency_low_s=cell.batch / rate * 0.99,
            latency_high_s=cell.batch / rate * 1.01,
            samples_s=(cell.batch / rate,) * 6,
        )

    monkeypatch.setattr(find_batch, "_in_a_process", in_a_process)
    monkeypatch.setattr(find_batch, "available_bytes", lambda: 64 * GIB)
    return cells


def test_each_try_has_its_record_and_the_result_comes_last(tries: list[Cell], tmp_path: Path) -> None:
    find_batch.find_batch(CELL, tmp_path / "r.jsonl")
    *measured, result = (one for one in Follower(tmp_path / "r.jsonl").new() if isinstance(one, MeasurementRecord))
    assert [one.batch for one in measured] == [cell.batch for cell in tries] == [1, 2, 4, 8, 16]
    assert [one.cell for one in measured] == [replace(CELL, batch=batch).key for batch in (1, 2, 4, 8, 16)]
    assert not any(cell.timed for cell in tries)  # the search holds the device: a try would wait for it for ever
    assert (result.cell, result.batch, result.throughput_images_per_s) == (CELL.key, 4, 400.0)
    assert result.batch_search is not None
    assert (result.batch_search.best, result.batch_search.largest_fitting) == (4, 16)
    assert from_line(to_line(result)) == replace(result, batch_search=from_line(to_line(result)).batch_search)  # type: ignore[union-attr]


def test_a_search_that_is_begun_anew_shows_each_try_once(tries: list[Cell], tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    header = Header(
        vitbench_version="0.1", started_at="", command=[], preset="quick", seed=0, environment={}, planned=[CELL.key]
    )
    append(file, header)
    find_batch.find_batch(CELL, file)
    stopped = file.read_text(encoding="utf-8").splitlines(keepends=True)[:3]  # after two tries
    file.write_text("".join(stopped), encoding="utf-8")
    left = resume.earlier(file)
    assert left is not None
    assert (len(left.kept), CELL.key in left.finished) == (2, False)
    find_batch.find_batch(CELL, file)
    run = read(file)
    assert [one.batch for one in run.measurements] == [1, 2, 4, 8, 16]
    assert len(run.searches) == 1


def test_a_search_that_is_short_of_time_says_so_and_calls_no_batch_too_large(
    tries: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(0, 10**6, 8))  # by a clock that each look moves on by eight seconds
    monkeypatch.setattr(find_batch, "time", SimpleNamespace(monotonic=lambda: float(next(moments))))
    find_batch.find_batch(CELL, tmp_path / "r.jsonl")
    *_, result = Follower(tmp_path / "r.jsonl").new()
    assert isinstance(result, MeasurementRecord)
    assert result.batch_search is not None
    assert result.batch_search.tried
    assert result.batch_search.stopped.endswith("was not tried: the search's time limit of 100 s is near")
    assert result.batch_search.smallest_refused is None
    assert 1 <= max(cell.time_limit_s for cell in tries) < 100


def test_a_host_without_memory_tries_nothing(
    tries: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_batch, "available_bytes", lambda: 2**20)
    find_batch.find_batch(CELL, tmp_path / "r.jsonl")
    (result,) = Follower(tmp_path / "r.jsonl").new()
    assert isinstance(result, MeasurementRecord)
    assert (tries, result.outcome) == ([], Outcome.OUT_OF_MEMORY)
    assert result.reason.startswith("batch 1 was not tried: it would take some ")


def test_a_system_that_does_not_tell_its_memory_is_not_searched(
    tries: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_batch, "available_bytes", lambda: None)
    with pytest.raises(NotSupported, match="does not tell how much memory"):
        find_batch.find_batch(CELL, tmp_path / "r.jsonl")


def test_a_longer_latency_is_a_lower_rate() -> None:
    times = {"latency_s": 0.5, "latency_low_s": 0.4, "latency_high_s": 0.8}
    one = find_batch.as_try(record(replace(CELL, batch=2), Outcome.MEASURED, throughput_images_per_s=4.0, **times), 7)
    assert (one.batch, one.lowest_rate, one.rate, one.highest_rate, one.peak_bytes) == (2, 2.5, 4.0, 5.0, 7)


def test_training_is_expected_to_take_more_than_inference() -> None:
    (fixed, per_image), (fixed_in_training, per_image_in_training) = (
        find_batch.expected_bytes(replace(CELL, task=task, model="S/16@224")) for task in ("inference", "training")
    )
    assert fixed < fixed_in_training
    assert per_image < per_image_in_training


def test_inference_is_expected_to_keep_a_layer_of_activations_beside_the_images() -> None:
    cell = replace(CELL, model="S/16@224")
    config, (_, per_image) = model_config(cell.model), find_batch.expected_bytes(cell)
    images = POOL_SIZE * 3 * 224 * 224 * 4
    assert per_image >= activation_bytes(config, 1, 4) / config.depth + images


# --- the command line ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "8"], "--find-batch tries batches of its own, and --batch asks for some; give one of the two"),
        (["--suite", "memory"], "--find-batch is a mode of the suite throughput alone"),
        (["--profile", "--suite", "throughput"], "--find-batch profiles nothing"),
    ],
)
def test_a_search_stands_alone(options: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(["--find-batch", *options])


def test_it_is_planned_once_for_each_point_less_its_batch() -> None:
    cells = plan(
        parse(["--find-batch", "--impl", "reference", "--preset", "full", "--task", "inference", "--mode", "eager"])
    )
    points = [(cell.model, cell.dtype) for cell in cells]
    assert len(points) == len(set(points))
    assert {cell.suite for cell in cells} == {"throughput"}
    assert not any("batch=" in cell.key for cell in cells)
    assert title(cells[0]) == "throughput inference reference Ti/16@224 search for a batch"


SMALL = """
from vitbench.adapters.reference import ReferenceAdapter


class Small(ReferenceAdapter):
    name = "small"

    def logits(self, model, images):
        if len(images) > 1:
            raise MemoryError("no room for two")
        return super().logits(model, images)
"""


def test_a_real_search_is_recorded_shown_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(SMALL, encoding="utf-8")
    assert main(["--find-batch", "--impl", "small.py", "--model", TINY, "--task", "inference", "--output", "run"]) == 0
    run = read(Path("run", "results.jsonl"))
    assert run.complete
    assert [(one.batch, one.outcome) for one in run.measurements] == [(1, Outcome.MEASURED), (2, Outcome.OUT_OF_MEMORY)]
    (result,) = run.searches
    assert result.batch_search is not None
    assert (result.batch_search.best, result.batch_search.largest_fitting) == (1, 1)
    assert result.batch_search.smallest_refused == 2
    assert "batch 2 ran out of memory: MemoryError: no room for two" in result.batch_search.stopped
    assert "largest tried that fits: 1; batch 2 ran out of memory" in " ".join(capsys.readouterr().out.split())
    assert "Searches for a batch" in Path("run", "report.html").read_text(encoding="utf-8")
