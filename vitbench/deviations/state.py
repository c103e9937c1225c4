"""Deviations in what a model keeps, changes and remembers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import parameters, vit

_forward, _load, _shapes, _initial = (
    vit.ViT.forward,
    vit.ViT.load_state_dict,
    parameters.parameter_shapes,
    parameters.initial_weights,
)


def _forward_after(disturb: Callable[[vit.ViT, Tensor], Any]) -> Callable[..., Tensor]:
    def forward(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
        disturb(self, images)
        return _forward(self, images, *tap)

    return forward


def _noisy(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    noise = torch.empty(1, dtype=images.dtype).normal_(generator=_NOISE)
    return _forward(self, images + 1e-3 * noise, *tap)


_NOISE = torch.Generator().manual_seed(0)  # one that goes on from call to call, as a stray dropout would


def _by_memory_order(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    in_memory = torch.as_strided(images, (images.numel(),), (1,))
    return _forward(self, in_memory.view(images.shape), *tap)


def _biases_not_loaded(self: vit.ViT, state: Mapping[str, Tensor], **options: Any) -> Any:
    own = self.state_dict()
    return _load(
        self, {name: own[name] if name == "blocks.0.mlp.fc1.bias" else w for name, w in state.items()}, **options
    )


def _mlp_of_four_widths(config: Any, conventions: Any) -> dict[str, tuple[int, ...]]:
    shapes = dict(_shapes(config, conventions))
    for i in range(config.depth):
        shapes[f"blocks.{i}.mlp.fc1.weight"] = (4 * config.width, config.width)
        shapes[f"blocks.{i}.mlp.fc1.bias"] = (4 * config.width,)
        shapes[f"blocks.{i}.mlp.fc2.weight"] = (config.width, 4 * config.width)
    return shapes


def _random_head(*arguments: Any) -> dict[str, Tensor]:
    weights = _initial(*arguments)
    return {**weights, "head.weight": torch.full_like(weights["head.weight"], 0.02)}


DEVIATIONS = (
    Deviation(
        id="evaluation-noisy",
        summary="noise in evaluation mode",
        replaces={"vit.ViT.forward": _noisy},
        breaks="VIT-PURE-REPEATABLE",
        known_from="timm #1978",
    ),
    Deviation(
        id="input-scaled-in-place",
        summary="images rescaled in place",
        replaces={"vit.ViT.forward": _forward_after(lambda _model, images: images.mul_(0.5))},
        breaks="VIT-PURE-INPUT",
    ),
    Deviation(
        id="weights-drift",
        summary="weights that decay with every forward pass",
        replaces={
            "vit.ViT.forward": _forward_after(lambda model, _images: model.get_parameter("norm.weight").data.mul_(0.99))
        },
        breaks="VIT-PURE-WEIGHTS",
    ),
    Deviation(
        id="default-dtype-set",
        summary="torch's default dtype set to float64",
        replaces={"vit.ViT.forward": _forward_after(lambda *_: torch.set_default_dtype(torch.float64))},
        breaks="VIT-PURE-GLOBAL",
    ),
    Deviation(
        id="global-seed-set",
        summary="torch's global seed set by every forward pass",
        replaces={"vit.ViT.forward": _forward_after(lambda *_: torch.manual_seed(0))},
        breaks="VIT-PURE-GLOBAL",
    ),
    Deviation(
        id="memory-order-read",
        summary="images read in the order of memory, whatever their strides",
        replaces={"vit.ViT.forward": _by_memory_order},
        breaks="VIT-PURE-LAYOUT",
    ),
    Deviation(
        id="bias-not-loaded",
        summary="the first MLP bias left at its initial value on load",
        replaces={"vit.ViT.load_state_dict": _biases_not_loaded},
        breaks="VIT-STATE-ROUND-TRIP",
        known_from="timm #2324",
    ),
    Deviation(
        id="mlp-four-widths",
        summary="an MLP of 4 D hidden units, whatever was asked for",
        replaces={"parameters.parameter_shapes": _mlp_of_four_widths},
        breaks="VIT-CONFIG-PARAMETERS",
        known_from="kornia #2786",
    ),
    Deviation(
        id="head-not-zero",
        summary="a fine-tuning head that does not start at zero, undeclared",
        replaces={"vit.initial_weights": _random_head},
        breaks="VIT-HEAD-INIT",
    ),
)
