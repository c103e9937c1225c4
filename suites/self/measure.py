"""One cell of the self suite: a timer on a load of known duration, or a command from its start to its end."""

import subprocess
import sys
import time
from importlib import metadata

import vitbench
from vitbench.conditions.watch import watching
from vitbench.environment import device_name
from vitbench.measurement import figures, record
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome
from vitbench.suites.self.loads import LOADS_S, busy_wait, spin
from vitbench.suites.self.suite import COMMANDS, START
from vitbench.suites.self.timers import ON_CPU, ON_CUDA, Readings, Timer, by_vitbench
from vitbench.timer import Clock, Effort, Launch, clock_for, timing_of
from vitbench.timer_check import check_of

EFFORT = {
    "quick": Effort(relative_width=0.01, least_s=0.6, most_s=1.5, most_warmup_s=0.5),
    "standard": Effort(relative_width=0.005, least_s=1.0, most_s=3.0, most_warmup_s=1.0),
    "full": Effort(relative_width=0.002, least_s=3.0, most_s=15.0, most_warmup_s=2.0),
}
STARTING = {
    "quick": Effort(relative_width=0.05, least_samples=6, least_s=0.5, most_s=4.0, most_warmup_s=0.1),
    "standard": Effort(relative_width=0.05, least_samples=10, least_s=2.0, most_s=10.0, most_warmup_s=0.1),
    "full": Effort(relative_width=0.02, least_samples=20, least_s=5.0, most_s=30.0, most_warmup_s=0.1),
}


def measure(cell: Cell) -> MeasurementRecord:
    """What a timer read, and how far that is from the truth.

    Raises:
        NotSupported: the timer is not installed.
    """
    clock = clock_for(cell.device)
    if cell.task == START:
        return _measured(cell, _command(cell.mode), by_vitbench, clock, STARTING[cell.preset], known_s=None)
    known_s = LOADS_S[cell.mode]
    on_cpu = cell.device == "cpu"
    load = busy_wait(known_s) if on_cpu else spin(known_s, cell.device)
    timer = (ON_CPU if on_cpu else ON_CUDA)[cell.implementation]
    return _measured(cell, load, timer, clock, EFFORT[cell.preset], known_s)


def _measured(
    cell: Cell, load: Launch, timer: Timer, clock: Clock, effort: Effort, known_s: float | None
) -> MeasurementRecord:
    started = time.monotonic()
    with watching(cell.device) as watch:
        readings = timer(load, clock, effort)
    timing = timing_of(
        readings.samples_s,
        effort,
        warmup_iterations=0,
        rounds=len(readings.samples_s),
        started_s=readings.started_s,
        ended_s=readings.ended_s,
    )
    found = figures(timing, images=1)
    return record(
        cell,
        Outcome.MEASURED,
        **{
            **found,
            "throughput_images_per_s": None,
            "warmup_iterations": None,
            "converged": readings.converged,
        },
        version=_version(cell.implementation),
        device_name=device_name(cell.device),
        timer_check=None if known_s is None else _check(readings, known_s),
        evidence=None if cell.task == START else watch.evidence(timing, images=0),  # another process's work is not ours
        duration_s=time.monotonic() - started,
    )


def _check(readings: Readings, known_s: float) -> object:
    return check_of(known_s, readings.samples_s, readings.elapsed_s, readings.loads)


def _command(name: str) -> Launch:
    command = [sys.executable, *COMMANDS[name]]
    return lambda: subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603


def _version(timer: str) -> str:
    package = timer.partition(" ")[0]
    return vitbench.__version__ if package == "vitbench" else metadata.version(package)
