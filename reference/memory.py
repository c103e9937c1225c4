"""The memory of a Vision Transformer in closed form: what weights, training state and kept activations take.

Source: counting what torch's autograd saves for each operation, as Korthikanti et al., "Reducing Activation Recomputation
in Large Transformer Models" (2022), section 4.1, do for language models.
"""

from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.cost import parameter_count


def parameter_bytes(config: ViTConfig, element_bytes: int, conventions: Conventions | None = None) -> int:
    """Of the parameters; their gradients take the same."""
    return element_bytes * parameter_count(config, conventions)


def optimizer_bytes(
    config: ViTConfig, element_bytes: int, *, states: int = 2, conventions: Conventions | None = None
) -> int:
    """Of an optimizer that keeps so many values a parameter: Adam's two moments."""
    return states * parameter_bytes(config, element_bytes, conventions)


def activation_bytes(config: ViTConfig, batch: int, element_bytes: int, *, fused_attention: bool = True) -> int:
    """Of what an eager model keeps for its backward pass, without dropout.

    In a block, for T tokens: the inputs of both norms, of the projections, of the output layer and of both layers of the
    MLP, Q, K and V, and the hidden units before their activation: 8TD + 2TM. Attention by a fused kernel keeps its
    log-sum-exp, hT; written out, its weights, hT². Each LayerNorm keeps mean and deviation, 2T. Behind the blocks the
    final norm keeps its input; the head keeps one token of its output, a view that holds all of it; the loss keeps the
    K log-probabilities.
    """
    t, d, m, h = config.num_tokens, config.width, config.mlp_dim, config.num_heads
    attention = h * t if fused_attention else h * t * t
    block = 8 * t * d + 2 * t * m + attention + 4 * t
    return element_bytes * batch * (config.depth * block + 2 * t * d + 2 * t + config.num_classes)
