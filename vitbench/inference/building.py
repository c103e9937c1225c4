"""A class built at two sizes, in one way after the other, until each of its tensors has its place."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.errors import NotInferred, is_lack_of_memory, one_line
from vitbench.inference.alignment import Alignment, aligned
from vitbench.inference.anatomy import Anatomy, anatomy, recorded_calls, series_of
from vitbench.inference.constructor import Signature, signatures
from vitbench.inference.refusal import ReachesOut, Understanding, refusal
from vitbench.inference.sketch import OTHER, SMALL, Construction, Limit, Sketch, Source, sized
from vitbench.inference.workshop import Workshop
from vitbench.reference.config import ViTConfig

_ASKED_FOR = {
    "image_size": {"image_size", "image_shape", "image_height", "count"},
    "patch_size": {"patch_size", "patch_height", "count"},
    "width": {"width"},
    "depth": {"depth"},
    "num_heads": {"num_heads"},
    "num_classes": {"num_classes"},
}
"""What no class can be judged without, and the meanings of arguments that give it."""

_INDISPENSABLE = {
    "patch_embedding.weight",
    "position_embedding",
    "class_token",
    "attention.query.weight",
    "attention.output.weight",
    "mlp.fc1.weight",
    "mlp.fc2.weight",
    "head.weight",
}
"""What lacks one of these is something else, and no defective Vision Transformer."""

_OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "": lambda returned: returned,
    ".logits": lambda returned: returned.logits,
    '["logits"]': lambda returned: returned["logits"],
    "[0]": lambda returned: returned[0],
}
"""What may lead from a model's answer to its logits, as code and as a function."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """One way to build it, and how far it came."""

    sketch: Sketch
    signature: Signature
    alignment: Alignment | None = None
    body: Anatomy | None = None
    error: str = ""
    question: str = ""  # about its arguments
    ran: bool = False  # it was built, and a forward pass came to its end or broke

    @property
    def whole(self) -> bool:
        """Whether every tensor has its place, and what makes a Vision Transformer is there."""
        alignment = self.alignment
        return alignment is not None and not alignment.unplaced and not _INDISPENSABLE & set(alignment.absent)

    @property
    def distance(self) -> tuple[int, int]:
        """From being whole: not built at all, not run; then tensors without a place and places without a tensor."""
        if self.alignment is None:
            return (1 if self.ran else 2, 0)
        return (0, len(self.alignment.unplaced) + len(self.alignment.absent))


def built(found: Any, source: Source, workshop: Workshop, tell: Callable[[str], None]) -> Built:
    """The first way to build it that is whole.

    Raises:
        NotInferred: there is none; the text has the one that came nearest.
    """
    nearest: Built | None = None
    for one in _ways(found, source, workshop, tell):
        if one.whole:
            return one
        if nearest is None or one.distance < nearest.distance:
            nearest = one
    if nearest is None:
        raise NotInferred(f"{source.impl} is no adapter, and nothing says how it could be built (docs/adapters.md)")
    raise NotInferred(
        refusal(
            Understanding(
                sketch=nearest.sketch,
                unknown=tuple(nearest.signature.unknown),
                missing=tuple(_missing(nearest.signature)),
                error=nearest.error,
                question=nearest.question,
                alignment=nearest.alignment,
            )
        )
    )


def _ways(found: Any, source: Source, workshop: Workshop, tell: Callable[[str], None]) -> Iterator[Built]:
    for signature in signatures(found):
        likeliest = next(signature.constructions(), None)
        if signature.unknown or _missing(signature) or likeliest is None:
            known, question = likeliest or signature.likeliest(), "; ".join(signature.clashes())
            yield Built(sketch=Sketch(source=source, construction=known), signature=signature, question=question)
            continue
        before: Alignment | None = None
        for construction in signature.constructions():
            one = _made(construction, source, signature, workshop, tell)
            while (dropped := _UNEXPECTED.search(one.error)) and dropped[1] in one.sketch.construction.arguments:
                fewer = {k: v for k, v in one.sketch.construction.arguments.items() if k != dropped[1]}
                if _lacks_a_size(fewer):
                    break
                one = _made(replace(construction, arguments=fewer), source, signature, workshop, tell)
            yield one
            if dropped or _NO_BLOCKS in one.error or (one.alignment is not None and _as_before(one.alignment, before)):
                break  # another spelling of the same arguments changes nothing
            before = one.alignment


def _as_before(alignment: Alignment, before: Alignment | None) -> bool:
    """Whether the same tensors stay without a place as with the arguments tried before."""
    return before is not None and (alignment.unplaced, alignment.absent) == (before.unplaced, before.absent)


def _lacks_a_size(arguments: Mapping[str, str]) -> bool:
    """Whether something that no class can be judged without is no longer given."""
    given = " ".join(arguments.values())
    counted = any(word in given for word in ("num_patches", "num_tokens", "grid"))
    return any(name not in given and not (counted and name in ("image_size", "patch_size")) for name in _ASKED_FOR)


_NO_BLOCKS = "it has no modules of which there are as many as the blocks that were asked for"
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def _made(
    construction: Construction, source: Source, signature: Signature, workshop: Workshop, tell: Callable[[str], None]
) -> Built:
    tell("building it with " + ", ".join(f"{name}={value}" for name, value in construction.arguments.items()))
    sketch = Sketch(source=source, construction=_with_certain_limits(construction))
    return _taken_apart(Built(sketch=sketch, signature=signature), workshop)


def _missing(signature: Signature) -> list[str]:
    """Sizes for which no argument was recognised."""
    given = {field for fields in signature.known.values() for field in fields}
    return [name for name, words in _ASKED_FOR.items() if not words & given]


def _with_certain_limits(construction: Construction) -> Construction:
    """With what its arguments alone make certain."""
    given = " ".join(construction.arguments.values())
    limits = [
        Limit(condition='config.stem == "patch"', reason="no hybrid stem"),
        Limit(condition='config.head == "linear"', reason="linear head only"),
    ]
    if "channels" not in given:
        limits.append(Limit(condition="config.channels == 3", reason="three channels only"))
    if "mlp_dim" not in given:
        limits.append(
            Limit(condition="config.mlp_dim == 4 * config.width", reason="an MLP of four times the width only")
        )
    elif "config.mlp_dim //" in given:
        limits.append(
            Limit(condition="config.mlp_dim % config.width == 0", reason="an MLP of a whole number of widths only")
        )
    return replace(construction, limits=tuple(limits))


def _taken_apart(one: Built, workshop: Workshop) -> Built:
    """The same with its tensors in their places, if it can be built and run at two sizes, and is the same at both."""
    try:
        workshop.model(one.sketch, SMALL)
        one = replace(one, ran=True)
        small, other = (body_of(workshop, one.sketch, config) for config in (SMALL, OTHER))
    except (Exception, ReachesOut, SystemExit) as error:
        what = one_line(error) if isinstance(error, ReachesOut) else f"{type(error).__name__}: {one_line(error)}"
        if isinstance(error, Exception) and not is_lack_of_memory(error):
            return replace(one, error=what)
        if is_lack_of_memory(error):
            what = f"it needs more memory than so small a model may have: {one_line(error)}"
        raise NotInferred(refusal(Understanding(sketch=one.sketch, error=what))) from error
    common = series_of(small.model, SMALL.depth) & series_of(other.model, OTHER.depth)
    if not common:
        return replace(one, error=_NO_BLOCKS)
    bodies = [
        anatomy(each.model, sorted(common, key=lambda s: (s.path, s.stem)), each.calls) for each in (small, other)
    ]
    first, second = (
        aligned(body, sized(one.sketch, config)) for body, config in zip(bodies, (SMALL, OTHER), strict=True)
    )
    if first.parts != second.parts:
        return replace(one, error="its tensors are laid out in one way at one size, and in another at another")
    sketch = replace(
        one.sketch,
        output=small.output,
        series=bodies[0].series,
        parts=first.parts,
        packed=first.packed,
        absent=first.absent,
        conventions=first.conventions,
    )
    return replace(one, sketch=sketch, alignment=first, body=bodies[0])


@dataclass(frozen=True)
class Body:
    """A model that has run once."""

    model: nn.Module
    calls: dict[str, Any]
    output: str  # what follows model(images) to get at the logits


def body_of(workshop: Workshop, sketch: Sketch, config: ViTConfig) -> Body:
    """Build the sketch's model and run it once."""
    model, images = workshop.model(sketch, config), probing_images(config)
    calls, returned = recorded_calls(model, images)
    return Body(model, calls, _output(returned, (len(images), config.num_classes)))


def probing_images(config: ViTConfig) -> Tensor:
    """Two images. (2, C, H, W)."""
    return torch.randn(2, config.channels, *config.image_size, dtype=torch.float64)


def _output(returned: Any, shape: tuple[int, int]) -> str:
    """What leads from a model's answer to its logits.

    Raises:
        ValueError: nothing does; the text says what came.
    """
    for path, follow in _OUTPUTS.items():
        with suppress(Exception):
            found = follow(returned)
            if isinstance(found, Tensor) and tuple(found.shape) == shape:
                return path
    came = f"shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else f"a {type(returned).__name__}"
    raise ValueError(f"its forward pass returned {came}, expected logits (B, K) = {shape}")
