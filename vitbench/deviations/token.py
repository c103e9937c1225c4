"""Deviations of the class token and of positions as they are added."""

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import vit
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import Weights

# The originals, taken before anything is replaced.
_embed = vit.embed


def _class_last(x_e: Tensor, class_token: Tensor) -> Tensor:
    return torch.cat([x_e, class_token.expand(x_e.shape[0], -1, -1)], dim=1)


def _two_class_tokens(x_e: Tensor, class_token: Tensor) -> Tensor:
    return torch.cat([class_token.expand(x_e.shape[0], 2, -1), x_e], dim=1)


def _class_in_first_image(x_e: Tensor, class_token: Tensor) -> Tensor:
    tokens = torch.zeros(x_e.shape[0], 1, x_e.shape[2], dtype=x_e.dtype)
    tokens[:1] = class_token
    return torch.cat([tokens, x_e], dim=1)


def _class_has_no_position(
    x_e: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: vit.Mode
) -> Tensor:
    table = weights["position_embedding"].clone()
    table[:, 0] = 0
    return _embed(x_e, {**weights, "position_embedding": table}, config, conventions, mode)


DEVIATIONS = (
    Deviation(
        id="class-token-last",
        summary="the class token behind the patches",
        remedy="put the class token before the patches: cat([class_token, patches], dim=1)",
        replaces={"vit.prepend_class_token": _class_last},
        breaks="VIT-TOKEN-CLASS-FIRST",
        known_from="llama.cpp #25814",
    ),
    Deviation(
        id="class-token-twice",
        summary="two class tokens",
        remedy="prepend the class token once",
        replaces={
            "vit.prepend_class_token": _two_class_tokens,
            "vit.add_positions": lambda z, p: z + torch.cat([p[:, :1], p], dim=1),
        },
        breaks="VIT-TOKEN-LENGTH",
    ),
    Deviation(
        id="class-token-not-expanded",
        summary="the class token in the first image of a batch only",
        remedy="expand the class token to every image of the batch",
        replaces={"vit.prepend_class_token": _class_in_first_image},
        breaks="VIT-TOKEN-CLASS-EXPANDED",
        known_from="vit-pytorch 8fb261c",
    ),
    Deviation(
        id="class-token-without-position",
        summary="no position embedding on the class token, undeclared",
        remedy="declare class_token_has_position=False in `conventions`, or add the table's first row to the "
        "class token",
        replaces={"vit.embed": _class_has_no_position},
        breaks="VIT-TOKEN-POSITION",
        known_from="labml #221",
    ),
    Deviation(
        id="positions-missing",
        summary="no position embeddings",
        remedy="add the position embedding to the tokens; check that load() fills it",
        replaces={"vit.add_positions": lambda z, positions: z},
        breaks="VIT-TOKEN-ORDER",
        known_from="TensorRT-LLM #11065",
    ),
    Deviation(
        id="positions-twice",
        summary="position embeddings added twice",
        remedy="add the position embedding once",
        replaces={"vit.add_positions": lambda z, positions: z + 2 * positions},
        breaks="VIT-TOKEN-POSITION",
        known_from="candle #2286",
    ),
)
