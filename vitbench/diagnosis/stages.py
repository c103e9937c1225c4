"""The stages of a forward pass in their order, as a diagnosis speaks of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """A part of the model; its words complete "the first stage that diverges is …"."""

    PATCHES = "the patch tokens"
    TOKENS = "the tokens z_0 (class token and positions)"
    UNKNOWN = "the forward pass, where neither taps nor probes tell"
    ORDER = "the order of the patches, or which of them gets which position"
    ATTENTION = "attention"
    MLP = "the MLP"
    NORM = "the representation (final LayerNorm and pooling)"
    HEAD = "the head"
    BLOCKS = "the encoder as a whole (each block by itself agrees: their order, or what passes between them)"
    GRADIENTS = "the gradients (the logits agree)"
    POSITIONS = "the resized positions (at its own size the model agrees)"


@dataclass(frozen=True, order=False)
class Stage:
    """A part, and of which block."""

    part: Part
    block: int | None = None

    def __str__(self) -> str:
        return str(self.part) if self.block is None else f"block {self.block}: {self.part}"


def in_order(depth: int) -> list[Stage]:
    """Every stage of a forward pass, from the image to the logits."""
    return [Stage(Part.PATCHES), Stage(Part.TOKENS), *_of_blocks(depth), Stage(Part.NORM), Stage(Part.HEAD)]


def _of_blocks(depth: int) -> Iterator[Stage]:
    for i in range(depth):
        yield Stage(Part.ATTENTION, i)
        yield Stage(Part.MLP, i)


@dataclass(frozen=True, kw_only=True)
class Place:
    """The first stage that diverges, and how that is known."""

    stage: Stage
    by: str  # taps, probes, answers
    error: float | None  # of what diverges, as a part of its largest expected value; None where nothing was compared
    alone: bool = True  # False: one before it may diverge too, and be hidden behind it

    def __str__(self) -> str:
        return f"{self.stage}{'' if self.alone else ' (an earlier one may too, which logits alone do not tell)'}"
