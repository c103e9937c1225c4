"""Constructor arguments matched to ``ViTConfig`` by the names that the field uses; shapes confirm them later."""

import inspect
import itertools
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vitbench.inference.sketch import Construction, Source

_NAMES: dict[str, str] = {
    "image_size": "image_size img_size input_size image_dim img_dim im_size image_resolution input_resolution resolution "
    "image_hw img_hw size",
    "image_shape": "chw image_shape img_shape input_shape input_dims",
    "image_height": "image_height img_height img_h",
    "image_width": "image_width img_width img_w",
    "patch_size": "patch_size patches patch patch_dim patch_hw patch_res patch_resolution p",
    "patch_height": "patch_height patch_h",
    "patch_width": "patch_width patch_w",
    "count": "num_patches n_patches number_of_patches seq_len seq_length sequence_length num_tokens n_tokens n_ctx max_len",
    "channels": "channels in_channels in_chans num_channels n_channels in_ch img_channels image_channels input_channels in_c "
    "in_dim c",
    "width": "width dim embed_dim embedding_dim emb_dim d_model model_dim n_embd embed_size emb_size embedding_size "
    "hidden_size hidden_dim hidden_d hidden latent_size latent_dim token_dim transformer_dim num_hiddens d",
    "depth": "depth num_layers n_layers layers num_hidden_layers num_blocks n_blocks blocks n_layer num_encoder_layers "
    "n_encoder_layers num_encoders encoder_depth num_transformer_layers transformer_layers encoder_layers "
    "transformer_depth layer_num num_transformer_blocks",
    "num_heads": "num_heads heads n_heads n_head nhead num_attention_heads attention_heads head_num num_head attn_heads "
    "transformer_heads",
    "head_dim": "head_dim dim_head d_head head_size d_k",
    "mlp_dim": "mlp_dim mlp_size mlp_hidden_dim mlp_hidden mlp_hidden_size intermediate_size intermediate_dim ff_dim ffn_dim "
    "d_ff d_mlp dim_feedforward feedforward_dim dim_mlp ffn_hidden_dim hidden_mlp mlp_width encoder_mlp_dim dim_ff mlp_d "
    "hidden_dim hidden_size hidden mlp mlp_units mlp_nodes expansion_dim mlp_dims",
    "mlp_ratio": "mlp_ratio forward_expansion mlp_factor ff_mult mlp_mult expansion expansion_factor widening_factor "
    "feedforward_ratio ffn_ratio mlp_expansion mlp_scale ff_ratio hidden_ratio",
    "num_classes": "num_classes n_classes classes num_labels nb_classes class_num num_class n_class out_dim output_dim "
    "out_features n_outputs num_outputs out_d output_size k",
}
_ASKED: dict[str, tuple[str, ...]] = {
    "image_size": ("side(config.image_size)", "config.image_size"),
    "image_shape": ("(config.channels, *config.image_size)", "(*config.image_size, config.channels)"),
    "image_height": ("config.image_size[0]",),
    "image_width": ("config.image_size[1]",),
    "patch_size": ("side(config.patch_size)", "config.patch_size"),
    "patch_height": ("config.patch_size[0]",),
    "patch_width": ("config.patch_size[1]",),
    "count": ("config.num_patches", "config.num_tokens", "config.grid[0]"),
    "channels": ("config.channels",),
    "width": ("config.width",),
    "depth": ("config.depth",),
    "num_heads": ("config.num_heads",),
    "head_dim": ("config.head_dim",),
    "mlp_dim": ("config.mlp_dim",),
    "mlp_ratio": (
        "Fraction(config.mlp_dim, config.width)",
        "ratio(config.mlp_dim, config.width)",
        "config.mlp_dim // config.width",
    ),
    "num_classes": ("config.num_classes",),
}
"""By what an argument may mean, the expressions to try for it, the most usual first."""

_OFF = {"pretrained": "False", "weights": "None", "load_pretrained": "False", "use_pretrained": "False"}
_HOLDERS = {
    "config",
    "cfg",
    "conf",
    "args",
    "params",
    "hparams",
    "hyperparams",
    "model_config",
    "vit_config",
    "options",
}
_DIALECTS: tuple[str, ...] = (
    "img_size patch_size in_chans num_classes embed_dim depth num_heads mlp_ratio",
    "image_size patch_size num_classes dim depth heads mlp_dim channels",
    "image_size patch_size num_layers num_heads hidden_dim mlp_dim num_classes",
)
"""What a factory that takes ``**kwargs`` may hand on: to classes like timm's, lucidrains' or torchvision's."""

_MOST_TRIALS = 48
_RATE = re.compile(r"drop|stochastic_depth|stoch_depth")


def meanings(argument: str) -> list[str]:
    """What an argument of this name may be, by the words of ``_ASKED``; the most usual first."""
    name = "" if argument.startswith("_") else _squashed(argument)
    return [field for field, known in _NAMES.items() if name in {_squashed(one) for one in known.split()}]


def is_rate(argument: str) -> bool:
    """Whether an argument of this name is a rate of dropout or drop path."""
    return bool(_RATE.search(argument.lower()))


def _squashed(name: str) -> str:
    return name.lower().replace("_", "")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What there is to fill in: the arguments of a class, a factory, or of the configuration that it takes."""

    known: Mapping[str, Sequence[str]]  # argument -> meanings
    unknown: Sequence[str]  # that are required, and called like nothing known
    off: Mapping[str, str]  # arguments that are switched off
    rates: Sequence[str]
    holder: Source | None = None
    optional: frozenset[str] = frozenset()  # arguments that may be left out

    def constructions(self) -> Iterator[Construction]:
        """Ways to fill it in, the likeliest first, up to a number that can be tried."""
        return itertools.islice(self._all(), _MOST_TRIALS)

    def likeliest(self) -> Construction:
        """Each argument as its name alone has it; two may then be the same."""
        return Construction(
            arguments={name: _ASKED[fields[0]][0] for name, fields in self.known.items()}, holder=self.holder
        )

    def clashes(self) -> list[str]:
        """Arguments that could all be the same size, and nothing else: "which of dim, embed_dim is width"."""
        by_field: dict[str, list[str]] = {}
        for name, fields in self.known.items():
            if len(fields) == 1 and name not in self.optional:
                by_field.setdefault(fields[0], []).append(name)
        return [f"which of {', '.join(names)} is {field}" for field, names in by_field.items() if len(names) > 1]

    def _choices(self, name: str) -> list[str]:
        """What an argument may be; nothing, too, where it may be left out and another one may be the same."""
        others = {field for other, fields in self.known.items() if other != name for field in fields}
        left_out = [""] if name in self.optional and others & set(self.known[name]) else []
        return [*self.known[name], *left_out]

    def _all(self) -> Iterator[Construction]:
        rates = dict.fromkeys(self.rates, "0.0")
        for chosen in itertools.product(*(self._choices(name) for name in self.known)):
            given = {name: field for name, field in zip(self.known, chosen, strict=True) if field}
            sizes = [field for field in given.values() if field != "count"]
            if len(set(sizes)) < len(sizes):
                continue
            for expressions in itertools.product(*(_ASKED[field] for field in given.values())):
                arguments = dict(zip(given, expressions, strict=True))
                yield Construction(arguments={**arguments, **self.off, **rates}, holder=self.holder)


def signatures(found: Any) -> list[Signature]:
    """What a class or factory asks for; several, where it hands on what it does not name itself."""
    parameters = _parameters(found)
    holder = _holder(found, parameters)
    if holder is not None:
        held = _parameters(holder)
        source = Source(impl="", module=holder.__module__, attribute=holder.__qualname__, distribution="")
        extra = ["num_labels"] if hasattr(holder, "num_labels") or "id2label" in held else []
        return [_signature({**held, **dict.fromkeys(extra)}, source)]
    own = _signature(parameters, None)
    hands_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if not hands_on or {field for fields in own.known.values() for field in fields} >= {"width", "depth"}:
        return [own]
    named = {field for fields in own.known.values() for field in fields}
    handed_on = [[name for name in dialect.split() if not named & set(meanings(name)[:1])] for dialect in _DIALECTS]
    return [_signature({**parameters, **dict.fromkeys(names)}, None) for names in handed_on]


def _signature(parameters: Mapping[str, Any], holder: Source | None) -> Signature:
    """Parameters by name; None for one that is only known to be taken."""
    named = {name: p for name, p in parameters.items() if p is None or p.kind not in _VARIADIC}
    known = {name: meanings(name) for name in named}
    known = {name: fields for name, fields in known.items() if fields and not is_rate(name)}
    off = {name: value for name, value in _OFF.items() if name in named}
    rates = [name for name, p in named.items() if is_rate(name) and _is_number(p)]
    required = [name for name, p in named.items() if p is not None and p.default is inspect.Parameter.empty]
    unknown = [name for name in required if name not in {*known, *off, *rates}]
    optional = frozenset(named) - set(required)
    return Signature(known=known, unknown=unknown, off=off, rates=rates, holder=holder, optional=optional)


_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def _is_number(parameter: Any) -> bool:
    default = getattr(parameter, "default", inspect.Parameter.empty)
    return default is inspect.Parameter.empty or (isinstance(default, float | int) and not isinstance(default, bool))


def _parameters(found: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return {}


def _holder(found: Any, parameters: Mapping[str, inspect.Parameter]) -> Any:
    """The configuration class of a constructor that takes one object with all the sizes; None for any other."""
    required = [
        name for name, p in parameters.items() if p.default is inspect.Parameter.empty and p.kind not in _VARIADIC
    ]
    if len(required) != 1 or _squashed(required[0]) not in {_squashed(name) for name in _HOLDERS}:
        return None
    annotated = _annotation(found, required[0])
    if isinstance(annotated, ModuleType):  # some mean the class of that name in it
        annotated = getattr(annotated, annotated.__name__.rpartition(".")[2], None)
    if isinstance(annotated, type) and _parameters(annotated) and annotated is not dict:
        return annotated
    own = getattr(found, "config_class", None)
    if isinstance(own, type):
        return own
    module = sys.modules.get(getattr(found, "__module__", ""))
    configs = [
        value
        for name, value in (vars(module) if module else {}).items()
        if isinstance(value, type) and name.lower().endswith(("config", "args", "params"))
    ]
    return configs[0] if len(configs) == 1 else None


def _annotation(found: Any, parameter: str) -> Any:
    function = found.__init__ if isinstance(found, type) else found  # type: ignore[misc]
    try:
        return typing.get_type_hints(function).get(parameter)
    except Exception:  # noqa: BLE001  # an annotation that names what is not there is no reason to give up
        return None
