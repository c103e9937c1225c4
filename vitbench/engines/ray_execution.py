"""Cells on their way through a cluster: which were sent where, what the nodes say of them, and what was lost."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vitbench.engines import on_node
from vitbench.engines.placement import Place, Placement
from vitbench.plan import Cell
from vitbench.records import Outcome
from vitbench.statistics import median

_POLL_S = 0.2
_CANCEL_LIMIT_S = 10.0  # a cell's child process takes up to a second to end
_TRIES = 2

Tell = Callable[[Mapping[str, Any]], None]


class Execution:
    """Cells on their way."""

    def __init__(self, cells: Sequence[Cell], places: Sequence[Place], tell: Tell) -> None:
        self._numbers = {cell.key: number for number, cell in enumerate(cells)}
        self._placement = Placement(cells, places)
        self._tell, self._running = tell, list["OnNode"]()
        self._tries: dict[str, int] = {}
        self._lasted_s = list[float]()

    def run(self, stopped: threading.Event, deadline_s: float) -> int:
        """Until every cell is over, the time is, or no node is left; the number of cells that no node could take."""
        placed = self._placement
        while (placed.waiting or self._running) and time.monotonic() < deadline_s and not stopped.is_set():
            if self._lasted_s and time.monotonic() + median(self._lasted_s) >= deadline_s:
                placed.waiting.clear()
            while (found := placed.next()) is not None:
                self._start(*found)
            if not self._running:
                return len(placed.waiting)
            streams = {one.stream: one for one in self._running}
            ready, _ = ray.wait(list(streams), num_returns=1, timeout=_POLL_S)
            for stream in ready:
                self._hear(streams[stream])
        return 0

    def _start(self, cell: Cell, place: Place) -> None:
        self._tries[cell.key] = self._tries.get(cell.key, 0) + 1
        self._running.append(OnNode(cell, place))
        self._say(cell, {"event": "sent", "node": place.node.id})

    def _hear(self, one: "OnNode") -> None:
        """Pass on what a node says of a cell, or what became of the node."""
        words = one.next()
        if words["event"] == "lost":
            self._lose(one, words)
            return
        one.has_result |= bool(words.get("final"))
        self._say(one.cell, words)
        if words["event"] == "finished":
            self._lasted_s.append(words["duration_s"])
            self._over(one)

    def _lose(self, one: "OnNode", words: Mapping[str, Any]) -> None:
        """Start a cell once more that was lost the first time; a node that is gone, or whose GPU is, gets no more cells."""
        self._over(one)
        if words.get("spoiled") or one.node_is_gone():
            self._placement.forget(one.place)
        again = self._tries[one.cell.key] < _TRIES and self._placement.can_go_on(one.cell) and not one.has_result
        if again:
            self._placement.again(one.cell, one.place)
        of_driver = {"again": again, "where": one.place.node.told, "duration_s": one.elapsed_s}
        self._say(one.cell, {"outcome": Outcome.CRASHED, **words, **of_driver})

    def _over(self, one: "OnNode") -> None:
        self._running.remove(one)
        self._placement.leave(one.cell, one.place)

    def _say(self, cell: Cell, words: Mapping[str, Any]) -> None:
        self._tell({"cell": self._numbers[cell.key], **words})

    def end(self) -> None:
        """End what runs on the nodes, and wait until its processes are gone."""
        for one in self._running:
            ray.cancel(one.stream)
        deadline_s = time.monotonic() + _CANCEL_LIMIT_S
        for one in self._running:
            ended = False
            while not ended and time.monotonic() < deadline_s:
                ended = one.over()
            if not ended:
                ray.cancel(one.stream, force=True)


class OnNode:
    """One cell that a node was given."""

    def __init__(self, cell: Cell, place: Place) -> None:
        self.cell, self.place = cell, place
        self.has_result = False
        self._started_s = time.monotonic()
        remote = ray.remote(on_node.run_cell).options(
            max_retries=0, num_returns="streaming", **place.needs(cell), **only_on(place.node.id)
        )
        self.stream: Any = remote.remote(cell.to_json())

    @property
    def elapsed_s(self) -> float:
        """Since it was given."""
        return time.monotonic() - self._started_s

    def next(self) -> dict[str, Any]:
        """What it says next; that it is lost, where it says nothing more and has not finished."""
        try:
            words: dict[str, Any] = json.loads(ray.get(next(self.stream)))
        except StopIteration:
            return {"event": "lost", "reason": "its worker process ended without a word"}
        except ray.exceptions.OutOfMemoryError:
            reason = "Ray ended its worker process, since the node was short of memory"
            return {"event": "lost", "reason": reason, "outcome": Outcome.OUT_OF_MEMORY}
        except ray.exceptions.RayTaskError as error:
            return {"event": "lost", "reason": f"its worker process failed: {error_in_words(error)}"}
        except ray.exceptions.RayError as error:
            what = "node" if self.node_is_gone() else "worker process"
            return {"event": "lost", "reason": f"its {what} was lost ({type(error).__name__})"}
        return {"spoiled": True, **words} if words["event"] == "lost" else words  # its GPU, as the node found

    def over(self) -> bool:
        """Whether it has ended; waits a moment for it, and not for what it still said."""
        ready, _ = ray.wait([self.stream.completed()], timeout=_POLL_S)
        return bool(ready)

    def node_is_gone(self) -> bool:
        """Whether Ray has given its node up."""
        return not any(node["Alive"] and node["NodeID"] == self.place.node.id for node in ray.nodes())


def only_on(node: str) -> dict[str, Any]:
    """Options of a task for one node and no other; where that is gone, it fails."""
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=False)}


def error_in_words(error: Exception) -> str:
    """An error of Ray's on one line: what it says last of a traceback, else what it says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = getattr(error, "cause", None)
    if cause is not None:
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:_LONGEST]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:_LONGEST]


_LONGEST = 300
