"""What only a model's behaviour tells: layouts, the activation, the epsilon, the pooling, each by a stage of its own.

Each question is asked of the adapter as it would be written, with weights that leave only the answer to matter, and beside
the reference. A layout is settled where the stage behind it agrees; where none agrees it stays the most usual one, so that a
defect cannot pass for a layout.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import permutations
from math import isnan
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vitbench.adapter import Adapter
from vitbench.cases import random_images
from vitbench.errors import NotInferred
from vitbench.inference.alignment import PATCH_LAYOUTS, QKV_LAYOUTS, Alignment
from vitbench.inference.refusal import Understanding, refusal
from vitbench.inference.sketch import SMALL, Packed, Part, Sketch, sized
from vitbench.probes import equal_tokens
from vitbench.reference.config import Activation, Conventions, Pool, PositionResize, ViTConfig
from vitbench.reference.parameters import exercised_weights, within
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.vit import Mode, embed, encoder_block, head, patch_tokens, representation, vision_transformer

Loaded = Callable[[Sketch], Adapter]
"""Turns a sketch into the adapter that its code is."""

EXACTLY, IN_FLOAT32 = 1e-10, 1e-5
"""Parts of the largest value: what float64 rounds is far below the first, what a step in float32 costs below the second."""

_CLEARLY = 100.0  # times nearer than the next answer, where a step in float32 blurs it
_BATCH, _SEED = 3, 7


class Bench:
    """One sketch's adapter with a model of exercised weights, asked stage by stage. Shapes as the adapter's methods."""

    def __init__(self, adapter: Adapter, sketch: Sketch, config: ViTConfig = SMALL, *silent: str) -> None:
        self.adapter, self.config = adapter, sized(sketch, config)
        self.conventions = conventions_of(sketch)
        weights = exercised_weights(self.config, self.conventions, _SEED)
        self.weights = {name: torch.zeros_like(w) if name.endswith(silent) else w for name, w in weights.items()}
        self.images = random_images((_BATCH, config.channels, *config.image_size), _SEED)
        self.model: nn.Module = adapter.build(self.config).double().eval()
        self.taps = set(sketch.taps)
        adapter.load(self.model, self.weights)

    def load(self, changes: Mapping[str, Tensor]) -> None:
        """Other values for some of the weights."""
        self.weights = {**self.weights, **changes}
        self.adapter.load(self.model, self.weights)

    @cached_property
    def logits(self) -> Tensor:
        """(B, K)."""
        return self.asked("logits")

    def asked(self, stage: str, images: Tensor | None = None) -> Any:
        """What the adapter says of a stage."""
        with torch.no_grad():
            return getattr(self.adapter, stage)(self.model, self.images if images is None else images)

    def embedding_error(self) -> float:
        """Of z_0, as a part of its largest value; of the logits where z_0 is not shown."""
        if "tokens" not in self.taps:
            return self.logits_error()
        x_e = patch_tokens(self.images, self.weights, self.config, self.conventions)
        return error(self.asked("tokens"), embed(x_e, self.weights, self.config, self.conventions, Mode()))

    def block_error(self) -> float:
        """Of z_1 from the model's own z_0; of the logits where these are not shown."""
        if not {"tokens", "block_outputs"} <= self.taps:
            return self.logits_error()
        expected = encoder_block(
            self.asked("tokens"), within(self.weights, "blocks.0"), self.config, self.conventions, Mode()
        )
        return error(self.asked("block_outputs")[0], expected)

    def tail_error(self) -> float:
        """Of the logits from the model's own z_L; from the images where that is not shown."""
        if "block_outputs" not in self.taps:
            return self.logits_error()
        y = representation(self.asked("block_outputs")[-1], self.weights, self.config, self.conventions)
        return error(self.logits, head(y, within(self.weights, "head"), self.config, self.conventions))

    def logits_error(self) -> float:
        """Of the whole model."""
        return error(self.logits, vision_transformer(self.images, self.weights, self.config, self.conventions))


def conventions_of(sketch: Sketch) -> Conventions:
    """As a checked value."""
    return Conventions(**sketch.conventions)


def error(actual: Tensor, expected: Tensor) -> float:
    """The largest difference as a part of the largest expected value; infinite where the shapes differ."""
    if actual.shape != expected.shape:
        return float("inf")
    found = ((actual.double() - expected).abs().max() / expected.abs().max()).item()
    return found if found == found else float("inf")  # noqa: PLR0124  # NaN


@dataclass(frozen=True)
class Answer:
    """A sketch with one question answered, and whether anything agreed with the answer."""

    sketch: Sketch
    agreed: bool


def best(sketches: Sequence[Sketch], measured: Callable[[Sketch], float]) -> Answer:
    """The first that agrees exactly; else the one that agrees to float32 and is far nearer than others; else the first."""
    errors = []
    for sketch in sketches:
        try:
            errors.append(measured(sketch))
        except Exception:  # noqa: BLE001  # a reading that the model cannot take is none
            errors.append(float("inf"))
        if errors[-1] <= EXACTLY:
            return Answer(sketch, agreed=True)
    ordered = sorted(range(len(errors)), key=lambda i: errors[i])
    first, *others = ordered
    if errors[first] <= IN_FLOAT32 and all(errors[i] >= _CLEARLY * errors[first] for i in others[:1]):
        return Answer(sketches[first], agreed=True)
    return Answer(sketches[0], agreed=False)


def settled(sketch: Sketch, alignment: Alignment, load: Loaded, tell: Callable[[str], None]) -> Sketch:
    """The sketch with every open question answered, and what was assumed told in it."""
    told = list(sketch.assumed)

    def ask(what: str, sketches: Sequence[Sketch], measured: Callable[[Bench], float], *silent: str) -> Sketch:
        if len(sketches) == 1:
            return sketches[0]
        tell(f"settling {what} by behaviour")
        answer = best(sketches, lambda one: measured(Bench(load(one), one, SMALL, *silent)))
        if answer.agreed:
            return answer.sketch
        if _PROJECTIONS in what:  # equal scores, whatever the scale or the mask: the values alone may tell
            answer = best(sketches, lambda one: measured(Bench(load(one), one, SMALL, *silent, *_QUERY)))
        how = "only the values agree with the reference" if answer.agreed else "nothing agrees with the reference"
        told.append(f"{what}: {how}; the most usual {'of these ' if answer.agreed else ''}was taken")
        return answer.sketch

    sketch = _with_class_token(sketch, alignment, load, tell)
    tell("measuring the epsilon of the final LayerNorm")
    sketch = _with_epsilon(sketch, load, told)
    sketch = ask("the order in which a patch is flattened", _patch_layouts(sketch, alignment), Bench.embedding_error)
    silent_mlp = ("mlp.fc2.weight", "mlp.fc2.bias")
    sketch = ask(f"the layout of {_PROJECTIONS}", _attention_layouts(sketch, alignment), Bench.block_error, *silent_mlp)
    silent_attention = ("attention.output.weight", "attention.output.bias")
    sketch = ask("the activation", list(_activations(sketch)), Bench.block_error, *silent_attention)
    sketch = ask("the pooling", list(_pools(sketch)), Bench.tail_error)
    return replace(sketch, assumed=tuple(told))


_PROJECTIONS, _QUERY = "query, key and value", ("attention.query.weight", "attention.query.bias")


# --- what there is to choose from ---


def _with_class_token(sketch: Sketch, alignment: Alignment, load: Loaded, tell: Callable[[str], None]) -> Sketch:
    """The one that behaves as the class token, of several that could be it.

    Raises:
        NotInferred: none of them does.
    """
    if not alignment.class_tokens:
        return sketch
    tell("settling which parameter is the class token by behaviour")
    sketches = [replace(sketch, parts=(*sketch.parts, part)) for part in alignment.class_tokens]
    answer = best(sketches, lambda one: Bench(load(one), one).embedding_error())
    if answer.agreed:
        return answer.sketch
    names = ", ".join(".".join(n for n in (p.place.path, p.place.leaf) if n) for p in alignment.class_tokens)
    question = f"which of {names} is class_token: the model behaves as if it were none of them"
    raise NotInferred(refusal(Understanding(sketch=sketch, question=question, alignment=alignment)))


def _patch_layouts(sketch: Sketch, alignment: Alignment) -> list[Sketch]:
    if not alignment.flattened:
        return [sketch]
    return [_read_otherwise(sketch, '"chw"', f'"{layout}"') for layout in PATCH_LAYOUTS]


def _read_otherwise(sketch: Sketch, old: str, new: str) -> Sketch:
    return replace(sketch, parts=tuple(replace(part, reading=part.reading.replace(old, new)) for part in sketch.parts))


def _attention_layouts(sketch: Sketch, alignment: Alignment) -> list[Sketch]:
    layouts = list(_packings(sketch, sketch.packed)) if sketch.packed else [sketch]
    if alignment.orders:
        layouts = [_in_order(one, alignment.orders[0], order) for one in layouts for order in alignment.orders]
    if alignment.transposable:
        layouts = [turned for one in layouts for turned in (one, _turned(one, alignment.transposable))]
    return layouts


def _packings(sketch: Sketch, packed: Packed) -> Iterator[Sketch]:
    """Every layout of the rows, in the order that the projection's name says, or else in any; the usual one first."""
    said = _SAID.search(f"{packed.place.path}.{packed.place.leaf}".lower())
    for order in [said[0]] if said else QKV_ORDERS:
        for layout in QKV_LAYOUTS:
            yield replace(sketch, packed=replace(packed, layout=layout, order=order))


QKV_ORDERS = tuple("".join(order) for order in permutations("qkv"))
_SAID = re.compile("|".join(QKV_ORDERS))


def _in_order(sketch: Sketch, before: Sequence[str], order: Sequence[str]) -> Sketch:
    """The attention's matrices renamed."""
    renamed = {f"attention.{old}": f"attention.{new}" for old, new in zip(before, order, strict=True)}

    def moved(part: Part) -> Part:
        name, _, leaf = part.name.rpartition(".")
        return replace(part, name=f"{renamed.get(name, name)}.{leaf}") if name in renamed else part

    return replace(sketch, parts=tuple(moved(part) for part in sketch.parts))


def _turned(sketch: Sketch, names: Sequence[str]) -> Sketch:
    return replace(
        sketch,
        parts=tuple(
            replace(part, reading=f"{part.reading}.T") if part.name in names else part for part in sketch.parts
        ),
    )


def _activations(sketch: Sketch) -> Iterator[Sketch]:
    for name in get_args(Activation):
        told = {} if name == "gelu" else {"activation": name}
        yield replace(sketch, conventions={**sketch.conventions, **told})


def _pools(sketch: Sketch) -> Iterator[Sketch]:
    yield from (replace(sketch, pool=name) for name in get_args(Pool))


# --- the epsilon ---

_TINY = 1e-9  # of a token's features, so that a variance of 1e-18 lies far below any epsilon
_LARGEST_EPSILON = 1e-5
_ROUNDING = 1e-3


def _with_epsilon(sketch: Sketch, load: Loaded, told: list[str]) -> Sketch:
    """The final LayerNorm's epsilon, where it is one that Vision Transformers have; else the default."""
    epsilons = [measured_epsilon(sketch, load, scale) for scale in (_TINY, 100 * _TINY)]
    found = [_plain(one) for one in epsilons]
    if None not in found and found[0] == found[1] and found[0] <= _LARGEST_EPSILON:  # type: ignore[operator]
        epsilon = found[0]
        default = Conventions().layer_norm_eps
        return replace(
            sketch, conventions={**sketch.conventions, **({} if epsilon == default else {"layer_norm_eps": epsilon})}
        )
    shown = " and ".join(f"{one:.3g}" for one in epsilons)
    seen = f"though {shown} was measured, which is no Vision Transformer's"
    none = "since nothing of the kind could be measured: the logits are no final LayerNorm's, times the head's weight"
    told.append(f"layer_norm_eps: 1e-06, {none if any(isnan(one) for one in epsilons) else seen}")
    return sketch


def measured_epsilon(sketch: Sketch, load: Loaded, scale: float) -> float:
    """Epsilon out of logits for tokens of a variance far below it: y = (z - mean) / sqrt(variance + epsilon).

    With gain one, no biases, and every token the same, the logits are W (z - mean) times a number r, and
    epsilon = 1 / r² - variance. Not finite where no such number fits, as with another kind of norm.
    """
    bench = Bench(load(sketch), sketch)
    plain = {name: torch.ones_like(w) for name, w in bench.weights.items() if name == "norm.weight"}
    plain |= {name: torch.zeros_like(w) for name, w in bench.weights.items() if name in ("norm.bias", "head.bias")}
    class_row = bench.conventions.class_token_has_position
    tokens = equal_tokens(bench.weights, scale, class_row=class_row)
    bench.load({**plain, **tokens})
    z = next(w for name, w in tokens.items() if w.abs().max() > 0).flatten()[-SMALL.width :]
    centred = z - z.mean()
    expected = bench.weights["head.weight"] @ centred  # (K)
    logits = bench.logits[0].double()
    r = ((logits @ expected) / (expected @ expected)).item()
    off = (logits - r * expected).abs().max() / logits.abs().max()
    if not off < IN_FLOAT32 or r <= 0:
        return float("nan")
    return 1 / r**2 - centred.square().mean().item()


def _plain(epsilon: float) -> float | None:
    """The nearest number of one digit, if it is near; None for any other, and for none."""
    if not epsilon > 0:
        return None
    rounded = float(f"{epsilon:.0e}")
    return rounded if abs(epsilon - rounded) <= _ROUNDING * rounded else None


# --- other sizes ---


def resize_kinds(sketch: Sketch, load: Loaded) -> tuple[bool, Answer]:
    """Whether images of another size are taken at all, and the kernel that their positions follow."""
    larger = (SMALL.image_size[0] + 2 * SMALL.patch_size[0], SMALL.image_size[1] + 3 * SMALL.patch_size[1])
    square = (SMALL.image_size[0] + 2 * SMALL.patch_size[0],) * 2
    kinds = [replace(sketch, conventions={**sketch.conventions, **_resize(kind)}) for kind in get_args(PositionResize)]
    for size in (larger, square):
        if not _takes(sketch, load, size):
            continue
        answer = best(kinds, partial(_resize_error, load=load, size=size))
        if answer.agreed or size == square:
            return True, answer
    return _takes(sketch, load, square), Answer(sketch, agreed=False)


def _resize(kind: str) -> dict[str, object]:
    return {} if kind == Conventions().position_resize else {"position_resize": kind}


def _takes(sketch: Sketch, load: Loaded, size: tuple[int, int]) -> bool:
    bench = Bench(load(sketch), sketch)
    try:
        resized = bench.adapter.at_image_size(bench.model, size)
        with torch.no_grad():
            logits = bench.adapter.logits(resized, random_images((2, SMALL.channels, *size), _SEED))
    except Exception:  # noqa: BLE001  # refused
        return False
    return tuple(logits.shape) == (2, SMALL.num_classes)


def _resize_error(sketch: Sketch, load: Loaded, size: tuple[int, int]) -> float:
    """Of the logits at another size, with the positions resized as the sketch's conventions say."""
    bench = Bench(load(sketch), sketch)
    config = replace(bench.config, image_size=size)
    images = random_images((2, config.channels, *size), _SEED)
    with torch.no_grad():
        logits = bench.adapter.logits(bench.adapter.at_image_size(bench.model, size), images)
    conventions = bench.conventions
    table = resize_position_embedding(
        bench.weights["position_embedding"],
        bench.config.grid,
        config.grid,
        conventions.position_resize,
        class_row=conventions.class_token_has_position,
    )
    weights = {**bench.weights, "position_embedding": table}
    return error(logits, vision_transformer(images, weights, config, conventions))
