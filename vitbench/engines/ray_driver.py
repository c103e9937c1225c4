"""The process that speaks to Ray: ``python -m vitbench.engines.ray_driver ANSWERS``, started by ``vitbench.engines.cluster``.

A process apart, since Ray ends its driver outright where the head of the cluster is gone. Ray is imported once it is known
which cluster is meant, since it reads its settings then. The process reads commands from its
standard input, a line of JSON each, and appends answers and events to a file. At the end of its input, or at the word
``stop``, it ends what it runs on the nodes, and itself.
"""

import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitbench.engines.nodes import NOT_INSTALLED, Node
from vitbench.engines.placement import Place
from vitbench.errors import ClusterUnusable, VitbenchError
from vitbench.plan import Cell
from vitbench.process import die_with_parent

_POLL_S = 0.2
_LOOK_LIMIT_S = 300.0


def main(argv: Sequence[str] | None = None) -> int:
    """Obey commands until there are no more."""
    (file,) = sys.argv[1:] if argv is None else argv
    die_with_parent()
    driver = _Driver(Path(file))
    threading.Thread(target=driver.listen, daemon=True).start()
    try:
        driver.obey()
    finally:
        driver.close()
    return 0


class _Driver:
    """A connection to a cluster, and what runs there for it."""

    def __init__(self, answers: Path) -> None:
        self._answers = answers.open("a", encoding="utf-8", buffering=1)
        self._commands: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._stopped = threading.Event()
        self._nodes: dict[str, Node] = {}

    def listen(self) -> None:
        """Take commands, in a thread of its own, so that a stop is heard at any time."""
        for line in sys.stdin:
            if line.strip() == "stop":
                break
            self._commands.put(json.loads(line))
        self._stopped.set()
        self._commands.put(None)

    def obey(self) -> None:
        """Do what is asked, one after the other; a mistake of the user's is an answer."""
        done: dict[str, Callable[..., Any]] = {
            "connect": self._connect,
            "versions": self._versions,
            "look": self._look,
            "execute": self._execute,
        }
        while (command := self._commands.get()) is not None:
            try:
                answer = done[command.pop("do")](**command)
            except VitbenchError as error:
                answer = {"refused": type(error).__name__, "text": str(error)}
            self._tell({"answer": answer})

    def _tell(self, words: Mapping[str, Any]) -> None:
        self._answers.write(json.dumps(words) + "\n")

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        if "ray" in sys.modules:
            import ray  # noqa: PLC0415

            ray.shutdown()

    def _connect(self, address: str | None, folder: str | None) -> Any:
        """Join a cluster, or begin one; its nodes."""
        if address is None:
            os.environ |= _OF_ONE_MACHINE
        import ray  # noqa: PLC0415  # of this process only

        own = {"include_dashboard": False, "_system_config": {"worker_niceness": 0}} if address is None else {}
        try:
            ray.init(
                address=address or "local",
                configure_logging=False,
                log_to_driver=False,
                namespace="vitbench",
                runtime_env={"working_dir": folder} if folder else None,
                **own,
            )
        except ConnectionError as error:
            raise ClusterUnusable(
                f"no Ray cluster was found at {address}; `ray start --head` begins one, `ray start --address …` joins this "
                "machine to it"
            ) from error
        except Exception as error:
            text = " ".join(str(error).split())
            raise ClusterUnusable(f"the Ray cluster at {address or 'this machine'} cannot be used: {text}") from error
        alive = [node for node in ray.nodes() if node["Alive"]]
        self._nodes = {node["NodeID"]: _node(node) for node in alive}
        return {"ray": ray.__version__, "nodes": [vars(node) for node in self._nodes.values()]}

    def _versions(self, packages: Sequence[str]) -> Any:
        """Of Python, vitbench and packages on each node, by a function that needs no vitbench there."""
        absent = NOT_INSTALLED

        def versions() -> dict[str, str]:
            import importlib.metadata  # noqa: PLC0415  # of the node
            import platform  # noqa: PLC0415

            found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
            try:
                import vitbench  # noqa: PLC0415

                found["vitbench"] = vitbench.__version__
            except ImportError:
                found["vitbench"] = absent
            for name in packages:
                try:
                    found[name] = importlib.metadata.version(name)
                except importlib.metadata.PackageNotFoundError:
                    found[name] = absent
            return found

        return self._of_each(list(self._nodes), versions, num_cpus=0)

    def _look(self, nodes: Sequence[str], question: Mapping[str, Any], data: str) -> Any:
        """What nodes have."""
        from vitbench.engines.on_node import look  # noqa: PLC0415

        return self._of_each(nodes, look, question, data, num_cpus=0, num_gpus=int(question["device"] != "cpu"))

    def _of_each(self, nodes: Sequence[str], function: Any, *arguments: Any, **needs: float) -> dict[str, Any]:
        """What a function says on each node.

        Raises:
            ClusterUnusable: a node does not answer, or the function fails there.
        """
        import ray  # noqa: PLC0415

        from vitbench.engines.ray_execution import error_in_words, only_on  # noqa: PLC0415

        asked = {
            id_: ray.remote(function).options(max_retries=0, **needs, **only_on(id_)).remote(*arguments)
            for id_ in nodes
        }
        deadline, answers = time.monotonic() + _LOOK_LIMIT_S, {}
        for id_, one in asked.items():
            while not ray.wait([one], timeout=_POLL_S)[0]:
                if self._stopped.is_set() or time.monotonic() > deadline:
                    raise ClusterUnusable(
                        f"{self._nodes[id_].told} did not answer within {_LOOK_LIMIT_S:g} s; another job may hold all of it"
                    )
            try:
                answers[id_] = ray.get(one)
            except ray.exceptions.RayError as error:
                raise ClusterUnusable(f"{self._nodes[id_].told}: {error_in_words(error)}") from error
        return answers

    def _execute(self, cells: Sequence[dict[str, Any]], kinds: Mapping[str, str], left_s: float | None) -> Any:
        """Run cells on nodes, and tell of them by their number; how that ended."""
        from vitbench.engines.ray_execution import Execution  # noqa: PLC0415

        places = [Place(self._nodes[id_], kind) for id_, kind in kinds.items()]
        deadline_s = time.monotonic() + (math.inf if left_s is None else left_s)
        execution = Execution([Cell.from_json(cell) for cell in cells], places, self._tell)
        try:
            return {"gone": execution.run(self._stopped, deadline_s)}
        finally:
            execution.end()


def _node(told: Mapping[str, Any]) -> Node:
    has = told["Resources"]
    return Node(
        id=told["NodeID"],
        address=told["NodeManagerAddress"],
        cpus=float(has.get("CPU", 0)),
        gpus=int(has.get("GPU", 0)),
    )


_OF_ONE_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # on loopback, and silent


if __name__ == "__main__":
    sys.exit(main())
