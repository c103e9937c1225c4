"""How a run was made, and whether it came to its end."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitbench.results import Run
from vitbench.wording import plural


@dataclass(frozen=True, kw_only=True)
class MissingCell:
    """A planned cell of which the results hold nothing, or no end."""

    cell: str
    state: str


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a reader has to know of a run before its results."""

    label: str
    vitbench_version: str
    command: str
    preset: str
    seed: str
    devices: tuple[str, ...]
    started_at: str
    resumed_at: tuple[str, ...]  # after it was stopped
    finished_at: str | None
    duration_s: float | None
    planned: int
    ending: str  # empty where the run came to its end
    missing: tuple[MissingCell, ...]
    damaged_lines: int

    @property
    def complete(self) -> bool:
        """Whether it came to its end and every planned cell has a result."""
        return not self.ending and not self.missing


def run_facts(run: Run, label: str) -> RunFacts:
    """Derive them from one run."""
    header, footer = run.header, run.footer
    return RunFacts(
        label=label,
        vitbench_version=str(header.vitbench_version),
        command=_command(header.command),
        preset=str(header.preset),
        seed=str(header.seed),
        devices=_devices(run),
        started_at=str(header.started_at),
        resumed_at=tuple(map(str, header.resumed_at)),
        finished_at=footer.finished_at if footer else None,
        duration_s=footer.duration_s if footer else None,
        planned=len(header.planned),
        ending=_ending(run),
        missing=_missing(run),
        damaged_lines=run.damaged_lines,
    )


def _command(words: Sequence[str] | str) -> str:
    return words if isinstance(words, str) else shlex.join(str(word) for word in words)


def _devices(run: Run) -> tuple[str, ...]:
    """Where it ran: what the measurements say, else what the environment says."""
    measured = dict.fromkeys(str(record.device_name or record.device) for record in run.of_implementations)
    if measured:
        return tuple(measured)
    environment = run.header.environment
    known = environment if isinstance(environment, Mapping) else {}
    named = (known.get(key) for key in ("device_name", "device", "gpu", "cpu"))
    return tuple(str(name) for name in named if name and isinstance(name, str))[:1]


def _ending(run: Run) -> str:
    if run.footer is None:
        return "The results have no footer: the run was stopped or crashed, or is still going on."
    if run.footer.status != "complete":
        return f"The run ended early; its footer says “{run.footer.status}”."
    return ""


def _missing(run: Run) -> tuple[MissingCell, ...]:
    finished = {record.cell for record in run.verdicts} | {record.cell for record in run.studies}
    finished |= {record.cell for record in [*run.of_implementations, *run.limits, *run.timers]}
    started = [record.cell for record in run.requirements]
    cells = dict.fromkeys([*(str(cell) for cell in run.header.planned), *started])
    return tuple(MissingCell(cell=cell, state=_state(started.count(cell))) for cell in cells if cell not in finished)


def _state(recorded: int) -> str:
    if not recorded:
        return "no result"
    return f"stopped after {plural(recorded, 'requirement')}, without a verdict"
