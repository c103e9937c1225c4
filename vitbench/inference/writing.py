"""An inferred adapter as code: what a person would have written, to be judged, kept and changed."""

from collections.abc import Iterator, Sequence
from keyword import iskeyword
from textwrap import indent
from typing import Any

from vitbench.inference.sketch import Part, Place, Sketch, Tap

_WIDTH = 120
_ORDER = (
    "patch_embedding.weight",
    "patch_embedding.bias",
    "patch_embedding.input_norm",
    "patch_embedding",
    "patch_embedding.output_norm",
    "class_token",
    "position_embedding",
    "pre_norm",
    "norm1",
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "norm2",
    "mlp.fc1",
    "mlp.fc2",
    "norm",
    "head",
)
"""Canonical names as the forward pass comes to them."""

_STANDARD = {
    "copy.deepcopy": "import copy",
    "Fraction(": "from fractions import Fraction",
    "partial(": "from functools import partial",
    "metadata.version": "from importlib import metadata",
    "Any": "from typing import Any",
}


def written(sketch: Sketch) -> str:
    """The adapter's module, as text that Python runs and people read."""
    methods = [_head(sketch), _build(sketch)]
    if sketch.output:
        methods.append(
            f"def logits(self, model: Any, images: Tensor) -> Tensor:\n    return model(images){sketch.output}"
        )
    if sketch.parts:
        methods.append(_views(sketch))
    methods += [_tap(stage, tap, sketch) for stage, tap in sketch.taps.items()]
    if sketch.other_sizes:
        methods.append(_at_image_size(sketch.other_sizes))
    body = "\n\n".join(indent(method, "    ") for method in methods)
    base = "SplitViewsAdapter" if _splits(sketch) else "MappedAdapter"
    docstring = f'    """``{sketch.source.module}.{sketch.source.attribute}``, as vitbench understood it."""\n\n'
    code = f"class {class_name(sketch)}({base}):\n{docstring}{body}\n"
    return f"{_docstring(sketch)}\n{_imports(sketch, code, base)}\n\n\n{code}"


def class_name(sketch: Sketch) -> str:
    """What the adapter's class is called: a factory's name, made a class's, or the class's own."""
    name = sketch.source.attribute.split(".")[-1]
    words = name.split("_")
    return ("".join(word.capitalize() for word in words) if name.islower() else name) + "Adapter"


def _docstring(sketch: Sketch) -> str:
    if not sketch.assumed:
        return f'"""{sketch.source.label} behind the contract."""\n'
    lines = "\n".join(f"- {line}" for line in sketch.assumed)
    return (
        f'"""{sketch.source.label} behind the contract, inferred by vitbench. Keep it, and change what is wrong.\n\n'
        f'Read from what the model does, and assumed to be meant:\n\n{lines}\n"""\n'
    )


def _imports(sketch: Sketch, code: str, base: str) -> str:
    standard = [line for used, line in _STANDARD.items() if used in code]
    attribute = sketch.source.attribute.split(".")[0]
    foreign = [f"from {sketch.source.module} import {attribute}"]
    odd = not all(part.isidentifier() and not iskeyword(part) for part in sketch.source.module.split("."))
    if odd:  # "01-vit.py", which no import statement can name
        standard.append("from importlib import import_module")
        foreign = []
    holder = sketch.construction.holder
    if holder:
        alias = " as PackageConfig" if _holder_name(sketch) != holder.attribute else ""
        foreign.append(f"from {holder.module} import {holder.attribute}{alias}")
    foreign.append("from torch import Tensor")
    mapping = [name for name in ("module_views", "qkv_views", "require", "side") if f"{name}(" in code]
    splitting = [name for name in ("packed_views", "patch_view", "ratio") if f"{name}(" in code]
    (splitting if base == "SplitViewsAdapter" else mapping).append(base)
    own = {
        "vitbench.adapter": [
            name for name in ("Conventions", "ViTConfig") if name in code.replace("PackageConfig", "")
        ],
        "vitbench.adapters.attention_reading": ["softmax_weights"] if "softmax_weights(" in code else [],
        "vitbench.adapters.mapping": mapping,
        "vitbench.adapters.split_views": splitting,
    }
    if "collect_outputs(" in code:
        own["vitbench.adapter"].append("collect_outputs")
    ours = [f"from {module} import {', '.join(sorted(names))}" for module, names in own.items() if names]
    plain = [line for line in standard if line.startswith("import")]
    others = [line for line in standard if not line.startswith("import")]
    found = ["", f'{attribute} = import_module("{sketch.source.module}").{attribute}'] if odd else []
    return "\n".join([*plain, *sorted(others), "", *sorted(foreign), "", *ours, *found])


def _splits(sketch: Sketch) -> bool:
    """Whether some view has more axes than its canonical parameter, or some parameter has no view."""
    split = any("permute(" in part.reading or "patch_view" in part.reading for part in sketch.parts)
    return split or _by_heads(sketch) or bool(sketch.absent)


def _by_heads(sketch: Sketch) -> bool:
    return sketch.packed is not None and not sketch.packed.usual


def _head(sketch: Sketch) -> str:
    version = f'metadata.version("{sketch.source.distribution}")' if sketch.source.distribution else '"unknown"'
    lines = [f'name, version = "{sketch.source.label}", {version}']
    if sketch.conventions:
        told = [f"{name}={_literal(value)}" for name, value in sketch.conventions.items()]
        lines.append(_call("conventions = Conventions", told, 4))
    if sketch.absent:
        lines.append(f"absent = {_literal(tuple(sketch.absent))}  # canonical parameters that the model does not have")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_literal, value)) + ("," if len(value) == 1 else "") + ")"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _call(start: str, items: Sequence[str], depth: int, end: str = ")", opening: str = "(") -> str:
    """A call on one line; or an item a line, where that would be too long at this indentation."""
    whole = f"{start}{opening}{', '.join(items)}{end}"
    if len(whole) + depth <= _WIDTH:
        return whole
    return f"{start}{opening}\n" + "".join(f"    {item},\n" for item in items) + end


# --- build ---


def _build(sketch: Sketch) -> str:
    construction = sketch.construction
    lines = ["def build(self, config: ViTConfig) -> Any:"]
    lines += [f'    require({limit.condition}, "{limit.reason}")' for limit in construction.limits]
    arguments = [f"{name}={value}" for name, value in construction.arguments.items()]
    start = "model = " if _needs_sizes(sketch) else "return "
    if construction.holder:
        lines.append(indent(_call(f"sizes = {_holder_name(sketch)}", arguments, 8), "    "))
        lines.append(f"    {start}{sketch.source.attribute}(sizes)")
    else:
        lines.append(indent(_call(f"{start}{sketch.source.attribute}", arguments, 8), "    "))
    if _needs_sizes(sketch):
        lines += [
            "    # For views(), which is given no configuration.",
            "    model.vitbench_sizes = config.num_heads, (config.channels, *config.patch_size)",
            "    return model",
        ]
    return "\n".join(lines)


def _holder_name(sketch: Sketch) -> str:
    holder = sketch.construction.holder
    return "" if holder is None else "PackageConfig" if holder.attribute == "ViTConfig" else holder.attribute


def _needs_sizes(sketch: Sketch) -> bool:
    return _by_heads(sketch) or any("sizes" in part.reading for part in sketch.parts)


# --- weights ---


def _views(sketch: Sketch) -> str:
    lines = ["def views(self, model: Any) -> dict[str, Tensor]:"]
    if _needs_sizes(sketch):
        patch = any("sizes" in part.reading for part in sketch.parts)
        lines.append(f"    {'heads' if _by_heads(sketch) else '_'}, {'sizes' if patch else '_'} = model.vitbench_sizes")
    modules, single = _modules([part for part in sketch.parts if part.place.series is None])
    lines += ["    views = {", *(f'        "{part.name}": {_read(part, sketch)},' for part in single), "    }"]
    if modules:
        named = [f'"{name}": {path_expression("model", place.path)}' for name, place in modules.items()]
        lines.append(indent(_update("module_views", named), "    "))
    lines += [indent(line, "    ") for line in _block_views(sketch)]
    return "\n".join([*lines, "    return views"])


def _update(function: str, named: Sequence[str]) -> str:
    """``views |= module_views({...})``, broken as the formatter would."""
    whole = f"views |= {function}({{{', '.join(named)}}})"
    if len(whole) + 8 <= _WIDTH:
        return whole
    inner = f"    {{{', '.join(named)}}}"
    if len(inner) + 8 <= _WIDTH:
        return f"views |= {function}(\n{inner}\n)"
    return f"views |= {function}(\n    {{\n" + "".join(f"        {item},\n" for item in named) + "    }\n)"


def _block_views(sketch: Sketch) -> Iterator[str]:
    inside = [part for part in sketch.parts if part.place.series is not None]
    names = [_block_name(i, sketch) for i in range(len(sketch.series))]
    sources = [series_expression(i, sketch) for i in range(len(sketch.series))]
    if len(names) == 1:
        yield f"for i, {names[0]} in enumerate({sources[0]}):"
    else:
        yield f"for i, ({', '.join(names)}) in enumerate(zip({', '.join(sources)}, strict=True)):"
    modules, single = _modules(inside)
    if sketch.packed is not None:
        yield indent(_packed(sketch), "    ")
    for part in single:
        yield f'    views[f"blocks.{{i}}.{part.name}"] = {_read(part, sketch)}'
    if modules:
        named = "".join(f'        "{name}": {expression(place, sketch)},\n' for name, place in modules.items())
        yield f"    modules = {{\n{named}    }}"
        yield '    views |= module_views(modules, f"blocks.{i}.")'


def _packed(sketch: Sketch) -> str:
    packed: Any = sketch.packed
    owner = expression(Place(path=packed.place.path, series=packed.place.series), sketch)
    told = [f"weight={owner}.{packed.place.leaf}", *([f"bias={owner}.{packed.bias}"] if packed.bias else [])]
    prefix = 'f"blocks.{i}.attention."'
    if packed.usual:
        return _call("views |= qkv_views", [prefix, *told], 12)
    order = [] if packed.order == "qkv" else [f'order="{packed.order}"']
    return _call("views |= packed_views", [prefix, f'"{packed.layout}"', "heads", *order, *told], 12)


def _modules(parts: Sequence[Part]) -> tuple[dict[str, Place], list[Part]]:
    """Modules whose weight and bias are canonical ones as they are, by canonical name; and the other parts."""
    by_owner: dict[str, list[Part]] = {}
    for part in sorted(parts, key=_rank):
        by_owner.setdefault(part.name.rpartition(".")[0], []).append(part)
    modules: dict[str, Place] = {}
    single: list[Part] = []
    for name, both in by_owner.items():
        place = both[0].place
        plain = all(
            part.reading == "{x}" and part.name == f"{name}.{part.place.leaf}" and part.place.path == place.path
            for part in both
        )
        if name and plain and place.path:
            modules[name] = Place(path=place.path, series=place.series)
        else:
            single += both
    return modules, single


def _rank(part: Part) -> tuple[int, str]:
    known = (part.name, part.name.rpartition(".")[0])
    place = next((_ORDER.index(name) for name in known if name in _ORDER), len(_ORDER))
    return place, "" if part.name.endswith("weight") else part.name


def _read(part: Part, sketch: Sketch) -> str:
    detached = "" if part.reading.startswith("patch_view(") else ".detach()"  # it does so itself
    return part.reading.replace("{x}", expression(part.place, sketch) + detached)


def expression(place: Place, sketch: Sketch) -> str:
    """A place as Python sees it from ``model`` or from a block's variable."""
    start = "model" if place.series is None else _block_name(place.series, sketch)
    return path_expression(start, ".".join(part for part in (place.path, place.leaf) if part))


def path_expression(start: str, path: str) -> str:
    """What a dotted path is in Python: ``blocks.0.attn`` behind ``model`` is ``model.blocks[0].attn``."""
    for part in path.split(".") if path else ():
        if part.isdecimal():
            start += f"[{part}]"
        else:
            start = f"{start}.{part}" if part.isidentifier() else f'getattr({start}, "{part}")'
    return start


def _block_name(series: int, sketch: Sketch) -> str:
    return "block" if len(sketch.series) == 1 else f"part_{series + 1}"


def series_expression(series: int, sketch: Sketch) -> str:
    """The blocks, one after the other."""
    one = sketch.series[series]
    owner = path_expression("model", one.path)
    if one.whole:
        return owner
    return f'[child for name, child in {owner}.named_children() if name.startswith("{one.stem}")]'


# --- stages ---

_LISTS = ("block_outputs", "attention")


def _tap(stage: str, tap: Tap, sketch: Sketch) -> str:
    many = stage in _LISTS
    start = f"def {stage}(self, model: Any, images: Tensor) -> {'list[Tensor]' if many else 'Tensor'}:\n"
    if tap.source == "softmax":
        return f"{start}    return softmax_weights(lambda: self.logits(model, images))"
    if tap.last is not None:
        return start + _with_last(tap, sketch)
    modules, one = _listed(tap, sketch), f"self.{tap.source}_of(modules, model, images)"
    short = f"self.{tap.source}_of({modules}, model, images)"
    lines = []
    if len(short) + len(tap.reading) + 20 > _WIDTH:
        lines.append(f"    modules = {modules}")
    else:
        one = short
    lines.append(f"    return {_turned(one, tap.reading, many)}")
    return start + "\n".join(lines)


def _turned(call: str, reading: str, many: bool) -> str:
    if not many:
        return reading.replace("{x}", f"{call}[0]")
    return call if reading == "{x}" else f"[{reading.replace('{x}', 'z')} for z in {call}]"


def _with_last(tap: Tap, sketch: Sketch) -> str:
    """What later blocks are given, and what the module around them returns, out of one pass."""
    owner = path_expression("model", tap.last.path if tap.last else "")
    return "\n".join(
        [
            f"    followers = {_listed(tap, sketch)}",
            "    received: list[Tensor] = []  # in the same pass, since another one would draw other dropout",
            "",
            "    def run() -> None:",
            "        received.extend(self.inputs_of(followers, model, images))",
            "",
            f"    returned = collect_outputs([{owner}], run)",
            f"    return {_turned('[*received, *returned]', tap.reading, many=True)}",
        ]
    )


def _listed(tap: Tap, sketch: Sketch) -> str:
    """The modules of a tap, as a list."""
    items: list[str] = []
    for place in tap.places:
        if place.series is None:
            items.append(path_expression("model", place.path))
            continue
        series = series_expression(place.series, sketch)
        if tap.first < 0:  # the first block alone
            items.append(path_expression(f"{series}[0]", place.path))
            continue
        source = f"{series}[{tap.first}:]" if tap.first else series
        items.append(f"*({path_expression('block', place.path)} for block in {source})" if place.path else f"*{source}")
    if len(items) == 1 and items[0].startswith("*("):
        return f"[{items[0][2:-1]}]"
    if len(items) == 1 and items[0].startswith("*"):
        return items[0][1:] if items[0].startswith("*[") else f"list({items[0][1:]})"
    return f"[{', '.join(items)}]"


def _at_image_size(other_sizes: str) -> str:
    kind, _, name = other_sizes.partition(" ")
    start = "def at_image_size(self, model: Any, image_size: tuple[int, int]) -> Any:\n"
    if kind == "method":
        return f"{start}    resized = copy.deepcopy(model)\n    resized.{name}(image_size)\n    return resized"
    if kind == "argument":
        forward = f"    resized.forward = partial(resized.forward, {name}=True)\n"
        return f"{start}    resized = copy.deepcopy(model)\n{forward}    return resized"
    return f"{start}    return model  # it takes images of other sizes as they come"
