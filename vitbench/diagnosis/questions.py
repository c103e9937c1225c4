"""What is asked of a candidate, and of the reference with one thing or another wrong: the same weights, the same images.

An answer is a float64 tensor. ``asked`` gets it from the candidate; ``expected`` from the reference as it is at that moment,
so that within a deviation's ``applied()`` it is the deviation's.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.arrays import as_tensor
from vitbench.candidate import Candidate
from vitbench.cases import Case, random_images
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.gradients import gradients, random_loss
from vitbench.probes import position_table
from vitbench.reference import vit
from vitbench.reference.config import Conventions
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.vit import Tap, ViT, no_tap
from vitbench.trial import Trial, Weights, bends

_FORWARD = ViT.forward  # as it is before anything is replaced

KEY_BIAS = "attention.key.bias"  # without effect: its gradient is rounding, or it is not there
FIRST_TOKEN = ("class_token", "position_embedding")  # of which a model may keep the first rows as their sum


class Question(Protocol):
    """One thing to ask, with its sizes, weights and images."""

    @property
    def topic(self) -> str:
        """Logits, gradients, positions or taps."""

    def asked(self, candidate: Candidate) -> Tensor:
        """The candidate's answer.

        Raises:
            NotSupported: it is out of its reach.
            RequirementFailed: it raised.
        """

    def expected(self) -> Tensor:
        """The reference's, as it is now. Raises whatever a deviation makes it raise."""


class OfModel:
    """A question to a model with known weights."""

    topic = "logits"

    def __init__(self, case: Case, conventions: Conventions, *, weights: Weights | None = None) -> None:
        self.case, self.conventions = case, conventions
        self.weights = exercised_weights(case.config, conventions, case.seed) if weights is None else weights
        self.images = case.images()

    def trial(self, candidate: Candidate) -> Trial:
        """The candidate with these weights."""
        return candidate.trial(self.case, self.weights, exactly=True)

    @cached_property
    def _reference(self) -> ViT:
        model = ViT(self.case.config, self.conventions).double()
        model.load_state_dict(dict(self.weights))
        return model.eval()

    def model(self) -> ViT:
        """The reference with these weights; what a deviation leaves on the model does not stay."""
        return copy(self._reference)

    def run(self, tap: Tap = no_tap) -> Tensor:
        """The reference's logits, without gradients; a module is made only where a deviation needs one, for that takes time."""
        with torch.no_grad():
            if vit.ViT.forward is not _FORWARD:
                return self.model()(self.images, tap)
            mode = vit.Mode(tap=tap)
            return vit.vision_transformer(self.images, self.weights, self.case.config, self.conventions, mode)


class Logits(OfModel):
    """The logits of some images."""

    def __init__(
        self, case: Case, conventions: Conventions, *, weights: Weights | None = None, images: Tensor | None = None
    ) -> None:
        super().__init__(case, conventions, weights=weights)
        self.images = self.images if images is None else images

    def asked(self, candidate: Candidate) -> Tensor:
        """The candidate's answer."""
        found = candidate.call("logits", self.trial(candidate).model, self.images)
        return as_tensor(found, "logits()")  # of whatever shape: that can be telling too

    def expected(self) -> Tensor:
        """The reference's, as it is now."""
        return self.run()


class Gradients(OfModel):
    """The gradients of parameters and images, in training mode without dropout."""

    topic = "gradients"

    def asked(self, candidate: Candidate) -> Tensor:
        """The candidate's answer."""
        trial = self.trial(candidate)
        loss = random_loss(trial)
        with trial.training():
            if not torch.equal(trial.logits(), trial.logits()):
                raise NotSupported("random in training mode, so that its gradients are too")
            found = gradients(trial, loss, of_images=True)
        if missing := [name for name in self._names if name not in found.parameters]:
            raise NotSupported(f"export() shows no gradient of {missing[0]}")
        return self._joined(found.parameters, found.images)

    def expected(self) -> Tensor:
        """The reference's, as it is now."""
        model = self.model().train()
        model.zero_grad(set_to_none=True)
        images = self.images.clone().requires_grad_()
        weights = random_images((self.case.batch, self.case.config.num_classes), self.case.seed + 1)
        with torch.enable_grad():
            (model(images) * weights).sum().backward()
        parameters = dict(model.named_parameters())
        received = {name: _received(parameters.get(name), self.weights[name]) for name in self._names}
        return self._joined(received, _received(images, images))

    def _joined(self, received: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """All in one row; of the class token and its position, whose gradients are equal, the one that receives it."""
        parts = {name: received[name] for name in self._names}
        if self.conventions.class_token_has_position:
            token, table = (parts.pop(name) for name in FIRST_TOKEN)
            parts |= {"first": token if token.any() else table[:, :1], "table": table[:, 1:]}
        return torch.cat([part.flatten() for part in (*parts.values(), images)])

    @cached_property
    def _names(self) -> list[str]:
        return [name for name in self.weights if not name.endswith(KEY_BIAS)]


def _received(tensor: Tensor | None, shape_of: Tensor) -> Tensor:
    """The gradient that reached it: none where it takes no part, or is no parameter."""
    return torch.zeros_like(shape_of) if tensor is None or tensor.grad is None else tensor.grad


@dataclass(frozen=True)
class Table:
    """A position table, resized; and the gradient that it gets through that."""

    grid: tuple[int, int]
    new_grid: tuple[int, int]
    conventions: Conventions
    seed: int
    with_gradient: bool = False
    topic: str = "positions"

    def asked(self, candidate: Candidate) -> Tensor:
        """The candidate's answer."""
        if not candidate.offers("resize_position_embedding"):
            raise NotSupported("no resize_position_embedding()")
        if not self.with_gradient:
            found = candidate.call("resize_position_embedding", self._table, self.grid, self.new_grid)
            return as_tensor(found, "resize_position_embedding()")
        resize = candidate.adapter.resize_position_embedding
        return candidate.guarded("resize_position_embedding", lambda: self._gradient(resize), grad=True)

    def expected(self) -> Tensor:
        """The reference's, as it is now."""
        resize = ReferenceAdapter(self.conventions).resize_position_embedding
        return self._gradient(resize) if self.with_gradient else resize(self._table, self.grid, self.new_grid)

    def by_float32(self, found: Tensor) -> bool:
        """Whether an answer lies on float32's grid, as if computed in it; not of a table that kept its size."""
        resized = found[
            :, int(self.conventions.class_token_has_position) :
        ]  # the class token's row may be kept as it is
        kept = self.grid == self.new_grid
        return found.dtype == torch.float64 and not kept and torch.equal(resized, resized.float().double())

    @property
    def _table(self) -> Tensor:
        return position_table(self.grid, 5, self.seed, class_row=self.conventions.class_token_has_position)

    def _gradient(self, resize: object) -> Tensor:
        leaf = self._table.requires_grad_()
        with torch.enable_grad():
            resized = resize(leaf, self.grid, self.new_grid)  # type: ignore[operator]
            if not isinstance(resized, Tensor) or not resized.requires_grad:
                raise NotSupported("resize_position_embedding() returns no tensor with a gradient")
            (resized * random_images(resized.shape, self.seed + 1)).sum().backward()
        if leaf.grad is None:
            raise RequirementFailed("no gradient reaches the table")
        return leaf.grad


class Resized(OfModel):
    """The logits of a model that was made ready for another size."""

    topic = "positions"

    def __init__(self, case: Case, conventions: Conventions, size: tuple[int, int]) -> None:
        super().__init__(case, conventions)
        self.size = size
        self.images = random_images((case.batch, case.config.channels, *size), case.seed)

    def asked(self, candidate: Candidate) -> Tensor:
        """The candidate's answer."""
        if not candidate.offers("at_image_size"):
            raise NotSupported("no at_image_size()")
        return self._logits(self.trial(candidate))

    def by_float32(self, candidate: Candidate) -> bool:
        """Whether positions are resized in float32: of a table that grows smoothly the logits go in steps."""

        def answer(step: float) -> Tensor:
            table = {"position_embedding": self.weights["position_embedding"] * (1 + step)}
            return self._logits(candidate.trial(self.case, {**self.weights, **table}, exactly=True))

        return bends(answer)

    def _logits(self, trial: Trial) -> Tensor:
        resized = trial.candidate.call("at_image_size", trial.model, self.size)
        return as_tensor(trial.candidate.call("logits", resized, self.images), "logits()")

    def expected(self) -> Tensor:
        """The reference's, as it is now."""
        with torch.no_grad():
            return self.model().at_image_size(self.size)(self.images)


_OF_EACH_BLOCK = "block_outputs"


class Shown(OfModel):
    """What an adapter shows of a stage: it tells deviations apart that give the same logits."""

    topic = "taps"

    def __init__(self, case: Case, conventions: Conventions, hook: str) -> None:
        super().__init__(case, conventions)
        self.hook = hook

    def asked(self, candidate: Candidate) -> Tensor:
        """The candidate's answer."""
        if not candidate.offers(self.hook):
            raise NotSupported(f"no {self.hook}()")
        found = candidate.call(self.hook, self.trial(candidate).model, self.images)
        if self.hook != _OF_EACH_BLOCK:
            return as_tensor(found, f"{self.hook}()")
        outputs = [as_tensor(one, f"{self.hook}()") for one in found]
        if len({one.shape for one in outputs}) != 1:
            raise RequirementFailed(f"{self.hook}() returned no tensors of one shape")
        return torch.stack(outputs)

    def expected(self) -> Tensor:
        """The reference's, as it is now."""
        seen: list[Tensor] = []

        def tap(name: str, value: Tensor) -> None:
            if name == self.hook:
                seen.append(value)

        self.run(tap)
        return torch.stack(seen) if self.hook == _OF_EACH_BLOCK else seen[0]
