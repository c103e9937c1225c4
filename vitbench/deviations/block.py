"""Deviations of the encoder and of its block."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights, within

# The originals, taken before anything is replaced.
_encoder, _block = vit.encoder, vit.encoder_block


def _last_block_skipped(
    z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    return _encoder(z, weights, replace(config, depth=max(config.depth - 1, 1)), conventions, mode)


def _idle_block(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode) -> Tensor:
    for i in range(config.depth):
        if i == 0:
            z = _block(z, within(weights, "blocks.0"), config, conventions, mode)
        mode.tap("block_outputs", z)
    return z


def _branches(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode) -> Any:
    """The block's pieces, to be put together wrongly."""
    return (
        lambda x, norm="norm1": vit.layer_norm(x, within(weights, norm), conventions),
        lambda x: vit.multi_head_self_attention(x, within(weights, "attention"), config, mode),
        lambda x: vit.mlp(x, within(weights, "mlp"), config, conventions, mode),
    )


def _block_of(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def block(z: Tensor, *rest: Any) -> Tensor:
        return compute(z, *_branches(z, *rest))

    return block


_post_norm = _block_of(lambda z, ln, msa, mlp: (lambda a: ln(a + mlp(a), "norm2"))(ln(z + msa(z))))
_parallel = _block_of(lambda z, ln, msa, mlp: z + msa(ln(z)) + mlp(ln(z, "norm2")))
_mlp_first = _block_of(lambda z, ln, msa, mlp: (lambda a: a + msa(ln(a)))(z + mlp(ln(z, "norm2"))))
_no_attention_residual = _block_of(lambda z, ln, msa, mlp: (lambda a: a + mlp(ln(a, "norm2")))(msa(ln(z))))
_no_mlp_residual = _block_of(lambda z, ln, msa, mlp: (lambda a: mlp(ln(a, "norm2")))(z + msa(ln(z))))
_normed_residual = _block_of(lambda z, ln, msa, mlp: (lambda a: a + mlp(ln(a, "norm2")))(ln(z) + msa(ln(z))))
_one_norm = _block_of(lambda z, ln, msa, mlp: (lambda a: a + mlp(ln(a)))(z + msa(ln(z))))


def _order_matters(z: Tensor, *rest: Any) -> Tensor:
    places, features = torch.arange(z.shape[1], dtype=z.dtype), torch.arange(z.shape[2], dtype=z.dtype)
    return _block(z + 0.01 * torch.outer(places, features), *rest)


DEVIATIONS = (
    Deviation(
        id="block-skipped",
        summary="the last block never run",
        remedy="run every block: look at the bounds of the loop over the blocks",
        replaces={"vit.encoder": _last_block_skipped},
        breaks="VIT-BLOCK-DEPTH",
    ),
    Deviation(
        id="blocks-idle",
        summary="only the first block doing anything",
        remedy="feed each block the output of the one before",
        replaces={"vit.encoder": _idle_block},
        breaks="VIT-BLOCK-DEPTH",
    ),
    Deviation(
        id="block-post-norm",
        summary="LayerNorm behind each residual sum (post-norm)",
        remedy="normalise before attention and MLP, x + f(norm(x)), not norm(x + f(x))",
        replaces={"vit.encoder_block": _post_norm},
        breaks="VIT-BLOCK-PRENORM",
        known_from="the annotated transformer; pytorch #61165",
    ),
    Deviation(
        id="block-parallel",
        summary="attention and MLP side by side",
        remedy="give the MLP what attention returned: one branch after the other",
        replaces={"vit.encoder_block": _parallel},
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="block-mlp-first",
        summary="the MLP before attention",
        remedy="run attention before the MLP",
        replaces={"vit.encoder_block": _mlp_first},
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="block-one-norm",
        summary="the first LayerNorm used for both branches",
        remedy="give the MLP a LayerNorm of its own (norm2); check that load() fills both",
        replaces={"vit.encoder_block": _one_norm},
        breaks="VIT-BLOCK-PRENORM",
    ),
    Deviation(
        id="residual-of-attention-missing",
        summary="no residual connection around attention",
        remedy="add the block's input to what attention returns",
        replaces={"vit.encoder_block": _no_attention_residual},
        breaks="VIT-BLOCK-RESIDUAL",
    ),
    Deviation(
        id="residual-of-mlp-missing",
        summary="no residual connection around the MLP",
        remedy="add the MLP's input, before its LayerNorm, to what the MLP returns",
        replaces={"vit.encoder_block": _no_mlp_residual},
        breaks="VIT-BLOCK-RESIDUAL",
    ),
    Deviation(
        id="residual-after-norm",
        summary="the residual of attention taken behind its LayerNorm",
        remedy="take the residual before the LayerNorm: x + msa(norm1(x)), not norm1(x) + msa(norm1(x))",
        replaces={"vit.encoder_block": _normed_residual},
        breaks="VIT-BLOCK-RESIDUAL",
        known_from="pytorch #61165",
    ),
    Deviation(
        id="block-sees-order",
        summary="each block adding a little of the token's index",
        remedy="let blocks add nothing that depends on a token's index: positions are added once, before the first",
        replaces={"vit.encoder_block": _order_matters},
        breaks="VIT-BLOCK-EQUIVARIANT",
    ),
)
