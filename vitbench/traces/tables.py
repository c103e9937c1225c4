"""The tables of a trace, as TensorBoard's plugin torch-tb-profiler makes them.

Its parser and its generator of pages are called as its own server calls them, so that what is recorded is what
TensorBoard shows. It counts in whole microseconds.
"""

import importlib.metadata
import importlib.util
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from vitbench.traces.record import AllocationRow, KernelRow, ModuleRow, OperatorRow, StepPart, Tables

PACKAGE = "torch-tb-profiler"
EXTRA = "pip install 'vitbench[tensorboard]'"
ROWS = 15  # of each table
_WORKER = "vitbench"


def installed() -> bool:
    """Whether the parser can be imported; found without importing it."""
    return importlib.util.find_spec("torch_tb_profiler") is not None


def tables(trace: Path, rows: int = ROWS) -> Tables:
    """The tables of a trace that torch.profiler wrote.

    Raises:
        ImportError: torch-tb-profiler is not installed.
        Exception: whatever its parser raises on a trace that it does not understand.
    """
    from torch_tb_profiler.profiler.data import RunProfileData  # noqa: PLC0415  # an extra, and pandas with it
    from torch_tb_profiler.profiler.run_generator import RunGenerator  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="vitbench-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was written for older versions of pandas
        data = RunProfileData.parse(_WORKER, None, str(trace), scratch)
        pages = RunGenerator(_WORKER, None, data).generate_run_profile()
        return _tables(data, pages, rows)


def _tables(data: Any, pages: Any, rows: int) -> Tables:
    operators = pages.operation_table_by_name["data"]
    kernels = pages.kernel_table["data"]["rows"] if pages.has_kernel else []
    modules = list(_modules((pages.get_module_view() or {"data": []})["data"], on_device=pages.has_kernel))
    memory_of, allocations = _allocations(pages)
    (step,) = pages.overview["performance"]
    return Tables(
        parser=f"{PACKAGE} {importlib.metadata.version(PACKAGE)}",
        step_s=_seconds(step["value"]),
        parts=[StepPart(name=part["name"], seconds=_seconds(part["value"])) for part in step["children"]],
        operators=[_operator(row) for row in operators[:rows]],
        operators_in_all=len(operators),
        kernels=[_kernel(row, data.gpu_metrics_parser) for row in kernels[:rows]],
        kernels_in_all=len(kernels),
        modules=_largest(modules, rows),
        modules_in_all=len(modules),
        allocations=allocations[:rows],
        allocations_in_all=len(allocations),
        allocations_of=memory_of,
        **_of_device(data),
    )


def _operator(row: Mapping[str, Any]) -> OperatorRow:
    return OperatorRow(
        name=row["name"],
        calls=row["calls"],
        host_self_s=_seconds(row["host_self_duration"]),
        host_total_s=_seconds(row["host_total_duration"]),
        device_self_s=_seconds(row["device_self_duration"]) if "device_self_duration" in row else None,
        device_total_s=_seconds(row["device_total_duration"]) if "device_total_duration" in row else None,
    )


def _kernel(row: Sequence[Any], metrics: Any) -> KernelRow:
    """A row's first columns are always there; the last two where the trace has them."""
    name, tensor_cores, calls, total, mean, longest, _shortest, *estimates = row
    blocks = estimates.pop(0) if metrics.has_blocks_per_sm else None
    occupancy = estimates.pop(0) if metrics.has_occupancy else None
    return KernelRow(
        name=str(name),
        calls=int(calls),
        total_s=_seconds(total),
        mean_s=_seconds(mean),
        longest_s=_seconds(longest),
        tensor_cores=tensor_cores == "Yes",
        blocks_per_sm=None if blocks is None else float(blocks),
        occupancy=None if occupancy is None else float(occupancy) / 100,
    )


def _modules(nodes: Sequence[Mapping[str, Any]], *, on_device: bool, depth: int = 0) -> Iterator[ModuleRow]:
    """The tree, each parent before its children."""
    for node in nodes:
        yield ModuleRow(
            name=node["name"],
            depth=depth,
            calls=node["occurences"],
            operators=node["operators"],
            host_self_s=_seconds(node["self_host_duration"]),
            host_total_s=_seconds(node["host_duration"]),
            device_self_s=_seconds(node["self_device_duration"]) if on_device else None,
            device_total_s=_seconds(node["device_duration"]) if on_device else None,
        )
        yield from _modules(node["children"], on_device=on_device, depth=depth + 1)


def _largest(modules: Sequence[ModuleRow], rows: int) -> list[ModuleRow]:
    """Those that took the most time, in the tree's order; a parent takes no less than its children, and comes first."""
    time = attrgetter("host_total_s")
    kept = sorted(range(len(modules)), key=lambda place: (-time(modules[place]), modules[place].depth, place))[:rows]
    return [modules[place] for place in sorted(kept)]


def _allocations(pages: Any) -> tuple[str, list[AllocationRow]]:
    """Of the device where there is one, else of the host; the largest first."""
    if pages.memory_snapshot is None:
        return "", []
    found = pages.get_memory_stats(memory_metric="B")
    device = found["metadata"]["default_device"]
    rows = [_allocation(row) for row in found["rows"].get(device, [])]
    return device, sorted(rows, key=lambda row: -row.self_allocated_bytes)


def _allocation(row: Sequence[Any]) -> AllocationRow:
    name, calls, increase, self_increase, allocations, _self_allocations, allocated, self_allocated = row
    return AllocationRow(
        name=name,
        calls=calls,
        allocations=allocations,
        allocated_bytes=round(allocated),
        self_allocated_bytes=round(self_allocated),
        increase_bytes=round(increase),
        self_increase_bytes=round(self_increase),
    )


def _of_device(data: Any) -> dict[str, float | None]:
    """How busy the GPU was; a cell works on one."""
    metrics = data.gpu_metrics_parser
    if not metrics.gpu_ids:
        return {}
    gpu = min(metrics.gpu_ids)
    occupancy = metrics.avg_occupancy_per_device[gpu]
    return {
        "gpu_utilization": metrics.gpu_utilization[gpu],
        "sm_efficiency": metrics.avg_approximated_sm_efficiency_per_device[gpu],
        "occupancy": None if occupancy is None else occupancy / 100,
        "tensor_core_share": data.tc_ratio[gpu],
    }


def _seconds(microseconds: float) -> float:
    return round(float(microseconds)) / 1_000_000
