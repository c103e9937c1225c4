"""The candidate's own code, gathered in a folder that Ray sends to the nodes; what pip installed has to be there already.

The folder becomes the working folder of every cell, and is laid out as this one, so that ``--impl my/adapter.py`` names
the same file there. With a file or a module goes what lies in its folder, since it may import that.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vitbench import units
from vitbench.errors import UsageError
from vitbench.folders import RESULTS
from vitbench.registry import BY_WAY_OF_ONNX, divided, registered
from vitbench.wording import plural

_LARGEST_FILE_BYTES = 10 * 1024**2  # of those that nobody named
_MOST_BYTES = 200 * 1024**2  # Ray's own limit is 500 MB for all packages of a cluster
_SHOWN = 3
_NOT_CODE = {"__pycache__", "node_modules", "vitbench"}  # the last is the node's own


@dataclass
class Shipment:
    """What goes along, and what was left out."""

    folder: Path
    origins: dict[str, Path] = field(default_factory=dict)  # by what --impl or --kernel named
    files: int = 0
    size_bytes: int = 0
    left_out: list[str] = field(default_factory=list)  # too large, each with its size

    def __str__(self) -> str:
        if not self.files:
            return "shipped to the nodes: nothing; what is judged has to be installed there"
        size = units.data_size(self.size_bytes)
        more = f" and {len(self.left_out) - _SHOWN} more" if len(self.left_out) > _SHOWN else ""
        beside = f"; left out as too large: {', '.join(self.left_out[:_SHOWN])}{more}" if self.left_out else ""
        return f"shipped to the nodes: {plural(self.files, 'file')}, {size}, of {', '.join(self.origins)}{beside}"


def shipment(named: Sequence[str], folder: Path) -> Shipment:
    """Gather the code of what ``--impl`` and ``--kernel`` named.

    Raises:
        UsageError: a path that leaves this folder, or too much of it.
    """
    gathered = Shipment(folder)
    with _importable_here():
        for name in named:
            if name not in registered():
                _gather(name, gathered)
    return gathered


def _gather(name: str, into: Shipment) -> None:
    plain = name if name.endswith(".onnx") else name.removeprefix(BY_WAY_OF_ONNX)
    location, _ = divided(plain)
    if plain in registered():
        return
    if location.endswith((".py", ".onnx")):
        file = _below_here(location, name)
        into.origins[name] = file
        _add_tree(file.parent, file.parent, into) if location.endswith(".py") else _add_model(file, into)
        return
    top = location.partition(".")[0]
    found = _source_of(top)
    if found is None:
        return  # installed: the nodes have it, or say that they have not
    into.origins[name] = found
    if found.parent == Path.cwd():
        _add_tree(Path(), Path(), into)
    elif found.is_dir():
        _add_tree(found, Path(top), into)
    else:
        _add(found, Path(found.name), into)


def _below_here(location: str, name: str) -> Path:
    path = Path(location)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"{name}: with --engine ray, what is shipped has to be named from this folder down, as it will be on the nodes; "
            f"cd {path.resolve().parent}, and name {path.name}"
        )
    return path


def _source_of(top: str) -> Path | None:
    """Where a module or package that no installer has put there lies; None of any other."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    origin = next(iter(spec.submodule_search_locations or ()), spec.origin)
    if origin is None or not Path(origin).exists():
        return None
    path = Path(origin).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts) or path.is_relative_to(Path(os.__file__).parent)
    return None if installed or top == "vitbench" else path


def _add_model(file: Path, into: Shipment) -> None:
    """An ONNX file, and what may hold its external data."""
    for beside in sorted(file.parent.glob(f"{file.stem}*")):
        if beside.is_file() and beside.suffix != ".py":
            _add(beside, beside, into)


def _add_tree(folder: Path, place: Path, into: Shipment) -> None:
    """Every file below a folder but hidden ones, environments, runs and what is large."""
    for where, folders, files in os.walk(folder):
        here = Path(where)
        folders[:] = sorted(name for name in folders if _may_be_code(here / name))
        for name in sorted(files):
            file = here / name
            if name.startswith(".") or not file.is_file():
                continue
            size_bytes = file.stat().st_size
            if size_bytes > _LARGEST_FILE_BYTES:
                into.left_out.append(f"{file.relative_to(folder)} ({units.data_size(size_bytes)})")
            else:
                _add(file, place / file.relative_to(folder), into)


def _may_be_code(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in _NOT_CODE or folder.is_symlink():
        return False
    return not (folder / "pyvenv.cfg").exists() and not (folder / RESULTS).exists()


def _add(file: Path, place: Path, into: Shipment) -> None:
    target = into.folder / place
    if target.exists():
        return  # of another adapter in the same folder
    into.files, into.size_bytes = into.files + 1, into.size_bytes + file.stat().st_size
    if into.size_bytes > _MOST_BYTES:
        raise UsageError(
            f"more than {units.data_size(_MOST_BYTES)} would be shipped to the nodes with {', '.join(into.origins)}; "
            "keep the adapter in a folder of its own, or install the package on every node"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


@contextmanager
def _importable_here() -> Iterator[None]:
    """Look for modules in this folder first, as ``python -m`` does."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.remove(str(Path.cwd()))
