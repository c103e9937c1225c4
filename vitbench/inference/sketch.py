"""An adapter as far as it is understood: plain data that ``writing`` turns into code."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vitbench.reference.config import Pool, ViTConfig

SMALL = ViTConfig(
    image_size=(24, 24), patch_size=(6, 6), channels=3, width=40, depth=3, num_heads=4, mlp_dim=33, num_classes=7
)
OTHER = ViTConfig(
    image_size=(15, 15), patch_size=(5, 5), channels=3, width=24, depth=2, num_heads=2, mlp_dim=23, num_classes=11
)
"""Two sizes at which a class is built. Within each, width, three widths, MLP, classes, tokens, patches and the numbers in a
patch are all different, so that a shape says what a tensor is: 40, 120, 33, 7, 17, 16, 108 and 24, 72, 23, 11, 10, 9, 75."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the class or factory comes from, as an import statement has it."""

    impl: str  # as --impl has it
    module: str
    attribute: str  # may have dots
    distribution: str  # what pip calls it; empty where it is in none

    @property
    def label(self) -> str:
        """What it is called in records: its top-level package and its own name."""
        return f"{self.module.split('.')[0]}.{self.attribute.split('.')[-1]}"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Something that the class cannot do: a condition on ``config`` in Python, and the reason that a report shows."""

    condition: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Construction:
    """How the class is built: arguments as expressions in ``config``, in the order of its signature."""

    arguments: Mapping[str, str]
    holder: Source | None = None  # a configuration class that takes the arguments in the model's place
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """A module, or the tensor ``leaf`` of one: seen from the model, or from each of a series of blocks."""

    path: str  # dotted; empty: the model or the block itself
    leaf: str = ""
    series: int | None = None  # of Sketch.series; None: seen from the model


@dataclass(frozen=True, kw_only=True)
class Series:
    """One child for each block: ``blocks.0``, ``blocks.1``, … or ``layers.layer_0``, … ."""

    path: str  # of the module that has them
    stem: str = ""  # of their names, before the number
    whole: bool = False  # the module is a list of just these


@dataclass(frozen=True, kw_only=True)
class Part:
    """One canonical parameter, and where it is kept in which form."""

    name: str  # canonical; within a block without ``blocks.{i}.``
    place: Place
    reading: str = "{x}"  # Python that turns the tensor {x} into a view of canonical order


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Query, key and value in one tensor."""

    place: Place  # of the weight
    bias: str  # the leaf of the bias; empty: none
    layout: str  # axes of the rows: k of the three, h of the heads, d of a head's features
    order: str = "qkv"  # in which the three come

    @property
    def usual(self) -> bool:
        """Whether it is packed as in the packages: all queries, all keys, all values."""
        return (self.layout, self.order) == ("khd", "qkv")


@dataclass(frozen=True, kw_only=True)
class Tap:
    """Which modules show a stage, and how what they show is turned into (B, N+1, D)."""

    source: str  # "inputs", "outputs", "softmax"
    places: tuple[Place, ...] = ()  # a place in a series stands for all of its blocks, from ``first`` on
    first: int = 0
    reading: str = "{x}"
    last: Place | None = None  # a module that returns what follows what the places are given


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """What is understood so far."""

    source: Source
    construction: Construction
    output: str = ""  # what follows model(images) to get at the logits
    series: tuple[Series, ...] = ()
    parts: tuple[Part, ...] = ()
    packed: Packed | None = None
    absent: tuple[str, ...] = ()  # canonical parameters that the model does not have
    conventions: Mapping[str, Any] = field(default_factory=dict)  # those that are not the defaults
    pool: Pool = "class_token"
    taps: Mapping[str, Tap] = field(default_factory=dict)
    other_sizes: str = ""  # how it takes images of another size: "", "method NAME", "argument NAME", "as they come"
    assumed: tuple[str, ...] = ()  # what a verdict rests on, a line each


def sized(sketch: Sketch, config: ViTConfig) -> ViTConfig:
    """A size to probe with, brought within the sketch's limits."""
    whole = any("mlp_dim" in limit.condition for limit in sketch.construction.limits)
    return replace(config, mlp_dim=4 * config.width if whole else config.mlp_dim, pool=sketch.pool)
