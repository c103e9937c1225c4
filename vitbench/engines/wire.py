"""What a node tells of a cell, in words that JSON has; ``vitbench.engines.cluster`` makes events of them again."""

from dataclasses import replace
from typing import Any, TypeVar

from vitbench.executor import Advanced, Event, Lost, Recorded, Started
from vitbench.plan import Cell
from vitbench.records import Footer, Header, Record, Result
from vitbench.results import to_line

R = TypeVar("R", bound=Record)


def told(event: Event) -> dict[str, Any]:
    """An event, without its cell, which whoever listens knows."""
    if isinstance(event, Started):
        return {"event": "started"}
    if isinstance(event, Lost):
        return {"event": "lost", "reason": event.reason}
    if isinstance(event, Advanced):
        return {"event": "advanced", "done": event.done, "total": event.total}
    if isinstance(event, Recorded):
        return {"event": "recorded", "line": to_line(event.record), "final": is_result_of(event.cell, event.record)}
    return {"event": "finished", "duration_s": event.duration_s, "left_behind": event.left_behind}


def is_result_of(cell: Cell, record: Record) -> bool:
    """Whether a record is what the cell came to, not that of a try or a part."""
    return isinstance(record, Result) and record.cell == cell.key


def on(node: str, record: R) -> R:
    """The record with the node that it was made on."""
    return record if isinstance(record, Header | Footer) else replace(record, node=node)
