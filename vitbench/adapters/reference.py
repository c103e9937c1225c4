"""The reference ViT as a candidate of its own suite."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import vitbench
from vitbench.adapter import Adapter, Conventions, NotSupported, ViTConfig
from vitbench.reference.positions import resize_position_embedding
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
    """``vitbench.reference`` behind the contract; conventions can be chosen, since the reference has them all."""

    name = "reference"
    version = vitbench.__version__

    def __init__(self, conventions: Conventions | None = None) -> None:
        self.conventions = conventions or Conventions()

    def build(self, config: ViTConfig) -> ViT:
        if config.stem != "patch":
            raise NotSupported(f"stem {config.stem!r}: the reference has patches of pixels only")
        return ViT(config, self.conventions)

    def load(self, model: ViT, state: Mapping[str, Tensor]) -> None:
        model.load_state_dict(state)

    def export(self, model: ViT) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in model.named_parameters()}

    def patch_tokens(self, model: ViT, images: Tensor) -> Tensor:
        return self._tapped(model, images, "patch_tokens")[0]

    def tokens(self, model: ViT, images: Tensor) -> Tensor:
        return self._tapped(model, images, "tokens")[0]

    def block_outputs(self, model: ViT, images: Tensor) -> list[Tensor]:
        return self._tapped(model, images, "block_outputs")

    def attention(self, model: ViT, images: Tensor) -> list[Tensor]:
        return self._tapped(model, images, "attention")

    def representation(self, model: ViT, images: Tensor) -> Tensor:
        return self._tapped(model, images, "representation")[0]

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        return resize_position_embedding(
            table,
            grid,
            new_grid,
            self.conventions.position_resize,
            class_row=self.conventions.class_token_has_position,
        )

    def at_image_size(self, model: ViT, image_size: tuple[int, int]) -> ViT:
        return model.at_image_size(image_size)

    def unfused(self, model: ViT) -> ViT:
        return copy.deepcopy(model)  # written out already

    def checkpointed(self, model: ViT) -> "Checkpointed":
        return Checkpointed(copy.deepcopy(model))

    def _tapped(self, model: ViT, images: Tensor, stage: str) -> list[Tensor]:
        seen: list[Tensor] = []

        def tap(name: str, value: torch.Tensor) -> None:
            if name == stage:
                seen.append(value)

        model(images, tap)
        return seen
