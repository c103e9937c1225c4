"""The timers that are set beside each other, each used as its own documentation has it."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitbench.errors import HarnessError, NotSupported
from vitbench.timer import Clock, Effort, Launch, sample


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What a timer read."""

    samples_s: Sequence[float]
    loads: int  # behind these samples; a timer that runs blocks of them gives the mean of each
    started_s: float  # of the first sample, by time.perf_counter
    ended_s: float
    exact: bool = True  # whether these two leave out what comes before the first sample
    converged: bool | None = None  # None: the timer has no such notion

    @property
    def elapsed_s(self) -> float | None:
        """The time of sampling; None where it cannot be told from what comes before."""
        return self.ended_s - self.started_s if self.exact else None


Timer = Callable[[Launch, Clock, Effort], Readings]


def by_vitbench(load: Launch, clock: Clock, effort: Effort) -> Readings:
    """The timer of all benchmark suites."""
    timing = sample(load, clock, effort)
    samples = timing.samples_s
    return Readings(
        samples_s=samples,
        loads=len(samples),
        started_s=timing.started_s,
        ended_s=timing.ended_s,
        converged=timing.converged,
    )


def by_torch_blocked(load: Launch, clock: Clock, effort: Effort) -> Readings:
    """``torch.utils.benchmark.Timer.blocked_autorange``: means of blocks long enough for the clock not to matter."""
    return _by_torch(load, clock, lambda timer: timer.blocked_autorange(min_run_time=effort.least_s))


def by_torch_adaptive(load: Launch, clock: Clock, effort: Effort) -> Readings:
    """``torch.utils.benchmark.Timer.adaptive_autorange``: the same until quartiles are near each other."""
    return _by_torch(
        load,
        clock,
        lambda timer: timer.adaptive_autorange(min_run_time=effort.least_s, max_run_time=effort.most_s),
    )


def _by_torch(load: Launch, clock: Clock, measure: Callable[[Any], Any]) -> Readings:
    from torch.utils.benchmark import Timer as TorchTimer  # noqa: PLC0415

    started_s = time.perf_counter()
    found = measure(TorchTimer("load()", globals={"load": load}, timer=clock.now_s))
    return Readings(
        samples_s=tuple(found.times),
        loads=len(found.times) * found.number_per_run,
        started_s=started_s,
        ended_s=time.perf_counter(),
        exact=False,
    )


def by_pytest_benchmark(load: Launch, clock: Clock, effort: Effort) -> Readings:  # noqa: ARG001  # it has one of its own
    """The fixture ``benchmark`` in a pytest run within this process, in its calibrated mode."""
    import pytest  # noqa: PLC0415

    taken: list[Any] = []

    class Hands:
        """Hands the load to the test, and its statistics out."""

        @pytest.fixture
        def load(self) -> Launch:
            return load

        @pytest.fixture
        def take(self) -> Callable[[Any], None]:
            return taken.append

    started_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        test, settings = Path(folder, "test_load.py"), Path(folder, "pytest.ini")
        test.write_text("def test_load(benchmark, load, take):\n    benchmark(load)\n    take(benchmark.stats)\n")
        settings.write_text("[pytest]\n")
        os.environ.pop("PYTEST_ADDOPTS", None)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        plugins = ("-p", "pytest_benchmark.plugin", "-p", "no:cacheprovider", "-p", "no:terminal")
        how = (f"--config-file={settings}", f"--rootdir={folder}", f"--benchmark-max-time={effort.least_s / _FEWER}")
        code = pytest.main([*plugins, *how, str(test)], plugins=[Hands()])
    if not taken:
        raise HarnessError(
            f"pytest-benchmark gave no figures of a load of known duration; pytest's exit code is {code}"
        )
    (stats,) = taken
    return Readings(
        samples_s=tuple(stats.stats.data),
        loads=len(stats.stats.data) * stats.iterations,
        started_s=started_s,
        ended_s=time.perf_counter(),
        exact=False,
    )


_FEWER = 4  # pytest-benchmark samples all the time, and of short loads takes more than anybody needs


def by_triton(load: Launch, clock: Clock, effort: Effort) -> Readings:  # noqa: ARG001  # of one kind; it has a clock of its own
    """``triton.testing.do_bench``: events around each launch, the device's L2 cache wiped before."""
    try:
        from triton.testing import do_bench  # noqa: PLC0415
    except ImportError as error:
        raise NotSupported(f"triton is not installed: {error}") from error
    started_s = time.perf_counter()
    times_ms = do_bench(load, rep=effort.least_s * 1e3, return_mode="all")
    return Readings(
        samples_s=tuple(ms * 1e-3 for ms in times_ms),
        loads=len(times_ms),
        started_s=started_s,
        ended_s=time.perf_counter(),
        exact=False,
    )


_EVERYWHERE: Mapping[str, Timer] = {
    "vitbench": by_vitbench,
    "torch blocked_autorange": by_torch_blocked,
    "torch adaptive_autorange": by_torch_adaptive,
}
ON_CPU = {**_EVERYWHERE, "pytest-benchmark": by_pytest_benchmark}
ON_CUDA = {**_EVERYWHERE, "triton do_bench": by_triton}
