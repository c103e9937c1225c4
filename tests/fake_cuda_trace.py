"""A trace as torch's profiler writes it of work on a CUDA device; made up, since the tests have none."""

import gzip
import json
from pathlib import Path
from typing import Any

HOST, DEVICE = {"pid": 100, "tid": 100}, {"pid": 0, "tid": 7}
GEMM, TRITON = "sm80_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x32", "triton_poi_fused_gelu_0"


def span(category: str, name: str, ts: float, dur: float, where: dict[str, int], **args: Any) -> dict[str, Any]:
    """One event with a duration. Units: microseconds."""
    return {"ph": "X", "cat": category, "name": name, **where, "ts": ts, "dur": dur, "args": args}


def step(number: int) -> list[dict[str, Any]]:
    """A module that launches a product by the runtime and a compiled kernel by the driver; 1 ms an iteration."""
    start, first = 10_000.0 + 1000 * number, 100 * number
    launch = {"device": 0, "stream": 7, "context": 1, "est. achieved occupancy %": 50, "blocks per SM": 2.0}
    launch |= {"grid": [8, 8, 1], "block": [256, 1, 1], "registers per thread": 64, "shared memory": 0}
    python = {"Python id": first + 1, "Python module id": 0}
    return [
        span("user_annotation", f"ProfilerStep#{number}", start, 900, HOST, **{"External id": first + 1}),
        span("python_function", "nn.Module: Mlp_0", start + 5, 400, HOST, **python),
        span("cpu_op", "aten::linear", start + 10, 300, HOST, **{"External id": first + 2}),
        span("cpu_op", "aten::addmm", start + 20, 200, HOST, **{"External id": first + 3}),
        span(
            "cuda_runtime",
            "cudaLaunchKernel",
            start + 50,
            10,
            HOST,
            correlation=first + 3,
            **{"External id": first + 3},
        ),
        span("kernel", GEMM, start + 100, 500, DEVICE, correlation=first + 3, **launch, **{"External id": first + 3}),
        span("cpu_op", "Fused", start + 320, 60, HOST, **{"External id": first + 4}),
        span(
            "cuda_driver", "cuLaunchKernel", start + 330, 5, HOST, correlation=first + 4, **{"External id": first + 4}
        ),
        span("kernel", TRITON, start + 600, 100, DEVICE, correlation=first + 4, **launch, **{"External id": first + 4}),
        span("gpu_user_annotation", f"ProfilerStep#{number}", start + 100, 600, DEVICE),
        memory(start + 60, 4096, 8192),
        memory(start + 390, -4096, 4096),
    ]


def memory(ts: float, size: int, total: int) -> dict[str, Any]:
    """What the caching allocator gave or took back."""
    args = {
        "Device Type": 1,
        "Device Id": 0,
        "Addr": 7,
        "Bytes": size,
        "Total Allocated": total,
        "Total Reserved": 9000,
    }
    return {"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", **HOST, "ts": ts, "args": args}


def write(folder: Path, steps: int = 3) -> Path:
    """The trace of some iterations, as a file."""
    device = {"id": 0, "name": "A GPU", "totalGlobalMem": 2**34, "computeMajor": 8, "computeMinor": 0, "numSms": 100}
    trace = {"schemaVersion": 1, "deviceProperties": [device]}
    trace["traceEvents"] = [event for number in range(1, steps + 1) for event in step(number)]
    file = folder / "vitbench.1.pt.trace.json.gz"
    file.write_bytes(gzip.compress(json.dumps(trace).encode()))
    return file
