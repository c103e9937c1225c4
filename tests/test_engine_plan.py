"""What an engine of many machines decides without any: who takes part, which cell goes where, what is shipped."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitbench import environment, options
from vitbench.engines import cluster, on_node
from vitbench.engines.driver import Silent
from vitbench.engines.engine import chosen
from vitbench.engines.nodes import HERE, Node, in_words, other_versions
from vitbench.engines.nodes import cluster as side_by_side
from vitbench.engines.placement import Place, Placement
from vitbench.engines.shipping import shipment
from vitbench.errors import ClusterUnusable, DeviceUnavailable, UsageError
from vitbench.executor import Event, Finished, Lost, Recorded, Started
from vitbench.machine_key import differences, key
from vitbench.measurement import record
from vitbench.plan import Cell
from vitbench.progress import Lines, Live
from vitbench.records import MeasurementRecord, Outcome, RequirementRecord, kind_of_node
from vitbench.results import ResultsWriter, Run, read, to_line
from vitbench.summary.timings import comparable

TIMED = Cell(suite="throughput", implementation="a", model="Ti/16@64", task="inference", batch=1, timed=True)
UNTIMED = Cell(suite="conformance", implementation="a")
ON_GPU = replace(TIMED, device="cuda:0")
SMALL, LARGE = (
    Node(id="5ma11" * 8, address="10.0.0.1", cpus=2),
    Node(id="1a46e" * 8, address="10.0.0.2", cpus=8, gpus=2),
)
FACTS: dict[str, Any] = {"torch": "2.14.1", "cpu": "Xeon", "cores": 8, "os": "Linux 6.1", "gpu": {"driver": "570"}}


def cells(cell: Cell, number: int) -> list[Cell]:
    return [replace(cell, seed=seed) for seed in range(number)]


def placed(some: Sequence[Cell], *places: Place) -> list[tuple[Cell, Place]]:
    """All that can start at once."""
    placement = Placement(some, places)
    return list(iter(placement.next, None))


# --- who runs where


def test_untimed_cells_share_a_node_up_to_its_processors() -> None:
    place = Place(SMALL, "a")
    assert [cell.seed for cell, _ in placed(cells(UNTIMED, 3), place)] == [0, 1]
    assert place.needs(UNTIMED) == {"num_cpus": 1, "num_gpus": 0}
    assert len(placed(cells(replace(UNTIMED, threads=2), 3), Place(SMALL, "a"))) == 1


def test_a_timed_cell_has_its_node_for_itself() -> None:
    place = Place(LARGE, "a")
    assert len(placed(cells(TIMED, 3), place)) == 1
    assert place.needs(TIMED) == {"num_cpus": 8.0, "num_gpus": 0}
    assert not place.takes(UNTIMED)
    assert not Place(LARGE, "a", running=[UNTIMED]).takes(TIMED)


def test_each_gpu_has_one_cell_at_a_time_and_its_share_of_the_processors() -> None:
    place = Place(LARGE, "a")
    assert len(placed(cells(ON_GPU, 5), place, Place(SMALL, "b"))) == 2
    assert place.needs(ON_GPU) == {"num_cpus": 4, "num_gpus": 1}
    assert not place.takes(UNTIMED)


def test_a_cell_that_uses_every_gpu_has_its_node_for_itself() -> None:
    place, whole = Place(LARGE, "a"), replace(ON_GPU, suite="scaling")
    assert placed([whole, ON_GPU], place) == [(whole, place)]
    assert place.needs(whole) == {"num_cpus": 8.0, "num_gpus": 2}
    assert not Place(LARGE, "a", running=[ON_GPU]).takes(whole)
    assert not Place(SMALL, "a").takes(whole)


def test_untimed_cells_go_before_timed_ones_and_to_the_emptiest_node() -> None:
    first, second = Place(SMALL, "a"), Place(LARGE, "a")
    some = placed([TIMED, *cells(UNTIMED, 3)], first, second)
    assert [cell.timed for cell, _ in some] == [False] * 3
    assert [place for _, place in some] == [first, second, first]


def test_cells_whose_figures_are_compared_go_to_one_kind_of_nodes() -> None:
    places = [Place(replace(SMALL, id=kind * 40), kind) for kind in "ab"]
    rivals = [replace(TIMED, implementation=name) for name in ("a", "b", "c")]
    placement = Placement([*rivals, replace(TIMED, batch=2)], places)
    taken = list(iter(placement.next, None))
    assert [(cell.implementation, cell.batch, place.kind) for cell, place in taken] == [("a", 1, "a"), ("a", 2, "b")]
    placement.leave(*taken[0])
    assert [(cell.implementation, place.kind) for cell, place in iter(placement.next, None)] == [("b", "a")]
    placement.forget(places[0])
    placement.leave(*taken[1])
    assert [(cell.implementation, place.kind) for cell, place in iter(placement.next, None)] == [("c", "b")]


def test_a_cell_that_was_lost_goes_to_another_node_if_there_is_one() -> None:
    first, second = Place(SMALL, "a"), Place(LARGE, "a")
    placement = Placement([UNTIMED], [first, second])
    assert placement.next() == (UNTIMED, first)
    placement.leave(UNTIMED, first)
    placement.again(UNTIMED, first)
    assert placement.next() == (UNTIMED, second)
    placement.forget(second)
    placement.again(UNTIMED, second)
    assert placement.next() == (UNTIMED, first)
    placement.forget(first)
    assert not placement.can_go_on(UNTIMED)


# --- nodes side by side


def of(*facts: dict[str, Any]) -> Any:
    nodes = [replace(SMALL, id=f"{number}abcdef0123456789") for number in range(len(facts))]
    return side_by_side(nodes, {node.id: one for node, one in zip(nodes, facts, strict=True)})


def test_alike_nodes_are_named_by_the_start_of_their_id_and_share_one_environment() -> None:
    found = of(FACTS, {**FACTS, "os": "Linux 6.2"})
    assert not found.unlike
    assert list(found.names.values()) == ["0abcde", "1abcde"]
    assert found.environment() == {**FACTS, "os": "Linux 6.1 | Linux 6.2"}


def test_unlike_nodes_carry_their_kind_and_what_differs_is_told_by_kind() -> None:
    found = of(FACTS, {**FACTS, "cores": 4}, FACTS)
    kinds = [kind_of_node(name) for name in found.names.values()]
    assert found.unlike
    assert kinds[0] == kinds[2] != kinds[1]
    assert found.environment() == {
        **{name: value for name, value in FACTS.items() if name != "cores"},
        "nodes": {kinds[0]: {"cores": 8}, kinds[1]: {"cores": 4}},
    }
    (told,) = found.differences()
    assert told == "cores: 8 on node 0abcde (10.0.0.1) and 1 more, 4 on node 1abcde (10.0.0.1)"


def test_a_run_on_unlike_nodes_is_no_base_for_times_not_even_of_itself() -> None:
    unlike = key(of(FACTS, {**FACTS, "cores": 4}).environment())
    assert differences(unlike, unlike) == ["nodes: unlike ones before, now unlike ones"]
    assert "nodes: None before, now unlike ones" in differences(key(FACTS), unlike)
    assert differences(key(FACTS), key(FACTS)) == []


def test_every_other_version_is_named_with_who_has_it() -> None:
    versions = {
        HERE: {"python": "3.12", "vitbench": "1.0"},
        "node a": {"python": "3.12", "vitbench": "0.9", "torch": "2.14.1"},
        "node b": {"python": "3.12", "vitbench": "0.9", "torch": "2.13.0"},
    }
    assert other_versions(versions) == [
        "vitbench: 1.0 here, 0.9 on node a and 1 more",
        "torch: 2.14.1 on node a, 2.13.0 on node b",
    ]


def test_a_cluster_in_words() -> None:
    assert in_words([SMALL, LARGE]) == "2 nodes with 10 CPUs and 2 GPUs"
    assert in_words([SMALL]) == "1 node with 2 CPUs"


# --- what is shown of unlike nodes


def figure(node: str, implementation: str = "a") -> MeasurementRecord:
    return replace(
        record(replace(TIMED, implementation=implementation), Outcome.MEASURED, latency_s=0.1, converged=True),
        node=node,
    )


def test_figures_of_unlike_nodes_do_not_stand_side_by_side() -> None:
    from vitbench.reports.doubts import doubts
    from vitbench.reports.throughput import conditions

    alike, unlike = [figure("11ab"), figure("22cd", "b")], [figure("a1-11ab"), figure("b2-22cd", "b")]
    assert list(comparable(alike)) == ["inference"]
    assert list(comparable(unlike)) == ["inference, nodes a1", "inference, nodes b2"]
    assert conditions(unlike[0])[-1] == "nodes a1"
    assert conditions(alike[0]) == conditions(alike[1])
    assert doubts(*unlike) == ("unlike nodes",)
    assert doubts(*alike) == ()


def test_the_last_word_on_a_requirement_counts(tmp_path: Path) -> None:
    from sample_runs import records

    from vitbench.records import Header

    header = next(one for one in records() if isinstance(one, Header))
    judged = next(one for one in records() if isinstance(one, RequirementRecord))
    again = replace(judged, node="22cd")
    with ResultsWriter(tmp_path / "results.jsonl") as writer:
        for one in (header, replace(judged, node="11ab"), again):
            writer.write(one)
    found: Run = read(tmp_path / "results.jsonl")
    assert [to_line(one) for one in found.requirements] == [to_line(again)]


@pytest.mark.parametrize("display", [Lines, Live])
def test_a_lost_cell_is_told_and_shown_again(display: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    result = figure("")
    with display(Console(width=200), 1) as shown:
        for event in (Started(TIMED), Lost(TIMED, "its node was lost"), Started(TIMED), Finished(TIMED, result, 1.0)):
            shown.show(event)
    said = capsys.readouterr().out
    assert "throughput inference a Ti/16@64 batch 1: its node was lost; it is started once more" in said


# --- a lost GPU


def events_on_gpu(outcome: Outcome, gone: str, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    monkeypatch.setattr(on_node, "why_gone", lambda cell: gone)
    result = record(ON_GPU, outcome)
    return list(
        on_node.unless_device_lost(ON_GPU, [Started(ON_GPU), Recorded(ON_GPU, result), Finished(ON_GPU, result, 1)])
    )


def test_a_failure_is_the_gpus_where_that_answers_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert events_on_gpu(Outcome.CRASHED, "no CUDA device", monkeypatch) == [
        Started(ON_GPU),
        Lost(ON_GPU, "its GPU was lost: no CUDA device"),
    ]


@pytest.mark.parametrize(("outcome", "gone"), [(Outcome.CRASHED, ""), (Outcome.MEASURED, "no CUDA device")])
def test_any_other_result_stands(outcome: Outcome, gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [type(event) for event in events_on_gpu(outcome, gone, monkeypatch)]
    assert kinds == [Started, Recorded, Finished]


# --- what is shipped


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")


def test_an_adapter_is_shipped_with_what_lies_beside_it(here: Path, tmp_path: Path) -> None:
    write(here, "mine/adapter.py", "mine/parts/block.py", "mine/.secret", "mine/.git/config", "other/big.py")
    write(here, "mine/venv/pyvenv.cfg", "mine/venv/lib.py", "mine/out/results.jsonl", "mine/__pycache__/adapter.pyc")
    (here / "mine" / "weights.bin").write_bytes(b"0" * (10 * 1024**2 + 1))
    found = shipment(["mine/adapter.py:Mine", "timm"], tmp_path / "ship")
    assert files(tmp_path / "ship") == {"mine/adapter.py", "mine/parts/block.py"}
    assert str(found) == (
        "shipped to the nodes: 2 files, 12.0 B, of mine/adapter.py:Mine; left out as too large: weights.bin (10.0 MiB)"
    )


def test_a_package_of_this_folder_is_shipped_and_an_installed_one_is_not(here: Path, tmp_path: Path) -> None:
    write(here, "localvit/__init__.py", "localvit/vit.py", "beside.py", "vitbench/__init__.py")
    found = shipment(["localvit.vit:ViT", "torch.nn:Linear", "json"], tmp_path / "ship")
    assert files(tmp_path / "ship") == {"localvit/__init__.py", "localvit/vit.py", "beside.py"}
    assert list(found.origins) == ["localvit.vit:ViT"]


def test_a_package_from_elsewhere_is_shipped_alone(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "elsewhere", "farvit/__init__.py", "farvit/vit.py", "beside.py")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    shipment(["farvit:ViT"], tmp_path / "ship")
    assert files(tmp_path / "ship") == {"farvit/__init__.py", "farvit/vit.py"}


def test_an_onnx_file_is_shipped_with_its_data_whatever_their_size(here: Path, tmp_path: Path) -> None:
    write(here, "model.onnx", "notes.txt")
    (here / "model.onnx.data").write_bytes(b"0" * (10 * 1024**2 + 1))
    shipment(["model.onnx"], tmp_path / "ship")
    assert files(tmp_path / "ship") == {"model.onnx", "model.onnx.data"}


def test_nothing_to_ship_is_said(tmp_path: Path) -> None:
    assert str(shipment(["reference"], tmp_path)) == (
        "shipped to the nodes: nothing; what is judged has to be installed there"
    )


@pytest.mark.parametrize("name", ["/somewhere/adapter.py", "../adapter.py"])
def test_a_path_that_would_be_another_on_the_nodes_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named from this folder down") as refused:
        shipment([name], tmp_path)
    assert "and name adapter.py" in str(refused.value)


def test_more_than_a_cluster_should_be_sent_is_refused(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitbench.engines import shipping

    monkeypatch.setattr(shipping, "_MOST_BYTES", 10)
    write(here, "adapter.py", "more.py")
    with pytest.raises(UsageError, match="keep the adapter in a folder of its own"):
        shipment(["adapter.py"], tmp_path / "ship")


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ray-address", "auto"], "--ray-address is for --engine ray"),
        (["--unlike-nodes"], "--unlike-nodes is for --engine ray"),
        (["--engine", "ray", "--gpu", "1"], "use --gpu 0"),
        (["--engine", "ray", "--profile"], "profile with --engine local"),
        (["--engine", "slurm"], "invalid choice: 'slurm'"),
    ],
)
def test_options_that_do_not_fit_the_engine_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options.parse(["--impl", "reference", *arguments])


def test_ray_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitbench.engines import engine

    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    asked = options.Options(implementations=("reference",), named=True, engine="ray")
    with pytest.raises(UsageError, match=r"needs ray, which is not installed; pip install 'vitbench\[ray\]'"):
        chosen(asked)


def test_a_header_does_not_say_where_the_cluster_is() -> None:
    from vitbench.engine_options import without_address

    assert without_address(["--ray-address", "10.0.0.1:6379", "--seed", "1"]) == ["--ray-address", "…", "--seed", "1"]
    assert without_address(["--ray-address=10.0.0.1:6379"]) == ["--ray-address=…"]
    assert without_address(["--ray-address", "auto"]) == ["--ray-address", "auto"]


@pytest.mark.parametrize("address", ["ray://head:10001", "head", ":6379", "head:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterUnusable, match="expected HOST:PORT"):
        cluster.require_answering(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_that_does_not_answer_is_told_in_seconds(address: str) -> None:
    with pytest.raises(ClusterUnusable, match=f"no Ray cluster answers at {address}: .+; `ray start --head`"):
        cluster.require_answering(address)


class SilentDriver:
    """Stands for a driver that Ray keeps waiting."""

    ended = False

    def ask(self, command: dict[str, Any], limit_s: float) -> Any:
        raise Silent

    def give_up(self) -> None:
        self.ended = True


def test_what_answers_but_is_no_cluster_is_told_and_waited_for_no_longer(tmp_path: Path) -> None:
    from vitbench.engines.checked import checked

    driver: Any = SilentDriver()
    asked = options.Options(implementations=("reference",), named=True, engine="ray", ray_address="10.0.0.1:80")
    with pytest.raises(
        ClusterUnusable, match=r"10\.0\.0\.1:80 does not answer as the head of a Ray cluster within 30 s"
    ):
        checked(asked, driver, shipment([], tmp_path))
    assert driver.ended


def test_the_commit_of_this_folder_is_the_runs_own_wherever_its_cells_run(here: Path) -> None:
    assert environment.commit_here() == {"git_commit": None, "git_clean": None}


def test_a_plan_without_a_node_that_could_run_it_is_refused() -> None:
    from vitbench.engines.checked import with_device

    asked = options.Options(implementations=("reference",), named=True, engine="ray", device="cuda:0")
    assert with_device(asked, [SMALL, LARGE]) == [LARGE]
    with pytest.raises(DeviceUnavailable, match="no node of the cluster has a GPU and 1 CPU to give to a cell"):
        with_device(asked, [SMALL])
    with pytest.raises(DeviceUnavailable, match="has 4 CPUs to give to a cell: Ray counts 1 node with 2 CPUs"):
        with_device(replace(asked, device="cpu", threads=4), [SMALL])


def test_unlike_nodes_time_nothing_unless_that_is_asked_for() -> None:
    from vitbench.engines.checked import require_alike

    asked = options.Options(implementations=("reference",), named=True, engine="ray", suites=("throughput",))
    unlike = of(FACTS, {**FACTS, "cores": 4})
    with pytest.raises(ClusterUnusable, match=r"times cannot be compared: cores: 8 on node .+ --unlike-nodes"):
        require_alike(asked, unlike)
    require_alike(asked, of(FACTS, FACTS))
    require_alike(replace(asked, unlike_nodes=True), unlike)
    require_alike(replace(asked, suites=("conformance",)), unlike)
    with pytest.raises(UsageError, match="--baseline and --save-baseline are for one kind of machine"):
        require_alike(replace(asked, unlike_nodes=True, baseline="main"), unlike)
