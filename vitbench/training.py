"""Training that repeats itself, and that goes on where it was stopped: on the CPU, to the same weights bit for bit.

What a step does follows from the seed and its number alone: which images, in which order, and which of them dropout
drops. So a run that was killed needs no more than its weights, the optimizer's state and the number of the step.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import isfinite, nan
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vitbench.datasets import Labelled
from vitbench.errors import OutputCut, VitbenchError
from vitbench.reference.recipes import Recipe, optimizer, update

Logits = Callable[[Tensor], Tensor]
"""(B, C, H, W) -> (B, K)."""

_JUDGED_AT_ONCE = 256  # images
_SEEDS_APART = 1_000_003  # between two seeds of training, of all that they draw
_SAVED = 10  # times in a training


class TrainingDiverged(VitbenchError):
    """A loss or a weight is not finite, so that all that follows would be noise; training was stopped there."""


@dataclass(frozen=True)
class Course:
    """How a training went."""

    losses: list[float]  # of every step
    began_at: int  # step; 0 unless it went on where another had been stopped


def nothing(_step: int) -> None:
    """Take no notice of a step."""


def train(
    module: nn.Module,
    logits: Logits,
    data: Labelled,
    recipe: Recipe,
    seed: int,
    *,
    keep: Path | None = None,
    told: Callable[[int], None] = nothing,
) -> Course:
    """Train the module in place, and tell of every step that is done.

    ``keep`` is a file for its state: if it holds that of this very training, the training goes on from there.
    Raises:
        TrainingDiverged: a loss is not finite, or after the last step a weight; the text names the step.
        OutputCut: the state cannot be saved.
    """
    made = optimizer(recipe, [one for one in module.parameters() if one.requires_grad])
    mark = "" if keep is None else _mark(module, data, recipe, seed)
    losses = [] if keep is None else _restored(keep, mark, module, made)
    began_at, order = len(losses), _Order(len(data), recipe.batch, seed)
    for step in range(began_at, recipe.steps):
        where = order.at(step).to(data.labels.device)
        torch.manual_seed(seed * _SEEDS_APART + step)  # for dropout
        loss = cross_entropy(logits(data.images[where]).float(), data.labels[where])
        losses.append(loss.item())
        if not isfinite(losses[-1]):
            raise TrainingDiverged(
                f"the loss is {losses[-1]} at step {step + 1} of {recipe.steps}; training stopped there"
            )
        loss.backward()
        update(recipe, made, step)
        told(step + 1)
        if step + 1 == recipe.steps:  # whose weights no later loss would judge
            _require_finite(module, recipe.steps)
        if keep is not None and _due(step + 1, recipe.steps):
            _save(keep, mark, module, made, losses)
    return Course(losses, began_at)


def accuracy(logits: Logits, data: Labelled) -> float:
    """The share of images whose class has the highest logit; of equal ones, the first. NaN where logits are no numbers."""
    right = 0
    with torch.inference_mode():
        for images, labels in zip(data.images.split(_JUDGED_AT_ONCE), data.labels.split(_JUDGED_AT_ONCE), strict=True):
            found = logits(images)
            if found.isnan().any():  # argmax would take the first NaN for the class
                return nan
            right += int((found.argmax(dim=1) == labels).sum())
    return right / len(data)


def mean_loss(logits: Logits, data: Labelled) -> float:
    """Cross-entropy, in nats."""
    total = 0.0
    with torch.inference_mode():
        for images, labels in zip(data.images.split(_JUDGED_AT_ONCE), data.labels.split(_JUDGED_AT_ONCE), strict=True):
            total += float(cross_entropy(logits(images).float(), labels, reduction="sum"))
    return total / len(data)


def _require_finite(module: nn.Module, step: int) -> None:
    for name, parameter in module.named_parameters():
        if not torch.isfinite(parameter).all():
            raise TrainingDiverged(f"{name} holds NaN or infinity after step {step}, the last one")


class _Order:
    """Which images each step sees: all of them in random order, again and again, each time in another."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self._count, self._batch, self._seed = count, batch, seed
        self._epoch, self._drawn = -1, torch.empty(0, dtype=torch.long)

    def at(self, step: int) -> Tensor:
        """The images of one step. -> (B)."""
        start, parts, left = step * self._batch, [], self._batch
        while left:
            epoch, place = divmod(start, self._count)
            parts.append(self._of(epoch)[place : place + left])
            start, left = start + len(parts[-1]), left - len(parts[-1])
        return torch.cat(parts)

    def _of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self._seed * _SEEDS_APART + epoch)
            self._epoch, self._drawn = epoch, torch.randperm(self._count, generator=generator)
        return self._drawn


# --- a training's state in a file ------------------------------------------------------------------------------


def forget(folder: str) -> None:
    """Take away the state of what is done, and the folder that held it beside others' once it is empty."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others' states are in it
            Path(folder).parent.rmdir()


def _due(step: int, steps: int) -> bool:
    return step == steps or step % max(1, steps // _SAVED) == 0


def _mark(module: nn.Module, data: Labelled, recipe: Recipe, seed: int) -> str:
    """What must be the same for a training to be the same: weights, images, recipe, seed, threads and torch."""
    said = [asdict(recipe), seed, torch.get_num_threads(), torch.__version__, str(data.images.device)]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, tensor in {**module.state_dict(), "images": data.images, "labels": data.labels}.items():
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _save(file: Path, mark: str, module: nn.Module, made: torch.optim.Optimizer, losses: list[float]) -> None:
    state = {f"module.{name}": tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    for number, kept in made.state_dict()["state"].items():
        state |= {
            f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in kept.items() if value is not None
        }
    state[f"mark.{mark}"] = torch.tensor(losses, dtype=torch.float64)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}, part)
        part.replace(file)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink()
        raise OutputCut(f"cannot keep the state of a training in {file}: {error}") from error


def _restored(file: Path, mark: str, module: nn.Module, made: torch.optim.Optimizer) -> list[float]:
    """The losses so far, with module and optimizer as they were; none where the file holds no such training."""
    try:
        state = load_file(file)
    except (OSError, SafetensorError):  # not there, or of a machine that fell while it wrote
        return []
    losses = state.pop(f"mark.{mark}", None)
    if losses is None:
        return []
    kept: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name.startswith("optimizer."):
            _, number, what = name.split(".", 2)
            kept.setdefault(int(number), {})[what] = tensor
    module.load_state_dict({**module.state_dict(), **_below("module.", state)})
    made.load_state_dict({**made.state_dict(), "state": kept})
    found: list[float] = losses.tolist()
    return found


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
