"""What sizes a file of weights is of: as its metadata says, or as the shapes of its arrays tell."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from math import isqrt
from pathlib import Path
from typing import Any

from vitbench.checkpoints.errors import CheckpointUnusable
from vitbench.checkpoints.stored import Stored
from vitbench.reference.config import ConfigurationError, Conventions, ViTConfig

_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/")
_QUERY = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
_FC1 = "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"
_TELLING = {"embedding/kernel": 4, "head/kernel": 2, _QUERY: 3, _FC1: 2}  # and how many axes each has


def said(path: Path, text: str, entries: int) -> ViTConfig:
    """The configuration that the metadata of a file holds as JSON.

    Raises:
        CheckpointUnusable: it is damaged, or speaks of more blocks than the file has weights.
    """
    known = {field.name for field in fields(ViTConfig)}
    try:
        given = json.loads(text)
        values: dict[str, Any] = {name: _tupled(value) for name, value in given.items() if name in known}
        config = ViTConfig(**values)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # ConfigurationError among them
        raise CheckpointUnusable(f"{path}: its metadata is no configuration of a ViT: {error}") from error
    if config.depth > entries:
        raise CheckpointUnusable(f"{path}: its metadata says depth {config.depth}, and it has {entries} weights")
    return config


def told(path: Path, found: Mapping[str, Stored], grid: tuple[int, int], pool: Any) -> ViTConfig:
    """The configuration that the shapes of the authors' arrays tell; pooling is told by none.

    Raises:
        CheckpointUnusable: an array that tells a size is missing, or of a shape that no ViT has.
    """
    for name, axes in _TELLING.items():
        if name not in found:
            raise CheckpointUnusable(f"{path} has no {name}; {_has(found)}")
        if len(found[name].shape) != axes:
            raise CheckpointUnusable(f"{path}: {name} has shape {found[name].shape}, expected {axes} axes")
    patch_h, patch_w, channels, width = found["embedding/kernel"].shape
    try:
        return ViTConfig(
            image_size=(grid[0] * patch_h, grid[1] * patch_w),
            patch_size=(patch_h, patch_w),
            channels=channels,
            width=width,
            depth=len({match[1] for name in found if (match := _BLOCK.match(name))}),
            num_heads=found[_QUERY].shape[1],
            mlp_dim=found[_FC1].shape[1],
            num_classes=found["head/kernel"].shape[1],
            head="mlp" if "pre_logits/kernel" in found else "linear",
            pool=pool,
        )
    except ConfigurationError as error:
        raise CheckpointUnusable(f"{path}: {error}") from error


def grid_of(
    path: Path, positions: Stored | None, config: ViTConfig | None, conventions: Conventions
) -> tuple[int, int]:
    """The grid of a table of positions: a square, as the authors', or that of the model asked for.

    Raises:
        CheckpointUnusable: the table has no such number of rows.
    """
    if positions is None or len(positions.shape) != 3:  # noqa: PLR2004  # (1, N+1, D)
        shape = "none" if positions is None else f"one of shape {positions.shape}"
        raise CheckpointUnusable(f"{path}: expected a table of positions of shape (1, N+1, D), found {shape}")
    patches = positions.shape[1] - int(conventions.class_token_has_position)
    side = isqrt(max(patches, 0))
    if patches > 0 and side * side == patches:
        return side, side
    if config is not None and config.num_patches == patches:
        return config.grid
    raise CheckpointUnusable(
        f"{path}: its table has the positions of {patches} patches, which make no square, and nothing says how many rows "
        "and columns they make; name the configuration that it was saved from, then resize"
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _has(found: Mapping[str, Stored]) -> str:
    shown = ", ".join(sorted(found)[:4])
    return f"it has {shown}{' …' if len(found) > 4 else ''}" if found else "it is empty"  # noqa: PLR2004
