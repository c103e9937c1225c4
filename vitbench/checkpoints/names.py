"""Canonical names and shapes, and those of the authors' code: google-research/vision_transformer, as flax stores it.

There a dense kernel is (in, out), a convolution's (P_h, P_w, C, D), and attention keeps its heads apart: query, key and
value (D, h, D_h), out (h, D_h, D). Here weights are (out, in), as torch's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vitbench.checkpoints.errors import CheckpointUnusable

Turn = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Place:
    """Where a canonical weight stands in the authors' naming, and how it is turned for it and back; h heads."""

    name: str
    there: Turn
    back: Turn


def _as_is(tensor: Tensor, _heads: int) -> Tensor:
    return tensor


def _transposed(tensor: Tensor, _heads: int) -> Tensor:
    return tensor.T


def _place(name: str, there: Turn = _as_is, back: Turn | None = None) -> Place:
    return Place(name, there, back or there)


_DENSE = {"weight": "kernel", "bias": "bias"}
_NORM = {"weight": "scale", "bias": "bias"}
_WHOLE = {
    "patch_embedding.weight": _place(
        "embedding/kernel", lambda w, _h: w.permute(2, 3, 1, 0), lambda w, _h: w.permute(3, 2, 0, 1)
    ),
    "patch_embedding.bias": _place("embedding/bias"),
    "class_token": _place("cls"),
    "position_embedding": _place("Transformer/posembed_input/pos_embedding"),
    **{f"norm.{leaf}": _place(f"Transformer/encoder_norm/{name}") for leaf, name in _NORM.items()},
    **{
        f"{ours}.{leaf}": _place(f"{theirs}/{name}", _transposed if leaf == "weight" else _as_is)
        for ours, theirs in (("head.hidden", "pre_logits"), ("head", "head"))
        for leaf, name in _DENSE.items()
    },
}
_BLOCK: dict[str, Place] = {
    **{
        f"{ours}.{leaf}": _place(f"{theirs}/{name}")
        for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2"))
        for leaf, name in _NORM.items()
    },
    **{
        f"mlp.{ours}.{leaf}": _place(f"MlpBlock_3/{theirs}/{name}", _transposed if leaf == "weight" else _as_is)
        for ours, theirs in (("fc1", "Dense_0"), ("fc2", "Dense_1"))
        for leaf, name in _DENSE.items()
    },
}
_ATTENTION = "MultiHeadDotProductAttention_1"
for _part in ("query", "key", "value"):
    _BLOCK[f"attention.{_part}.weight"] = _place(
        f"{_ATTENTION}/{_part}/kernel", lambda w, h: w.T.unflatten(1, (h, -1)), lambda w, _h: w.flatten(1).T
    )
    _BLOCK[f"attention.{_part}.bias"] = _place(
        f"{_ATTENTION}/{_part}/bias", lambda b, h: b.unflatten(0, (h, -1)), lambda b, _h: b.flatten()
    )
_BLOCK["attention.output.weight"] = _place(
    f"{_ATTENTION}/out/kernel", lambda w, h: w.T.unflatten(0, (h, -1)), lambda w, _h: w.flatten(0, 1).T
)
_BLOCK["attention.output.bias"] = _place(f"{_ATTENTION}/out/bias")
_NUMBERED = re.compile(r"blocks\.(\d+)\.(.+)")


def place(name: str) -> Place:
    """Where the canonical weight of that name stands.

    Raises:
        CheckpointUnusable: the authors' model has no such weight.
    """
    numbered = _NUMBERED.fullmatch(name)
    found = _BLOCK.get(numbered[2]) if numbered else _WHOLE.get(name)
    if found is None:
        raise CheckpointUnusable(
            f"{name} has no name in the authors' .npz: their model has no such weight; save as .safetensors instead"
        )
    if numbered is None:
        return found
    return Place(f"Transformer/encoderblock_{numbered[1]}/{found.name}", found.there, found.back)


def unturned(name: str) -> Place:
    """The place of a weight where names and shapes are the canonical ones."""
    return _place(name)
