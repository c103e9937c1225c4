"""One cell of attention: axes, setup, judgement, timed callable, and what really ran."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitbench.arrays import as_tensor
from vitbench.attention_kernels import AttentionKernel
from vitbench.conditions.growth import Growth
from vitbench.conditions.watch import watching
from vitbench.environment import device_name
from vitbench.errors import NotSupported
from vitbench.kernel import Kernel
from vitbench.kernel_cases import Inputs, KernelCase
from vitbench.kernel_registry import attention_kernel
from vitbench.launched import Launched, launched
from vitbench.limits.peaks import peak_of
from vitbench.limits.roofline import roofline
from vitbench.measurement import figures, record
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome, Precision
from vitbench.reference.cost import Work, attention_backward, attention_forward
from vitbench.suites.attention.calls import Calls, sampled
from vitbench.suites.attention.precision import of_answers
from vitbench.suites.attention.refusal import asked
from vitbench.suites.attention.suite import BOTH, shape_of
from vitbench.timer import Effort

EFFORT = {
    "quick": Effort(relative_width=0.05, least_s=0.5, most_s=1.5, most_warmup_s=0.5),
    "standard": Effort(relative_width=0.02, least_s=1.0, most_s=5.0, most_warmup_s=1.0),
    "full": Effort(relative_width=0.01, least_s=2.0, most_s=20.0, most_warmup_s=2.0),
}
BACKWARD_FLOPS = 2.5
"""Of the forward pass's. Source: Dao, FlashAttention-2 (2023), section 4.1: five products of matrices in a blockwise
backward pass, which computes the scores again, to the forward pass's two. The same figure for every kernel, so that
TFLOP/s compare as times do."""
_NAMES_KEPT = 5


def measure(cell: Cell) -> MeasurementRecord:
    """Time of one call, beside its error.

    Raises:
        NotSupported: the kernel refuses this dtype, shape or direction, or another ran in its place.
        RequirementFailed: it raised anything else, or its answers are no attention: of another shape or dtype, or NaN.
    """
    started = time.monotonic()
    # axes
    shape, dtype, both = shape_of(cell), _dtype(cell), cell.task == BOTH
    kernel = attention_kernel(cell.implementation)

    # setup
    torch.set_num_threads(cell.threads)
    case = KernelCase(shape.batch, shape.heads, shape.tokens, shape.head_dim, cell.seed)
    inputs, upstream = case.inputs(dtype), case.random(case.shape, stream=1).to(dtype) if both else None
    candidate = Kernel(kernel.function, kernel.name, cell.device)

    with kernel.forced():
        # judgement
        first_started = time.monotonic()
        gradients = None
        if upstream is not None:
            gradients = asked(kernel, candidate, dtype, lambda: candidate.gradients(inputs, upstream), grad=True)
        output = asked(kernel, candidate, dtype, lambda: candidate.output(inputs))
        first_s = time.monotonic() - first_started
        judged = partial(of_answers, inputs=inputs, upstream=upstream, device=cell.device)
        precision = judged(output, gradients)

        # timed callable
        calls = Calls(kernel.function, inputs, upstream, cell.device)
        growth = Growth(cell.device)
        with watching(cell.device) as watch:
            timing = sampled(calls, cell, EFFORT[cell.preset], growth.look)

        precision = _of_the_last(calls.launch(), output, gradients, precision, judged)

        # what ran; last, since a profiler that was attached once may slow down what follows
        ran = launched(calls.launch, cell.device)
    _require_own(kernel, ran)

    return record(
        cell,
        Outcome.MEASURED,
        version=kernel.version,
        device_name=device_name(cell.device),
        first_forward_s=first_s,
        evidence=growth.told(watch.evidence(timing, images=0), len(timing.samples_s)),  # 0: an image is more than this
        memory_layouts=timing.rounds if cell.device == "cpu" else 1,
        duration_s=time.monotonic() - started,
        kernel=kernel.name,
        direction=cell.task,
        shape=shape,
        **_speed(cell, dtype, timing.median_s, both=both),
        precision=precision,
        kernels_ran=tuple(ran.kernels[:_NAMES_KEPT]),
        **(dict(figures(timing, cell.batch)) | {"throughput_images_per_s": None}),
    )


def _of_the_last(
    answer: Any, output: Tensor, gradients: Inputs | None, precision: Precision, judged: Callable[..., Precision]
) -> Precision:
    """The precision of what the timed call answers after its last sample; most answer as at first, to the bit.

    Raises:
        RequirementFailed: it is no attention any more.
    """
    if gradients is None:
        last = as_tensor(answer, "the last output")
        return precision if _same(last, output) else judged(last, None)
    return precision if all(map(_same, answer, gradients)) else judged(output, answer)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.cpu(), other.cpu())


def _speed(cell: Cell, dtype: torch.dtype, median_s: float, *, both: bool) -> Mapping[str, Any]:
    """4·B·h·N²·D_h floating-point operations forward, with the gradients 3.5 times as many; and the roofline.

    The roofline counts what the model needs, as for whole models: its backward pass is twice the forward pass.
    """
    config = model_config(cell.model)
    work = attention_forward(config, cell.batch, dtype.itemsize)
    flops = work.flops
    if both:
        flops = round(work.flops * (1 + BACKWARD_FLOPS))
        back = attention_backward(config, cell.batch, dtype.itemsize)
        work = Work(flops=work.flops + back.flops, least_bytes=work.least_bytes + back.least_bytes)
    peak = peak_of(device_name(cell.device))
    limit = roofline(arithmetic=cell.dtype, work=work, seconds=median_s, peak=peak)
    return {"flops": flops, "flops_per_s": flops / median_s, "roofline": limit}


def _dtype(cell: Cell) -> torch.dtype:
    """The tensors' dtype; products of float32 are made as the cell says.

    Raises:
        NotSupported: this torch or this device has none of that name.
    """
    if cell.device == "cpu" and cell.dtype == "tf32":
        raise NotSupported("tf32 is a way in which CUDA's tensor cores multiply float32; the CPU has none")
    if cell.device != "cpu":
        torch.backends.cuda.matmul.fp32_precision = "tf32" if cell.dtype == "tf32" else "ieee"
    dtype = torch.float32 if cell.dtype == "tf32" else getattr(torch, cell.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise NotSupported(f"torch {torch.__version__} has no dtype {cell.dtype}")
    return dtype


def _require_own(kernel: AttentionKernel, ran: Launched) -> None:
    """Raises: NotSupported: the backend that was forced did not run."""
    if kernel.operator and not ran.includes(kernel.operator):
        ran_instead = next((name for name in ran.operators if "scaled_dot_product" in name and "_math" in name), "")
        longest = ran_instead or next(iter(ran.kernels), "nothing")
        raise NotSupported(f"{kernel.name} was forced, but {longest} ran in its place")
