"""Which cell may start now, and on which node: untimed ones side by side, a timed one with its GPU or its node to itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vitbench.engines.nodes import Node
from vitbench.plan import Cell
from vitbench.suite import load


@dataclass
class Place:
    """A node, and what runs on it."""

    node: Node
    kind: str
    running: list[Cell] = field(default_factory=list)

    def takes(self, cell: Cell) -> bool:
        """Whether the cell may start beside what runs here."""
        if any(one.timed != cell.timed or has_node_alone(one) or has_node_alone(cell) for one in self.running):
            return False
        if has_node_alone(cell):
            return cell.device == "cpu" or self.node.gpus > 0
        if cell.device != "cpu":
            return len(self.running) < self.node.gpus and self._has_cpus_for(cell)
        return self._has_cpus_for(cell)

    def _has_cpus_for(self, cell: Cell) -> bool:
        return sum(one.threads for one in self.running) + cell.threads <= self.node.cpus

    def needs(self, cell: Cell) -> dict[str, float]:
        """What the cell asks of Ray, so that nothing else of the cluster's comes beside it."""
        if has_node_alone(cell):
            return {"num_cpus": self.node.cpus, "num_gpus": 0 if cell.device == "cpu" else self.node.gpus}
        if cell.device == "cpu":
            return {"num_cpus": cell.threads, "num_gpus": 0}
        share = self.node.cpus // self.node.gpus if cell.timed else 0
        return {"num_cpus": max(cell.threads, share), "num_gpus": 1}


def has_node_alone(cell: Cell) -> bool:
    """Whether nothing else of a run may be on the cell's node: it is timed, and on the processor or on every GPU."""
    return cell.timed and (cell.device == "cpu" or load(cell.suite).whole)


class Placement:
    """The cells that wait, in their order, and the nodes that there still are.

    Cells that differ by their implementation alone go to nodes of one kind, as long as there are any: their figures will
    stand side by side.
    """

    def __init__(self, cells: Sequence[Cell], places: Sequence[Place]) -> None:
        self.waiting = [*(cell for cell in cells if not cell.timed), *(cell for cell in cells if cell.timed)]
        self.places = list(places)
        self._kinds: dict[tuple[object, ...], str] = {}
        self._avoided: dict[str, str] = {}  # by cell: the node that was lost under it

    def next(self) -> tuple[Cell, Place] | None:
        """A cell that can start, taken from those that wait, and where; None while none can."""
        for cell in self.waiting:
            place = self._place_for(cell)
            if place is not None:
                self.waiting.remove(cell)
                place.running.append(cell)
                if cell.timed:
                    self._kinds.setdefault(_point(cell), place.kind)
                return cell, place
        return None

    def _place_for(self, cell: Cell) -> Place | None:
        able = [place for place in self.places if Place(place.node, place.kind).takes(cell)]
        able = [place for place in able if place.node.id != self._avoided.get(cell.key)] or able
        kind = self._kinds.get(_point(cell))
        able = [place for place in able if cell.timed and place.kind == kind] or able
        free = [place for place in able if place.takes(cell)]
        return min(free, key=lambda place: len(place.running), default=None)

    def leave(self, cell: Cell, place: Place) -> None:
        """The cell is over."""
        place.running.remove(cell)

    def again(self, cell: Cell, place: Place) -> None:
        """Put a cell that was lost first, for another node if there is one."""
        self._avoided[cell.key] = place.node.id
        self.waiting.insert(0, cell)

    def forget(self, place: Place) -> None:
        """A node is gone."""
        if place in self.places:
            self.places.remove(place)

    def can_go_on(self, cell: Cell) -> bool:
        """Whether any node that is left could take the cell, once it is free."""
        return any(Place(place.node, place.kind).takes(cell) for place in self.places)


def _point(cell: Cell) -> tuple[object, ...]:
    """What two cells share whose figures are compared."""
    return cell.suite, cell.task, cell.model, cell.dtype, cell.batch, cell.mode
