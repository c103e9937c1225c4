"""What a Vision Transformer costs in closed form: parameters, operations, and the bytes that cannot be avoided.

Counted are the matrix products: a multiply-accumulate is two floating-point operations (FLOPs). Norms, softmax,
activations, biases, residuals and the loss are left out, as is usual for model FLOPs: they are O(TD) beside O(TD²). What a
kernel computes twice (flash attention its scores in the backward pass, checkpointing its blocks) is no work of the
model's and is not counted either.
"""

from dataclasses import dataclass
from math import prod

from vitbench.reference.config import Conventions, ViTConfig

_FLOPS = 2  # of a multiply-accumulate


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a computation does at least. Units: operations, bytes."""

    flops: int
    least_bytes: int

    @property
    def intensity(self) -> float:
        """FLOPs a byte, at most: the bytes are a lower bound."""
        return self.flops / self.least_bytes


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
    t, d, m = config.num_tokens, config.width, config.mlp_dim
    block = 4 * t * d * d + 2 * t * d * m + _attention_products(config)
    hidden = d * d if config.head == "mlp" else 0
    return _patch_products(config) + config.depth * block + hidden + d * config.num_classes


def training_multiply_accumulates(config: ViTConfig) -> int:
    """Multiply-accumulates of one image's forward and backward pass.

    Each product y = xW has two in the backward pass (for x and for W), so three in all; only the patch embedding has
    but one, since nobody asks for the images' gradient.
    """
    return 3 * multiply_accumulates(config) - _patch_products(config)


def forward(config: ViTConfig, batch: int, element_bytes: int, conventions: Conventions | None = None) -> Work:
    """One forward pass of a batch, from cold caches.

    At least the parameters and the images are read and the logits written, once each. Activations are left out: a
    large enough cache would hold them. A small model may stay in the cache from one pass to the next; then even fewer
    bytes cross the memory's bus.
    """
    values = parameter_count(config, conventions) + batch * (_image_values(config) + config.num_classes)
    return Work(flops=_FLOPS * batch * multiply_accumulates(config), least_bytes=element_bytes * values)


def training_step(
    config: ViTConfig,
    batch: int,
    element_bytes: int,
    *,
    optimizer_states: int = 2,
    conventions: Conventions | None = None,
) -> Work:
    """One step on a batch: forward, backward and an optimizer that keeps so many values a parameter (Adam's are two).

    At least the images are read, and each parameter and each of its states is read and written, once. Gradients and
    activations are left out: they may be used up where they arise. The optimizer's own few operations a parameter are
    no matrix products.
    """
    moved = 2 * (1 + optimizer_states) * parameter_count(config, conventions)
    values = moved + batch * _image_values(config)
    return Work(flops=_FLOPS * batch * training_multiply_accumulates(config), least_bytes=element_bytes * values)


def attention_forward(config: ViTConfig, batch: int, element_bytes: int) -> Work:
    """softmax(QKᵀ/√D_h)V of one block, all heads, without its projections: reads Q, K and V, writes the output."""
    return _attention(config, batch, element_bytes, products=1, tensors=4)


def attention_backward(config: ViTConfig, batch: int, element_bytes: int) -> Work:
    """Its gradients: four products where the forward pass has two; reads Q, K, V and dO, writes dQ, dK and dV.

    A flash kernel computes the scores again, a fifth product: its own convention is 2.5 times the forward pass, and
    torch's counter takes it over. Here it is work of the kernel's.
    """
    return _attention(config, batch, element_bytes, products=2, tensors=7)


def _attention(config: ViTConfig, batch: int, element_bytes: int, *, products: int, tensors: int) -> Work:
    return Work(
        flops=_FLOPS * batch * products * _attention_products(config),
        least_bytes=element_bytes * batch * tensors * config.num_tokens * config.width,
    )


def _patch_products(config: ViTConfig) -> int:
    return config.num_patches * config.channels * prod(config.patch_size) * config.width


def _attention_products(config: ViTConfig) -> int:
    """QKᵀ and AV, over all heads: 2T²D."""
    return 2 * config.num_tokens**2 * config.width


def _image_values(config: ViTConfig) -> int:
    return config.channels * prod(config.image_size)
