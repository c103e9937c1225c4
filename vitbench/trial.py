"""One model of a candidate with known weights, asked stage by stage beside the reference."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vitbench.adapter import Model
from vitbench.arrays import as_tensor, short
from vitbench.cases import Case, random_images
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.evidence import current_evidence
from vitbench.isolation import repeated_random_numbers
from vitbench.reference.stages import Stages, stages
from vitbench.reference.vit import Mode, encoder_block
from vitbench.reference.vit import head as reference_head

if TYPE_CHECKING:
    from vitbench.candidate import Candidate

Weights = Mapping[str, Tensor]


class Trial:
    """One model of the candidate with known weights, and the reference's answers for the same weights.

    The model computes in ``dtype``; ``weights`` are always float64, and hold the numbers that it got.
    """

    def __init__(
        self, candidate: "Candidate", case: Case, weights: Weights, dtype: torch.dtype = torch.float64
    ) -> None:
        self.candidate, self.case, self.config, self.weights = candidate, case, case.config, weights
        self.conventions, self.dtype = candidate.conventions, dtype
        self.images = case.images(dtype)
        self.model: Model = candidate.build(case.config, dtype)

    @property
    def module(self) -> nn.Module:
        """The model, where it is a torch module.

        Raises:
            NotSupported: it is something else, whose states and paths are its own affair.
        """
        if not isinstance(self.model, nn.Module):
            raise NotSupported(f"its model is a {type(self.model).__name__}, no torch module{self._elsewhere}")
        return self.model

    @property
    def _elsewhere(self) -> str:
        """What a model of another framework computes with."""
        framework = self.candidate.framework
        return "" if framework == "torch" else f": it computes with {framework}"

    def of(self, model: Model) -> "Trial":
        """The same questions to another model that is to answer as this one does."""
        other = copy(self)
        other.model = model
        vars(other).pop("reference", None)  # of these images; it may get others
        return other

    def by_way_of(self, hook: str) -> "Trial":
        """The same weights on another of the package's paths, which ``unfused`` or ``checkpointed`` gives."""
        other = self.of(self.candidate.call(hook, self.model))
        if isinstance(other.model, nn.Module):
            other.model.eval()  # for the look at its rounding, which dropout would hide
        current_evidence().float32_inside |= rounds_to_float32(other)
        if isinstance(other.model, nn.Module):
            other.model.train(self.module.training)
        return other

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within this context the model is in training mode."""
        module = self.module
        self.candidate.guarded("train", module.train)
        try:
            yield
        finally:
            self.candidate.guarded("eval", module.eval)

    def repeats(self) -> bool:
        """Whether the same random numbers give the same logits again, in the mode that the module is in.

        They do not where masks come from a generator that the model has to itself.
        """
        answers = []
        for _ in range(2):
            with repeated_random_numbers(self.case.seed):
                answers.append(self.logits())
        return torch.equal(*answers)

    @cached_property
    def reference(self) -> Stages:
        """Every stage of the reference on the trial's own images."""
        return self.reference_on(self.images)

    def reference_on(self, images: Tensor) -> Stages:
        """Every stage of the reference on other images, in float64."""
        return stages(images.double(), self.weights, self.config, self.conventions)

    def reference_block(self, i: int, z: Tensor) -> Tensor:
        """The reference's block ``i`` on given tokens. (B, N+1, D) -> (B, N+1, D)."""
        return encoder_block(z, self._below(f"blocks.{i}"), self.config, self.conventions, Mode())

    def reference_attention(self, i: int, z: Tensor) -> Tensor:
        """The reference's attention weights in block ``i`` on given tokens. (B, N+1, D) -> (B, h, N+1, N+1)."""
        seen: list[Tensor] = []
        mode = Mode(tap=lambda _stage, value: seen.append(value))
        encoder_block(z, self._below(f"blocks.{i}"), self.config, self.conventions, mode)
        return seen[0]

    def float32_attention_error(self, i: int, z: Tensor) -> float:
        """What it costs the reference to compute block ``i``'s attention weights in float32: largest error."""
        single = copy(self)
        single.weights = {name: weight.float() for name, weight in self.weights.items()}
        return (single.reference_attention(i, z.float()).double() - self.reference_attention(i, z)).abs().max().item()

    def reference_head(self, y: Tensor) -> Tensor:
        """The reference's head on given representations. (B, D) -> (B, K)."""
        return reference_head(y, self._below("head"), self.config, self.conventions)

    def with_weights(self, changes: Weights) -> "Trial":
        """The same trial with some canonical parameters replaced."""
        return self.candidate.trial(self.case, {**self.weights, **changes}, exactly=True, dtype=self.dtype)

    def zeroed(self, *suffixes: str) -> "Trial":
        """The same trial with every parameter zero whose name ends with one of ``suffixes``."""
        return self.with_weights({n: torch.zeros_like(w) for n, w in self.weights.items() if n.endswith(suffixes)})

    def at_image_size(self, image_size: tuple[int, int]) -> "Trial":
        """The same model made ready for another image size by the package's own means; the case's seed draws the images."""
        resized = self.of(self.candidate.call("at_image_size", self.model, image_size))
        resized.images = random_images((self.case.batch, self.config.channels, *image_size), self.case.seed, self.dtype)
        return resized

    def logits(self, images: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        return self._tensor("logits", images)

    def patch_tokens(self, images: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, N, D)."""
        return self._tensor("patch_tokens", images)

    def tokens(self, images: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, N+1, D)."""
        return self._tensor("tokens", images)

    def representation(self, images: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        return self._tensor("representation", images)

    def block_outputs(self, images: Tensor | None = None) -> list[Tensor]:
        """(B, C, H, W) -> L times (B, N+1, D)."""
        return self._tensors("block_outputs", images)

    def attention(self, images: Tensor | None = None) -> list[Tensor]:
        """(B, C, H, W) -> L times (B, h, N+1, N+1)."""
        return self._tensors("attention", images)

    def export(self) -> dict[str, Tensor]:
        """The canonical parameters that the model holds now."""
        exported = self.candidate.call("export", self.model)
        if not isinstance(exported, Mapping):
            raise RequirementFailed(
                f"export() returned a {type(exported).__name__}, expected a mapping of names to tensors"
            )
        return {name: self.widened(as_tensor(value, f"export()[{name!r}]")) for name, value in exported.items()}

    def widened(self, answer: Tensor) -> Tensor:
        """The answer; in float64 where a framework that has no more than float32 was asked in float64.

        Its rounding is noticed as any float32 inside is (``rounds_to_float32``), and judged as such.
        """
        single = answer.dtype == torch.float32 and self.dtype == torch.float64
        return answer.double() if single and self.candidate.framework != "torch" else answer

    def answer(self, hook: str, value: Any, images: Tensor | None = None) -> Tensor:
        """What was returned for a stage, however it was asked for, if it is a tensor of that stage's shape."""
        return self._expected(hook, images, self.widened(as_tensor(value, f"{hook}()")), f"{hook}()")

    def _tensor(self, hook: str, images: Tensor | None) -> Tensor:
        return self.answer(hook, self._asked(hook, images), images)

    def _tensors(self, hook: str, images: Tensor | None) -> list[Tensor]:
        result = self._asked(hook, images)
        if isinstance(result, Tensor) or not isinstance(result, Sequence):
            raise RequirementFailed(
                f"{hook}() returned a {type(result).__name__}, expected one tensor per block in a list"
            )
        if len(result) != self.config.depth:
            raise RequirementFailed(
                f"{hook}() returned {len(result)} tensors, expected one per block: {self.config.depth}"
            )
        named = [(value, f"{hook}()[{i}]") for i, value in enumerate(result)]
        return [self._expected(hook, images, self.widened(as_tensor(value, what)), what) for value, what in named]

    def _expected(self, hook: str, images: Tensor | None, answer: Tensor, what: str) -> Tensor:
        """The answer, if checks can compute with it: what breaks them would be taken for an error of the harness."""
        c, given = self.config, self.images if images is None else images
        b, n = given.shape[0], self._num_patches(given)
        letters, shape = {
            "logits": ("(B, K)", (b, c.num_classes)),
            "patch_tokens": ("(B, N, D)", (b, n, c.width)),
            "tokens": ("(B, N+1, D)", (b, n + 1, c.width)),
            "block_outputs": ("(B, N+1, D)", (b, n + 1, c.width)),
            "attention": ("(B, h, N+1, N+1)", (b, c.num_heads, n + 1, n + 1)),
            "representation": ("(B, D)", (b, c.width)),
        }[hook]
        if tuple(answer.shape) != shape:
            raise RequirementFailed(f"{what} returned shape {tuple(answer.shape)}, expected {letters} = {shape}")
        judged_later = hook == "logits" and answer.is_floating_point()  # a model of one dtype is no broken adapter
        if answer.dtype != given.dtype and not judged_later:
            raise RequirementFailed(f"{what} returned dtype {short(answer.dtype)}, expected {short(given.dtype)}")
        return answer

    def _num_patches(self, images: Tensor) -> int:
        return prod(side // patch for side, patch in zip(images.shape[2:], self.config.patch_size, strict=True))

    def _asked(self, hook: str, images: Tensor | None) -> Any:
        return self.candidate.call(hook, self.model, self.images if images is None else images)

    def _below(self, prefix: str) -> dict[str, Tensor]:
        start = prefix + "."
        return {name.removeprefix(start): w for name, w in self.weights.items() if name.startswith(start)}


def rounds_to_float32(trial: Trial) -> bool:
    """Whether a float64 model computes a step in float32: it answers a smooth question in steps.

    A straight line of three images so close together that a float64 model's logits lie on a straight line too,
    up to its own rounding; rounding to float32 on the way throws them off it by orders of magnitude.
    """
    return bends(lambda step: trial.logits(trial.images * (1 + step)))


def bends(answer: Callable[[float], Tensor]) -> bool:
    """Whether three float64 answers to neighbouring questions lie off a straight line, by more than float64 rounds."""
    near, middle, far = (answer(step) for step in (0.0, _STEP, 2 * _STEP))
    bend = (far - 2 * middle + near).abs().max().item()
    return near.dtype == torch.float64 and bend > _LEAST_BEND * near.abs().max().item()


_STEP = 3e-7
_LEAST_BEND = 1e-10
"""Rounding in float64 bends the line by some 1e-15 and curvature by 1e-12, one rounding to float32 by 1e-8. The step
is a few of float32's, so that its rounding shows as a change and not as none."""
