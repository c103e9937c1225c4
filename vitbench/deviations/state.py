"""Deviations in what a model keeps, changes and remembers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vitbench.deviations.deviation import Deviation
from vitbench.reference import parameters, vit

_init, _forward, _load, _shapes, _initial, _split_heads, _attention_weights = (
    vit.ViT.__init__,
    vit.ViT.forward,
    vit.ViT.load_state_dict,
    parameters.parameter_shapes,
    parameters.initial_weights,
    vit.split_heads,
    vit.attention_weights,
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


def _six_blocks_at_most(config: Any, conventions: Any) -> dict[str, tuple[int, ...]]:
    return _shapes(replace(config, depth=min(config.depth, 6)), conventions)


def _smallest_groups(x: Tensor, num_heads: int) -> Tensor:
    width = x.shape[-1]
    return _split_heads(x, next(n for n in (*range(2, width), num_heads) if width % n == 0))


def _random_head(*arguments: Any) -> dict[str, Tensor]:
    weights = _initial(*arguments)
    return {**weights, "head.weight": torch.full_like(weights["head.weight"], 0.02)}


def _after(function: Callable[..., Any], change: Callable[[vit.ViT], Any]) -> Callable[..., Any]:
    """A method that changes the model once more at its end."""

    def method(self: vit.ViT, *arguments: Any, **options: Any) -> Any:
        result = function(self, *arguments, **options)
        change(self)
        return result

    return method


def _kept_outside(
    name: str, keep: Callable[[vit.ViT, Tensor], Any], kept: Callable[[vit.ViT], Tensor]
) -> dict[str, Any]:
    """A parameter that is put somewhere else at load, and used from there."""

    def remember(self: vit.ViT) -> None:
        keep(self, self.get_parameter(name).detach().clone())

    def forward(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
        return _run(self, {name: kept(self)}, images, *tap)

    return {"vit.ViT.load_state_dict": _after(_load, remember), "vit.ViT.forward": forward}


def _as_plain_attribute(name: str) -> dict[str, Any]:
    """Neither parameter nor buffer, but copied and pickled with the model."""
    return _kept_outside(
        name, lambda model, w: model.__dict__.update(kept=w), lambda model: cast("Tensor", model.__dict__["kept"])
    )


_REGISTRY: WeakKeyDictionary[vit.ViT, Tensor] = WeakKeyDictionary()


def _run(self: vit.ViT, weights: Mapping[str, Tensor], images: Tensor, *tap: vit.Tap) -> Tensor:
    """A forward pass with other weights than the model's own."""
    mode = vit.Mode(training=self.training, **dict(zip(("tap",), tap, strict=False)))
    own: Mapping[str, Tensor] = dict(self.named_parameters())
    return vit.vision_transformer(images, {**own, **weights}, self.config, self.conventions, mode)


def _with_the_first_weights_seen(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    attention = {name: w.detach().clone() for name, w in self.named_parameters() if ".attention." in name}
    return _run(self, self.__dict__.setdefault("first_seen", attention), images, *tap)


def _scaled(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    return _forward(self, images, *tap) * self.get_parameter("scale")


def _attention_kept(query: Tensor, key: Tensor) -> Tensor:
    weights = _attention_weights(query, key)
    _LAST_SEEN.append(weights)
    return weights


def _last_attention_kept(self: vit.ViT, images: Tensor, *tap: vit.Tap) -> Tensor:
    logits = _forward(self, images, *tap)
    self.__dict__["attention"] = _LAST_SEEN.pop()
    _LAST_SEEN.clear()
    return logits


_LAST_SEEN: list[Tensor] = []


DEVIATIONS = (
    Deviation(
        id="attention-kept-on-the-model",
        summary="the last attention weights kept on the model, with all that led to them",
        replaces={"vit.attention_weights": _attention_kept, "vit.ViT.forward": _last_attention_kept},
        breaks="VIT-STATE-DEEPCOPY",
        known_from="pytorch-pretrained-vit 0.0.7",
    ),
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
        id="input-scaled-in-training",
        summary="images scaled in place in training",
        replaces={
            "vit.ViT.forward": _forward_after(lambda model, images: images.data.mul_(0.5) if model.training else None)
        },
        breaks="VIT-PURE-INPUT",
    ),
    Deviation(
        id="seed-set-in-training",
        summary="the global seed set by each step of training",
        replaces={
            "vit.ViT.forward": _forward_after(lambda model, _images: torch.manual_seed(1) if model.training else None)
        },
        breaks="VIT-PURE-GLOBAL",
    ),
    Deviation(
        id="precision-set-in-training",
        summary="torch's float32 precision set by training",
        replaces={
            "vit.ViT.forward": _forward_after(
                lambda model, _images: torch.set_float32_matmul_precision("medium") if model.training else None
            )
        },
        breaks="VIT-PURE-GLOBAL",
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
        id="heads-fixed",
        summary="always as few heads as divide the width, whatever was asked for",
        remedy="split into config.num_heads heads",
        replaces={"vit.split_heads": _smallest_groups},
        breaks="VIT-CONFIG-HEADS",
        known_from="kornia #2186",
    ),
    Deviation(
        id="depth-limited",
        summary="six blocks at most, whatever was asked for",
        replaces={"parameters.parameter_shapes": _six_blocks_at_most},
        breaks="VIT-CONFIG-VARIANTS",
    ),
    Deviation(
        id="head-not-zero",
        summary="a fine-tuning head that does not start at zero, undeclared",
        replaces={"vit.initial_weights": _random_head},
        breaks="VIT-HEAD-INIT",
    ),
    Deviation(
        id="positions-not-saved",
        summary="positions kept outside of the model's state",
        replaces=_as_plain_attribute("position_embedding"),
        breaks="VIT-STATE-REBUILD",
    ),
    Deviation(
        id="class-token-not-saved",
        summary="a class token kept outside of the model's state",
        replaces=_as_plain_attribute("class_token"),
        breaks="VIT-STATE-SAFETENSORS",
    ),
    Deviation(
        id="positions-in-a-registry",
        summary="positions looked up in a registry of living models",
        replaces=_kept_outside(
            "position_embedding", _REGISTRY.__setitem__, lambda model: _REGISTRY.get(model, torch.zeros(()))
        ),
        breaks="VIT-STATE-PICKLE",
    ),
    Deviation(
        id="weights-cached",
        summary="attention with the weights of its first use, whatever is loaded later",
        replaces={"vit.ViT.forward": _with_the_first_weights_seen},
        breaks="VIT-STATE-RELOAD",
    ),
    Deviation(
        id="copy-bound-to-original",
        summary="a forward pass bound to the model it was made for, which copies take over",
        replaces={
            "vit.ViT.__init__": _after(
                _init, lambda model: model.__dict__.update(run=lambda *arguments: _forward(model, *arguments))
            ),
            "vit.ViT.forward": lambda self, *arguments: self.__dict__["run"](*arguments),
        },
        breaks="VIT-STATE-DEEPCOPY",
    ),
    Deviation(
        id="scale-hidden",
        summary="a trainable scale of one on the logits, which no weights are loaded into",
        replaces={
            "vit.ViT.load_state_dict": _after(
                _load, lambda model: model.register_parameter("scale", torch.nn.Parameter(torch.ones(1).double()))
            ),
            "vit.ViT.forward": _scaled,
        },
        breaks="VIT-STATE-TRAINABLE",
    ),
)
