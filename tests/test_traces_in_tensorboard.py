"""A real run's traces, served by a real TensorBoard with torch-tb-profiler, asked over HTTP."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import fake_cuda_trace
import pytest

from vitbench.results import Run, read
from vitbench.traces import profiler, tables
from vitbench.traces.record import Tables, TraceRecord

pytestmark = pytest.mark.skipif(not tables.installed(), reason=f"torch-tb-profiler is not installed: {tables.EXTRA}")

TINY = ("--model", "Ti/16@32,depth=1,width=48", "--batch", "1", "--suite", "throughput")
MADE_UP = "made up GPU"
_STARTING_S, _LOADING_S = 60.0, 90.0


@dataclass(frozen=True)
class TensorBoard:
    """A server on a port of the loopback interface."""

    url: str

    def get(self, path: str, **query: str) -> Any:
        """The answer of one of the plugin's endpoints, as JSON."""
        address = f"{self.url}data/plugin/pytorch_profiler{path}?{urlencode(query)}"
        with build_opener(ProxyHandler({})).open(address, timeout=30) as answer:
            body = answer.read()
        return json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)

    @cached_property
    def runs(self) -> Sequence[str]:
        """Every run's name, once all are loaded."""
        deadline = time.monotonic() + _LOADING_S
        while (answer := self.get("/runs"))["loading"] or not answer["runs"]:
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)
        return list(answer["runs"])

    def asked(self, path: str, run: str, **query: str) -> Any:
        """An endpoint about a run of one worker and one span."""
        return self.get(path, run=run, worker="vitbench", span="1", **query)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The reference, inference and training, profiled by the command that a user types; beside it a GPU's trace."""
    folder = tmp_path_factory.mktemp("profiled") / "run"
    command = [sys.executable, "-m", "vitbench.run", "--impl", "reference", *TINY, "--profile", "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert f"2 traces, to be opened by: tensorboard --logdir {folder}/traces" in said
    made_up = folder / "traces" / MADE_UP
    made_up.mkdir()
    profiler.name_as_the_parser_does(fake_cuda_trace.write(made_up))
    return read(folder / "results.jsonl")


@pytest.fixture(scope="module")
def tensorboard(profiled: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """``tensorboard --logdir …/traces`` on a free port, ended with all that it starts."""
    log = tmp_path_factory.mktemp("tensorboard") / "log"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(profiled.path.parent / "traces")]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", "--load_fast=false"],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _STARTING_S
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield TensorBoard(found[0])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def named(record: TraceRecord) -> str:
    """The run's name in TensorBoard: its folder's."""
    return Path(record.path).parent.name


def tables_of(record: TraceRecord) -> Tables:
    assert record.reason == ""
    assert record.tables is not None
    return record.tables


def test_every_cell_is_a_run_with_its_views(profiled: Run, tensorboard: TensorBoard) -> None:
    assert sorted(tensorboard.runs) == sorted([*map(named, profiled.traces), MADE_UP])
    for record in profiled.traces:
        views = tensorboard.get("/views", run=named(record))
        assert views == ["Overview", "Operator", "Trace", "Memory", "Module"]
        assert tensorboard.get("/workers", run=named(record), view="Operator") == ["vitbench"]
        assert tensorboard.get("/spans", run=named(record), worker="vitbench") == ["1"]
    assert "Kernel" in tensorboard.get("/views", run=MADE_UP)


def microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def test_the_records_operators_are_those_that_tensorboard_lists(profiled: Run, tensorboard: TensorBoard) -> None:
    for record in profiled.traces:
        assert named(record) in tensorboard.runs
        served = tensorboard.asked("/operation/table", named(record), group_by="Operation")["data"]
        recorded = tables_of(record)
        assert len(served) == recorded.operators_in_all
        assert [
            (row.name, row.calls, microseconds(row.host_self_s), microseconds(row.host_total_s))
            for row in recorded.operators
        ] == [
            (row["name"], row["calls"], row["host_self_duration"], row["host_total_duration"])
            for row in served[: len(recorded.operators)]
        ]
        assert any(row.name in {"aten::mm", "aten::addmm", "aten::bmm"} for row in recorded.operators)


def test_the_records_steps_are_those_of_the_overview(profiled: Run, tensorboard: TensorBoard) -> None:
    for record in profiled.traces:
        assert named(record) in tensorboard.runs
        served = tensorboard.asked("/overview", named(record))
        assert len(served["steps"]["rows"]) == record.iterations == 3
        (mean,) = served["performance"]
        assert microseconds(tables_of(record).step_s) == mean["value"]
        assert {part.name: microseconds(part.seconds) for part in tables_of(record).parts} == {
            child["name"]: child["value"] for child in mean["children"]
        }


def test_the_records_allocations_are_those_of_the_memory_view(profiled: Run, tensorboard: TensorBoard) -> None:
    for record in profiled.traces:
        assert named(record) in tensorboard.runs
        served = tensorboard.asked("/memory", named(record), memory_metric="B")
        rows = {row[0]: row for row in served["rows"]["CPU"]}
        recorded = tables_of(record)
        assert (len(rows), recorded.allocations_of) == (recorded.allocations_in_all, "CPU")
        for row in recorded.allocations:
            assert [row.name, row.calls, row.increase_bytes, row.self_increase_bytes, row.allocations] == rows[
                row.name
            ][:5]
            assert [row.allocated_bytes, row.self_allocated_bytes] == rows[row.name][6:]


def flat(modules: Sequence[Mapping[str, Any]], depth: int = 0) -> Iterator[tuple[Any, ...]]:
    for module in modules:
        yield module["name"], depth, module["occurences"], module["operators"], round(module["host_duration"])
        yield from flat(module["children"], depth + 1)


def test_the_records_modules_are_those_of_the_module_view(profiled: Run, tensorboard: TensorBoard) -> None:
    for record in profiled.traces:
        assert named(record) in tensorboard.runs
        served = list(flat(tensorboard.asked("/module", named(record))["data"]))
        recorded = tables_of(record)
        assert len(served) == recorded.modules_in_all
        assert [
            (row.name, row.depth, row.calls, row.operators, microseconds(row.host_total_s)) for row in recorded.modules
        ] == [row for row in served if row[0] in {kept.name for kept in recorded.modules}]


def test_the_trace_view_serves_the_trace(profiled: Run, tensorboard: TensorBoard) -> None:
    for record in profiled.traces:
        assert named(record) in tensorboard.runs
        served = tensorboard.asked("/trace", named(record))
        written = json.loads(gzip.decompress((profiled.path.parent / record.path).read_bytes()))
        assert served == written
        assert len([event for event in served["traceEvents"] if event["name"].startswith("ProfilerStep#")]) == 3


def test_a_gpus_kernels_are_served_as_they_are_recorded(profiled: Run, tensorboard: TensorBoard) -> None:
    """Made up, but by the same way as a real one."""
    (file,) = (profiled.path.parent / "traces" / MADE_UP).iterdir()
    recorded = tables.tables(file)
    assert MADE_UP in tensorboard.runs
    kernels = tensorboard.asked("/kernel/table", MADE_UP, group_by="Kernel")["data"]["rows"]
    assert [(row.name, row.calls, microseconds(row.total_s)) for row in recorded.kernels] == [
        (row[0], row[2], row[3]) for row in kernels
    ]
    operators = tensorboard.asked("/operation/table", MADE_UP, group_by="Operation")["data"]
    assert [(row.name, microseconds(row.device_self_s)) for row in recorded.operators] == [
        (row["name"], row["device_self_duration"]) for row in operators
    ]


def test_the_report_shows_the_tables_and_loads_nothing(profiled: Run) -> None:
    page = (profiled.path.parent / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="traces"') :]
    section = section[: section.index("</section>")]
    for record in profiled.traces:
        shown = tables_of(record)
        for row in (*shown.operators, *shown.modules, *shown.allocations):
            assert f">{row.name}</bdi>" in section
    assert section.count("<details") == len(profiled.traces) == 2
    assert "tensorboard --logdir traces" in section
    assert "http" not in section
