"""Whether several workers compute what one does: plain gradient descent on the same images, divided among them or not.

Not Adam, whose steps are the same for a gradient that is too large by a factor. In the dtype of the weights, without autocast.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vitbench.arithmetic import arithmetic
from vitbench.errors import NotSupported
from vitbench.scaling import Agreement
from vitbench.suites.scaling.steps import Subject, begin_alike
from vitbench.suites.scaling.team import Team
from vitbench.suites.scaling.ways import grouped

STEPS = 3
_WAY = 0.05  # of the loss, that a step would take of it were the loss a plane
TOLERANCE = 0.02  # of the way that the loss goes: sums in another order change a millionth, a wrong factor all of it


@dataclass(frozen=True)
class Compared:
    """What the comparison gave."""

    found: Agreement | None = None
    unused: bool = False  # some parameters get no gradient
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Alone:
    """What one worker found; told to all."""

    before: float
    after: float
    rate: float
    unused: int


def agreement(subject: Subject, team: Team) -> Compared:
    """The loss of one worker on all images, and of all workers on their parts of them, after the same steps.

    Raises:
        NotSupported: the model has nothing to train.
    """
    team.at("comparing one worker with all")
    work = subject.work(rank=0)  # the same images for all
    model = work.model.train()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise NotSupported("none of its parameters asks for a gradient")
    begin_alike(model, dist.group.WORLD)
    part = subject.cell.batch // team.workers
    images = work.images.next()[: max(1, part) * team.workers]
    labels = torch.randint(subject.config.num_classes, (len(images),), generator=torch.Generator().manual_seed(0))
    labels = labels.to(team.device)
    with torch.autocast(team.device.type, enabled=False):
        alone = team.told(_alone(work.logits, model, images, labels) if team.rank == 0 else None)[0]
        notes = [f"parameters that get no gradient: {alone.unused}"] if alone.unused else []
        reason = _no_comparison(subject, team, part, alone)
        if reason:
            return Compared(
                unused=bool(alone.unused), notes=[*notes, f"one worker and several were not compared: {reason}"]
            )
        unused, everybody = bool(alone.unused), dist.group.WORLD
        members = grouped(subject.cell.mode, work, subject.config.depth, everybody, team.device, unused=unused)
        mine = slice(part * team.rank, part * (team.rank + 1))
        after = _descended(members.logits, members.module, images[mine], labels[mine], alone.rate)
    together = sum(team.told(after)) / team.workers
    found = Agreement(
        workers=team.workers, steps=STEPS, loss_before=alone.before, loss_alone=alone.after, loss_together=together
    )
    return Compared(found=found, unused=unused, notes=[*notes, *filter(None, [members.note])])


def _no_comparison(subject: Subject, team: Team, part: int, alone: _Alone) -> str:
    """Why the losses need not agree."""
    config, stored = subject.config, arithmetic(subject.cell.dtype).stored
    if part == 0:
        return f"a batch of {subject.cell.batch} cannot be divided among {team.workers}"
    if any((config.dropout, config.attention_dropout, config.drop_path)):
        return "the configuration draws at random what it drops"
    if stored != "float32":
        return f"weights in {stored} do not take small steps"
    if not (math.isfinite(alone.before) and math.isfinite(alone.rate)):
        return "the loss or its gradient is no finite number"
    return ""


def _alone(logits: Callable[[Tensor], Any], model: nn.Module, images: Tensor, labels: Tensor) -> _Alone:
    """One worker's way; the model is afterwards as it was."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in trained]
    loss = cross_entropy(logits(images).float(), labels)
    loss.backward()
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    steepness = sum(float(gradient.double().square().sum()) for gradient in gradients)
    rate = _WAY * float(loss.detach()) / steepness if steepness else math.nan
    after = _descended(logits, model, images, labels, rate) if math.isfinite(rate) else math.nan
    with torch.no_grad():
        for parameter, value in zip(trained, before, strict=True):
            parameter.copy_(value)
    return _Alone(float(loss.detach()), after, rate, len(trained) - len(gradients))


def _descended(
    logits: Callable[[Tensor], Any], module: nn.Module, images: Tensor, labels: Tensor, rate: float
) -> float:
    """The loss after the steps."""
    optimizer = torch.optim.SGD([one for one in module.parameters() if one.requires_grad], lr=rate)
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(logits(images).float(), labels).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(cross_entropy(logits(images).float(), labels).detach())
