"""Which modules show a stage: found among the calls of a forward pass, by shapes and by what must be equal."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.adapter import collect_inputs, collect_outputs
from vitbench.adapters.attention_reading import softmax_weights
from vitbench.errors import NotSupported
from vitbench.inference.anatomy import Anatomy
from vitbench.inference.sketch import SMALL, Place, Sketch, Tap

_BATCH = 2


def taps(sketch: Sketch, body: Anatomy, model: nn.Module, images: Tensor) -> dict[str, Tap]:
    """Stages that modules show, each seen to be consistent with what surrounds it.

    Shapes: ``images`` (B, C, H, W) of the size SMALL, B = 2.
    """
    seen = _Seen(sketch, body, model, images)
    found = {
        "patch_tokens": seen.patch_tokens(),
        "tokens": seen.tokens(),
        "block_outputs": seen.block_outputs(),
        "attention": seen.attention(),
        "representation": seen.representation(),
    }
    return {stage: tap for stage, tap in found.items() if tap is not None}


class _Seen:
    def __init__(self, sketch: Sketch, body: Anatomy, model: nn.Module, images: Tensor) -> None:
        self.sketch, self.body, self.model, self.images = sketch, body, model, images

    def run(self) -> Any:
        with torch.no_grad():
            return self.model(self.images)

    def full(self, place: Place, i: int = 0) -> str:
        """A module's own name, in block ``i`` where it is in a block."""
        if place.series is None:
            return place.path
        series = self.sketch.series[place.series]
        owner = self.model.get_submodule(series.path)
        names = [name for name, _ in owner.named_children() if not series.stem or name.startswith(series.stem)]
        return ".".join(part for part in (series.path, names[i], place.path) if part)

    def module(self, place: Place, i: int = 0) -> nn.Module:
        return self.model.get_submodule(self.full(place, i))

    def place_of(self, canonical: str) -> Place | None:
        """The module that holds a canonical parameter."""
        part = next((one for one in self.sketch.parts if one.name == canonical), None)
        return None if part is None else replace(part.place, leaf="")

    # Stages.

    def patch_tokens(self) -> Tap | None:
        """The innermost module behind the projection that returns (B, N, D); a convolution's output is flattened."""
        last = self.place_of("patch_embedding.output_norm.weight") or self.place_of("patch_embedding.weight")
        if last is None or not last.path:
            return None
        shape = self._returned(last)
        tokens, grid = (_BATCH, SMALL.num_patches, SMALL.width), (_BATCH, SMALL.width, *SMALL.grid)
        if shape == tokens:
            return Tap(source="outputs", places=(last,))
        if shape == (SMALL.num_patches, _BATCH, SMALL.width):
            return Tap(source="outputs", places=(last,), reading="{x}.transpose(0, 1)")
        if shape != grid:
            return None
        flat = collect_outputs([self.module(last)], self.run)[0].flatten(2).transpose(1, 2)
        path = last.path
        while path := path.rpartition(".")[0]:
            place = Place(path=path)
            for expected, reading in ((flat, "{x}"), (flat.transpose(0, 1), "{x}.transpose(0, 1)")):
                if self._returned(place) == tuple(expected.shape):
                    shown = collect_outputs([self.module(place)], self.run)[0]
                    if torch.equal(shown, expected):
                        return Tap(source="outputs", places=(place,), reading=reading)
        return Tap(source="outputs", places=(last,), reading="{x}.flatten(2).transpose(1, 2)")

    def tokens(self) -> Tap | None:
        """What the first block is given; where that is no module's turn, what its first norm is."""
        for place in self._block_starts():
            reading = _batch_first(self._received(place))
            if reading:
                return Tap(source="inputs", places=(place,), first=-1, reading=reading)
        return None

    def block_outputs(self) -> Tap | None:
        """What each block returns, if the next one is given just that; or what the next block, or the final norm, is given."""
        blocks, depth = Place(path="", series=0), SMALL.depth
        if len(self.sketch.series) == 1 and self._returned(blocks):
            modules = [self.module(blocks, i) for i in range(depth)]
            reading = _batch_first(self._returned(blocks))
            if reading and self._follow(modules):
                return Tap(source="outputs", places=(blocks,), reading=reading)
        final = self.place_of("norm.weight")
        for start in self._block_starts():
            reading = _batch_first(self._received(start))
            if reading and final is not None and _batch_first(self._received(final)) == reading:
                return Tap(source="inputs", places=(start, final), first=1, reading=reading)
            around = self._around() if reading else None
            if around is not None and _batch_first(self._returned(around)) == reading:
                return Tap(source="inputs", places=(start,), first=1, last=around, reading=reading)
        return None

    def _around(self) -> Place | None:
        """The innermost module around the blocks that is called, if what it returns is what the last block did."""
        path = self.sketch.series[0].path
        while path and path not in self.body.calls:
            path = path.rpartition(".")[0]
        return Place(path=path) if path else None

    def attention(self) -> Tap | None:
        """Whatever softmax the blocks take, if there is one of the right shape in each."""
        weights = softmax_weights(self.run)
        tokens = SMALL.num_tokens
        shapes = {tuple(one.shape) for one in weights}
        right = len(weights) == SMALL.depth and shapes == {(_BATCH, SMALL.num_heads, tokens, tokens)}
        return Tap(source="softmax") if right else None

    def representation(self) -> Tap | None:
        """What the head is given."""
        head = self.place_of("head.hidden.weight") or self.place_of("head.weight")
        if head is None or not head.path or self._received(head) != (_BATCH, SMALL.width):
            return None
        return Tap(source="inputs", places=(head,))

    def _block_starts(self) -> list[Place]:
        """The first block itself, and its first norm, which in a pre-norm block is given the same."""
        norm = self.place_of("norm1.weight")
        blocks = [Place(path="", series=0)] if len(self.sketch.series) == 1 else []
        return [*blocks, *([] if norm is None else [norm])]

    def _follow(self, modules: list[nn.Module]) -> bool:
        """Whether each block is given what the one before returned."""
        given: list[Tensor] = []
        try:
            returned = collect_outputs(modules, lambda: given.extend(collect_inputs(modules, self.run)))
        except NotSupported:  # some block never runs: that is judged, by what remains
            return False
        return all(
            isinstance(before, Tensor) and torch.equal(before, after)
            for before, after in zip(returned, given[1:], strict=False)
        )

    def _returned(self, place: Place) -> tuple[int, ...]:
        call = self.body.calls.get(self.full(place))
        return () if call is None else call.returned

    def _received(self, place: Place) -> tuple[int, ...]:
        call = self.body.calls.get(self.full(place))
        return () if call is None else call.received


def _batch_first(shape: tuple[int, ...]) -> str:
    """How tokens of this shape are read; empty for another shape."""
    readings: Mapping[tuple[int, ...], str] = {
        (_BATCH, SMALL.num_tokens, SMALL.width): "{x}",
        (SMALL.num_tokens, _BATCH, SMALL.width): "{x}.transpose(0, 1)",
    }
    return readings.get(shape, "")


Run = Callable[[], Any]
