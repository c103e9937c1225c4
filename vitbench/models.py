"""From the text of ``--model`` to a configuration: ``Ti/16@64``, or ``S/16@224,num_heads=4,depth=6``."""

from dataclasses import fields, replace
from typing import Any

from vitbench.reference.config import ConfigurationError, ViTConfig
from vitbench.reference.variants import variant

_FIELDS = tuple(field.name for field in fields(ViTConfig))
_PAIRS = ("image_size", "patch_size")
_RATES = ("dropout", "attention_dropout", "drop_path")
_WORDS = ("head", "pool", "stem")


def model_config(text: str) -> ViTConfig:
    """The variant that the text names, with the overrides that follow it.

    Raises:
        ConfigurationError: no such variant or field, or sizes that contradict each other; the text says which.
    """
    name, *overrides = (part.strip() for part in text.split(","))
    changes = dict(_override(override) for override in overrides)
    config = replace(variant(name), **changes)
    if config.stem == "hybrid":
        raise ConfigurationError(
            f"{text!r} is a hybrid, and each implementation has a CNN of its own to put before it; hybrids are judged "
            "by the conformance suite, and not measured"
        )
    return config


def canonical(text: str) -> str:
    """One spelling per model: without blanks, and with the image size.

    Raises:
        ConfigurationError: as ``model_config``.
    """
    model_config(text)
    name, *overrides = (part.strip() for part in text.split(","))
    sized = name if "@" in name else f"{name}@224"
    return ",".join([sized, *("=".join(part.strip() for part in item.split("=")) for item in overrides)])


def _override(text: str) -> tuple[str, Any]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or name not in _FIELDS:
        raise ConfigurationError(f"{text!r} is no override; write FIELD=VALUE with a field of {', '.join(_FIELDS)}")
    try:
        return name, _value(name, value)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no override: {value!r} is no {_expected(name)}") from error


def _value(name: str, text: str) -> Any:
    if name in _PAIRS:
        height, _, width = text.partition("x")
        return int(height), int(width or height)
    if name in _RATES:
        return float(text)
    return text if name in _WORDS else int(text)


def _expected(name: str) -> str:
    if name in _PAIRS:
        return "size in pixels such as 16 or 8x16"
    return "number from 0 to below 1" if name in _RATES else "whole number"
