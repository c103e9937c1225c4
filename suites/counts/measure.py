"""One cell of counts: axes, setup, what one forward pass or training step does."""

import time
from collections import Counter
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vitbench.arithmetic import arithmetic, computing
from vitbench.candidate import Candidate
from vitbench.environment import device_name
from vitbench.measurement import record
from vitbench.models import model_config
from vitbench.operations import is_fused_attention
from vitbench.plan import Cell
from vitbench.records import Counts, MeasurementRecord, Outcome
from vitbench.reference.cost import multiply_accumulates
from vitbench.registry import resolve
from vitbench.tracing import Logits
from vitbench.workload import Training, Workload, prepared


def measure(cell: Cell) -> MeasurementRecord:
    """Every operator that torch dispatches, once for each time, and what can be said of them without running twice alike.

    Raises:
        NotSupported: the implementation has no such model, or cannot be trained.
    """
    started = time.monotonic()
    # axes
    config, how, training = model_config(cell.model), arithmetic(cell.dtype), cell.task == "training"

    # setup
    candidate = Candidate(resolve(cell.implementation), cell.device)
    torch.set_num_threads(cell.threads)
    work = prepared(cell, candidate, config, candidate.build(config, getattr(torch, how.stored)))

    # what is counted
    with computing(how, cell.device), nullcontext() if training else torch.inference_mode():
        launch = Training(work, cell, config.num_classes).step if training else work.forward
        launch()  # optimizers and caches are made in the first
        with _Operators() as operators:
            launch()
        with FlopCounterMode(display=False) as flops:
            launch()
        breaks = _graph_breaks(work)
    return record(
        cell,
        Outcome.MEASURED,
        implementation=candidate.name,
        version=candidate.version,
        device_name=device_name(cell.device),
        parameters=sum(p.numel() for p in work.model.parameters()) if isinstance(work.model, nn.Module) else None,
        multiply_accumulates=multiply_accumulates(config),
        counts=Counts(
            operators=dict(sorted(operators.times.items())),
            flops=flops.get_total_flops(),
            graph_breaks=breaks,
            attention=sorted(name for name in operators.times if is_fused_attention(name)),
        ),
        duration_s=time.monotonic() - started,
    )


class _Operators(TorchDispatchMode):
    """How often each operator is dispatched."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.times: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, _types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.times[operator.name()] += 1
        return operator(*arguments, **(options or {}))


def _graph_breaks(work: Workload) -> int | None:
    """Of torch.compile, in one forward pass of the adapter's logits; None of a model that is no torch module."""
    if not isinstance(work.model, nn.Module):
        return None
    torch._dynamo.reset()  # noqa: SLF001  # torch's documented way to forget what was compiled
    explained = torch._dynamo.explain(Logits(work.adapter, work.model))(work.images.next())  # noqa: SLF001
    return int(explained.graph_break_count)
