"""Traces: taken after the timing, never at its expense; the same tables in the record as TensorBoard serves."""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fake_cuda_trace
import pytest
from test_executor import MEASURING, script

from vitbench import run
from vitbench.engines import local
from vitbench.executor import Finished, Recorded, execute
from vitbench.plan import Cell
from vitbench.records import Outcome
from vitbench.results import read, to_line
from vitbench.suites.throughput import measure as throughput
from vitbench.suites.throughput import suite as throughput_suite
from vitbench.timer import Effort
from vitbench.traces import profiler, tables
from vitbench.traces.folders import trace_folders
from vitbench.traces.record import TraceRecord

HAS_PARSER = tables.installed()
needs_parser = pytest.mark.skipif(not HAS_PARSER, reason=f"torch-tb-profiler is not installed: {tables.EXTRA}")
pytestmark = pytest.mark.usefixtures("one_thread")

CELL = Cell(
    suite="throughput",
    implementation="reference",
    task="inference",
    model="Ti/16@32,depth=1,width=48,num_classes=7",
    dtype="float32",
    batch=2,
    mode="eager",
    timed=True,
)
BRIEF = Effort(relative_width=100.0, least_samples=6, least_s=0.0, most_s=20.0, most_warmup_s=0.0)


def matmul() -> object:
    import torch

    return torch.ones(8, 8) @ torch.ones(8, 8)


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return replace(CELL, trace=str(tmp_path / "traces" / "one"))


# --- folders


def test_a_cells_folder_is_its_key_as_a_word_that_every_file_system_takes(tmp_path: Path) -> None:
    (folder,) = trace_folders([CELL.key], tmp_path).values()
    assert folder.parent == tmp_path / "traces"
    assert folder.name == (
        "throughput_inference_reference_Ti-16@32,depth=1,width=48,num_classes=7_float32_eager_batch=2_cpu_threads=1_"
        "quick_seed=0"
    )


def test_no_two_cells_share_a_folder_and_no_name_is_too_long(tmp_path: Path) -> None:
    keys = ["a/b", "a:b", "A/B", "ü" * 300, "ä" * 300, "../..", "x" * 300]
    folders = trace_folders(keys, tmp_path)
    assert len({str(folder).casefold() for folder in folders.values()}) == len(keys)
    assert all(folder.parent == tmp_path / "traces" and len(folder.name.encode()) < 200 for folder in folders.values())
    assert trace_folders(keys, tmp_path) == folders


# --- the profiler


def test_a_trace_holds_the_profiled_iterations_and_no_others(cell: Cell) -> None:
    launches: list[object] = []
    record = profiler.traced(cell, lambda: launches.append(matmul()), lambda file: None)  # type: ignore[arg-type,return-value]
    assert len(launches) == profiler.WARM_UP + profiler.ITERATIONS
    file = Path(cell.trace).parents[1] / record.path
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    names = [event["name"] for event in events]
    assert [name for name in names if name.startswith("ProfilerStep")] == [f"ProfilerStep#{i}" for i in (1, 2, 3)]
    assert names.count("aten::mm") == record.iterations == 3
    assert (record.cell, record.size_bytes) == (cell.key, file.stat().st_size)
    assert file.name.startswith("vitbench.")  # not the host's name


@needs_parser
def test_tables_say_what_ran(cell: Cell) -> None:
    found = profiler.traced(cell, matmul)
    assert (found.reason, found.iterations) == ("", 3)
    assert found.tables is not None
    rows = {row.name: row for row in found.tables.operators}
    assert rows["aten::mm"].calls == 3
    assert rows["aten::matmul"].host_total_s >= rows["aten::mm"].host_total_s
    assert rows["aten::mm"].device_self_s is None
    allocated = {row.name: row for row in found.tables.allocations}
    assert allocated["aten::mm"].self_allocated_bytes == 3 * 8 * 8 * 4
    assert (found.tables.allocations_of, found.tables.kernels, found.tables.gpu_utilization) == ("CPU", [], None)
    assert found.tables.parser == "torch-tb-profiler 0.4.3"


def test_a_launch_that_fails_leaves_no_half_trace(cell: Cell) -> None:
    launches: list[int] = []

    def fails_later() -> None:
        launches.append(1)
        if len(launches) == 3:
            raise MemoryError("out of memory")

    record = profiler.traced(cell, fails_later)
    assert record.reason.startswith("no trace: MemoryError: out of memory")
    assert (record.path, record.tables) == ("", None)
    assert not Path(cell.trace).exists()


def test_an_earlier_trace_of_the_cell_is_kept_whatever_becomes_of_another(cell: Cell) -> None:
    first = profiler.traced(cell, matmul)
    second = profiler.traced(cell, matmul)
    failed = profiler.traced(cell, lambda: 1 / 0)
    assert failed.reason.startswith("no trace: ZeroDivisionError")
    written = {f"traces/one/{file.name}" for file in Path(cell.trace).iterdir()}
    assert written == {first.path, second.path}
    assert len(written) == 2


def test_a_profiler_that_writes_nothing_is_said(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "tensorboard_trace_handler", lambda *_, **__: lambda profile: None)
    assert "torch's profiler wrote no file" in profiler.traced(cell, matmul).reason


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("a file")
    record = profiler.traced(replace(CELL, trace=str(tmp_path / "traces" / "one")), matmul)
    assert "no trace: NotADirectoryError" in record.reason


# --- the parser is missing, or does not understand


def test_without_the_parser_there_is_a_trace_and_the_record_says_how_to_get_tables(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch_tb_profiler")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_tb_profiler", None)
    record = profiler.traced(cell, matmul)
    assert record.path
    assert record.reason == "no tables: torch-tb-profiler is not installed; pip install 'vitbench[tensorboard]'"


@needs_parser
@pytest.mark.parametrize("spoiled", [b"", b'{"traceEvents": [', b'{"traceEvents": [{"ph": "X"}]}', b"[]"])
def test_a_trace_that_the_parser_does_not_understand_is_kept_without_tables(spoiled: bytes, cell: Cell) -> None:
    def of_spoiled(file: Path) -> tables.Tables:
        file.write_bytes(gzip.compress(spoiled))
        return tables.tables(file)

    record = profiler.traced(cell, matmul, of_spoiled)
    assert record.reason.startswith("no tables: torch-tb-profiler raised ")
    assert record.path
    assert record.tables is None
    assert "\n" not in record.reason


# --- beside the figures


def measured_and_traced(
    monkeypatch: pytest.MonkeyPatch, cell: Cell, file: Path, traced: Callable[..., TraceRecord]
) -> list[str]:
    monkeypatch.setattr(throughput, "EFFORT", {"quick": BRIEF})
    monkeypatch.setattr(profiler, "traced", traced)
    throughput_suite.run(cell, file)
    return [json.loads(line)["kind"] for line in file.read_text().splitlines()]


def test_figures_are_kept_before_anything_is_profiled(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen = tmp_path / "cell.jsonl", []

    def traced(cell: Cell, launch: Callable[[], object]) -> TraceRecord:
        (measured,) = [json.loads(line) for line in file.read_text().splitlines()]
        seen.append((measured["outcome"], len(measured["samples_s"])))
        launch()
        return TraceRecord(cell=cell.key)

    assert measured_and_traced(monkeypatch, cell, file, traced) == ["measurement", "trace"]
    assert seen == [("measured", 6)]


def test_a_cell_that_is_not_to_be_profiled_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def traced(*arguments: object) -> TraceRecord:
        raise AssertionError("profiled")

    assert measured_and_traced(monkeypatch, CELL, tmp_path / "cell.jsonl", traced) == ["measurement"]


def outcome_of(code: str, **changes: object) -> tuple[str, list[TraceRecord]]:
    """What a cell came to that was to be profiled, and what is recorded of its trace."""
    cell = replace(MEASURING, trace="/nowhere/traces/one", **changes)  # type: ignore[arg-type]
    events = list(execute([cell], command=script(code)))
    (finished,) = [event for event in events if isinstance(event, Finished)]
    recorded = [event.record for event in events if isinstance(event, Recorded)]
    assert sum(record.kind == "measurement" for record in recorded) == 1
    return finished.result.outcome, [record for record in recorded if isinstance(record, TraceRecord)]  # type: ignore[union-attr]


KEEP = "open(results, 'a').write(FIGURE)\n"
TRACE = f"open(results, 'a').write({to_line(TraceRecord(cell=MEASURING.key, path='there'))!r} + chr(10))\n"


def test_a_crash_while_profiling_costs_the_trace_alone() -> None:
    outcome, (trace,) = outcome_of(KEEP + "os.kill(os.getpid(), signal.SIGSEGV)")
    assert outcome == Outcome.MEASURED
    assert trace.reason == "no trace: its process was killed by SIGSEGV"


def test_profiling_that_hangs_is_ended_at_the_cells_time_limit() -> None:
    outcome, (trace,) = outcome_of(KEEP + "time.sleep(600)", time_limit_s=1.0)
    assert outcome == Outcome.MEASURED
    assert trace.reason == "no trace: not done within 1 s"


def test_a_trace_that_was_recorded_is_not_recorded_again() -> None:
    outcome, traces = outcome_of(KEEP + TRACE)
    assert (outcome, [trace.path for trace in traces]) == (Outcome.MEASURED, ["there"])


def test_a_cell_without_a_figure_has_no_trace_to_tell_of() -> None:
    assert outcome_of("sys.exit(3)") == (Outcome.CRASHED, [])


def test_a_run_says_at_its_start_what_tables_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned: list[Cell] = []

    def nothing(cells: list[Cell], beside: int, until_s: float) -> Iterator[object]:
        planned.extend(cells)
        yield from ()

    monkeypatch.setattr(local, "execute", nothing)
    monkeypatch.setattr(tables, "installed", lambda: False)
    run.main(["--impl", "reference", "--profile", "--output", str(tmp_path / "out"), "--task", "inference"])
    said = capsys.readouterr().out
    assert "traces will have no tables: torch-tb-profiler is not installed; pip install 'vitbench[tensorboard]'" in said
    assert [bool(cell.trace) for cell in planned] == [cell.suite == "throughput" for cell in planned]
    assert read(tmp_path / "out" / "results.jsonl").header.planned == [cell.key for cell in planned]


# --- a GPU's trace, made up


@needs_parser
def test_a_gpus_trace_has_kernels_and_operators_times_on_the_device(tmp_path: Path) -> None:
    file = fake_cuda_trace.write(tmp_path)
    profiler.name_as_the_parser_does(file)
    found = tables.tables(file)
    assert [(row.name, row.calls, row.total_s, row.tensor_cores) for row in found.kernels] == [
        (fake_cuda_trace.GEMM, 3, 0.0015, True),
        (fake_cuda_trace.TRITON, 3, 0.0003, False),
    ]
    assert {row.name: (row.device_self_s, row.device_total_s) for row in found.operators} == {
        "aten::addmm": (0.0015, 0.0015),
        "Fused": (0.0003, 0.0003),
        "aten::linear": (0.0, 0.0015),
    }
    assert [(row.name, row.device_total_s) for row in found.modules] == [("Mlp_0", 0.0018)]
    assert found.allocations_of == "GPU0"
    assert found.step_s == 0.0009
    assert found.gpu_utilization == pytest.approx(1800 / 2900)
    assert found.tensor_core_share == pytest.approx(1500 / 1800)
    assert found.kernels[0].occupancy == found.occupancy == 0.5


@needs_parser
def test_the_parser_still_needs_the_names_of_old(tmp_path: Path) -> None:
    """Where this fails, a newer parser knows torch's own names, and they can be left alone."""
    found = tables.tables(fake_cuda_trace.write(tmp_path))
    assert {row.device_total_s for row in found.operators} == {0.0}
    assert found.step_s != 0.0009


def test_renaming_touches_categories_and_nothing_else(tmp_path: Path) -> None:
    file = fake_cuda_trace.write(tmp_path)
    before = json.loads(gzip.decompress(file.read_bytes()))
    profiler.name_as_the_parser_does(file)
    after = json.loads(gzip.decompress(file.read_bytes()))
    changed = {
        (old.pop("cat"), new.pop("cat"))
        for old, new in zip(before["traceEvents"], after["traceEvents"], strict=True)
        if old != new
    }
    assert changed == {
        ("cuda_runtime", "runtime"),
        ("cuda_driver", "runtime"),
        ("gpu_user_annotation", "gpu_annotation"),
    }
    assert before == after
