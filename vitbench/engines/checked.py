"""What must hold on the nodes of a cluster before any cell runs: the same versions everywhere, the device, nodes alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vitbench
from vitbench import registry
from vitbench.engines.driver import Driver, Silent
from vitbench.engines.nodes import (
    HERE,
    NOT_INSTALLED,
    Cluster,
    Node,
    cluster,
    in_words,
    other_versions,
    without_facts_of_the_run,
)
from vitbench.engines.shipping import Shipment
from vitbench.environment import commit_here, python_version, repository_at
from vitbench.errors import ClusterUnusable, DeviceUnavailable, UsageError
from vitbench.options import Options
from vitbench.plan import plan
from vitbench.preflight import Preflight, question, refusal
from vitbench.wording import plural

_CONNECT_LIMIT_S, _BEGIN_LIMIT_S = 30.0, 120.0  # to a cluster that runs, and of one that is begun
_LOOK_LIMIT_S = 400.0  # the driver itself has a limit for each node, and says which


def checked(options: Options, driver: Driver, shipped: Shipment) -> tuple[Preflight, Cluster]:
    """Join the cluster and look at its nodes.

    Raises:
        ClusterUnusable: it does not answer, or its nodes have other versions or are unlike.
        DeviceUnavailable: no node has what the plan needs.
        VitbenchError: what a node says of adapters and device, as ``vitbench.preflight.check``.
    """
    ray, nodes = _connected(options, driver, shipped)
    nodes = with_device(options, nodes)
    _require_same_versions(options, driver, nodes)
    looks = _looked(options, driver, nodes)
    found = cluster(nodes, {id_: _of_node(look) for id_, look in looks.items()})
    require_alike(options, found)
    first = looks[nodes[0].id]
    environment = {**found.environment(), **commit_here(), "candidates": _candidates(first, shipped), "engine": ray}
    notes = [f"{ray}: {in_words(nodes)}", *([str(shipped)] if options.named or options.kernels else []), *_nice(looks)]
    return Preflight(environment=environment, names=first["names"], notes=notes), found


def _connected(options: Options, driver: Driver, shipped: Shipment) -> tuple[str, list[Node]]:
    """Ray with its version, and all nodes."""
    where, limit_s = options.ray_address or "this machine", _CONNECT_LIMIT_S if options.ray_address else _BEGIN_LIMIT_S
    folder = str(shipped.folder) if shipped.files else None
    try:
        answer = driver.ask({"do": "connect", "address": options.ray_address, "folder": folder}, limit_s)
    except Silent:
        driver.give_up()
        raise ClusterUnusable(
            f"{where} does not answer as the head of a Ray cluster within {limit_s:g} s; `ray status` tells more"
        ) from None
    return f"ray {answer['ray']}", [Node(**node) for node in answer["nodes"]]


def with_device(options: Options, nodes: Sequence[Node]) -> list[Node]:
    """Those that have what a cell needs.

    Raises:
        DeviceUnavailable: none has.
    """
    on_gpu = options.device != "cpu"
    able = [node for node in nodes if node.cpus >= options.threads and (node.gpus or not on_gpu)]
    if not able:
        wanted = f"a GPU and {plural(options.threads, 'CPU')}" if on_gpu else plural(options.threads, "CPU")
        raise DeviceUnavailable(
            f"no node of the cluster has {wanted} to give to a cell: Ray counts {in_words(nodes)}; "
            "ray start --num-cpus and --num-gpus say what a node has"
        )
    return able


def _require_same_versions(options: Options, driver: Driver, nodes: Sequence[Node]) -> None:
    known = registry.registered()
    packages = ["torch", "numpy", *(known[name].to_install for name in options.implementations if name in known)]
    answers = driver.ask({"do": "versions", "packages": list(dict.fromkeys(packages))}, _LOOK_LIMIT_S)
    versions = {node.told: answers[node.id] for node in nodes}
    here = {HERE: {"python": python_version(), "vitbench": vitbench.__version__}}
    missing = [
        f"{name}: {NOT_INSTALLED} on any node"
        for name in next(iter(versions.values()))
        if all(of_one[name] == NOT_INSTALLED for of_one in versions.values())
    ]
    differing = [*other_versions({**here, **versions}), *missing]
    if differing:
        raise ClusterUnusable(
            f"the nodes cannot take part in one run: {'; '.join(differing)}; install the same everywhere"
        )


def _looked(options: Options, driver: Driver, nodes: Sequence[Node]) -> Mapping[str, Mapping[str, Any]]:
    """What each node found, by id."""
    asked = {"question": vars(question(options)), "data": options.data, "nodes": [node.id for node in nodes]}
    looks: Mapping[str, Mapping[str, Any]] = driver.ask({"do": "look", **asked}, _LOOK_LIMIT_S)
    for node in nodes:
        if "refused" in looks[node.id]:
            refused = refusal(looks[node.id])
            raise type(refused)(f"{node.told}: {refused}")
    return looks


def require_alike(options: Options, found: Cluster) -> None:
    """Refuse to compare what cannot be compared.

    Raises:
        ClusterUnusable: timed cells would run on nodes that are not alike, and nobody allowed it.
        UsageError: such a run is to be held to another, or saved for one.
    """
    if not found.unlike:
        return
    differing = "; ".join(found.differences())
    if options.baseline or options.save_baseline:
        raise UsageError(
            f"--baseline and --save-baseline are for one kind of machine, and the nodes differ: {differing}"
        )
    if not options.unlike_nodes and any(cell.timed for cell in plan(options)):
        raise ClusterUnusable(
            f"the nodes are not alike, so their times cannot be compared: {differing}; take nodes of one kind, or "
            "allow it with --unlike-nodes, and each kind is shown apart"
        )


def _of_node(look: Mapping[str, Any]) -> dict[str, Any]:
    return {**without_facts_of_the_run(look["environment"]), "niceness": look["niceness"]}


def _candidates(look: Mapping[str, Any], shipped: Shipment) -> dict[str, Any]:
    """Where each candidate's code stands: of what was shipped, by the repository here."""
    sources = {name: dict(source) for name, source in look["environment"]["candidates"].items()}
    for impl, origin in shipped.origins.items():
        name = look["names"].get(impl, impl)
        file = origin if origin.is_file() else origin / "__init__.py"
        sources[name] = {**(repository_at(Path(file)) or {}), **sources.get(name, {})}
    return {name: source for name, source in sources.items() if source}


def _nice(looks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    nicest = max(int(look["niceness"]) for look in looks.values())
    if nicest <= 0:
        return []
    how = "RAY_worker_niceness=0 ray start … leaves that out"
    return [f"cells run at niceness {nicest}, as Ray has it: other programs on a node come first; {how}"]
