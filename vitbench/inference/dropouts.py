"""What each rate of a constructor drops: seen on the modules that take it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from vitbench.inference.anatomy import Call
from vitbench.inference.sketch import SMALL, Construction, Limit, Series

_RATE = 0.3
_EVERYWHERE = {"tokens", "branches", "hidden"}  # appendix B.1: what the paper's rate of dropout is for

Built = Callable[[Mapping[str, str]], tuple[nn.Module, Mapping[str, Call]]]
"""The model with other expressions for some of its arguments, and the calls of one forward pass."""


def with_rates(
    construction: Construction, rates: Sequence[str], series: tuple[Series, ...], built: Built
) -> Construction:
    """The construction with the rates that it offers, and a limit for each that it does not.

    Dropout is offered where it falls on all that the paper drops: tokens, both branches and hidden units.
    """
    dropped = {name: _dropped(name, series, built) for name in rates}
    everywhere = [
        name for name, kinds in dropped.items() if kinds & _EVERYWHERE and kinds <= {*_EVERYWHERE, "attention"}
    ]
    attention = [name for name, kinds in dropped.items() if kinds == {"attention"}]
    limits, arguments = [Limit(condition="config.drop_path == 0", reason="no drop path that was understood")], {}
    together = set().union(*(dropped[name] for name in everywhere)) if everywhere else set()
    if together >= _EVERYWHERE:
        arguments = dict.fromkeys(everywhere, "config.dropout")
    else:
        limits.append(
            Limit(
                condition="config.dropout == 0",
                reason="no dropout of tokens, branches and hidden units alike that was understood",
            )
        )
    if "attention" in together and arguments:
        limits.append(
            Limit(
                condition="config.attention_dropout == config.dropout",
                reason="one rate for dropout and attention dropout",
            )
        )
        arguments |= dict.fromkeys(attention, "config.dropout")
    elif attention:
        arguments |= dict.fromkeys(attention, "config.attention_dropout")
    else:
        limits.append(
            Limit(condition="config.attention_dropout == 0", reason="no attention dropout that was understood")
        )
    return replace(
        construction,
        arguments={**construction.arguments, **arguments},
        limits=(*construction.limits, *limits),
    )


def _dropped(name: str, series: tuple[Series, ...], built: Built) -> set[str]:
    try:
        model, calls = built({name: str(_RATE)})
    except Exception:  # noqa: BLE001  # a rate that cannot be given is not offered
        return set()
    return {
        kind
        for path, module in model.named_modules()
        if _has_rate(module)
        for kind in [_kind(path, module, calls.get(path), series)]
        if kind
    }


def _has_rate(module: nn.Module) -> bool:
    return any(getattr(module, name, None) == _RATE for name in ("p", "dropout", "drop_prob", "rate"))


def _kind(path: str, module: nn.Module, call: Call | None, series: tuple[Series, ...]) -> str:
    """What a module of this rate drops; empty where it holds it for others, or cannot be told."""
    words: Any = type(module).__name__.lower()
    if "path" in words or "depth" in words:
        return "path"
    inside = any(path.startswith(f"{one.path}.{one.stem}" if one.path else one.stem) for one in series)
    if isinstance(module, nn.MultiheadAttention) or (call is None and inside and "att" in path.lower()):
        return "attention" if isinstance(module, nn.MultiheadAttention | nn.Dropout) or "att" in words else ""
    if call is None or not isinstance(module, nn.Dropout):
        return ""
    shape = call.received
    if shape[-2:] == (SMALL.num_tokens, SMALL.num_tokens):
        return "attention"
    if inside:
        return "branches" if shape[-1:] == (SMALL.width,) else "hidden"
    return "tokens" if len(shape) == 3 else "head"  # noqa: PLR2004
