"""``--find-batch``: a cell that tries batches, each in a process of its own, and records each as a throughput cell."""

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vitbench.arithmetic import arithmetic
from vitbench.batch_search import BatchSearch, Try, memory_forbids, search
from vitbench.errors import NotSupported
from vitbench.executor import command
from vitbench.measurement import record
from vitbench.memory_available import available_bytes
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.process import Child, how_it_ended
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.memory import activation_bytes, optimizer_bytes, parameter_bytes
from vitbench.results import Follower, append
from vitbench.suites.throughput.suite import TIME_LIMIT_S
from vitbench.workload import POOL_SIZE

_COPIES = 1 + 3 + 1  # of weights and images at most: those that are used, the former ones that are kept, the new ones
_RUNTIME_BYTES = 2**29  # torch and the package
_RECORDING_S = 5  # of its time, that a search keeps to tell what it found
_TIMES_LONGER = 3  # what the next try may take, of the one before


def find_batch(cell: Cell, results: Path) -> None:
    """Search, and append the records of all tries and, last, the cell's own.

    Raises:
        NotSupported: nothing tells how much memory there is, so that no batch is safe.
    """
    trying = _Trying(cell, results)
    found = search(trying.measure, trying.forbid, until_full=cell.device != "cpu", late=trying.late)
    append(results, result(cell, found, trying.records, time.monotonic() - trying.started))


def result(
    cell: Cell, found: BatchSearch, records: Sequence[MeasurementRecord], duration_s: float
) -> MeasurementRecord:
    """The cell's own record: the best try's figures, or why there are none."""
    best = next((one for one in records if one.batch == found.best and one.outcome is Outcome.MEASURED), None)
    if best is not None:
        return replace(best, cell=cell.key, batch_search=found, samples_s=(), duration_s=duration_s)
    outcome = records[0].outcome if records else Outcome.OUT_OF_MEMORY  # predicted, and so not tried
    return record(cell, outcome, reason=found.stopped, batch_search=found, duration_s=duration_s)


class _Trying:
    """Runs tries one after the other, and keeps what they gave."""

    def __init__(self, cell: Cell, results: Path) -> None:
        self.started, self.records = time.monotonic(), list[MeasurementRecord]()
        self._cell, self._results, self._longest_s = cell, results, 0.0

    def measure(self, batch: int) -> Try:
        """One batch in a fresh process, as any throughput cell."""
        cell = replace(
            self._cell,
            batch=batch,
            timed=False,  # the device is held by the search itself
            time_limit_s=max(1.0, min(TIME_LIMIT_S[self._cell.preset], self._left_s() - _RECORDING_S)),
        )
        started = time.monotonic()
        found = _in_a_process(cell)
        self._longest_s = max(self._longest_s, time.monotonic() - started)
        append(self._results, found)
        self.records.append(found)
        return as_try(found, _peak_bytes() if cell.device == "cpu" else None)

    def forbid(self, batch: int, tries: Sequence[Try]) -> str:
        """Why a batch must not be tried: the host's memory."""
        if self._cell.device != "cpu":
            return ""
        available = available_bytes()
        if available is None:
            raise NotSupported(
                "this system does not tell how much memory is available, so that no batch is safe to try"
            )
        fixed, per_image = expected_bytes(self._cell)
        return memory_forbids(batch, tries, fixed_bytes=fixed, per_image_bytes=per_image, available_bytes=available)

    def late(self, batch: int) -> str:
        """Why there is no time left to try a batch."""
        if self._left_s() >= _TIMES_LONGER * self._longest_s:
            return ""
        return f"batch {batch} was not tried: the search's time limit of {self._cell.time_limit_s:g} s is near"

    def _left_s(self) -> float:
        return self._cell.time_limit_s - (time.monotonic() - self.started)


def expected_bytes(cell: Cell) -> tuple[float, float]:
    """In closed form and rather too much: what a process of this cell takes with no image, and what each image adds."""
    config = model_config(cell.model)
    size = getattr(torch, arithmetic(cell.dtype).stored).itemsize
    weights = parameter_bytes(config, size)
    height, width = config.image_size
    images = POOL_SIZE * config.channels * height * width * size * _COPIES
    fixed, kept = _RUNTIME_BYTES + _COPIES * weights, activation_bytes(config, 1, size)
    if cell.task == "training":
        return fixed + weights + optimizer_bytes(config, size), kept + images  # weights again: their gradients
    return fixed, kept / config.depth + images


def as_try(found: MeasurementRecord, peak_bytes: int | None) -> Try:
    """What a search has to know of a record."""

    def rate(latency_s: float | None) -> float | None:
        return found.batch / latency_s if latency_s else None

    return Try(
        batch=found.batch,
        rate=found.throughput_images_per_s if found.outcome is Outcome.MEASURED else None,
        lowest_rate=rate(found.latency_high_s),
        highest_rate=rate(found.latency_low_s),
        out_of_memory=found.outcome is Outcome.OUT_OF_MEMORY,
        reason=found.reason,
        peak_bytes=peak_bytes,
    )


def _in_a_process(cell: Cell) -> MeasurementRecord:
    """The record of a try; whatever becomes of its process."""
    with tempfile.TemporaryDirectory(prefix="vitbench-") as folder:
        file, started = Path(folder, "try.jsonl"), time.monotonic()
        child = Child(command(cell, file), threads=cell.threads)
        try:
            exit_code = child.wait(cell.time_limit_s)
        finally:
            child.end()
        found = next((one for one in Follower(file).new() if isinstance(one, MeasurementRecord)), None)
    if found is not None:
        return found
    taken_s = time.monotonic() - started
    if exit_code is None:
        why = f"no result within its limit of {cell.time_limit_s:g} s"
        return record(cell, Outcome.TIMED_OUT, reason=why, duration_s=taken_s)
    words = child.last_words()
    why = f"{how_it_ended(exit_code)}{'; its last output: ' * bool(words)}{words}"
    return record(cell, Outcome.CRASHED, reason=why, duration_s=taken_s)


def _peak_bytes() -> int:
    """The most that any try's process has held so far; batches rise, and so the last one's."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
