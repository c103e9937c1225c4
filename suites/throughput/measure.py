"""One cell of throughput: axes, setup, timed callable."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from vitbench import workload
from vitbench.arithmetic import arithmetic, computing
from vitbench.candidate import Candidate
from vitbench.conditions.watch import watching
from vitbench.environment import device_name
from vitbench.errors import AdapterBroken
from vitbench.layout import MemoryLayout
from vitbench.limits.peaks import peak_of
from vitbench.limits.roofline import roofline
from vitbench.measurement import figures, record
from vitbench.models import model_config
from vitbench.options import COMPILED
from vitbench.plan import Cell
from vitbench.process import age_s
from vitbench.reference.cost import forward, multiply_accumulates, training_step
from vitbench.registry import resolve
from vitbench.results import MeasurementRecord, Outcome
from vitbench.timer import Clock, Effort, clock_for, sample

EFFORT = {
    "quick": Effort(relative_width=0.05, least_s=1.0, most_s=3.0, most_warmup_s=1.0),
    "standard": Effort(relative_width=0.02, least_s=2.0, most_s=10.0, most_warmup_s=3.0),
    "full": Effort(relative_width=0.01, least_s=5.0, most_s=60.0, most_warmup_s=5.0),
}


def measure(cell: Cell) -> MeasurementRecord:
    """Images a second of the adapter's own logits without gradients, or of a whole training step.

    Raises:
        NotSupported: the implementation has no such model, cannot be trained or compiled, or the device lacks the
            arithmetic.
        AdapterBroken: its logits have the wrong shape.
    """
    started = time.monotonic()
    # axes
    config, how, training = model_config(cell.model), arithmetic(cell.dtype), cell.task == "training"
    dtype = getattr(torch, how.stored)

    # setup
    clock = clock_for(cell.device)
    candidate = Candidate(resolve(cell.implementation), cell.device)
    torch.set_num_threads(cell.threads)
    model, build_s = _timed(lambda: candidate.build(config, dtype), clock)
    work = workload.prepared(cell, candidate, config, model)
    layout = MemoryLayout(model, work.images.batches, cell.seed)
    renew = layout.draw if cell.device == "cpu" and layout.movable else None

    # timed callable
    with computing(how, cell.device), nullcontext() if training else torch.inference_mode():
        with torch.inference_mode():
            answer, first_forward_s = _timed(work.forward, clock)
        cold_start_s = age_s()
        _require_shape(answer, (cell.batch, config.num_classes), candidate.name)
        compiled = cell.mode in COMPILED
        if compiled:
            work = work.compiled(COMPILED[cell.mode])
        launch = workload.Training(work, cell, config.num_classes).step if training else work.forward
        compile_s = _timed(launch, clock)[1] if compiled else None
        with watching(cell.device) as watch:
            timing = sample(launch, clock, EFFORT[cell.preset], renew)

    name, count = device_name(cell.device), training_step if training else forward
    done = count(config, cell.batch, dtype.itemsize, conventions=candidate.conventions)
    return record(
        cell,
        Outcome.MEASURED,
        implementation=candidate.name,
        version=candidate.version,
        device_name=name,
        roofline=roofline(arithmetic=how.products, work=done, seconds=timing.median_s, peak=peak_of(name)),
        parameters=sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else None,
        multiply_accumulates=multiply_accumulates(config),
        evidence=watch.evidence(timing, cell.batch),
        build_s=build_s,
        first_forward_s=first_forward_s,
        cold_start_s=cold_start_s,
        compile_s=compile_s,
        memory_layouts=timing.rounds if renew else 1,
        duration_s=time.monotonic() - started,
        **figures(timing, cell.batch),
    )


def _timed(work: Callable[[], Any], clock: Clock) -> tuple[Any, float]:
    start = clock.now_s()
    result = work()
    return result, clock.now_s() - start


def _require_shape(answer: Any, expected: tuple[int, int], name: str) -> None:
    shape = tuple(getattr(answer, "shape", ()))
    if shape != expected:
        raise AdapterBroken(f"adapter {name!r}: logits() returned shape {shape}, expected (B, K) = {expected}")
