"""An ONNX file behind the contract: one Vision Transformer of fixed sizes, judged through the weights that it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitbench.adapter import Adapter, Conventions, NotSupported, ViTConfig
from vitbench.errors import AdapterBroken
from vitbench.onnx_files.graph import Graph
from vitbench.onnx_files.opening import opened
from vitbench.onnx_files.probing import places_of
from vitbench.onnx_files.reading import Parts, Place, conventions_of, image_shape, parts_of, sizes
from vitbench.onnx_files.session import session
from vitbench.reference.parameters import parameter_shapes
from vitbench.reference.vit import vision_transformer

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Reading:
    """What a graph was found to be."""

    graph: Graph
    parts: Parts
    places: Mapping[str, Place]
    config: ViTConfig
    conventions: Conventions
    batch: int | None  # None: any

    def canonical(self, weights: Weights) -> dict[str, NDArray[Any]]:
        """Constants by canonical name, in canonical shape."""
        values = {**self.graph.constants, **weights}
        return {name: values[constant].reshape(-1)[place] for name, (constant, place) in self.places.items()}

    def constants(self, state: Mapping[str, Tensor]) -> Weights:
        """The inverse of ``canonical``."""
        found: Weights = {}
        for name, (constant, place) in self.places.items():
            old = found.get(constant, self.graph.constants[constant])
            new = old.reshape(-1).copy() if constant not in found else old.reshape(-1)
            new[place] = state[name].numpy()
            found[constant] = new.reshape(old.shape)
        return found


def read(model: Any) -> Reading:
    """The Vision Transformer that an ONNX model is.

    Raises:
        AdapterBroken: it is none, or none that can be read; the text says what is missing.
    """
    graph = Graph(model)
    image_shape(graph)
    parts = parts_of(graph)
    try:
        places, heads = places_of(graph, parts)
    except AdapterBroken:
        raise
    except Exception as error:  # ONNX Runtime's own kinds, one for each way in which a graph can be wrong
        raise AdapterBroken(f"is not run by ONNX Runtime: {' '.join(str(error).split())[:300]}") from error
    patch_size = places["patch_embedding.weight"][1].shape[2:]
    config, batch = sizes(graph, parts, heads, (patch_size[0], patch_size[1]))
    conventions = conventions_of(graph, parts, config)
    expected = parameter_shapes(config, conventions)
    found = {name: place.shape for name, (_, place) in places.items()}
    if found != expected:
        differing = sorted(name for name in set(found) | set(expected) if found.get(name) != expected.get(name))
        one = differing[0]
        raise AdapterBroken(
            f"is no Vision Transformer that can be read: {one} has shape {found.get(one)}, expected {expected.get(one)}"
        )
    return _pooled(Reading(graph, parts, places, config, conventions, batch))


def _pooled(reading: Reading) -> Reading:
    """With the mean of patches instead of the class token, where the graph computes just that."""
    model = Model(reading)
    images = torch.randn(
        reading.batch or 2, *image_shape(reading.graph)[1:], generator=torch.Generator().manual_seed(0)
    )
    weights = {name: torch.from_numpy(value).double() for name, value in reading.canonical({}).items()}
    answer = torch.from_numpy(model.run(images.numpy())).double()
    pooled = replace(reading, config=replace(reading.config, pool="mean"))
    expected = vision_transformer(images.double(), weights, pooled.config, pooled.conventions)
    varied = (expected - expected.mean(dim=0)).abs().max()
    return pooled if (expected - answer).abs().max() < _SAME * varied else reading


_SAME = 1e-2  # of how much logits differ between images: nearer than any other pooling, farther than float32 rounds


@dataclass
class Model:
    """The file with weights of its own, or others."""

    reading: Reading
    weights: Weights = field(default_factory=dict)
    dtype: torch.dtype = torch.float32  # of the weights that were given; it holds them in float32
    _sessions: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def run(self, images: NDArray[Any], *taps: str) -> Any:
        """The first output, or the values of taps."""
        if taps not in self._sessions:
            self._sessions[taps] = session(self.reading.graph, self.weights, taps)
        found = self._sessions[taps].run(list(taps) or None, {self.reading.graph.inputs[0].name: images})
        return list(found) if taps else found[0]

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Other weights, as if they stood in the file."""
        self.weights, self.dtype = self.reading.constants(state), state["class_token"].dtype
        self._sessions.clear()


class OnnxAdapter(Adapter):
    """A graph as a candidate; it computes in float32, whatever it is given."""

    framework = "onnxruntime"
    version = onnxruntime.__version__

    def __init__(self, reading: Reading, name: str) -> None:
        self.reading, self.name = reading, name
        self.conventions, self.batch, self.configs = reading.conventions, reading.batch, (reading.config,)

    def build(self, config: ViTConfig) -> Model:
        if same_as(config, self.configs) is None:
            raise NotSupported("the file holds a model of one size")
        return Model(self.reading)

    def load(self, model: Model, state: Mapping[str, Tensor]) -> None:
        _require_single(state["class_token"])
        model.load(state)

    def export(self, model: Model) -> dict[str, Tensor]:
        found = model.reading.canonical(model.weights)
        return {name: torch.from_numpy(value).to(model.dtype) for name, value in found.items()}

    def logits(self, model: Model, images: Tensor) -> Tensor:
        (answer,) = self._shown(model, images)
        return answer

    def patch_tokens(self, model: Model, images: Tensor) -> Tensor:
        reading = model.reading
        if reading.parts.patch_tokens is None or not reading.conventions.class_token_has_position:
            raise NotSupported("the file's patch tokens stand by themselves nowhere")
        return self._stage(model, images, reading.parts.patch_tokens, reading.config.num_patches)

    def tokens(self, model: Model, images: Tensor) -> Tensor:
        return self._stage(model, images, model.reading.parts.blocks[0].norm1.into, model.reading.config.num_tokens)

    def block_outputs(self, model: Model, images: Tensor) -> list[Tensor]:
        parts, count = model.reading.parts, model.reading.config.num_tokens
        taps = [*(block.norm1.into for block in parts.blocks[1:]), parts.norm.into]
        return [self._stage(model, images, tap, count) for tap in taps]

    def attention(self, model: Model, images: Tensor) -> list[Tensor]:
        config = model.reading.config
        found = self._shown(model, images, *(block.softmax for block in model.reading.parts.blocks))
        return [one.reshape(-1, config.num_heads, config.num_tokens, config.num_tokens) for one in found]

    def representation(self, model: Model, images: Tensor) -> Tensor:
        parts = model.reading.parts
        (found,) = self._shown(model, images, (parts.hidden or parts.head).into)
        return found.reshape(-1, model.reading.config.width)

    def device(self, model: Model) -> str:
        return "cpu"

    def synchronize(self, model: Model, answer: Any) -> None:
        """Nothing to wait for: a session's run ends with its answer."""

    def _stage(self, model: Model, images: Tensor, tap: str, count: int) -> Tensor:
        (found,) = self._shown(model, images, tap)
        if tuple(found.shape) != (len(images), count, model.reading.config.width):
            raise NotSupported(f"the file has {tap!r} in shape {tuple(found.shape)}: not all tokens are there")
        return found

    def _shown(self, model: Model, images: Tensor, *taps: str) -> list[Tensor]:
        _require_single(images)
        found = model.run(images.to(torch.float32).contiguous().numpy(), *taps)
        return [torch.from_numpy(one).to(images.dtype) for one in (found if taps else [found])]


def same_as(config: ViTConfig, there_are: Sequence[ViTConfig]) -> ViTConfig | None:
    """The one of these that has the same fields; the harness may ask with a configuration that notes which are looked at."""
    names = [field.name for field in fields(ViTConfig)]
    return next((one for one in there_are if all(getattr(config, n) == getattr(one, n) for n in names)), None)


def _require_single(tensor: Tensor) -> None:
    if tensor.dtype not in (torch.float32, torch.float64):
        raise NotSupported("the file computes in float32")


class OnnxFileAdapter(OnnxAdapter):
    """``--impl model.onnx``."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(read(opened(path)), path.stem)
        except AdapterBroken as error:
            text = str(error)
            raise AdapterBroken(text if text.startswith(path.name) else f"{path.name} {text}") from error
