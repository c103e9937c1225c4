"""A few launches under torch's profiler, kept as a trace that TensorBoard, Perfetto and Chrome open."""

import gzip
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

from vitbench.environment import without_places
from vitbench.errors import one_line
from vitbench.plan import Cell
from vitbench.traces.record import Tables, TraceRecord
from vitbench.traces.tables import EXTRA, PACKAGE, installed, tables

WARM_UP, ITERATIONS = 1, 3  # the profiler itself is slow at first
_WORKER = "vitbench"  # else the host's name and the process's number
_WRITTEN = "*.pt.trace.json.gz"


def traced(cell: Cell, launch: Callable[[], object], tables_of: Callable[[Path], Tables] = tables) -> TraceRecord:
    """Profile the launch, keep the trace in the cell's folder, and take its tables.

    Nothing is raised: whatever goes wrong is the record's reason, and the cell has its figures already.
    """
    started, folder = time.monotonic(), Path(cell.trace)
    found = TraceRecord(cell=cell.key)
    try:
        file = write(launch, cell.device, folder)
        path = file.relative_to(folder.parents[1]).as_posix()
        found = replace(found, path=path, size_bytes=file.stat().st_size, iterations=ITERATIONS)
        found = replace(found, tables=tables_of(file))
    except Exception as error:  # noqa: BLE001  # a full disk, a lack of memory, a trace that the parser does not know
        found = replace(found, reason=without_places(_reason(error, found)))
    return replace(found, duration_s=time.monotonic() - started)


def write(launch: Callable[[], object], device: str, folder: Path) -> Path:
    """The trace of a few launches.

    Python's own calls are traced as well, since without them the parser knows no modules; it makes the host look slower
    than it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = set(folder.glob(_WRITTEN))  # of a run that another took the place of
    activities = [ProfilerActivity.CPU, *([] if device == "cpu" else [ProfilerActivity.CUDA])]
    try:
        with profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=WARM_UP, active=ITERATIONS, repeat=1),
            on_trace_ready=tensorboard_trace_handler(str(folder), worker_name=_WORKER, use_gzip=True),
            record_shapes=True,
            profile_memory=True,
            with_stack=True,
        ) as profiler:
            for _ in range(WARM_UP + ITERATIONS):
                launch()
                profiler.step()
        file = _new(folder, earlier)
        name_as_the_parser_does(file)
    except BaseException:
        _remove(folder, earlier)  # half a trace is one that no viewer opens
        raise
    return file


def _new(folder: Path, earlier: set[Path]) -> Path:
    """The one that has come; torch's profiler does not always raise where it cannot write."""
    for file in set(folder.glob(_WRITTEN)) - earlier:
        return file
    raise FileNotFoundError("torch's profiler wrote no file")


_NAMES = {
    b"cuda_runtime": b"runtime",
    b"cuda_driver": b"runtime",
    b"gpu_user_annotation": b"gpu_annotation",
}
"""Categories of events as torch 2 writes them, and as torch-tb-profiler 0.4.3, its last release, understands them.

It takes launches for launches under the first name only, without which no operator has time on the device. Source:
pytorch/kineto, issue 843 and pull request 1166. Annotations on the device it takes for annotations by the host, so that
every iteration counts twice, the second time with no length to divide by; what it does not know, it passes over.
"""
_CATEGORY = re.compile(rb'("cat":\s*")(' + b"|".join(_NAMES) + rb')"')


def name_as_the_parser_does(file: Path) -> None:
    """Rename categories in a trace of a GPU; other viewers show them as they are called."""
    trace = gzip.decompress(file.read_bytes())
    renamed, found = _CATEGORY.subn(lambda match: match[1] + _NAMES[match[2]] + b'"', trace)
    if found:
        file.write_bytes(gzip.compress(renamed))


def _remove(folder: Path, earlier: set[Path]) -> None:
    with suppress(OSError):
        for file in set(folder.glob(_WRITTEN)) - earlier:
            file.unlink()
        folder.rmdir()


def _reason(error: Exception, found: TraceRecord) -> str:
    """Why there is no trace, or what it lacks."""
    if not found.path:
        return f"no trace: {type(error).__name__}: {one_line(error)}"
    if not installed():
        return f"no tables: {PACKAGE} is not installed; {EXTRA}"
    return f"no tables: {PACKAGE} raised {type(error).__name__}: {one_line(error)}"
