"""Runs on a real Ray cluster of several nodes, on loopback; nodes are killed in mid-run."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported
pytest.importorskip("ray", reason="ray is not installed (extra ray)")

import ray
from ray.cluster_utils import Cluster
from test_executor import is_running, wait_until

from vitbench import run
from vitbench.engines import cluster as engine
from vitbench.engines import on_node
from vitbench.engines.nodes import Node
from vitbench.engines.placement import Place
from vitbench.engines.ray_execution import Execution
from vitbench.environment import usable_cores
from vitbench.executor import Event, Finished, Lost, Recorded, Started
from vitbench.measurement import record
from vitbench.plan import Cell
from vitbench.process import marked
from vitbench.records import MeasurementRecord, Outcome, Record
from vitbench.results import read, to_line

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own files and sockets

SEES_A_DEAD_NODE_SOON = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
    "worker_niceness": 0,
}
ON_LOOPBACK = {"node_ip_address": "127.0.0.1"}
CELL = Cell(
    suite="throughput", implementation="mine", task="inference", model="Ti/16@64", dtype="float32", mode="eager"
)
TINY = ("--suite", "memory", "--task", "inference", "--model", "Ti/16@32,depth=1,width=48", "--batch", "1")
ADAPTER = """
import os, pathlib, time
import beside
from vitbench.adapters.reference import ReferenceAdapter

class adapter(ReferenceAdapter):
    name = beside.NAME

    def build(self, config):
        folder = pathlib.Path({folder!r})
        (folder / f"started.{{os.getpid()}}").touch()
        while (folder / "hold").exists():
            time.sleep(0.05)
        return super().build(config)

adapter = adapter()
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head that runs no cells, and two nodes that do."""
    started = Cluster()
    started.add_node(num_cpus=0, include_dashboard=False, _system_config=SEES_A_DEAD_NODE_SOON, **ON_LOOPBACK)
    for _ in range(2):
        one_more(started)
    yield started
    ray.shutdown()
    started.shutdown()
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)


FOLDERS: list[str] = []


def one_more(nodes: Cluster, **settings: Any) -> Any:
    """A node with a folder of its own, as on a machine of its own: what one deletes, another may use."""
    FOLDERS.append(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # where it is short enough for the path of a socket
    return nodes.add_node(num_cpus=1, temp_dir=FOLDERS[-1], **ON_LOOPBACK, **settings)


def raylet_of(node: Any) -> int:
    (process,) = node.all_processes["raylet"]
    return int(process.process.pid)


def parents(pid: int) -> Iterator[int]:
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid


# --- whole runs


def adapter(folder: Path) -> Path:
    """A candidate that waits while there is a file called hold, and that needs the module beside it."""
    (folder / "mine").mkdir()
    (folder / "mine" / "adapter.py").write_text(ADAPTER.format(folder=str(folder)))
    (folder / "mine" / "beside.py").write_text("NAME = 'mine'\n")
    return folder


def begun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vitbench.run", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def cell_process(folder: Path, but: Sequence[int] = ()) -> int:
    """The process in which the candidate waits."""

    def found() -> list[int]:
        pids = [int(file.suffix[1:]) for file in folder.glob("started.*")]
        return [pid for pid in pids if pid not in but and is_running(pid)]

    wait_until(lambda: bool(found()), 120)
    return found()[0]


def without_chance(records: Sequence[MeasurementRecord]) -> list[dict[str, Any]]:
    """What is the same on every run: not times, process sizes, and where it ran."""
    lines = [json.loads(to_line(replace(one, node="", duration_s=0.0, cold_start_s=None))) for one in records]
    return [
        {
            **line,
            "memory": {name: size for name, size in line["memory"].items() if "process" not in name},
            "evidence": None,
        }
        for line in lines
    ]


def test_a_run_survives_the_loss_of_a_node_and_gives_the_records_of_a_local_one(nodes: Cluster, tmp_path: Path) -> None:
    asked = ("--impl", "mine/adapter.py", *TINY, "--seed", "7")
    (adapter(tmp_path) / "hold").touch()
    going_on = begun(tmp_path, *asked, "--engine", "ray", "--ray-address", nodes.address, "--output", "on-ray")
    try:
        pid = cell_process(tmp_path)
        host = next(node for node in nodes.worker_nodes if raylet_of(node) in parents(pid))
        nodes.remove_node(host, allow_graceful=False)
        one_more(nodes)  # for the other tests
        (tmp_path / "hold").unlink()
        said, complained = going_on.communicate(timeout=120)
    finally:
        going_on.kill()
    assert (going_on.returncode, complained) == (0, "")
    assert "ray 2" in said
    assert "shipped to the nodes: 2 files" in said
    assert re.search(
        r"memory inference mine/adapter.py .*: its (node|worker process) was lost .*; it is started once more", said
    )
    assert not is_running(pid)
    on_ray = read(tmp_path / "on-ray" / "results.jsonl")
    assert on_ray.complete
    assert on_ray.header.environment["engine"] == f"ray {ray.__version__}"
    (mine,) = on_ray.memory
    assert (mine.outcome, mine.reason) == (Outcome.MEASURED, "")
    assert mine.node in {node.node_id[:6] for node in nodes.worker_nodes} - {host.node_id[:6]}
    text = (tmp_path / "on-ray" / "results.jsonl").read_text()
    for private in (str(tmp_path), "127.0.0.1", "session_"):
        assert private not in text
    local = begun(tmp_path, *asked, "--output", "local")
    assert local.communicate(timeout=120)[1] == ""
    here = read(tmp_path / "local" / "results.jsonl")
    assert on_ray.header.planned == here.header.planned
    assert on_ray.header.environment["candidates"] == here.header.environment["candidates"]
    assert without_chance(on_ray.memory) == without_chance(here.memory)


def test_an_interrupt_leaves_no_process_on_the_nodes(nodes: Cluster, tmp_path: Path) -> None:
    (adapter(tmp_path) / "hold").touch()
    going_on = begun(
        tmp_path,
        "--impl",
        "mine/adapter.py",
        *TINY,
        "--engine",
        "ray",
        "--ray-address",
        nodes.address,
        "--output",
        "out",
    )
    try:
        pid = cell_process(tmp_path)
        driver = [int(one) for one in Path(f"/proc/{going_on.pid}/task/{going_on.pid}/children").read_text().split()]
        going_on.send_signal(signal.SIGINT)
        said, complained = going_on.communicate(timeout=60)
    finally:
        going_on.kill()
    assert (going_on.returncode, complained) == (run.INTERRUPTED, "")
    assert "interrupted: 0 of 1 cells are finished" in said
    assert not is_running(pid)
    assert driver
    assert not any(is_running(one) for one in driver)
    footer = read(tmp_path / "out" / "results.jsonl").footer
    assert footer is not None
    assert footer.status == "interrupted"


def test_nodes_of_other_versions_are_named_before_anything_runs(nodes: Cluster, tmp_path: Path) -> None:
    told = tmp_path / "elsewhere" / "torch-1.0.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0.0\n")
    path = os.pathsep.join([str(told.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    other = one_more(nodes, env_vars={"PYTHONPATH": path})
    try:
        refused = begun(tmp_path, "--impl", "reference", "--engine", "ray", "--ray-address", nodes.address)
        said, complained = refused.communicate(timeout=60)
    finally:
        nodes.remove_node(other)
    assert (refused.returncode, said, complained.count("\n")) == (2, "", 1)
    assert complained.startswith("vitbench run: the nodes cannot take part in one run: torch: ")
    assert f"1.0.0 on node {other.node_id[:6]} (127.0.0.1)" in complained
    assert list(tmp_path.glob("vitbench-results/*")) == []


def test_a_cluster_of_this_machine_alone_is_gone_with_its_run(tmp_path: Path) -> None:
    mark = f"VITBENCH_TEST={os.getpid()}"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "VITBENCH_TEST": str(os.getpid())}
    asked = [sys.executable, "-m", "vitbench.run", "--impl", "reference", "--gpu", "0", "--engine", "ray"]
    refused = subprocess.run(
        asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "no node of the cluster has a GPU and 1 CPU to give to a cell: Ray counts 1 node with" in refused.stderr
    wait_until(lambda: marked(mark) == [])


@pytest.mark.skipif(usable_cores() < 2, reason="two nodes of one core each are alike")
def test_nodes_that_are_not_alike_time_nothing_unless_that_is_asked_for(nodes: Cluster, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        other = one_more(nodes)
    finally:
        os.sched_setaffinity(0, cores)
    try:
        asked = ("--impl", "reference", "--suite", "throughput", "--engine", "ray", "--ray-address", nodes.address)
        said, complained = (refused := begun(tmp_path, *asked)).communicate(timeout=120)
    finally:
        nodes.remove_node(other)
    assert (refused.returncode, said, complained.count("\n")) == (2, "", 1)
    assert complained.startswith("vitbench run: the nodes are not alike, so their times cannot be compared: cores: ")
    assert f"1 on node {other.node_id[:6]} (127.0.0.1)" in complained
    assert "--unlike-nodes" in complained


# --- cells without a process of their own, on the same nodes


@dataclass
class Course:
    """What was told while cells ran, and a hook on it."""

    cells: Sequence[Cell]
    places: Sequence[Place]
    on: Callable[[dict[str, Any]], None] = lambda words: None
    told: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, deadline_s: float = math.inf) -> list[Event]:
        """Every event."""
        names = {place.node.id: place.node.id[:6] for place in self.places}
        courses = [engine._Course(cell) for cell in self.cells]
        execution = Execution(self.cells, self.places, self._tell)
        try:
            self.left = execution.run(self.stopped, deadline_s)
        finally:
            execution.end()
        return [event for words in self.told for event in engine._events(courses[words["cell"]], words, names)]

    def _tell(self, words: Any) -> None:
        self.told.append(json.loads(json.dumps(words)))
        self.on(dict(words))


@pytest.fixture
def places(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The nodes that are there, with a stand-in for what runs a cell there."""
    if not ray.is_initialized():
        ray.init(address=nodes.address, configure_logging=False, log_to_driver=False)
    monkeypatch.setattr(on_node, "run_cell", stand_in())
    return [Place(Node(id=node.node_id, address="127.0.0.1", cpus=1), "a") for node in nodes.worker_nodes]


def stand_in() -> Callable[[dict[str, Any]], Iterator[str]]:
    """Does what the cell's task says; a nested function goes to the nodes by value."""
    lines = {seed: to_line(record(replace(CELL, seed=seed), Outcome.MEASURED, converged=True)) for seed in range(9)}

    def run_cell(data: dict[str, Any]) -> Iterator[str]:
        import json
        import os
        import pathlib
        import signal
        import time

        yield json.dumps({"event": "started", "pid": os.getpid()})
        flag = pathlib.Path(data["data"] or "/nowhere")
        try:
            while data["mode"] == "sleeps":
                time.sleep(0.05)
        except BaseException:
            flag.touch()
            raise
        if data["mode"] == "dies" or (data["mode"] == "dies once" and not flag.exists()):
            if data["data"]:
                flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        line = json.loads(lines[data["seed"]])
        yield json.dumps({"event": "recorded", "line": json.dumps({**line, "mode": data["mode"]}), "final": True})
        if data["mode"] == "tells and dies":
            while not flag.exists():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)
        yield json.dumps(
            {"event": "finished", "duration_s": 1e6 if data["mode"] == "lasts long" else 1.0, "left_behind": 0}
        )

    return run_cell


def results(events: Sequence[Event]) -> list[Record]:
    return [event.result for event in events if isinstance(event, Finished)]


def measurement(events: Sequence[Event]) -> MeasurementRecord:
    (found,) = results(events)
    assert isinstance(found, MeasurementRecord)
    return found


def test_cells_on_nodes_tell_the_events_of_local_ones(places: list[Place]) -> None:
    cells = [replace(CELL, seed=seed) for seed in range(3)]
    events = Course(cells, places).run()
    for cell in cells:
        assert [type(event) for event in events if event.cell == cell] == [Started, Recorded, Finished]
    nodes = {event.record.node for event in events if isinstance(event, Recorded)}
    assert nodes <= {place.node.id[:6] for place in places}


def test_a_lost_worker_costs_its_cell_one_more_start(places: list[Place], tmp_path: Path) -> None:
    events = Course([replace(CELL, mode="dies once", data=str(tmp_path / "flag"))], places).run()
    assert [type(event) for event in events] == [Started, Lost, Started, Recorded, Finished]
    assert "its worker process was lost (WorkerCrashedError) (node " in events[1].reason  # type: ignore[union-attr]
    assert measurement(events).outcome == Outcome.MEASURED


def test_a_cell_that_is_lost_twice_is_recorded_as_that(places: list[Place]) -> None:
    events = Course([replace(CELL, mode="dies"), replace(CELL, seed=1)], places).run()
    lost, _ = sorted(results(events), key=lambda one: one.outcome)  # type: ignore[union-attr]
    assert isinstance(lost, MeasurementRecord)
    assert lost.outcome == Outcome.CRASHED
    word = "its worker process was lost (WorkerCrashedError)"
    assert lost.reason == f"{word}; started once more, {word}"


def test_a_result_that_was_told_stands_though_its_worker_is_lost(places: list[Place], tmp_path: Path) -> None:
    flag = tmp_path / "heard"
    course = Course([replace(CELL, mode="tells and dies", data=str(flag))], places)
    course.on = lambda words: flag.touch() if words["event"] == "recorded" else None
    events = course.run()
    assert [type(event) for event in events] == [Started, Recorded, Finished]
    assert measurement(events).outcome == Outcome.MEASURED


def test_a_timed_cell_has_nothing_beside_it(places: list[Place]) -> None:
    cells = [replace(CELL, seed=seed, timed=seed > 2) for seed in range(6)]
    course = Course(cells, places[:1])
    running, most = set[int](), list[int]()

    def watch(words: dict[str, Any]) -> None:
        (running.discard if words["event"] == "finished" else running.add)(words["cell"])
        most.append(len(running))

    course.on = watch
    assert len(results(course.run())) == 6
    assert max(most) == 1


def test_a_node_that_is_killed_twice_over_records_the_cell_as_lost(nodes: Cluster, places: list[Place]) -> None:
    doomed = [one_more(nodes) for _ in range(2)]
    by_id = {node.node_id: node for node in doomed}
    course = Course(
        [replace(CELL, mode="sleeps")], [Place(Node(id=id_, address="127.0.0.1", cpus=1), "a") for id_ in by_id]
    )
    where, pids = list[str](), list[int]()

    def kill(words: dict[str, Any]) -> None:
        if words["event"] == "sent":
            where.append(words["node"])
        elif words["event"] == "started":
            pids.append(words["pid"])
            nodes.remove_node(by_id[where[-1]], allow_graceful=False)

    course.on = kill
    events = course.run()
    assert sorted(where) == sorted(by_id)
    lost = measurement(events)
    assert lost.outcome == Outcome.CRASHED
    assert re.fullmatch(
        r"its (node|worker process) was lost \(\w+\); started once more, its .* was lost \(\w+\)", lost.reason
    )
    wait_until(lambda: not any(map(is_running, pids)))


def test_cells_without_a_node_are_left_for_the_next_run(places: list[Place]) -> None:
    gone = Place(Node(id="0" * 56, address="127.0.0.1", cpus=1), "a")
    course = Course([CELL, replace(CELL, seed=1)], [gone])
    events = course.run()
    assert course.left == 1
    assert [type(event) for event in events] == [Started, Recorded, Finished]
    assert measurement(events).outcome == Outcome.CRASHED


def test_a_stop_ends_what_runs_and_lets_it_clean_up(places: list[Place], tmp_path: Path) -> None:
    course = Course([replace(CELL, mode="sleeps", data=str(tmp_path / "ended"))], places)
    course.on = lambda words: course.stopped.set() if words["event"] == "started" else None
    assert results(course.run()) == []
    assert (tmp_path / "ended").exists()


def test_no_cell_is_started_that_would_outlast_the_time_for_the_run(places: list[Place]) -> None:
    cells = [replace(CELL, seed=seed, mode="lasts long") for seed in range(2)]
    assert len(results(Course(cells, places[:1]).run(time.monotonic() + 600.0))) == 1
    assert Course(cells, places[:1]).run(time.monotonic()) == []
