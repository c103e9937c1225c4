"""Traces as a run with ``--profile`` would record them: with tables, of a GPU, without tables, and none at all."""

from dataclasses import replace
from typing import Any

from vitbench.traces.record import AllocationRow, KernelRow, ModuleRow, OperatorRow, StepPart, Tables, TraceRecord

CELL = "throughput/{}/inference/Ti/16@224/float32/b4/eager/cpu"
ON_CPU = Tables(
    parser="torch-tb-profiler 0.4.3",
    step_s=0.060,
    parts=[StepPart(name="DataLoader", seconds=0.0), StepPart(name="CPU Exec", seconds=0.054)],
    operators=[
        OperatorRow(
            name="aten::addmm", calls=147, host_self_s=0.09, host_total_s=0.1, device_self_s=None, device_total_s=None
        ),
        OperatorRow(
            name="aten::gelu", calls=36, host_self_s=0.018, host_total_s=0.018, device_self_s=None, device_total_s=None
        ),
    ],
    operators_in_all=33,
    kernels=[],
    kernels_in_all=0,
    modules=[
        ModuleRow(
            name=name,
            depth=depth,
            calls=3,
            operators=4,
            host_self_s=0.001,
            host_total_s=0.18 / (depth + 1),
            device_self_s=None,
            device_total_s=None,
        )
        for depth, name in enumerate(("VisionTransformer_0", "Block_0", "Mlp_0"))
    ],
    modules_in_all=264,
    allocations=[
        AllocationRow(
            name="aten::addmm",
            calls=147,
            allocations=147,
            allocated_bytes=3 * 2**20,
            self_allocated_bytes=2**20,
            increase_bytes=-4096,
            self_increase_bytes=-4096,
        )
    ],
    allocations_in_all=1,
    allocations_of="CPU",
)
ON_GPU = Tables(
    parser="torch-tb-profiler 0.4.3",
    step_s=0.002,
    parts=[StepPart(name="Kernel", seconds=0.0015), StepPart(name="Other", seconds=0.0005)],
    operators=[
        OperatorRow(
            name="aten::mm",
            calls=147,
            host_self_s=0.001,
            host_total_s=0.001,
            device_self_s=0.003,
            device_total_s=0.003,
        )
    ],
    operators_in_all=1,
    kernels=[
        KernelRow(
            name="sm90_xmma_gemm_bf16bf16_" + "tilesize128x128x32_" * 5,
            calls=147,
            total_s=0.003,
            mean_s=0.00002,
            longest_s=0.00004,
            tensor_cores=True,
            blocks_per_sm=2.0,
            occupancy=0.5,
        )
    ],
    kernels_in_all=40,
    modules=[],
    modules_in_all=0,
    allocations=[],
    allocations_in_all=0,
    allocations_of="GPU0",
    gpu_utilization=0.75,
    sm_efficiency=0.7,
    occupancy=0.5,
    tensor_core_share=0.9,
)


def trace(name: str, tables: Tables | None = ON_CPU, reason: str = "", *, written: bool = True) -> TraceRecord:
    """Of the cell of that implementation."""
    path = f"traces/throughput_inference_{name}/vitbench.1.pt.trace.json.gz" if written else ""
    return TraceRecord(
        cell=CELL.format(name),
        path=path,
        size_bytes=250_000 if written else None,
        iterations=3 if written else 0,
        reason=reason,
        tables=tables,
        duration_s=2.0,
    )


def traces() -> list[TraceRecord]:
    """One of each kind."""
    return [
        trace("timm"),
        trace("torchvision", ON_GPU),
        trace("transformers", None, "no tables: torch-tb-profiler raised KeyError: 'ts' (trace.py:7)"),
        trace("reference", None, "no trace: OSError: [Errno 28] No space left on device (gzip.py:1)", written=False),
    ]


def hostile_trace(text: str, cell: str) -> TraceRecord:
    """One in which every free text is the given one."""
    named: dict[str, Any] = {
        "operators": [replace(row, name=text) for row in ON_GPU.operators],
        "kernels": [replace(row, name=text) for row in ON_GPU.kernels],
        "modules": [replace(row, name=text) for row in ON_CPU.modules],
        "allocations": [replace(row, name=text) for row in ON_CPU.allocations],
        "parts": [StepPart(name=text, seconds=0.001)],
    }
    whole = replace(ON_GPU, parser=text, allocations_of=text, **named)
    return replace(trace("timm", whole, text), cell=cell, path=text)
