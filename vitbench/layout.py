"""Where a model lies in memory, drawn anew between samples.

A process keeps its layout for life, and with it a bias: on one machine, medians of identical CPU processes ranged
from 19 to 28 ms with a fixed layout, and from 18.9 to 19.2 ms with one drawn before each sample. Curtsinger and
Berger's Stabilizer (ASPLOS 2013) makes the same point for code.
"""

import random
from collections import deque
from collections.abc import MutableSequence

import torch
from torch import Tensor, nn

_KEPT = 3  # former layouts, lest the allocator hands the same addresses out again
_MOST_KEPT_BYTES = 2**30
_MOST_PADDING_BYTES = 2**20


class MemoryLayout:
    """Moves a torch module's parameters and buffers, and its inputs, to fresh memory, in place.

    Whatever else holds these tensors (ties, hooks, an adapter) goes on holding them.
    """

    def __init__(self, model: object, inputs: MutableSequence[Tensor], seed: int) -> None:
        self._tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
        self._inputs = inputs
        self._random = random.Random(seed)  # noqa: S311  # nothing secret about it
        size_bytes = sum(tensor.nbytes for tensor in [*self._tensors, *inputs])
        kept = _KEPT if _KEPT * size_bytes <= _MOST_KEPT_BYTES else 1
        self._former: deque[list[Tensor]] = deque(maxlen=kept)
        self.held_bytes = (kept + 1) * size_bytes  # by all layouts together, the present one among them

    @property
    def movable(self) -> bool:
        """Whether the model's memory can be moved; that of an opaque model cannot."""
        return bool(self._tensors)

    def draw(self) -> None:
        """Another layout."""
        with torch.inference_mode(mode=False):
            former = [torch.empty(self._random.randrange(1, _MOST_PADDING_BYTES), dtype=torch.uint8)]
            for tensor in self._tensors:
                former.append(tensor.data)
                tensor.data = tensor.data.clone()
            for i, batch in enumerate(self._inputs):
                former.append(batch)
                self._inputs[i] = batch.clone()
            self._former.append(former)
