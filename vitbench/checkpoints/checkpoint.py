"""A model's sizes and weights, saved and loaded in either format."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vitbench.checkpoints import names, npz, sizes, tensors
from vitbench.checkpoints.errors import CheckpointUnusable
from vitbench.checkpoints.stored import Stored
from vitbench.errors import OutputUnwritable
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import parameter_shapes
from vitbench.reference.positions import resize_position_embedding

NPZ, SAFETENSORS = ".npz", ".safetensors"
_METADATA = "vitbench"  # of a safetensors file: the configuration, as JSON
_POSITIONS = "position_embedding"
_THEIR_POSITIONS = names.place(_POSITIONS).name
_SHOWN = 4  # names in an error


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A configuration, and its canonical weights (``vitbench.reference.parameters``)."""

    config: ViTConfig
    weights: Mapping[str, Tensor]


def at_image_size(config: ViTConfig, image_size: tuple[int, int]) -> ViTConfig:
    """The same model for images of another size (H, W)."""
    return replace(config, image_size=image_size)


def save(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write the weights to ``path``, whole or not at all: by the authors' names (.npz) or the canonical (.safetensors).

    Raises:
        CheckpointUnusable: another suffix, or weights that the format has no place for.
        OutputUnwritable: the file cannot be written.
    """
    path, config = Path(path), checkpoint.config
    suffix = _suffix(path)
    _require_no_stem(config)
    _require_sizes(checkpoint)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            if suffix == NPZ:
                square = config.grid[0] == config.grid[1]
                npz.write(file, _theirs(checkpoint), None if square else config.grid)
            else:
                file.write(tensors.packed(checkpoint.weights, {_METADATA: json.dumps(asdict(config))}))
        part.replace(path)
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def load(path: Path | str, config: ViTConfig | None = None, conventions: Conventions | None = None) -> Checkpoint:
    """The weights of a file, for the model that it was saved from, or for ``config``.

    Where that has another grid, positions are resized as the conventions say (section 3.2). Every name, shape and dtype
    is looked at before a weight is read.
    Raises:
        CheckpointUnusable: missing, damaged, hostile or of another model; the text says what was found and expected.
    """
    path, conventions = Path(path), conventions or Conventions()
    _require_no_stem(config)
    opened = _Npz(path, config, conventions) if _suffix(path) == NPZ else _Safetensors(path, config, conventions)
    config, grid = config or opened.config, opened.config.grid
    if config.num_heads != opened.config.num_heads:  # no shape need tell
        raise CheckpointUnusable(f"{path} has {opened.config.num_heads} heads, and the model {config.num_heads}")
    stored_as = replace(config, image_size=_pixels(grid, config.patch_size))
    expected = {name: opened.place(name) for name in parameter_shapes(stored_as, conventions)}
    _require(path, opened.found, _shapes_there(stored_as, conventions, expected))
    weights = {name: place.back(opened.found[place.name].read(), config.num_heads) for name, place in expected.items()}
    weights = {name: weight.contiguous() for name, weight in weights.items()}
    if grid != config.grid:
        weights[_POSITIONS] = resize_position_embedding(
            weights[_POSITIONS],
            grid,
            config.grid,
            conventions.position_resize,
            class_row=conventions.class_token_has_position,
        )
    return Checkpoint(config, weights)


class _Npz:
    """An archive by the authors' names."""

    def __init__(self, path: Path, config: ViTConfig | None, conventions: Conventions) -> None:
        self.found = npz.entries(path)
        grid = npz.grid(path)
        self.found.pop(npz.GRID, None)
        if grid is None:
            grid = sizes.grid_of(path, self.found.get(_THEIR_POSITIONS), config, conventions)
        self.config = sizes.told(path, self.found, grid, "class_token" if config is None else config.pool)

    def place(self, name: str) -> names.Place:
        """Where a canonical weight stands."""
        return names.place(name)


class _Safetensors:
    """A file by the canonical names; what it was saved from is in its metadata, or has to be said."""

    def __init__(self, path: Path, config: ViTConfig | None, conventions: Conventions) -> None:
        self.found, metadata = tensors.entries(path)
        if _METADATA in metadata:
            self.config = sizes.said(path, metadata[_METADATA], len(self.found))
        elif config is None:
            raise CheckpointUnusable(f"{path} does not say of which sizes it is; name a configuration")
        else:
            grid = sizes.grid_of(path, self.found.get(_POSITIONS), config, conventions)
            self.config = replace(config, image_size=_pixels(grid, config.patch_size))

    def place(self, name: str) -> names.Place:
        """A weight stands under its own name."""
        return names.unturned(name)


def _shapes_there(
    config: ViTConfig, conventions: Conventions, places: Mapping[str, names.Place]
) -> dict[str, tuple[int, ...]]:
    """Name and shape of each weight as the format has it; no memory is taken to find it."""
    canonical = parameter_shapes(config, conventions)
    try:
        return {
            place.name: tuple(place.there(torch.empty(canonical[name], device="meta"), config.num_heads).shape)
            for name, place in places.items()
        }
    except (RuntimeError, TypeError) as error:  # an overflow
        raise CheckpointUnusable(f"no tensor can have the sizes that it says: {config}") from error


def _require(path: Path, found: Mapping[str, Stored], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing, extra = [name for name in expected if name not in found], [name for name in found if name not in expected]
    for which, what in ((missing, "lacks"), (extra, "has, and the model has not:")):
        if which:
            more = f" and {len(which) - _SHOWN} more" if len(which) > _SHOWN else ""
            raise CheckpointUnusable(f"{path} {what} {', '.join(which[:_SHOWN])}{more}; it is of another model")
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise CheckpointUnusable(
                f"{path}: {name} has shape {found[name].shape}, and the model has {shape}; "
                "load it with the sizes it was saved from"
            )


def _require_sizes(checkpoint: Checkpoint) -> None:
    """What is saved must be of the sizes that it is said to be of; conventions decide which weights there are."""
    conventions = Conventions(class_token_has_position=_rows(checkpoint) > checkpoint.config.num_patches)
    for name, shape in parameter_shapes(checkpoint.config, conventions).items():
        if name in checkpoint.weights and tuple(checkpoint.weights[name].shape) != shape:
            found = tuple(checkpoint.weights[name].shape)
            raise CheckpointUnusable(f"{name} has shape {found}, and the configuration that it is saved with {shape}")


def _rows(checkpoint: Checkpoint) -> int:
    """Of the table of positions."""
    return checkpoint.weights[_POSITIONS].shape[1] if _POSITIONS in checkpoint.weights else 0


def _require_no_stem(config: ViTConfig | None) -> None:
    if config is not None and config.stem != "patch":
        raise CheckpointUnusable("the weights of a hybrid's stem have no canonical names; save what stands behind it")


def _suffix(path: Path) -> str:
    if path.suffix not in (NPZ, SAFETENSORS):
        raise CheckpointUnusable(f"{path} ends in {path.suffix or 'nothing'!r}, expected {NPZ} or {SAFETENSORS}")
    return path.suffix


def _pixels(grid: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int]:
    return grid[0] * patch_size[0], grid[1] * patch_size[1]


def _theirs(checkpoint: Checkpoint) -> dict[str, Tensor]:
    turned = {}
    for name, tensor in checkpoint.weights.items():
        place = names.place(name)
        turned[place.name] = place.there(tensor, checkpoint.config.num_heads)
    return turned
