"""Every stage of one forward pass of the reference, kept for comparison."""

from collections import defaultdict
from dataclasses import dataclass

from torch import Tensor

from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights
from vitbench.reference.vit import Mode, vision_transformer


@dataclass(frozen=True)
class Stages:
    """The activations that an adapter's hooks of the same names must return."""

    patch_tokens: Tensor  # (B, N, D)       x_p E + b
    tokens: Tensor  # (B, N+1, D)           z_0
    block_outputs: list[Tensor]  # L times (B, N+1, D)     z_1 to z_L
    attention: list[Tensor]  # L times (B, h, N+1, N+1)
    representation: Tensor  # (B, D)        y
    logits: Tensor  # (B, K)


def stages(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Stages:
    """Run the reference and keep what its taps show. Shapes: (B, C, H, W) -> ``Stages``."""
    seen: dict[str, list[Tensor]] = defaultdict(list)
    mode = Mode(tap=lambda stage, value: seen[stage].append(value))
    logits = vision_transformer(images, weights, config, conventions, mode)
    return Stages(
        patch_tokens=seen["patch_tokens"][0],
        tokens=seen["tokens"][0],
        block_outputs=seen["block_outputs"],
        attention=seen["attention"],
        representation=seen["representation"][0],
        logits=logits,
    )
