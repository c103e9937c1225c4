"""What the workers of a scaling cell compute: a candidate's training step, alone and in groups."""

import gc
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from vitbench import workload
from vitbench.arithmetic import arithmetic
from vitbench.candidate import Candidate
from vitbench.inputs import ImagePool
from vitbench.layout import MemoryLayout
from vitbench.plan import Cell
from vitbench.reference.config import ViTConfig
from vitbench.scaling import FSDP2
from vitbench.suites.scaling.team import Team
from vitbench.suites.scaling.ways import can_be_silent, grouped
from vitbench.workload import POOL_SIZE, Training, Workload


class Subject:
    """The candidate, and models of it that all begin with the same weights."""

    def __init__(self, cell: Cell, candidate: Candidate, config: ViTConfig) -> None:
        self.cell, self.candidate, self.config = cell, candidate, config
        self.model = self._built()
        self.parameters = (
            sum(parameter.numel() for parameter in self.model.parameters())
            if isinstance(self.model, nn.Module)
            else None
        )

    def _built(self) -> Any:
        torch.manual_seed(self.cell.seed)
        return self.candidate.build(self.config, getattr(torch, arithmetic(self.cell.dtype).stored))

    def work(self, rank: int) -> Workload:
        """A model of its own with images that no other worker has; the first call takes the model that was built first."""
        model, self.model = self.model if self.model is not None else self._built(), None
        found = workload.prepared(self.cell, self.candidate, self.config, model)
        dtype = getattr(torch, arithmetic(self.cell.dtype).stored)
        where = {"device": self.cell.device, "dtype": dtype}
        images = ImagePool(self.config, self.cell.batch, size=POOL_SIZE, seed=self.cell.seed + rank, **where)
        return replace(found, images=images)


class Watched(Training):
    """A training step that keeps its loss."""

    last: torch.Tensor | None = None

    def backward(self) -> None:
        """As it is, the loss kept."""
        self.last = self._loss.detach()
        super().backward()


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to compute the step; the workers below a number take part."""

    name: str
    workers: int
    training: Watched | None  # None for a worker that takes no part
    context: Callable[[], Any] = nullcontext
    draw: Callable[[], None] | None = None
    silent: bool = False

    def __str__(self) -> str:
        return self.name

    def step(self) -> None:
        """Forward, loss, backward, optimizer."""
        assert self.training is not None  # noqa: S101  # who takes no part does not ask
        with self.context():
            self.training.step()

    def renew(self) -> None:
        """Another memory layout, where it can be moved."""
        if self.draw is not None:
            self.draw()

    def loss(self) -> float:
        """Of the last step; of one without communication, whose weights may be nobody's, nothing is told."""
        last = None if self.training is None else self.training.last
        return 0.0 if last is None or self.silent else float(last)


def ways(subject: Subject, team: Team, *, unused: bool) -> Mapping[str, Way]:
    """One worker alone, each number of workers in a group, and each number above one without communication."""
    found = {"alone": _alone(subject) if team.rank == 0 else Way(name="one worker alone", workers=1, training=None)}
    for size in team.sizes:
        group = dist.new_group(list(range(size)))  # all have to call it
        found |= _together(subject, team, size, group, unused=unused)
    return found


def _alone(subject: Subject) -> Way:
    work = subject.work(rank=0)
    training = Watched(work, subject.cell, subject.config.num_classes)
    return Way(name="one worker alone", workers=1, training=training, draw=_layout(subject.cell, work))


def _together(subject: Subject, team: Team, size: int, group: Any, *, unused: bool) -> dict[str, Way]:
    cell, name = subject.cell, f"{size} in a group by {subject.cell.mode}"
    silent = size > 1 and can_be_silent(cell.mode)  # for all alike: who takes no part has to know of the block
    if team.rank >= size:
        absent = Way(name=name, workers=size, training=None)
        quiet = Way(name=f"{name}, silent", workers=size, training=None, silent=True)
        return {f"{size}": absent} | ({f"{size} silent": quiet} if silent else {})
    work = subject.work(team.rank)
    begin_alike(work.model, group)
    members = grouped(cell.mode, work, subject.config.depth, group, team.device, unused=unused)
    work = replace(work, model=members.module, logits=members.logits)
    training = Watched(work, replace(cell, seed=cell.seed + team.rank), subject.config.num_classes)
    draw = None if cell.mode == FSDP2 else _layout(cell, work)  # whose weights lie in buffers of its own
    found = {f"{size}": Way(name=name, workers=size, training=training, draw=draw)}
    if silent:
        found[f"{size} silent"] = Way(
            name=f"{name}, silent", workers=size, training=training, context=members.silent, draw=draw, silent=True
        )
    return found


def _layout(cell: Cell, work: Workload) -> Callable[[], None] | None:
    layout = MemoryLayout(work.model, work.images.batches, cell.seed)
    return layout.draw if cell.device == "cpu" and layout.movable else None


def begin_alike(model: nn.Module, group: Any) -> None:
    """The weights of the first worker, for all: a candidate that takes none may have drawn its own."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, 0, group=group)


def let_go(device: torch.device) -> None:
    """Give back what models took that are no more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
