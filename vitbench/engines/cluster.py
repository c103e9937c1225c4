"""The nodes of a Ray cluster as an engine. Ray itself is spoken to by a child process, ``vitbench.engines.ray_driver``."""

import math
import socket
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitbench.engines.checked import checked
from vitbench.engines.driver import Driver, unless_refused
from vitbench.engines.nodes import Cluster
from vitbench.engines.shipping import Shipment, shipment
from vitbench.engines.wire import on
from vitbench.environment import without_places
from vitbench.errors import ClusterLost, ClusterUnusable
from vitbench.executor import Advanced, Event, Finished, Lost, Recorded, Started, with_note
from vitbench.kernel_registry import registered_kernels
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.preflight import Preflight
from vitbench.records import Outcome, Record, Result, VerdictRecord
from vitbench.results import from_line
from vitbench.suite import Ending, load
from vitbench.wording import plural

_ANSWER_LIMIT_S = 5.0
_AUTO = "auto"


@contextmanager
def on_ray(options: Options) -> Iterator["ClusterEngine"]:
    """The cluster that the options name, or one of this machine alone; left, nothing of this run is on its nodes.

    Raises:
        ClusterUnusable: nothing answers at its address.
        UsageError: what ``--impl`` names cannot be shipped.
    """
    require_answering(options.ray_address)
    kernels = [kernel for kernel in options.kernels if kernel not in registered_kernels()]
    with tempfile.TemporaryDirectory(prefix="vitbench-") as folder:
        shipped = Path(folder, "shipped")
        shipped.mkdir()
        code = shipment([*(options.implementations if options.named else ()), *kernels], shipped)
        with Driver(Path(folder)) as driver:
            yield ClusterEngine(driver, code)


def require_answering(address: str | None) -> None:
    """Find out in seconds what Ray would try for minutes.

    Raises:
        ClusterUnusable: no address, or nothing answers there.
    """
    if address is None or address == _AUTO:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ClusterUnusable(
            f"--ray-address {address!r}: expected HOST:PORT of the cluster's head, such as 10.0.0.1:6379, or {_AUTO}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_LIMIT_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise ClusterUnusable(
            f"no Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}; "
            "`ray start --head` begins one and says its address"
        ) from error


@dataclass
class _Course:
    """What is known of a cell that was sent to a node."""

    cell: Cell
    node: str = ""  # as records name it
    records: list[Record] = field(default_factory=list)
    result: Result | None = None
    lost: str = ""  # why it was started once more


class ClusterEngine:
    """Runs cells on the nodes that ``check`` found fit."""

    def __init__(self, driver: Driver, shipped: Shipment) -> None:
        self._driver, self._shipped = driver, shipped
        self._cluster: Cluster | None = None

    def check(self, options: Options) -> Preflight:
        """Look at the nodes, which are those that cells will be sent to; who joins later is not asked."""
        found, self._cluster = checked(options, self._driver, self._shipped)
        return found

    def execute(self, cells: Sequence[Cell], *, until_s: float) -> Generator[Event]:
        """Run the cells on the nodes; a cell whose node or GPU is lost is started once more, then recorded as lost.

        Raises:
            ClusterLost: no node is left.
        """
        assert self._cluster is not None  # noqa: S101  # checked before
        courses, names = [_Course(cell) for cell in cells], self._cluster.names
        left_s = None if math.isinf(until_s) else max(0.0, until_s - time.monotonic())
        command = {"cells": [cell.to_json() for cell in cells], "kinds": dict(self._cluster.kinds), "left_s": left_s}
        self._driver.tell({"do": "execute", **command})
        answer = None
        try:
            while answer is None:
                for words in self._driver.new():
                    if "answer" in words:
                        answer = unless_refused(words["answer"])
                    else:
                        yield from _events(courses[words["cell"]], words, names)
        finally:
            if answer is None:
                self._driver.stop()
        if answer["gone"]:
            raise ClusterLost(f"no node is left that could run {plural(answer['gone'], 'cell')}")


def _events(course: _Course, words: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Event]:
    """What the driver's words mean for a cell."""
    kind = words["event"]
    if kind == "sent":
        course.node = names[words["node"]]
        yield Started(course.cell)
    elif kind == "advanced":
        yield Advanced(course.cell, words["done"], words["total"])
    elif kind == "recorded":
        record = on(course.node, from_line(words["line"]))
        course.records.append(record)
        course.result = record if isinstance(record, Result) and words["final"] else course.result
        yield Recorded(course.cell, record)
    elif kind == "lost":
        yield from _lost(course, words)
    elif kind == "finished":
        yield from _finished(course, words)


def _lost(course: _Course, words: Mapping[str, Any]) -> Iterator[Event]:
    """Of a cell that goes on elsewhere, nothing is kept; of one that does not, that it was lost."""
    reason = words["reason"]
    if words["again"]:
        course.lost, course.records = reason, []
        yield Lost(course.cell, f"{reason} ({words['where']})")
        return
    if course.result is None:  # else it was lost after it had told what mattered
        ending = Ending(
            outcome=Outcome(words["outcome"]),
            reason=without_places(f"{course.lost}; started once more, {reason}" if course.lost else reason),
            duration_s=words["duration_s"],
            records=tuple(course.records),
        )
        course.result = on(course.node, load(course.cell.suite).lost(course.cell, ending))
        yield Recorded(course.cell, course.result)
    yield Finished(course.cell, course.result, words["duration_s"])


def _finished(course: _Course, words: Mapping[str, Any]) -> Iterator[Event]:
    """The end of a cell; of one that was started twice, its result says so."""
    assert course.result is not None  # noqa: S101  # whoever runs a cell records one before
    if course.lost and not isinstance(course.result, VerdictRecord):
        told = with_note(course.result, without_places(f"started once more, since {course.lost}"))
        if told != course.result:
            course.result = told
            yield Recorded(course.cell, told)
    yield Finished(course.cell, course.result, words["duration_s"], words["left_behind"])
