"""A model taken apart: its tensors with the modules that hold them, where its blocks are, and when each module runs."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitbench.inference.sketch import Place, Series

Kind = Literal["linear", "convolution", "norm", "table", "bare"]

_NORM = re.compile(r"norm|\bln|_ln\b")
_NUMBERED = re.compile(r"^(.*?)(\d+)$")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A weight with the bias that belongs to it, or a tensor by itself."""

    place: Place  # of the weight; the path is within the block where it has a series
    shape: tuple[int, ...]
    bias: str  # leaf; empty: none
    kind: Kind
    runs_at: int  # the module's turn among all calls of a forward pass; -1: it is not called
    received: tuple[int, ...] = ()  # shape of what it is given
    is_buffer: bool = False

    @property
    def name(self) -> str:
        """As the model's own names have it, within the block."""
        return ".".join(part for part in (self.place.path, self.place.leaf) if part)


@dataclass(frozen=True)
class Call:
    """One module's turn in a forward pass."""

    turn: int
    received: tuple[int, ...]
    returned: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What there is to align."""

    series: tuple[Series, ...]
    outside: tuple[Piece, ...]  # of the blocks
    within: tuple[Piece, ...]  # the first block
    unlike: tuple[str, ...] = ()  # tensors that some blocks have and others do not
    calls: Mapping[str, Call] = field(default_factory=dict)  # by a module's full name


def series_of(model: nn.Module, depth: int) -> set[Series]:
    """Places with exactly one numbered child, or name, for each block."""
    numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
    for name, _ in tensors(model):
        parts = name.split(".")
        for i, part in enumerate(parts[:-1]):
            if found := _NUMBERED.match(part):
                numbers[".".join(parts[:i]), found[1]].add(int(found[2]))
    return {Series(path=path, stem=stem) for (path, stem), seen in numbers.items() if len(seen) == depth}


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and the buffers that could be some: of floating point, with axes."""
    yield from model.named_parameters()
    yield from ((name, b) for name, b in model.named_buffers() if b.is_floating_point() and b.ndim > 1)


def anatomy(model: nn.Module, series: Sequence[Series], calls: Mapping[str, Call]) -> Anatomy:
    """The model's tensors, those of the blocks seen from the first block."""
    outer = [one for one in series if not any(one != other and _inside(one, other) for other in series)]
    outer.sort(key=lambda one: (one.path, one.stem))
    outside: list[str] = []
    blocks: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    for name, _ in tensors(model):
        found = next(((i, *spot) for i, one in enumerate(outer) if (spot := _spot(name, one))), None)
        if found is None:
            outside.append(name)
        else:
            which, number, rest = found
            blocks[which, number][rest] = name
    within: list[Piece] = []
    unlike: set[str] = set()
    for which in range(len(outer)):
        numbers = sorted(number for other, number in blocks if other == which)
        names = [set(blocks[which, number]) for number in numbers]
        unlike |= names[0].union(*names) - names[0].intersection(*names)
        within += _pieces(model, blocks[which, numbers[0]], which, calls)
    return Anatomy(
        series=tuple(replace(one, whole=_is_whole(model.get_submodule(one.path), one)) for one in outer),
        outside=tuple(_pieces(model, {name: name for name in outside}, None, calls)),
        within=tuple(within),
        unlike=tuple(sorted(unlike)),
        calls=calls,
    )


def _is_whole(owner: nn.Module, series: Series) -> bool:
    """Whether going through this module gives the blocks."""
    names = [name for name, _ in owner.named_children()]
    return isinstance(owner, nn.ModuleList | nn.Sequential) and all(name.startswith(series.stem) for name in names)


def _inside(one: Series, other: Series) -> bool:
    start = ".".join(part for part in (other.path, other.stem) if part) + (
        "" if other.stem else "." if other.path else ""
    )
    return one.path != other.path and one.path.startswith(start) and len(one.path) > len(other.path)


def _spot(name: str, series: Series) -> tuple[int, str] | None:
    """Which block a tensor is in, and its name there."""
    start = f"{series.path}." if series.path else ""
    if not name.startswith(start):
        return None
    child, _, rest = name[len(start) :].partition(".")
    found = _NUMBERED.match(child)
    return (int(found[2]), rest) if found and found[1] == series.stem and rest else None


def _pieces(model: nn.Module, names: Mapping[str, str], series: int | None, calls: Mapping[str, Call]) -> list[Piece]:
    """Tensors of one scope, by the name within it; weights together with their biases."""
    of, buffers = dict(tensors(model)), {name for name, _ in model.named_buffers()}
    biases = {bias: name for name in names if (bias := _bias_of(name)) and bias in names and names[bias] != names[name]}
    pieces = []
    for name, full in names.items():
        if name in biases:
            continue
        path, _, leaf = name.rpartition(".")
        owner_name = full.rpartition(".")[0]
        owner = model.get_submodule(owner_name)
        bias = _bias_of(name)
        call = calls.get(owner_name)
        pieces.append(
            Piece(
                place=Place(path=path, leaf=leaf, series=series),
                shape=tuple(of[full].shape),
                bias=bias.rpartition(".")[2] if bias in names and biases.get(bias) == name else "",
                kind=_kind(owner, path.rpartition(".")[2], leaf, of[full].ndim),
                runs_at=-1 if call is None else call.turn,
                received=() if call is None else call.received,
                is_buffer=full in buffers,
            )
        )
    return pieces


def _bias_of(name: str) -> str:
    """What the bias of a weight of this name would be called."""
    path, dot, leaf = name.rpartition(".")
    if "weight" in leaf:
        return f"{path}{dot}{leaf.replace('weight', 'bias')}"
    if leaf[:2] in ("W_", "w_"):
        return f"{path}{dot}b_{leaf[2:]}"
    return f"{path}{dot}{ {'w': 'b', 'W': 'b', 'gamma': 'beta', 'scale': 'shift', 'kernel': 'bias'}.get(leaf, leaf) }"


def _kind(owner: nn.Module, called: str, leaf: str, axes: int) -> Kind:
    if isinstance(owner, nn.Conv2d):
        return "convolution"
    if isinstance(owner, nn.Linear | nn.MultiheadAttention):
        return "linear"
    if isinstance(owner, nn.Embedding):
        return "table"
    words = f"{type(owner).__name__} {called}".lower()
    is_norm = isinstance(owner, nn.LayerNorm) or bool(_NORM.search(words))
    if is_norm and axes == 1 and leaf in ("weight", "gamma", "w", "scale"):
        return "norm"
    return "bare"


def recorded_calls(model: nn.Module, images: Tensor) -> tuple[dict[str, Call], Any]:
    """Every module's first turn in a forward pass, and what the model returned."""
    calls: dict[str, Call] = {}
    handles = []
    started: dict[str, tuple[int, tuple[int, ...]]] = {}

    def begin(name: str, inputs: Any, named: Any) -> None:
        given = next((x for x in (*inputs, *named.values()) if isinstance(x, Tensor)), None)
        started.setdefault(name, (len(started), () if given is None else tuple(given.shape)))

    def end(name: str, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        shape = tuple(first.shape) if isinstance(first, Tensor) else ()
        turn, received = started[name]
        calls.setdefault(name, Call(turn, received, shape))

    for name, module in model.named_modules():
        handles.append(
            module.register_forward_pre_hook(lambda _m, i, k, name=name: begin(name, i, k), with_kwargs=True)
        )
        handles.append(module.register_forward_hook(lambda _m, _i, output, name=name: end(name, output)))
    try:
        with torch.no_grad():
            output = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls, output
