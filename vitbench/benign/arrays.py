"""A Vision Transformer without torch, whose arrays show themselves in the least that the contract asks for."""

from typing import Any

from torch import Tensor

from vitbench.examples import numpy_vit


class Answer:
    """A foreign array that shows itself through ``__array__`` only."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._values


class NumpyAdapter(numpy_vit.NumpyAdapter):
    """The example in numpy, which declares no framework and answers with foreign arrays."""

    framework = "torch"  # as an adapter has it that says nothing of the kind

    def export(self, model: numpy_vit.VisionTransformer) -> dict[str, Any]:
        return {name: Answer(weight) for name, weight in super().export(model).items()}

    def logits(self, model: numpy_vit.VisionTransformer, images: Tensor) -> Any:
        return Answer(super().logits(model, images))
