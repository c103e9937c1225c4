"""One cell of memory: axes, setup, phases, peaks."""

import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from vitbench import memory
from vitbench.adapter import NotSupported
from vitbench.arithmetic import arithmetic
from vitbench.candidate import Candidate
from vitbench.conditions.sampler import now_s
from vitbench.conditions.watch import watching
from vitbench.conditions.weighing import of_device, of_process
from vitbench.environment import device_name
from vitbench.measurement import record
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Memory, Outcome
from vitbench.reference.memory import activation_bytes, optimizer_bytes, parameter_bytes
from vitbench.registry import resolve
from vitbench.timer import span_of_time
from vitbench.workload import Training, Workload, prepared

_WARM_UP = 2  # passes: libraries make their workspaces in the first


def measure(cell: Cell) -> MeasurementRecord:
    """The peaks of a forward pass or a training step after warm-up, and what they are made of.

    Raises:
        NotSupported: the implementation has no such model, or cannot be trained; or a mixture of dtypes is asked for,
            whose activations have no closed form here.
    """
    started = time.monotonic()
    how = arithmetic(cell.dtype)
    if how.stored != how.products:
        raise NotSupported(f"memory is weighed in one dtype for all, not in {cell.dtype}")
    config, dtype = model_config(cell.model), getattr(torch, how.stored)
    element_bytes = dtype.itemsize
    candidate = Candidate(resolve(cell.implementation), cell.device)
    torch.set_num_threads(cell.threads)
    before = memory.resident() if cell.device == "cpu" else None
    training, begun_s = cell.task == "training", now_s()
    with watching(cell.device) as watch:
        work = prepared(cell, candidate, config, candidate.build(config, dtype))
        found = (_training if training else _inference)(cell, work)
    seen = watch.evidence(span_of_time(begun_s, now_s()), images=0)
    return record(
        cell,
        Outcome.MEASURED,
        implementation=candidate.name,
        version=candidate.version,
        device_name=device_name(cell.device),
        parameters=sum(p.numel() for p in work.model.parameters()) if isinstance(work.model, nn.Module) else None,
        memory=Memory(
            **found,
            process_before_bytes=before,
            parameters_expected_bytes=parameter_bytes(config, element_bytes, candidate.conventions),
            optimizer_expected_bytes=training
            * optimizer_bytes(config, element_bytes, conventions=candidate.conventions),
            activations_expected_bytes=training * activation_bytes(config, cell.batch, element_bytes),
        ),
        evidence=of_process(seen, memory.swapped()) if cell.device == "cpu" else of_device(seen),
        duration_s=time.monotonic() - started,
    )


def _inference(cell: Cell, work: Workload) -> dict[str, Any]:
    with torch.inference_mode():
        before = _tensors_of(work.model, work)
        for _ in range(_WARM_UP):
            work.forward()
        peaks = _peaks(cell, work.forward)
        (forward,) = memory.allocator(cell.device).phases(work.forward)
    return {
        **peaks,
        "allocated_bytes": memory.size(before) + forward.peak,
        "parameters_bytes": memory.size(_parameters(work.model)),
        "gradients_bytes": 0,
        "optimizer_bytes": 0,
        "activations_bytes": 0,
        "temporaries_bytes": forward.scratch,
    }


def _training(cell: Cell, work: Workload) -> dict[str, Any]:
    training = Training(work, cell, model_config(cell.model).num_classes)
    for _ in range(_WARM_UP):
        training.step()
    peaks = _peaks(cell, training.step)
    states = [s for state in training.optimizer.state.values() for s in state.values() if isinstance(s, Tensor)]
    level = memory.size(chain(_tensors_of(work.model, work), states))
    gradients = 0

    def backward_and_look() -> None:
        nonlocal gradients
        training.backward()
        gradients = memory.size(p.grad for p in training.trained if p.grad is not None)

    phases = memory.allocator(cell.device).phases(training.forward, backward_and_look, training.update)
    forward, backward, update = phases
    behind_forward = level + forward.left
    behind_backward = behind_forward + backward.left
    return {
        **peaks,
        "allocated_bytes": max(level + forward.peak, behind_forward + backward.peak, behind_backward + update.peak),
        "parameters_bytes": memory.size(_parameters(work.model)),
        "gradients_bytes": gradients,
        "optimizer_bytes": memory.size(states),
        "activations_bytes": forward.left,
        "temporaries_bytes": max(forward.scratch, backward.scratch, update.scratch),
    }


def _peaks(cell: Cell, work: memory.Work) -> dict[str, Any]:
    """Of allocator, process and device while the work is done once; before anything profiles it."""
    if cell.device == "cpu":
        return {"reserved_bytes": None, "process_bytes": memory.process_peak(work), "device_bytes": None}
    reserved = memory.allocator(cell.device).reserved_peak(work)
    taken = memory.on_device(cell.device)
    return {"reserved_bytes": reserved, "process_bytes": taken.process, "device_bytes": taken.device}


def _parameters(model: object) -> Iterator[Tensor]:
    return model.parameters() if isinstance(model, nn.Module) else iter(())


def _tensors_of(model: object, work: Workload) -> list[Tensor]:
    """What is there whether the model works or not: parameters, buffers, images."""
    buffers = model.buffers() if isinstance(model, nn.Module) else iter(())
    return [*_parameters(model), *buffers, *work.images.batches]
