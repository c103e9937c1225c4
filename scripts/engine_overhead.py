"""What an engine adds to each cell: empty cells, whose process writes a figure and ends, by the local engine and by Ray.

Both start the same process for each cell, one after the other. What Ray needs beyond that is its own: a cluster of this machine
alone is begun for it. Prints a table in Markdown; ``python scripts/engine_overhead.py --cells 50``.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported

import ray

from vitbench import units
from vitbench.engines import on_node
from vitbench.engines.nodes import Node
from vitbench.engines.placement import Place
from vitbench.engines.ray_execution import Execution
from vitbench.engines.wire import told
from vitbench.environment import cpu_model, usable_cores
from vitbench.executor import Finished, execute
from vitbench.measurement import record
from vitbench.plan import Cell
from vitbench.records import Outcome
from vitbench.results import to_line
from vitbench.statistics import median

WRITES = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"


def main() -> None:
    """Run both, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=50, metavar="N", help="empty cells for each engine (default: 50)")
    cells = [
        Cell(suite="throughput", implementation="empty", timed=True, seed=n)
        for n in range(parser.parse_args().cells + 1)
    ]
    print(
        f"{cpu_model()}, {usable_cores()} cores; load of the last minute {os.getloadavg()[0]:.1f}; ray {ray.__version__}\n"
    )
    print("| engine | start | first cell | each further cell, median | 90 % of them within |")
    print("|---|---|---|---|---|")
    for name, measure in (("local", on_this_machine), ("ray", on_ray)):
        start_s, took_s = measure(cells)
        first, rest = took_s[0], sorted(took_s[1:])
        within = rest[int(0.9 * (len(rest) - 1))]
        figures = " | ".join(units.seconds(value) for value in (start_s, first, median(rest), within))
        print(f"| {name} | {figures} |", flush=True)


def writes_a_figure(cell: Cell, results: Path) -> Sequence[str]:
    """The process of an empty cell."""
    line = to_line(record(cell, Outcome.MEASURED, converged=True)) + "\n"
    return [sys.executable, "-S", "-c", WRITES, str(results), line]


def on_this_machine(cells: Sequence[Cell]) -> tuple[float, list[float]]:
    """Seconds until it could begin, and those of each cell."""
    with closing(execute(cells, beside=1, command=writes_a_figure)) as events:
        return 0.0, _between([time.monotonic()], (isinstance(event, Finished) for event in events))


def on_ray(cells: Sequence[Cell]) -> tuple[float, list[float]]:
    """The same, on a cluster of this machine alone."""
    began = time.monotonic()
    quiet = {"include_dashboard": False, "configure_logging": False, "log_to_driver": False}
    ray.init(address="local", num_cpus=1, _system_config={"worker_niceness": 0}, **quiet)
    ready = time.monotonic()
    on_node.run_cell = _empty(writes_a_figure)
    (node,) = ray.nodes()
    at = [ready]

    def tell(words: Any) -> None:
        if words["event"] == "finished":
            at.append(time.monotonic())

    place = Place(Node(id=node["NodeID"], address="", cpus=1), "")
    Execution(cells, [place], tell).run(threading.Event(), float("inf"))
    ray.shutdown()
    return ready - began, [later - earlier for earlier, later in pairwise(at)]


def _empty(command: Callable[[Cell, Path], Sequence[str]]) -> Callable[[dict[str, Any]], Iterator[str]]:
    """``on_node.run_cell`` with another process for the cell; a nested function goes to the node by value."""

    def run_cell(data: dict[str, Any]) -> Iterator[str]:
        for event in execute([Cell.from_json(data)], command=command):
            yield json.dumps(told(event))

    return run_cell


def _between(at: list[float], over: Iterator[bool]) -> list[float]:
    at += [time.monotonic() for ended in over if ended]
    return [later - earlier for earlier, later in pairwise(at)]


if __name__ == "__main__":
    main()
