"""Which of a model's tensors is which canonical parameter: by shape, then by name, then by the order of the calls."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

from vitbench.inference.anatomy import Anatomy, Piece
from vitbench.inference.sketch import Packed, Part, Place
from vitbench.reference.config import ViTConfig

PATCH_LAYOUTS = ("chw", "hwc", "whc", "cwh")
"""Axes in which a patch may be flattened for a linear projection, the most usual first: C, P_h, P_w; P_h, P_w, C; …"""

QKV_LAYOUTS = ("khd", "hkd", "hdk", "dkh")
"""Axes of the rows of a packed projection. timm's; Megatron's; "(h d qkv)" and "(d k h)" of much-copied tutorials."""

_OWN_NAMES = {
    "query": re.compile(r"(^|[^a-z])(q|query|queries|toq|wq|qproj|projq|qlinear|linearq|qlin|fcq|w_qs)([^a-z]|$)"),
    "key": re.compile(r"(^|[^a-z])(k|key|keys|tok|wk|kproj|projk|klinear|lineark|klin|fck|w_ks)([^a-z]|$)"),
    "value": re.compile(r"(^|[^a-z])(v|value|values|tov|wv|vproj|projv|vlinear|linearv|vlin|fcv|w_vs)([^a-z]|$)"),
    "output": re.compile(
        r"(^|[^a-z])(o|out|output|proj|projection|dense|toout|wo|outproj|oproj|cproj|fcout|fco|outlinear|linearout|"
        r"unifyheads|merge|headproj|fc|linear|projo|combine)([^a-z]|$)"
    ),
}
_CLASS_NAME = re.compile(r"cls|class")


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """One way to read a model's tensors, and the ways that its shapes leave open."""

    parts: tuple[Part, ...]
    packed: Packed | None = None
    absent: tuple[str, ...] = ()
    conventions: dict[str, object] = field(default_factory=dict)
    flattened: bool = False  # a linear patch projection, whose order of a patch's numbers is open
    transposable: tuple[str, ...] = ()  # canonical names of square matrices that may be kept (in, out)
    orders: tuple[tuple[str, ...], ...] = ()  # of query, key, value, output, where no name tells them apart
    class_tokens: tuple[Part, ...] = ()  # several parameters that could be it
    unplaced: tuple[str, ...] = ()  # parameters that are no canonical one
    left: tuple[str, ...] = ()  # buffers that are none


@dataclass
class _Found:
    """What was placed so far."""

    parts: list[Part] = field(default_factory=list)
    packed: Packed | None = None
    conventions: dict[str, object] = field(default_factory=dict)
    flattened: bool = False
    transposable: list[str] = field(default_factory=list)
    orders: tuple[tuple[str, ...], ...] = ()
    class_tokens: tuple[Part, ...] = ()
    unplaced: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def place(self, name: str, piece: Piece, reading: str = "{x}", bias_reading: str = "{x}") -> None:
        """Put a weight, and its bias, in the place of a canonical pair; a second one there has no place."""
        if any(part.name == f"{name}.weight" for part in self.parts):
            self.unplaced.append(f"{piece.name} {piece.shape}, another {name}.weight")
            return
        self.parts.append(Part(name=f"{name}.weight", place=piece.place, reading=reading))
        if piece.bias:
            at = Place(path=piece.place.path, leaf=piece.bias, series=piece.place.series)
            self.parts.append(Part(name=f"{name}.bias", place=at, reading=bias_reading))

    def leave(self, piece: Piece) -> None:
        """It is no canonical parameter: a buffer then stays as it is, a parameter has to be explained."""
        (self.left if piece.is_buffer else self.unplaced).append(f"{piece.name} {piece.shape}")


def aligned(body: Anatomy, config: ViTConfig) -> Alignment:
    """The likeliest reading; what it could not place is named in it."""
    found = _Found()
    _outside(list(body.outside), config, found)
    _within(list(body.within), config, found)
    found.unplaced += [f"{name} (in some blocks only)" for name in body.unlike]
    have = {part.name for part in found.parts}
    absent = [name for name in _expected(found) if name not in have]
    declared = _conventions_by_absence(absent)
    excused = {name for convention in declared for name in _DECLARED_ABSENCES[convention]}
    return Alignment(
        parts=tuple(found.parts),
        packed=found.packed,
        absent=tuple(name for name in absent if name not in excused),
        conventions={**found.conventions, **declared},
        flattened=found.flattened,
        transposable=tuple(found.transposable),
        orders=found.orders,
        class_tokens=found.class_tokens,
        unplaced=tuple(found.unplaced),
        left=tuple(found.left),
    )


# --- outside of the blocks ---


def _outside(pieces: list[Piece], config: ViTConfig, found: _Found) -> None:
    in_patch = config.channels * config.patch_size[0] * config.patch_size[1]
    norms, vectors = [], []
    for piece in pieces:
        shape, squeezed = piece.shape, tuple(n for n in piece.shape if n > 1)
        if shape == (config.width, config.channels, *config.patch_size):
            found.place("patch_embedding", piece)
        elif piece.kind in ("linear", "bare") and shape in ((config.width, in_patch), (in_patch, config.width)):
            turned = "{x}.T" if shape[0] == in_patch else "{x}"
            found.flattened = True
            found.place("patch_embedding", piece, f'patch_view({turned}, "chw", sizes)')
        elif piece.kind != "norm" and shape in ((config.num_classes, config.width), (config.width, config.num_classes)):
            found.place("head", piece, "{x}.T" if shape[0] == config.width else "{x}")
        elif piece.kind == "norm" and shape in ((config.width,), (in_patch,)):
            norms.append(piece)
        elif (reading := _table_reading(squeezed, shape, config)) is not None:
            if any(part.name == "position_embedding" for part in found.parts):
                found.leave(piece)
                continue
            found.parts.append(Part(name="position_embedding", place=piece.place, reading=reading))
            if config.num_patches in squeezed or len(squeezed) == 3:  # noqa: PLR2004  # a table on its grid
                found.conventions["class_token_has_position"] = False
        elif squeezed == (config.width,) and piece.kind != "linear":
            vectors.append(piece)
        else:
            found.leave(piece)
    _norms(norms, in_patch, found)
    _class_token(vectors, found)


def _table_reading(squeezed: tuple[int, ...], shape: tuple[int, ...], config: ViTConfig) -> str | None:
    """How a position table is brought to (1, N+1, D); None where the shape is none of a table."""
    if squeezed in ((config.num_tokens, config.width), (config.num_patches, config.width)):
        if len(shape) == 2:  # noqa: PLR2004
            return "{x}[None]"
        if len(shape) == 3:  # noqa: PLR2004
            return "{x}" if shape[0] == 1 else "{x}.transpose(0, 1)"
    if squeezed == (config.width, *config.grid):
        return "{x}.flatten(1).T[None]" if len(shape) == 3 else "{x}.flatten(2).mT"  # noqa: PLR2004
    return None


def _norms(norms: list[Piece], in_patch: int, found: _Found) -> None:
    """The LayerNorms outside of the blocks, by what they are given and when."""
    for piece in [one for one in norms if one.shape == (in_patch,)]:
        found.conventions["patch_embedding"] = "norm_linear_norm"
        found.place("patch_embedding.input_norm", piece, *['patch_view({x}, "chw", sizes)'] * 2)
    plain = _in_turn([one for one in norms if one.shape != (in_patch,)])
    if not plain:
        return
    *before, last = plain
    found.place("norm", last)
    if "patch_embedding" in found.conventions and before:
        found.place("patch_embedding.output_norm", before.pop(0))
    if before:
        found.conventions["pre_norm"] = True
        found.place("pre_norm", before.pop(0))
    for piece in before:
        found.leave(piece)


def _in_turn(pieces: list[Piece]) -> list[Piece]:
    """As their modules run; as they were made, where some are no module's turn."""
    return sorted(pieces, key=lambda one: one.runs_at) if all(one.runs_at >= 0 for one in pieces) else pieces


def _class_token(vectors: list[Piece], found: _Found) -> None:
    parts = [
        Part(
            name="class_token", place=piece.place, reading=["{x}[None, None]", "{x}[None]", "{x}"][len(piece.shape) - 1]
        )
        for piece in vectors
        if len(piece.shape) <= 3  # noqa: PLR2004
    ]
    named = [part for part in parts if _CLASS_NAME.search(part.place.leaf.lower() + part.place.path.lower())]
    chosen = named if len(named) == 1 else parts
    if len(chosen) == 1:
        found.parts.append(chosen[0])
        for piece in vectors:
            if piece.place != chosen[0].place:
                found.leave(piece)
    elif chosen:
        found.class_tokens = tuple(chosen)


# --- within a block ---


def _within(pieces: list[Piece], config: ViTConfig, found: _Found) -> None:
    width, hidden = config.width, config.mlp_dim
    split = (config.num_heads, config.head_dim)
    norms: list[Piece] = []
    square: list[tuple[Piece, str, str]] = []
    for piece in pieces:
        shape, firmly = piece.shape, piece.kind == "linear"
        if piece.kind == "norm" and shape == (width,):
            norms.append(piece)
        elif shape == (hidden, width) and (firmly or not _second(piece)):
            found.place("mlp.fc1", piece)
        elif shape == (width, hidden) and (firmly or _second(piece)):
            found.place("mlp.fc2", piece)
        elif not firmly and shape == (width, hidden):
            found.place("mlp.fc1", piece, "{x}.T")
        elif not firmly and shape == (hidden, width):
            found.place("mlp.fc2", piece, "{x}.T")
        elif shape == (3 * width, width) and found.packed is None:
            found.packed = Packed(place=piece.place, bias=piece.bias, layout="khd")
        elif shape == (width, width):
            square.append((piece, "{x}", "{x}"))
        elif sorted(shape) == sorted((*split, width)) and len(shape) == 3:  # noqa: PLR2004
            square.append((piece, _by_head(shape, config), "{x}"))
        else:
            found.leave(piece)
    _block_norms(norms, found)
    _square(square, found)


def _second(piece: Piece) -> bool:
    """Whether a bare matrix is called the MLP's second."""
    return bool(re.search(r"2|out|down|proj", piece.name.lower()))


def _by_head(shape: tuple[int, ...], config: ViTConfig) -> str:
    """A weight kept by heads, as (h, D_h, D) for query, key and value, or (D, h, D_h) for the output: by its axes."""
    axes = [shape.index(size) for size in (config.num_heads, config.head_dim, config.width)]
    return f"{{x}}.permute({', '.join(map(str, axes))})"


def _block_norms(norms: list[Piece], found: _Found) -> None:
    """The first that runs stands before attention."""
    ordered = _in_turn(norms)
    for name, piece in zip(("norm1", "norm2"), ordered, strict=False):
        found.place(name, piece)
    for piece in ordered[2:]:
        found.leave(piece)


def _square(square: list[tuple[Piece, str, str]], found: _Found) -> None:
    """Query, key, value and output, by their names; where those say nothing, by their order, which is left open."""
    wanted = ("output",) if found.packed else ("query", "key", "value", "output")
    if len(square) > len(wanted) or (found.packed is None and len(square) < len(wanted)):
        for piece, _, _ in square:
            found.leave(piece)
        return
    order = _by_name([piece for piece, _, _ in square], wanted)
    if order is None and len(square) == len(wanted):
        order = tuple(wanted)
        if len(wanted) > 1:
            found.orders = tuple(permutations(wanted))
    for name, (piece, reading, bias) in zip(order or (), square, strict=False):
        if len(piece.shape) == 3 and name == "output":  # noqa: PLR2004
            reading = _output_by_head(reading)  # noqa: PLW2901
        found.place(f"attention.{name}", piece, reading, bias)
        if piece.kind == "bare" and len(piece.shape) == 2:  # noqa: PLR2004
            found.transposable.append(f"attention.{name}.weight")


def _output_by_head(reading: str) -> str:
    """(h, D_h, D) as permuted for a query, to the output's (D, h, D_h)."""
    return reading + ".permute(2, 0, 1)"


def _by_name(pieces: Sequence[Piece], wanted: Sequence[str]) -> tuple[str, ...] | None:
    """What each piece's name says it is, if they all say something else."""
    if len(wanted) == len(pieces) == 1:
        return tuple(wanted)
    names = [_telling(piece) for piece in pieces]
    found = []
    for words in names:
        said = [one for one in wanted if any(_OWN_NAMES[one].search(word) for word in words)]
        if len(said) > 1 and "output" in said:  # "q_proj"
            said.remove("output")
        if len(said) != 1:
            return None
        found.append(said[0])
    return tuple(found) if len(set(found)) == len(found) else None


def _telling(piece: Piece) -> list[str]:
    """The words of a name, from its last part on, with and without what joins them."""
    parts = [part for part in piece.name.lower().split(".") if part not in ("weight", "linear", "fn")] or [
        piece.name.lower()
    ]
    words = []
    for part in parts[-2:]:
        words += [part, part.replace("_", ""), *part.split("_")]
    return words


# --- what is not there ---


def _expected(found: _Found) -> list[str]:
    names = ["patch_embedding.weight", "patch_embedding.bias", "position_embedding", "norm.weight", "norm.bias"]
    names += ["head.weight", "head.bias"] + ([] if found.class_tokens else ["class_token"])
    names += [f"{name}.{leaf}" for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2") for leaf in ("weight", "bias")]
    names += [f"attention.output.{leaf}" for leaf in ("weight", "bias")]
    if found.packed is None:
        names += [f"attention.{name}.{leaf}" for name in ("query", "key", "value") for leaf in ("weight", "bias")]
    elif not found.packed.bias:
        names += [f"attention.{name}.bias" for name in ("query", "key", "value")]
    return names


def _conventions_by_absence(absent: Sequence[str]) -> dict[str, object]:
    """Conventions that declare that parameters are not there, where all of these are not."""
    return {name: False for name, missing in _DECLARED_ABSENCES.items() if missing <= set(absent)}


_DECLARED_ABSENCES = {
    "qkv_bias": {f"attention.{name}.bias" for name in ("query", "key", "value")},
    "patch_bias": {"patch_embedding.bias"},
    "head_bias": {"head.bias"},
}
