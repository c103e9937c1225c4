"""From a class or factory to an adapter's code: built, taken apart, aligned, settled, written."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from vitbench.errors import NotSupported
from vitbench.inference.anatomy import Call
from vitbench.inference.building import Built, body_of, built, probing_images
from vitbench.inference.dropouts import with_rates
from vitbench.inference.settling import EXACTLY, Bench, resize_kinds, settled
from vitbench.inference.sketch import OTHER, SMALL, Limit, Sketch, Source
from vitbench.inference.taps import taps
from vitbench.inference.workshop import Workshop
from vitbench.inference.writing import class_name, written
from vitbench.reference.config import Conventions, ViTConfig

_SIZE_METHODS = ("set_input_size", "set_image_size")
_SIZE_ARGUMENTS = ("interpolate_pos_encoding", "interpolate_pos_embedding", "interpolate_pos_embed")
_LAYOUTS = {
    "khd": "all {3}, all {4}, all {5}",
    "hkd": "one head after the other",
    "hdk": "{0}, {1} and {2} of a feature beside each other",
    "dkh": "the heads of a feature beside each other",
}
_THREE = {"q": ("query", "queries"), "k": ("key", "keys"), "v": ("value", "values")}

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """An adapter's code, and what its verdict rests on."""

    code: str
    name: str  # of the adapter's class
    assumed: tuple[str, ...]


def infer(found: Any, source: Source, folder: Path, tell: Tell) -> Inferred:
    """The adapter of a torch class or factory.

    Raises:
        NotInferred: what was understood, what was not, and a skeleton to go on from.
    """
    workshop = Workshop(folder)
    start = built(found, source, workshop, tell)
    tell("looking for modules that show the stages")
    model = workshop.model(start.sketch, SMALL)
    sketch = replace(start.sketch, taps=_taps(start, model))
    if start.alignment is not None:
        left = tuple(f"the buffer {name} is left as it is" for name in start.alignment.left)
        sketch = replace(sketch, assumed=left)
        sketch = settled(sketch, start.alignment, workshop.adapter, tell)
    sketch = replace(sketch, taps={stage: tap for stage, tap in sketch.taps.items() if _shows(stage, sketch, workshop)})
    sketch = _with_other_sizes(sketch, workshop, model, tell)
    tell("trying rectangles, one head, and rates of dropout")
    sketch = _with_limits(_with_rates(sketch, workshop, start.signature.rates), workshop)
    sketch = _with_head_init(sketch, workshop)
    sketch = replace(sketch, assumed=(*_assumptions(sketch), *sketch.assumed, *_disagreement(sketch, workshop)))
    return Inferred(code=written(sketch), name=class_name(sketch), assumed=sketch.assumed)


def _taps(start: Built, model: nn.Module) -> Mapping[str, Any]:
    return {} if start.body is None else taps(start.sketch, start.body, model, probing_images(SMALL))


def _shows(stage: str, sketch: Sketch, workshop: Workshop) -> bool:
    """Whether a stage is shown at another size too."""
    with suppress(Exception):
        Bench(workshop.adapter(sketch), sketch, OTHER).asked(stage)
        return True
    return False


def _with_other_sizes(sketch: Sketch, workshop: Workshop, model: nn.Module, tell: Tell) -> Sketch:
    """With the way to images of another size, if it has one that is known by name or behaves as one."""
    named = inspect.signature(type(model).forward).parameters
    ways = [f"method {name}" for name in _SIZE_METHODS if callable(getattr(model, name, None))]
    ways += [f"argument {name}" for name in _SIZE_ARGUMENTS if name in named]
    for way in [*ways, "as they come"]:
        tell(f"giving it images of another size ({way})")
        taken, answer = resize_kinds(replace(sketch, other_sizes=way), workshop.adapter)
        if answer.agreed:
            return answer.sketch
        if taken and way in ways:
            note = "position_resize: nothing agrees with how it resizes positions; the default was taken"
            return replace(sketch, other_sizes=way, assumed=(*sketch.assumed, note))
    return sketch


# --- what it cannot do ---

_MEAN_ONLY = (
    "pools by the mean of the patches; most requirements are about the paper's model, which reads the class token"
)


def _with_limits(sketch: Sketch, workshop: Workshop) -> Sketch:
    of_pool = {"class_token": "class token only; no mean pooling", "mean": _MEAN_ONLY}
    sketch = _with(sketch, Limit(condition=f'config.pool == "{sketch.pool}"', reason=of_pool[sketch.pool]))
    patch = SMALL.patch_size[0]
    tried = (
        ("config.image_size[0] == config.image_size[1]", "square images only", {"image_size": (2 * patch, 3 * patch)}),
        ("config.patch_size[0] == config.patch_size[1]", "square patches only", {"patch_size": (patch, 4)}),
        ("config.num_heads > 1", "two heads or more", {"num_heads": 1}),
    )
    for condition, reason, change in tried:
        if not _runs(sketch, workshop, replace(SMALL, **change)):
            sketch = _with(sketch, Limit(condition=condition, reason=reason))
    return sketch


def _with(sketch: Sketch, limit: Limit) -> Sketch:
    limits = (*sketch.construction.limits, limit)
    return replace(sketch, construction=replace(sketch.construction, limits=limits))


def _with_rates(sketch: Sketch, workshop: Workshop, rates: Sequence[str]) -> Sketch:
    def built_with(arguments: Mapping[str, str]) -> tuple[nn.Module, Mapping[str, Call]]:
        changed = {**sketch.construction.arguments, **arguments}
        other = replace(sketch, construction=replace(sketch.construction, arguments=changed))
        body = body_of(workshop, other, SMALL)
        return body.model, body.calls

    return replace(sketch, construction=with_rates(sketch.construction, rates, sketch.series, built_with))


def _runs(sketch: Sketch, workshop: Workshop, config: ViTConfig) -> bool:
    """Whether a model of these sizes takes its weights and images; an error is a refusal."""
    try:
        logits = Bench(workshop.adapter(sketch), sketch, config).logits
    except NotSupported:
        return True  # another limit says so already
    except Exception:  # noqa: BLE001  # of foreign code
        return False
    return logits.shape[-1] == config.num_classes


def _with_head_init(sketch: Sketch, workshop: Workshop) -> Sketch:
    """Whether the head starts at zero, as the paper's does, or at random numbers."""
    weight = workshop.adapter(sketch).export(workshop.model(sketch, SMALL))["head.weight"]
    random = {"head_init": "random"} if weight.any() else {}
    return replace(sketch, conventions={**sketch.conventions, **random})


# --- what is told ---


def _assumptions(sketch: Sketch) -> list[str]:
    """Conventions and layouts, those too that are the default."""
    conventions = {"layer_norm_eps": 1e-6, "activation": "gelu", **sketch.conventions}
    unsettled = " ".join(sketch.assumed)
    told = [
        f"{name} = {value}{_unless_default(name, value)}"
        for name, value in conventions.items()
        if name not in unsettled
    ]
    told.append(f"pool = {sketch.pool}")
    if sketch.packed is not None:
        words = [_THREE[one][number] for number in (0, 1) for one in sketch.packed.order]
        packed = "packed of {0}, {1} and {2}: " + _LAYOUTS[sketch.packed.layout]
        told.append(f"rows of {sketch.packed.place.leaf}, {packed.format(*words)}")
    flattened = [part.reading.split('"')[1] for part in sketch.parts if "patch_view" in part.reading]
    if flattened:
        axes = {"c": "C", "h": "P_h", "w": "P_w"}
        told.append(f"a patch is flattened as ({', '.join(axes[axis] for axis in flattened[0])})")
    return [*told, *(f"{name}: the model has none" for name in sketch.absent)]


def _unless_default(name: str, value: object) -> str:
    """The default, for who meant that; which head starts at random is no choice of the paper's model."""
    default = getattr(Conventions(), name)
    return "" if value == default or name == "head_init" else f" (vitbench's default: {default})"


def _disagreement(sketch: Sketch, workshop: Workshop) -> list[str]:
    found = Bench(workshop.adapter(sketch), sketch, SMALL).logits_error()
    if found <= EXACTLY:
        return []
    return [
        f"no reading of its weights agrees with the reference: float64 logits are off by {found:.1e} of the largest"
    ]
