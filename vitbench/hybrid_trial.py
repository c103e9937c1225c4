"""One hybrid of a candidate, asked as a Vision Transformer on the feature map that its own stem makes."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vitbench.arrays import as_tensor, short
from vitbench.cases import Case, random_images
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.stages import Stages
from vitbench.trial import Trial

if TYPE_CHECKING:
    from vitbench.candidate import Candidate

_FEATURE_MAP_AXES = 4


class HybridTrial(Trial):
    """A trial of the ViT behind a stem: ``config`` and ``weights`` are that ViT's, ``case`` is the hybrid's.

    What the stem computes is the candidate's affair, and so are its weights: they stay as the package initialises them.
    """

    def __init__(self, candidate: "Candidate", case: Case) -> None:
        super().__init__(candidate, case, {})
        self.map = self.feature_map()  # of the trial's own images, (B, C', H', W')
        _, channels, height, width = self.map.shape
        patch_h, patch_w = case.config.patch_size
        if height % patch_h or width % patch_w:
            raise NotSupported(
                f"its stem makes a feature map of {height}×{width} cells, which patches of {patch_h}×{patch_w} "
                f"do not divide ({case})"
            )
        self.config = case.config.behind_stem(channels, (height, width))

    def load_exercised(self) -> None:
        """Give the ViT behind the stem weights that leave no part of it asleep."""
        self.weights = exercised_weights(self.config, self.conventions, self.case.seed)
        self.candidate.call("load", self.model, self.weights)

    def feature_map(self, images: Tensor | None = None) -> Tensor:
        """What the candidate's patch embedding receives. (B, C, H, W) -> (B, C', H', W')."""
        answer = as_tensor(self._asked("feature_map", images), "feature_map()")
        given = self.images if images is None else images
        if answer.ndim != _FEATURE_MAP_AXES or answer.shape[0] != given.shape[0] or not answer.numel():
            raise RequirementFailed(
                f"feature_map() returned shape {tuple(answer.shape)}, expected (B, C', H', W') with B = {given.shape[0]}"
            )
        if answer.dtype != given.dtype:
            raise RequirementFailed(
                f"feature_map() returned dtype {short(answer.dtype)}, expected {short(given.dtype)}"
            )
        return answer

    def reference_on(self, images: Tensor) -> Stages:
        """Every stage of the reference on the candidate's own feature map of the images."""
        return super().reference_on(self.map if images is self.images else self.feature_map(images))

    def gradient_sizes(self, hook: str) -> dict[str, float]:
        """The largest gradient of one of the candidate's answers at each parameter, by the model's own names.

        Parameters that the answer does not depend on, or is cut off from, are left out.
        Raises:
            NotSupported: the model is no torch module.
        """
        if not isinstance(self.model, nn.Module):
            raise NotSupported("the model is no torch module; there are no gradients to look at")
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        answer = self.candidate.call(hook, self.model, self.images, grad=True)
        if not isinstance(answer, Tensor) or not answer.requires_grad:
            return {}
        upstream = random_images(answer.shape, self.case.seed).to(answer)
        leaves = list(parameters.values())
        found = self.candidate.guarded(
            "backward", lambda: torch.autograd.grad(answer, leaves, upstream, allow_unused=True), grad=True
        )
        return {name: g.abs().max().item() for name, g in zip(parameters, found, strict=True) if g is not None}

    def _num_patches(self, images: Tensor) -> int:  # noqa: ARG002  # the map decides, whatever the images
        return self.config.num_patches
