"""The reference ViT as a candidate of its own suite."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import vitbench
from vitbench.adapter import Adapter, Conventions, Model, NotSupported, ViTConfig
from vitbench.reference.hybrid import Hybrid
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.resnet import MINIATURE
from vitbench.reference.vit import ViT


class Checkpointed(nn.Module):
    """The reference as a single segment: its activations are computed again on the way back."""

    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> Tensor:
        """Images to logits. (B, C, H, W) -> (B, K)."""
        logits: Tensor = checkpoint(self.vit, images, use_reentrant=False)
        return logits


class ReferenceAdapter(Adapter):
    """``vitbench.reference`` behind the contract; conventions can be chosen, since the reference has them all.

    A hybrid gets a miniature stem, so that it can be judged by the thousand; ``Hybrid`` itself takes any ResNet.
    """

    name = "reference"
    version = vitbench.__version__

    def __init__(self, conventions: Conventions | None = None) -> None:
        self.conventions = conventions or Conventions()

    def build(self, config: ViTConfig) -> Model:
        if config.stem == "hybrid":
            return Hybrid(config, self.conventions, MINIATURE)
        return ViT(config, self.conventions)

    def load(self, model: Model, state: Mapping[str, Tensor]) -> None:
        _vit(model).load_state_dict(state)

    def export(self, model: Model) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in _vit(model).named_parameters()}

    def feature_map(self, model: Model, images: Tensor) -> Tensor:
        if not isinstance(model, Hybrid):
            raise NotSupported("patches of pixels: there is no feature map")
        return self._tapped(model, images, "feature_map")[0]

    def patch_tokens(self, model: Model, images: Tensor) -> Tensor:
        return self._tapped(model, images, "patch_tokens")[0]

    def tokens(self, model: Model, images: Tensor) -> Tensor:
        return self._tapped(model, images, "tokens")[0]

    def block_outputs(self, model: Model, images: Tensor) -> list[Tensor]:
        return self._tapped(model, images, "block_outputs")

    def attention(self, model: Model, images: Tensor) -> list[Tensor]:
        return self._tapped(model, images, "attention")

    def representation(self, model: Model, images: Tensor) -> Tensor:
        return self._tapped(model, images, "representation")[0]

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        return resize_position_embedding(
            table,
            grid,
            new_grid,
            self.conventions.position_resize,
            class_row=self.conventions.class_token_has_position,
        )

    def at_image_size(self, model: Model, image_size: tuple[int, int]) -> Model:
        return model.at_image_size(image_size)

    def unfused(self, model: ViT) -> ViT:
        return copy.deepcopy(model)  # written out already

    def checkpointed(self, model: ViT) -> "Checkpointed":
        return Checkpointed(copy.deepcopy(model))

    def _tapped(self, model: Model, images: Tensor, stage: str) -> list[Tensor]:
        seen: list[Tensor] = []

        def tap(name: str, value: torch.Tensor) -> None:
            if name == stage:
                seen.append(value)

        model(images, tap)
        return seen


def _vit(model: Model) -> ViT:
    """The model, or the part of a hybrid that has the canonical parameters."""
    vit: ViT = model.vit if isinstance(model, Hybrid) else model
    return vit
