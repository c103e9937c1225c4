"""An attention kernel in Triton for Vision Transformers: a worked example of what ``--kernel`` takes.

A ViT's attention has no mask, no cache and no causal order: softmax(q k^T / sqrt(D_h)) v over all N + 1 tokens of an
image, each head on its own. Written out, it stores the scores, (B, h, T, T) numbers that are read and written several
times; at 577 tokens they are nine times as many as all else. A kernel avoids them:

1. **One program for each block of queries** of one head of one image. It loads its queries once, and keeps them.
2. **It walks over the keys block by block**, and keeps three things per query in registers, in float32: the largest
   score so far, the sum of the exponentials so far, and the sum of the values so far, each weighted by its exponential.
3. **The online softmax** (Milakov and Gimelshein, 2018; FlashAttention, Dao et al., 2022, algorithm 1): when a later
   block has a larger score, what was summed up so far is scaled down by exp(old largest - new largest). No
   exponential is ever above one, so nothing overflows; and after the last block, one division gives the mean.

What makes it a ViT's: N + 1 is 197, 257 or 577, never a multiple of a block, so that the last block is masked (keys that
do not exist get the score -inf, and so the weight 0); and a head is 64 wide, or 80 in ViT-H, where blocks have to be a
power of two wide: the features are padded with zeros, which add nothing to a dot product.

The exponentials are powers of two, for which a GPU has an instruction: exp(x) = 2^(x log2 e), with the factor in the
scale. Products are in the inputs' dtype with float32 sums, as tensor cores have them, and so the weights are rounded to
that dtype before they meet the values, which tier N allows for.

Judge and measure it as any kernel of your own::

    pytest suites/conformance --kernel vitbench.kernels.triton_attention:attention --device cuda
    python -m vitbench.run --gpu 0 --suite attention --kernel vitbench.kernels.triton_attention:attention --kernel flash

Without a GPU, Triton's interpreter runs it slowly on the CPU, for judgement only: set ``TRITON_INTERPRET=1`` before.
Forward only: the output takes no part in autograd, which vitbench tells as "not offered".
"""

import math
import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from vitbench.errors import NotSupported

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_WIDEST_HEAD = 128  # wider blocks of keys and values no longer fit beside each other
_QUERIES = 64  # in a block
_KEYS_BY_BYTES = {2: 64, 4: 32}  # of a number: what two blocks in flight leave of a GPU's shared memory
_LEAST_WIDTH = 16  # of a product on tensor cores

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # as Triton itself has read it by now


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D_h)) v, each head on its own. Any strides. (B, h, T, D_h) three times -> (B, h, T, D_h).

    Raises:
        NotSupported: another dtype, a head wider than 128, or a tensor on the CPU without Triton's interpreter.
    """
    _require_served(query)
    batch, heads, tokens, head_dim = query.shape
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    if output.numel() == 0:
        return output
    grid = (batch * heads, triton.cdiv(tokens, _QUERIES))
    _attend[grid](
        *(query, key, value, output),
        *(stride for x in (query, key, value, output) for stride in x.stride()),
        *(heads, tokens, head_dim),
        math.log2(math.e) / math.sqrt(head_dim),
        QUERIES=_QUERIES,
        KEYS=_KEYS_BY_BYTES[query.element_size()],
        WIDTH=max(_LEAST_WIDTH, triton.next_power_of_2(head_dim)),
        WIDEN=_INTERPRETED,
        num_warps=4,
        num_stages=2,
    )
    return output


def _require_served(query: Tensor) -> None:
    if query.dtype not in DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise NotSupported(f"the Triton kernel is for {names}, not {str(query.dtype).removeprefix('torch.')}")
    if query.shape[-1] > _WIDEST_HEAD:
        raise NotSupported(f"the Triton kernel is for heads of up to {_WIDEST_HEAD} features, not {query.shape[-1]}")
    if not query.is_cuda and not _INTERPRETED:
        raise NotSupported("Triton compiles for a GPU; on the CPU, set TRITON_INTERPRET=1 to interpret the kernel")


@triton.jit
def _attend(  # type: ignore[no-untyped-def]  # Triton compiles this, and admits none of Python's types
    query,
    key,
    value,
    output,
    q_image,
    q_head,
    q_token,
    q_feature,
    k_image,
    k_head,
    k_token,
    k_feature,
    v_image,
    v_head,
    v_token,
    v_feature,
    o_image,
    o_head,
    o_token,
    o_feature,
    heads,
    tokens,
    head_dim,
    scale,  # of the exponents of two: log2(e) / sqrt(D_h)
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,  # D_h and up to the next power of two
    WIDEN: tl.constexpr,  # products in float32: Triton's interpreter has them wrong in bfloat16
):
    """One block of queries of one head of one image against all its keys."""
    # where it is; as 64-bit numbers, since a stride times an index may go beyond 32
    image, head = (tl.program_id(0) // heads).to(tl.int64), (tl.program_id(0) % heads).to(tl.int64)
    rows = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES)
    features = tl.arange(0, WIDTH)
    there = (rows < tokens)[:, None] & (features < head_dim)[None, :]

    # the queries, and what is known of them so far
    at = query + image * q_image + head * q_head + rows[:, None] * q_token + features[None, :] * q_feature
    q = tl.load(at, mask=there, other=0.0)
    if WIDEN:
        q = q.to(tl.float32)
    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    mean = tl.zeros((QUERIES, WIDTH), tl.float32)  # not yet divided by the total

    keys = key + image * k_image + head * k_head
    values = value + image * v_image + head * v_head
    for start in range(0, tokens, KEYS):
        columns = start + tl.arange(0, KEYS)
        inside = (columns < tokens)[:, None] & (features < head_dim)[None, :]
        k = tl.load(keys + columns[:, None] * k_token + features[None, :] * k_feature, mask=inside, other=0.0)
        v = tl.load(values + columns[:, None] * v_token + features[None, :] * v_feature, mask=inside, other=0.0)
        if WIDEN:
            k, v = k.to(tl.float32), v.to(tl.float32)

        # scores: (QUERIES, KEYS); "ieee": no TF32 for float32
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where((columns < tokens)[None, :], scores, float("-inf"))

        # the online softmax
        now = tl.maximum(largest, tl.max(scores, axis=1))
        fading = tl.exp2(largest - now)  # 0 at first, where the largest was -inf
        weights = tl.exp2(scores - now[:, None])
        total = total * fading + tl.sum(weights, axis=1)
        mean = mean * fading[:, None] + tl.dot(
            weights.to(value.dtype.element_ty).to(v.dtype), v, input_precision="ieee"
        )
        largest = now

    at = output + image * o_image + head * o_head + rows[:, None] * o_token + features[None, :] * o_feature
    tl.store(at, (mean / total[:, None]).to(output.dtype.element_ty), mask=there)
