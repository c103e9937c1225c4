"""What the checks of an attention kernel draw: sizes, and how the three tensors lie in memory.

As for models, the first value of each list is the simplest, and not degenerate. What a kernel may refuse (lengths, head
dims, strides) is drawn for the requirement that is about it; everything else is judged on sizes that suit any kernel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from hypothesis import strategies as st
from torch import Tensor

from vitbench.reference.vit import split_heads

Inputs = tuple[Tensor, Tensor, Tensor]
"""Query, key and value. Shapes: (B, h, T, D_h) each."""

BATCHES = (2, 3, 1)
HEADS = (2, 3, 1, 4)
TOKENS = (64, 128, 32)
VIT_LENGTHS = (197, 257, 577, 50, 785, 1025, 145, 1, 2, 7, 63, 65, 97, 127, 129, 199, 255)
"""N + 1 of the published variants at 224 (P = 16, 14, 32) and more, then one token, primes and one off a block's size."""

LONGEST_PAIR = 200_000
"""Query-key pairs per example, over batch and heads: what keeps long sequences quick."""

PAPER_HEAD_DIMS = (64, 80)  # all variants but H, and H
ODD_HEAD_DIMS = (72, 5, 33, 1, 3, 7, 48, 96, 17, 160)  # 72: SigLIP's so400m


@dataclass(frozen=True)
class KernelCase:
    """One example: sizes, how the inputs lie in memory, and the seed of their numbers."""

    batch: int
    heads: int
    tokens: int
    head_dim: int
    seed: int
    layout: str = "contiguous"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, h, T, D_h)."""
        return self.batch, self.heads, self.tokens, self.head_dim

    def inputs(self, dtype: torch.dtype, layout: str = "") -> Inputs:
        """Normal random numbers of the case's seed, the same in every layout. Shapes: (B, h, T, D_h) each."""
        rows = 1 if self.layout == "expanded" else self.batch
        width = self.heads * self.head_dim
        fused = self.random((rows, self.tokens, 3 * width)).to(dtype)
        return LAYOUTS[layout or self.layout](fused, self)

    def random(self, shape: Sequence[int], stream: int = 0) -> Tensor:
        """Normal random numbers, others in each stream. Shapes: as given."""
        generator = torch.Generator().manual_seed(len(LAYOUTS) * self.seed + stream)
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def __str__(self) -> str:
        b, h, t, d = self.shape
        layout = "" if self.layout == "contiguous" else f", {self.layout}"
        return f"batch {b}, heads {h}, tokens {t}, head dim {d}{layout}; seed {self.seed}"


MANY_HEADS = KernelCase(batch=9, heads=12, tokens=32, head_dim=64, seed=1)
"""As many heads as B has, and over a hundred of them in the batch."""

MANY_TOKENS = KernelCase(batch=1, heads=1, tokens=2305, head_dim=64, seed=1)
"""As many as P = 16 makes of 768 pixels."""


def _heads(fused: Tensor, case: KernelCase) -> Inputs:
    """Views of one tensor, as a model with a fused projection has them. (B, T, 3 D) -> three (B, h, T, D_h)."""
    query, key, value = (split_heads(x, case.heads) for x in fused.chunk(3, dim=-1))
    return query, key, value


def _contiguous(fused: Tensor, case: KernelCase) -> Inputs:
    query, key, value = (x.expand(case.shape).contiguous() for x in _heads(fused, case))
    return query, key, value


def _interleaved(fused: Tensor, case: KernelCase) -> Inputs:
    """Views of one tensor that holds query, key and value of a head beside each other."""
    stacked = torch.stack(_heads(fused, case), dim=3)  # (B, h, T, 3, D_h)
    beside = stacked.transpose(1, 2).contiguous()  # (B, T, h, 3, D_h)
    query, key, value = beside.permute(3, 0, 2, 1, 4)
    return query, key, value


def _expanded(fused: Tensor, case: KernelCase) -> Inputs:
    """One image for the whole batch, with a stride of zero."""
    query, key, value = (x.contiguous().expand(case.shape) for x in _heads(fused, case))
    return query, key, value


def _transposed(fused: Tensor, case: KernelCase) -> Inputs:
    """Features before tokens in memory."""
    query, key, value = (x.transpose(2, 3).contiguous().transpose(2, 3) for x in _heads(fused, case))
    return query, key, value


def _sliced(fused: Tensor, case: KernelCase) -> Inputs:
    """Every second feature of a wider tensor, not from its start."""
    wider = (torch.stack([x, x + 1], dim=-1).flatten(3).roll(1, dims=-1) for x in _contiguous(fused, case))
    query, key, value = (x[..., 1::2] for x in wider)
    return query, key, value


LAYOUTS: Mapping[str, Callable[[Tensor, KernelCase], Inputs]] = {
    "contiguous": _contiguous,
    "fused": _heads,
    "fused by head": _interleaved,
    "expanded": _expanded,
    "transposed": _transposed,
    "sliced": _sliced,
}


@st.composite
def kernel_cases(
    draw: st.DrawFn,
    *,
    tokens: Sequence[int] = TOKENS,
    head_dims: Sequence[int] = PAPER_HEAD_DIMS[:1],
    layouts: Sequence[str] = ("contiguous",),
) -> KernelCase:
    """Sizes of queries, keys and values; long sequences come with few heads."""
    length = draw(st.sampled_from(tokens))
    batch, heads = draw(st.sampled_from(BATCHES)), draw(st.sampled_from(HEADS))
    while batch * heads > 1 and batch * heads * length**2 > LONGEST_PAIR:
        batch, heads = (batch - 1, heads) if batch > heads else (batch, heads - 1)
    case = KernelCase(batch, heads, length, draw(st.sampled_from(head_dims)), draw(st.integers(0, 2**16)))
    return KernelCase(*case.shape, case.seed, draw(st.sampled_from(layouts)))


# Extreme logits. Products and sums of these numbers are exact in every dtype, in any order, so that what is left to
# differ is the softmax.

_PEAK = 128
"""Of a query against its own key among keys of 64 signs: a logit of 1024, hundreds above the next."""

_SHIFT = 1024
"""exp(1024) is beyond float64, and exp(-1024) is zero in it."""
_LAST = 32


def peaked(case: KernelCase, dtype: torch.dtype) -> Inputs:
    """Each query has one key whose logit is far above the others: the output is that key's value."""
    key = case.random(case.shape, stream=1).sign()
    query = _PEAK * key.roll(1, dims=2)
    return query.to(dtype), key.to(dtype), case.random(case.shape, stream=2).to(dtype)


def raised(case: KernelCase, dtype: torch.dtype) -> Inputs:
    """Ordinary logits plus 1024 for every key, which softmax must not notice."""
    return _shifted(case, dtype, _SHIFT)


def lowered(case: KernelCase, dtype: torch.dtype) -> Inputs:
    """Ordinary logits less 1024 for every key."""
    return _shifted(case, dtype, -_SHIFT)


def equal(case: KernelCase, dtype: torch.dtype) -> Inputs:
    """One and the same key for every token: the output is the mean of the values."""
    query, key, value = _shifted(case, dtype, 0)
    return query, key[:, :, :1].expand(case.shape).contiguous(), value


def apart(case: KernelCase, dtype: torch.dtype) -> Inputs:
    """Logits raised for every second query, lowered for the others: a maximum taken over all of them suits half."""
    query, key, value = raised(case, dtype)
    query[:, :, 1::2, -1] *= -1
    return query, key, value


def _shifted(case: KernelCase, dtype: torch.dtype, by: int) -> Inputs:
    """Whole numbers, and a last feature that adds ``by`` to every logit."""
    query, key = ((2 * case.random(case.shape, stream)).round().clamp(-4, 4) for stream in (1, 2))
    query[..., -1], key[..., -1] = _LAST, by * sqrt(case.head_dim) / _LAST
    return query.to(dtype), key.to(dtype), case.random(case.shape, stream=3).to(dtype)


EXTREMES: Mapping[str, Callable[[KernelCase, torch.dtype], Inputs]] = {
    "one logit far above": peaked,
    "logits raised": raised,
    "logits lowered": lowered,
    "logits far apart": apart,
    "equal logits": equal,
}
