"""One cell of throughput: axes, setup, timed callable."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from vitbench import workload
from vitbench.arithmetic import arithmetic, computing
from vitbench.arrays import as_tensor
from vitbench.candidate import Candidate
from vitbench.conditions.growth import Growth
from vitbench.conditions.record import Evidence, spoiled
from vitbench.conditions.watch import watching
from vitbench.environment import device_name
from vitbench.errors import AdapterBroken
from vitbench.exclusive import waited_s
from vitbench.isolation import differing, settings
from vitbench.layout import MemoryLayout
from vitbench.limits.peaks import peak_of
from vitbench.limits.roofline import roofline
from vitbench.measurement import figures, record
from vitbench.models import model_config
from vitbench.options import COMPILED
from vitbench.plan import Cell
from vitbench.process import age_s
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.cost import forward, multiply_accumulates, training_step
from vitbench.registry import resolve
from vitbench.timer import Clock, Effort, Launch, Timing, clock_for, sample

EFFORT = {
    "quick": Effort(relative_width=0.05, least_s=1.0, most_s=3.0, most_warmup_s=1.0),
    "standard": Effort(relative_width=0.02, least_s=2.0, most_s=10.0, most_warmup_s=3.0),
    "full": Effort(relative_width=0.01, least_s=5.0, most_s=60.0, most_warmup_s=5.0),
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A cell that only has to be timed: what to launch, by which clock, and what was found on the way."""

    cell: Cell
    launch: Launch
    answer: Callable[[], Any]  # logits of the next batch, in the mode of the launch
    clock: Clock
    renew: Callable[[], None] | None  # draws another memory layout
    layouts_bytes: int  # held by the layouts that were drawn
    candidate: Candidate
    model: Any
    build_s: float
    first_forward_s: float
    cold_start_s: float | None
    compile_s: float | None
    settings: Mapping[str, Any]  # torch's, before the candidate's first forward pass

    def record(self, timing: Timing, evidence: Evidence, **more: Any) -> MeasurementRecord:
        """What a timing of the launch comes to; what was timed to the end has to be what was asked for.

        Raises:
            AdapterBroken: the logits have the wrong shape by now.
        """
        cell, config, how = self.cell, model_config(self.cell.model), arithmetic(self.cell.dtype)
        name, count = device_name(cell.device), training_step if cell.task == "training" else forward
        stored = getattr(torch, how.stored)
        done = count(config, cell.batch, stored.itemsize, conventions=self.candidate.conventions)
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else None
        doubts = [f"the candidate changed {changed}" for changed in differing(self.settings)]
        return record(
            cell,
            Outcome.MEASURED,
            implementation=self.candidate.name,
            version=self.candidate.version,
            device_name=name,
            roofline=roofline(arithmetic=how.products, work=done, seconds=timing.median_s, peak=peak_of(name)),
            parameters=None if parameters is None else sum(parameter.numel() for parameter in parameters),
            multiply_accumulates=multiply_accumulates(config),
            evidence=spoiled(evidence, [*doubts, *self._not_finite()]),
            build_s=self.build_s,
            first_forward_s=self.first_forward_s,
            cold_start_s=self.cold_start_s,
            compile_s=self.compile_s,
            memory_layouts=timing.rounds if self.renew else 1,
            **figures(timing, cell.batch),
            **more,
        )

    def _not_finite(self) -> list[str]:
        """A reason if the logits after the last sample hold NaN or infinity, with which nobody computes."""
        answer = self.answer()
        _require_logits(answer, self.cell, self.candidate)
        lost = int((~as_tensor(answer, "logits()").isfinite()).sum())
        after = "training step" if self.cell.task == "training" else "sample"
        return [f"{lost} of {prod(answer.shape)} logits are NaN or infinite after the last {after}"] if lost else []


def measure(cell: Cell, then: Callable[[MeasurementRecord, Prepared], None] | None = None) -> MeasurementRecord:
    """Images a second of the adapter's own logits without gradients, or of a whole training step.

    ``then`` is called with the figures while the cell is still prepared.

    Raises:
        NotSupported: the implementation has no such model, cannot be trained or compiled, or the device lacks the
            arithmetic.
        AdapterBroken: its logits have the wrong shape, at first or after the samples.
    """
    started = time.monotonic()
    with prepared(cell) as ready:
        growth = Growth(cell.device, beside_bytes=ready.layouts_bytes)
        with watching(cell.device) as watch:
            timing = sample(ready.launch, ready.clock, EFFORT[cell.preset], ready.renew, growth.look)
        evidence = growth.told(watch.evidence(timing, cell.batch), len(timing.samples_s))
        found = ready.record(timing, evidence, duration_s=time.monotonic() - started)
        if then is not None:
            then(found, ready)
    return found


@contextmanager
def prepared(cell: Cell, layout_seed: int | None = None) -> Iterator[Prepared]:
    """Everything of a cell but its timing; the launch computes as the cell has it within this context only.

    ``layout_seed``: of the memory layouts; None: the cell's own seed.

    Raises:
        NotSupported, AdapterBroken: as ``measure``.
    """
    # axes
    config, how, training = model_config(cell.model), arithmetic(cell.dtype), cell.task == "training"

    # setup
    candidate = Candidate(resolve(cell.implementation), cell.device)
    clock = clock_for(cell.device, candidate.framework)
    torch.set_num_threads(cell.threads)
    model, build_s = _timed(lambda: candidate.build(config, getattr(torch, how.stored)), clock)
    work = workload.prepared(cell, candidate, config, model)
    layout = MemoryLayout(model, work.images.batches, cell.seed if layout_seed is None else layout_seed)

    # timed callable
    with computing(how, cell.device), nullcontext() if training else torch.inference_mode():
        before = settings()
        with torch.inference_mode():
            answer, first_forward_s = _timed(work.forward, clock)
        cold_start_s = _cold_start_s()
        _require_logits(answer, cell, candidate)
        compiled = cell.mode in COMPILED
        if compiled:
            work = work.compiled(COMPILED[cell.mode])
        launch = workload.Training(work, cell, config.num_classes).step if training else work.forward
        compile_s = _timed(launch, clock)[1] if compiled else None
        yield Prepared(
            cell=cell,
            launch=launch,
            answer=work.forward,
            clock=clock,
            renew=layout.draw if cell.device == "cpu" and layout.movable else None,
            layouts_bytes=layout.held_bytes if cell.device == "cpu" and layout.movable else 0,
            candidate=candidate,
            model=model,
            build_s=build_s,
            first_forward_s=first_forward_s,
            cold_start_s=cold_start_s,
            compile_s=compile_s,
            settings=before,
        )


def _cold_start_s() -> float | None:
    """Since this process was started, less what it waited for the device; None where the system does not tell."""
    age = age_s()
    return None if age is None else age - waited_s()


def _timed(work: Callable[[], Any], clock: Clock) -> tuple[Any, float]:
    start = clock.now_s()
    result = work()
    return result, clock.now_s() - start


def _require_logits(answer: Any, cell: Cell, candidate: Candidate) -> None:
    shape, expected = tuple(getattr(answer, "shape", ())), (cell.batch, model_config(cell.model).num_classes)
    if shape != expected:
        raise AdapterBroken(
            f"adapter {candidate.name!r}: logits() returned shape {shape}, expected (B, K) = {expected}"
        )
