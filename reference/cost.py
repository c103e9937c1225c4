"""Parameters and multiply-accumulates of a Vision Transformer in closed form."""

from math import prod

from vitbench.reference.config import Conventions, ViTConfig


def parameter_count(config: ViTConfig, conventions: Conventions | None = None) -> int:
    """Number of trainable scalars."""
    # torch is needed for the shapes' module only, and not for counting by --dry-run and --help
    from vitbench.reference.parameters import parameter_shapes  # noqa: PLC0415

    return sum(prod(shape) for shape in parameter_shapes(config, conventions or Conventions()).values())


def multiply_accumulates(config: ViTConfig) -> int:
    """Multiply-accumulates of one image's forward pass; one is two floating-point operations.

    N·C·P²·D + L·(4TD² + 2TDM + 2T²D) + DK with T = N + 1: patch embedding; per block the four projections, the
    MLP, and the two products of attention; the head. Norms, softmax and activations are left out, as is usual.
    """
    n, t, d, m = config.num_patches, config.num_tokens, config.width, config.mlp_dim
    patches = n * config.channels * prod(config.patch_size) * d
    block = 4 * t * d * d + 2 * t * d * m + 2 * t * t * d
    hidden = d * d if config.head == "mlp" else 0
    return patches + config.depth * block + hidden + d * config.num_classes
