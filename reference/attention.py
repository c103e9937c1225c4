"""Attention by itself, as a kernel computes it: the middle of multi-head self-attention, between split and merge."""

from torch import Tensor

from vitbench.reference.vit import attention_weights


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Eq. 6 and 7: softmax(q k^T / sqrt(D_h)) v, each head on its own. (B, h, T, D_h) three times -> (B, h, T, D_h)."""
    return attention_weights(query, key) @ value
