"""One cell of inference: axes, setup, timed callable."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.adapter import Model, NotSupported
from vitbench.arrays import as_tensor
from vitbench.candidate import Candidate
from vitbench.conditions.watch import watching
from vitbench.environment import device_name
from vitbench.errors import AdapterBroken
from vitbench.inputs import ImagePool
from vitbench.layout import MemoryLayout
from vitbench.limits.peaks import peak_of
from vitbench.limits.roofline import roofline
from vitbench.measurement import figures, record
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.reference.cost import forward, multiply_accumulates
from vitbench.reference.parameters import exercised_weights
from vitbench.registry import resolve
from vitbench.results import MeasurementRecord, Outcome
from vitbench.timer import Clock, Effort, clock_for, sample

EFFORT = {
    "quick": Effort(relative_width=0.05, least_s=1.0, most_s=3.0, most_warmup_s=1.0),
    "standard": Effort(relative_width=0.02, least_s=2.0, most_s=15.0, most_warmup_s=3.0),
    "full": Effort(relative_width=0.01, least_s=5.0, most_s=60.0, most_warmup_s=5.0),
}
_POOL_SIZE = 4  # batches


def measure(cell: Cell) -> MeasurementRecord:
    """Images a second of the adapter's own logits, in evaluation mode and without gradients.

    Raises:
        NotSupported: the implementation has no such model.
        AdapterBroken: its logits have the wrong shape.
    """
    started = time.monotonic()
    # axes
    config, dtype = model_config(cell.model), getattr(torch, cell.dtype)

    # setup
    clock = clock_for(cell.device)
    candidate = Candidate(resolve(cell.implementation), cell.device)
    torch.set_num_threads(cell.threads)
    model, build_s = _timed(lambda: candidate.build(config, dtype), clock)
    _load(candidate, model, exercised_weights(config, candidate.conventions, cell.seed, dtype))
    images = ImagePool(config, cell.batch, size=_POOL_SIZE, seed=cell.seed, device=cell.device, dtype=dtype)
    layout = MemoryLayout(model, images.batches, cell.seed)
    renew = layout.draw if cell.device == "cpu" and layout.movable else None
    if cell.device != "cpu":
        _compute_float32_as_such()

    # timed callable
    launch = _launch(candidate, model, images)
    with torch.inference_mode():
        answer, first_forward_s = _timed(launch, clock)
        _require_shape(answer, (cell.batch, config.num_classes), candidate.name)
        with watching(cell.device) as watch:
            timing = sample(launch, clock, EFFORT[cell.preset], renew)

    name = device_name(cell.device)
    work = forward(config, cell.batch, dtype.itemsize, candidate.conventions)
    return record(
        cell,
        Outcome.MEASURED,
        implementation=candidate.name,
        version=candidate.version,
        device_name=name,
        roofline=roofline(arithmetic=cell.dtype, work=work, seconds=timing.median_s, peak=peak_of(name)),
        parameters=sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else None,
        multiply_accumulates=multiply_accumulates(config),
        evidence=watch.evidence(timing, cell.batch),
        build_s=build_s,
        first_forward_s=first_forward_s,
        memory_layouts=timing.rounds if renew else 1,
        duration_s=time.monotonic() - started,
        **figures(timing, cell.batch),
    )


def _launch(candidate: Candidate, model: Model, images: ImagePool) -> Callable[[], Any]:
    logits = candidate.adapter.logits

    def forward() -> Any:
        return logits(model, images.next())

    def forward_and_wait() -> Tensor:
        return as_tensor(logits(model, images.next()), "logits()")

    # a model of another framework may answer before its work is done; to take the answer over is to wait for it
    return forward if isinstance(model, nn.Module) else forward_and_wait


def _load(candidate: Candidate, model: Model, weights: Mapping[str, Tensor]) -> None:
    """The same random weights for every implementation that takes them: zeros, as of a fresh head, run faster."""
    with contextlib.suppress(NotSupported):
        candidate.call("load", model, weights)


def _compute_float32_as_such() -> None:
    """No TF32 in a cell that is called float32: torch's own default has it on for convolutions, off for products."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # made by torch at run time


def _timed(work: Callable[[], Any], clock: Clock) -> tuple[Any, float]:
    start = clock.now_s()
    result = work()
    return result, clock.now_s() - start


def _require_shape(answer: Any, expected: tuple[int, int], name: str) -> None:
    shape = tuple(getattr(answer, "shape", ()))
    if shape != expected:
        raise AdapterBroken(f"adapter {name!r}: logits() returned shape {shape}, expected (B, K) = {expected}")
