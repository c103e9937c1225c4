"""A cell under pytest-benchmark, which times, saves and compares; what happens before each sample is vitbench's own."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import cache
from typing import Any, Protocol

import pytest

from vitbench.environment import describe
from vitbench.errors import NotSupported, VitbenchError
from vitbench.records import MeasurementRecord
from vitbench.timer import (
    Clock,
    Effort,
    Launch,
    Timing,
    begin_round,
    garbage_collection_paused,
    launches_of_a_round,
    timing_of,
    warm_up,
)

_DEFAULT_MAX_TIME_S = 1.0  # pytest-benchmark's own, of --benchmark-max-time
_LEFT_OUT = ("samples_s", "cold_start_s", "duration_s", "outcome", "reason")  # pytest-benchmark's, or pytest's


class Ready(Protocol):
    """What only has to be timed."""

    @property
    def launch(self) -> Launch:
        """The timed callable."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock that vitbench times it with."""
        ...

    @property
    def renew(self) -> Callable[[], None] | None:
        """Draws conditions anew, as for ``vitbench.timer.sample``."""
        ...


def timed(benchmark: Any, config: pytest.Config, ready: Ready, effort: Effort) -> Timing | None:
    """Let the fixture ``benchmark`` sample what is ready, under the conditions of ``vitbench.timer.sample``.

    The samples are pytest-benchmark's, by its timer. It has to know how many before it starts: what the preset takes at
    least, or what fits into ``--benchmark-max-time`` where that is given; never fewer than ``--benchmark-min-rounds``.

    Returns:
        None where pytest-benchmark only has it run once: ``--benchmark-disable``, or xdist.
    """
    if not benchmark.enabled:
        benchmark.pedantic(ready.launch)
        return None
    with garbage_collection_paused():
        warmup = warm_up(ready.launch, ready.clock, effort)
        iterations = launches_of_a_round(warmup, ready.clock)
        rounds = _rounds(config, effort, _round_s(ready, iterations))
        started_s = ready.clock.now_s()
        if iterations > 1:
            benchmark.pedantic(ready.launch, rounds=rounds, iterations=iterations)
        else:
            before = (ready.launch, ready.clock, ready.renew)
            benchmark.pedantic(ready.launch, setup=lambda: begin_round(*before), rounds=rounds)
        ended_s = ready.clock.now_s()
    return timing_of(
        benchmark.stats.stats.data,
        effort,
        warmup_iterations=len(warmup),
        rounds=rounds,
        started_s=started_s,
        ended_s=ended_s,
    )


def _round_s(ready: Ready, iterations: int) -> float:
    """What a round takes, with what comes before it."""
    started_s = ready.clock.now_s()
    begin_round(ready.launch, ready.clock, ready.renew)
    ready.clock.time(ready.launch, iterations)
    return ready.clock.now_s() - started_s


def _rounds(config: pytest.Config, effort: Effort, round_s: float) -> int:
    """As many as vitbench takes at least, unless ``--benchmark-max-time`` says how long."""
    round_s = max(round_s, 1e-9)
    asked_s = float(config.getoption("benchmark_max_time"))
    least = int(config.getoption("benchmark_min_rounds"))
    if asked_s != _DEFAULT_MAX_TIME_S:
        return max(least, math.ceil(asked_s / round_s))
    return max(least, math.ceil(effort.least_s / round_s), min(effort.least_samples, int(effort.most_s / round_s)))


def extra_info(record: MeasurementRecord) -> Mapping[str, Any]:
    """What vitbench would record, less what pytest-benchmark has itself; and what it was measured on."""
    told = {name: value for name, value in asdict(record).items() if value is not None and name not in _LEFT_OUT}
    return {**told, "environment": _environment(record.device, record.threads)}


@cache
def _environment(device: str, threads: int) -> Mapping[str, Any]:
    return describe(device, threads)


def teller(config: pytest.Config) -> Callable[[str], None]:
    """Shows a line on the terminal while a test runs, past pytest's capturing of output."""
    capture = config.pluginmanager.getplugin("capturemanager")
    reporter = config.pluginmanager.getplugin("terminalreporter")

    def tell(text: str) -> None:
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            if reporter is not None:
                reporter.ensure_newline()
                reporter.write_line(text)

    return tell


@contextmanager
def reasons_without_traceback() -> Iterator[None]:
    """What an implementation does not have is skipped, what is wrong with it fails, each with its reason in a line."""
    try:
        yield
    except NotSupported as error:
        pytest.skip(f"not supported: {error}")
    except VitbenchError as error:
        pytest.fail(str(error), pytrace=False)
