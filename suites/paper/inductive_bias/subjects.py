"""What is studied: a candidate's ViT or the comparison ResNet, seen as feature maps, one after each layer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vitbench.adapter import NotSupported
from vitbench.candidate import Candidate
from vitbench.errors import RequirementFailed
from vitbench.miniature import Miniature, Pupil
from vitbench.reference import resnet
from vitbench.reference.parameters import Weights
from vitbench.reference.resnet import Bottleneck, ResNet, ResNetConfig
from vitbench.training import accuracy, train

RESNET = "ResNet"
SIZES = ResNetConfig(depths=(2, 2), width=12, num_groups=4)
"""Two stages of two blocks: on 32 pixels, maps of 8 × 8 and 4 × 4 cells. Its cells are never smaller than a ViT's patch."""


class Subject(Protocol):
    """A model whose layers leave feature maps."""

    name: str
    side: int  # pixels of its images
    miniature: Miniature

    @property
    def variants(self) -> Sequence[str]:
        """The ways in which it can be looked at, the plain one first."""

    def maps(self, images: Tensor, variant: str, *, grad: bool = False) -> list[Tensor]:
        """What each layer leaves, the first before any block. (B, C, H, W) -> several (B, rows, columns, D)."""

    def train(self) -> None:
        """As the study's settings say."""

    def accuracy(self) -> float:
        """The share of unseen images that it tells rightly."""


ZEROS, ROUND = "zero padding", "circular padding"
WITH, WITHOUT, SILENT = "with positions", "without positions", "attention silenced"


class CandidateSubject:
    """A candidate's miniature, with its own positions, with none, and with attention that adds nothing.

    Raises:
        NotSupported: the candidate has no such model, or does not show its blocks' outputs.
    """

    def __init__(self, candidate: Candidate, miniature: Miniature, seed: int) -> None:
        if not candidate.offers("block_outputs"):
            raise NotSupported(f"{candidate.name} offers no block_outputs(), by which its layers are seen")
        self.name, self.side, self.miniature, self.candidate = candidate.name, miniature.side, miniature, candidate
        self.pupil = Pupil(candidate, miniature, seed)
        self.weights: Weights | None = self.pupil.start  # those that the model holds, where they are known
        self.missing: tuple[str, str] | None = None  # the hook without which they are not, and why
        if self.weights is None:
            self.missing = ("load", f"{candidate.name} takes no weights")
        self._held = WITH

    @property
    def variants(self) -> Sequence[str]:
        """Positions and attention are taken out by loading zeros, where weights can be loaded."""
        return (WITH,) if self.weights is None else (WITH, WITHOUT, SILENT)

    def maps(self, images: Tensor, variant: str, *, grad: bool = False) -> list[Tensor]:
        """Of the patches alone; z_0 first, where it is shown."""
        self._hold(variant)
        trial = self.pupil.trial
        if not grad:
            first = [trial.tokens(images)] if self.candidate.offers("tokens") else []
            return [self._as_map(tokens) for tokens in [*first, *trial.block_outputs(images)]]
        call = partial(self.candidate.call, grad=True)
        first = [call("tokens", trial.model, images)] if self.candidate.offers("tokens") else []
        return [self._as_map(tokens) for tokens in [*first, *call("block_outputs", trial.model, images)]]

    def train(self) -> None:
        """The weights that it holds then are those that it exports."""
        self._hold(WITH)
        self.pupil.train()
        self.weights = None
        if not self.candidate.offers("export"):
            self.missing = ("export", f"{self.name} offers no export()")
            return
        try:
            self.weights = self.pupil.trial.export()
        except (NotSupported, RequirementFailed) as error:
            self.missing = ("export", str(error))

    def accuracy(self) -> float:
        """With positions and all."""
        self._hold(WITH)
        return self.pupil.accuracy()

    def _as_map(self, tokens: Tensor) -> Tensor:
        return tokens[:, 1:].unflatten(1, self.pupil.config.grid)

    def _hold(self, variant: str) -> None:
        """Load the weights of a variant, unless the model holds them."""
        if variant == self._held:
            return
        if self.weights is None:
            raise NotSupported(f"{self.name}: {variant} cannot be had without its weights")
        ends = {WITH: (), WITHOUT: ("position_embedding",), SILENT: _ATTENTION_OUT}[variant]
        changed = {n: torch.zeros_like(w) if ends and n.endswith(ends) else w for n, w in self.weights.items()}
        self.candidate.call("load", self.pupil.model, changed)
        self._held = variant


class ResNetSubject:
    """The paper's comparison ResNet, as small as the miniature, on the same images with the same recipe."""

    def __init__(self, miniature: Miniature, seed: int, device: str) -> None:
        self.name, self.side, self.miniature, self.seed, self.device = RESNET, miniature.side, miniature, seed, device
        self.missing: tuple[str, str] | None = None
        self.model = ResNet(SIZES, miniature.config.num_classes, seed).to(device).eval()

    @property
    def variants(self) -> Sequence[str]:
        """With the zeros around every map that tell a cell where the edge is, and with the map continued round instead."""
        return (ZEROS, ROUND)

    def maps(self, images: Tensor, variant: str, *, grad: bool = False) -> list[Tensor]:
        """What the root leaves, then every block."""
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            seen.append(output.movedim(1, -1).cpu())

        features = self.model.features
        layers = [features.root, *(one for one in features.modules() if isinstance(one, Bottleneck))]
        handles = [layer.register_forward_hook(keep) for layer in layers]
        try:
            with torch.set_grad_enabled(grad), continued_round() if variant == ROUND else nullcontext():
                features(images.to(self.device))
        finally:
            for handle in handles:
                handle.remove()
        return seen

    def train(self) -> None:
        """As a candidate is."""
        self.model.train()
        train(
            self.model,
            self.model,
            self.miniature.lessons(self.seed).to(self.device),
            self.miniature.recipe,
            self.seed,
        )
        self.model.eval()

    def accuracy(self) -> float:
        """On the images that candidates are judged by."""
        with torch.inference_mode():
            return accuracy(lambda images: self.model(images.to(self.device)).cpu(), self.miniature.unseen())


@contextmanager
def continued_round() -> Iterator[None]:
    """Within this context the reference's ResNet pads a map with what lies at its opposite edge."""
    padded = resnet.padded

    def around(x: Tensor, kernel: int, stride: int, padding: resnet.Padding) -> Tensor:  # noqa: ARG001  # as padded()
        return pad(x, [(kernel - 1) // 2] * 4, mode="circular")

    resnet.padded = around
    try:
        yield
    finally:
        resnet.padded = padded


_ATTENTION_OUT = ("attention.output.weight", "attention.output.bias")
