"""Results that fill every kind of chart, for tests of the report and to look at one.

``python tests/sample_charts.py FOLDER`` writes them there. The figures are made up.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sample_runs import header, measurement, unmeasured, write

from vitbench.conditions.record import Evidence, Validity
from vitbench.limits.roofline import Ceilings, Copy, Product, roofline
from vitbench.records import Counts, MeasurementRecord, Memory, Outcome, Precision, Record, Shape
from vitbench.reference.cost import Work
from vitbench.scaling import Agreement, Scaling, images_per_s, point

MIB = 2**20
SPEEDS = {
    "reference": 1.5,
    "timm": 1.0,
    "torchvision": 1.05,
    "transformers": 1.1,
    "vit_pytorch": 1.25,
}  # of timm's time
BUSY = Evidence(verdict=Validity.INVALID, reasons=["others used 40 %"], notes=[], window_s=2.0, readings=4)
CEILINGS = Ceilings(
    products=[Product(arithmetic="float32", flops_per_s=4e11), Product(arithmetic="bfloat16", flops_per_s=None)],
    copy=Copy(bytes_per_s=1e10, buffer_bytes=2**28),
)


def cell(name: str, batch: int, side: int = 224, sampled: int = 200, **changes: Any) -> MeasurementRecord:
    """A forward pass of so many images of so many pixels."""
    model = f"Ti/16@{side}"
    pixels = (side / 224) ** 2
    latency_s = SPEEDS.get(name, 2.0) * pixels**1.2 * (0.006 + 0.0085 * batch)
    work = Work(flops=int(2.5e9 * batch * pixels), least_bytes=int(23e6 + 4e6 * batch * pixels))
    values: dict[str, Any] = {
        "cell": f"throughput/{name}/inference/{model}/float32/b{batch}/eager/cpu",
        "model": model,
        "roofline": roofline(arithmetic="float32", work=work, seconds=latency_s, peak=None),
    }
    return measurement(name, latency_s, batch, sampled, **(values | changes))


def batches_and_sizes() -> Iterator[MeasurementRecord]:
    """Five implementations at four batches and three sizes; one ran out of memory, one was not to be believed."""
    for name in SPEEDS:
        for batch in (1, 4, 16, 64):
            lost = name == "transformers" and batch == 64
            key = f"throughput/{name}/b{batch}"
            if lost:
                yield unmeasured(name, Outcome.OUT_OF_MEMORY, "no room", batch=batch, cell=key)
            else:
                yield cell(name, batch, evidence=BUSY if (name, batch) == ("timm", 16) else None)
        for side in (96, 384):
            yield cell(name, 4, side)


def limits() -> MeasurementRecord:
    """What the device was measured to do."""
    return measurement("torch", cell="limits/torch", suite="limits", ceilings=CEILINGS, evidence=None)


def memory(name: str, batch: int, task: str = "training") -> MeasurementRecord:
    """A cell of the memory suite."""
    weights, training = 22 * MIB, task == "training"
    activations = 31 * MIB * batch if training else 0
    scratch = 9 * MIB * batch
    total = weights * (4 if training else 1) + activations + scratch
    taken = Memory(
        allocated_bytes=total - 6 * MIB,
        reserved_bytes=None,
        process_bytes=total + 200 * MIB,
        process_before_bytes=190 * MIB,
        device_bytes=None,
        parameters_bytes=weights,
        gradients_bytes=weights if training else 0,
        optimizer_bytes=2 * weights if training else 0,
        activations_bytes=activations,
        temporaries_bytes=scratch,
        parameters_expected_bytes=weights,
        optimizer_expected_bytes=2 * weights,
        activations_expected_bytes=activations,
    )
    key = f"memory/{name}/{task}/b{batch}"
    return measurement(name, 0.03, batch, cell=key, suite="memory", task=task, samples_s=(), memory=taken)


def scaling(name: str, mode: str = "ddp") -> MeasurementRecord:
    """A cell of the suite scaling: two workers, each with eight images."""
    alone_s = [0.08] * 5 + [0.1]
    silent_s, together_s = [0.09] * 6, [0.1] * 6
    found = Scaling(
        strategy=mode,
        backend="gloo",
        rounds=6,
        alone_images_per_s=images_per_s(alone_s, 8),
        alone_samples_s=alone_s,
        points=[point(1, 8, alone_s, alone_s, []), point(2, 8, alone_s, together_s, silent_s)],
        agreement=Agreement(workers=2, steps=3, loss_before=3.7, loss_alone=3.2, loss_together=3.2),
        notes=["parameters that get no gradient: 2"],
    )
    key = f"scaling/{name}/{mode}"
    return measurement(
        name,
        0.1,
        8,
        cell=key,
        suite="scaling",
        task="training",
        mode=mode,
        samples_s=together_s,
        scaling=found,
        throughput_images_per_s=160.0,
    )


def kernel(
    name: str, dtype: str, time_s: float, error: float | None, bound: float, **changes: Any
) -> MeasurementRecord:
    """An attention kernel; its error is beyond its bound where it is larger."""
    precision = Precision(output_error=error, output_bound=bound, within=error is not None and error <= bound, images=4)
    values: dict[str, Any] = {
        "cell": f"attention/{name}/forward/{dtype}",
        "suite": "attention",
        "task": "forward",
        "model": "B/16@224",
        "device": "cuda:0",
        "device_name": "a GPU",
        "dtype": dtype,
        "mode": "L2 cold",
        "kernel": name,
        "direction": "forward",
        "shape": Shape(batch=64, heads=12, tokens=197, head_dim=64),
        "precision": precision,
        "flops": 7_630_159_872,
        "flops_per_s": 7_630_159_872 / time_s,
    }
    return measurement("torch", time_s, 64, **(values | changes))


def kernels() -> list[MeasurementRecord]:
    """All but efficient in bfloat16 are on the front; a wrong one is the fastest, and an exact one has no error."""
    return [
        kernel("math", "float32", 900e-6, 2e-7, 1e-6),
        kernel("efficient", "float32", 700e-6, 9e-7, 2e-6),
        kernel("flash", "bfloat16", 50e-6, 4e-3, 2e-2),
        kernel("efficient", "bfloat16", 80e-6, 5e-3, 2e-2),
        kernel("efficient", "float16", 78e-6, 5e-4, 2e-3, converged=False),
        kernel("wrong", "float16", 25e-6, 0.3, 2e-3),
        kernel("exact", "float32", 950e-6, 0.0, 1e-6),
        unmeasured(
            "torch", Outcome.NOT_SUPPORTED, "not for this device", cell="attention/cudnn", suite="attention",
            task="forward", model="B/16@224", device="cuda:0", device_name="a GPU", dtype="float16", mode="L2 cold",
            kernel="cudnn", direction="forward", shape=Shape(batch=64, heads=12, tokens=197, head_dim=64),
        ),
    ]  # fmt: skip


def counted(name: str) -> MeasurementRecord:
    """A cell of the suite counts."""
    operators = {"aten::linear": 48, "aten::add": 30, "aten::gelu": 12, "aten::view": 300}
    counts = Counts(
        operators=operators, flops=10_000_000_000, graph_breaks=0, attention=["scaled_dot_product_attention"]
    )
    record = unmeasured(name, Outcome.MEASURED, "", cell=f"counts/{name}", suite="counts")
    return replace(record, counts=counts)


def measured() -> list[Record]:
    """A run that fills every chart."""
    stacks = [memory(name, batch) for name in ("timm", "torchvision") for batch in (1, 8)]
    refused = unmeasured("vit_pytorch", Outcome.FAILED, "TypeError: no", cell="counts/vit_pytorch", suite="counts")
    counts = [counted("timm"), counted("torchvision"), refused]
    body = [*batches_and_sizes(), limits(), *stacks, memory("timm", 8, "inference"), *kernels(), *counts]
    return [header(planned=[record.cell for record in body]), *body]


def many_cells(number: int = 500, sampled: int = 100) -> list[Record]:
    """Cells of batch 1 and more, of many models."""
    body = [
        cell(name, batch, side, sampled, cell=f"{name} {batch} {side}")
        for side in range(32, 32 + 16 * 25, 16)
        for batch in (1, 4, 16, 64)
        for name in SPEEDS
    ][:number]
    return [header(planned=[record.cell for record in body]), *body, limits()]


if __name__ == "__main__":
    for each in (measured, many_cells):
        sys.stdout.write(f"{write(each(), Path(sys.argv[1]) / (each.__name__ + '.jsonl'))}\n")
