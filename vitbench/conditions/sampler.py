"""A thread that reads something again and again beside what is timed, and never harms it."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar


class Reading(Protocol):
    """What was read, with the moment at which it was."""

    @property
    def at_s(self) -> float:
        """By ``time.perf_counter``, as the timer's clocks."""
        ...


R = TypeVar("R", bound=Reading)

_ENDING_S = 2.0  # a driver that does not answer is left alone


class Sampler(Generic[R]):
    """Reads at once, then after each interval, and once more at its end. What fails ends the reading and is kept."""

    def __init__(self, read: Callable[[], R], interval_s: float) -> None:
        self._read, self._interval_s = read, interval_s
        self._readings: list[R] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitbench-sampler", daemon=True)
        self.failure = ""  # why the reading ended early

    def __enter__(self) -> Self:
        self._take()
        if not self.failure:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_ENDING_S)
            if self._thread.is_alive():
                self.failure = self.failure or f"no answer within {_ENDING_S:g} s"
        if not self.failure:
            self._take()

    def within(self, start_s: float, end_s: float) -> Sequence[R]:
        """The readings of a span of time, with the last before and the first after it, where there are."""
        readings = list(self._readings)
        before = [reading for reading in readings if reading.at_s < start_s][-1:]
        inside = [reading for reading in readings if start_s <= reading.at_s <= end_s]
        after = [reading for reading in readings if reading.at_s > end_s][:1]
        return [*before, *inside, *after]

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s) and not self.failure:
            self._take()

    def _take(self) -> None:
        try:
            self._readings.append(self._read())
        except Exception as error:  # noqa: BLE001  # evidence may be missing; the figure may not suffer
            self.failure = f"{type(error).__name__}: {error}"[:200]


def now_s() -> float:
    """The clock of all readings."""
    return time.perf_counter()
