"""The attention suite: speed beside error, one cell for each kernel, shape, dtype, direction and mode."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from vitbench.kernel_registry import installed_kernels, package_of
from vitbench.measurement import unmeasured
from vitbench.models import model_config
from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Shape
from vitbench.results import append
from vitbench.suite import Ending, Suite

FORWARD, BOTH = "forward", "forward+backward"
DIRECTIONS = (FORWARD, BOTH)

CALLS = "calls"  # on the CPU: one call after the other, its tensors moved to fresh memory before each
COLD, REPLAY = "L2 cold", "graph replay"  # on CUDA


@dataclass(frozen=True)
class Axes:
    """What a preset measures, and how long one cell may take."""

    models: tuple[str, ...]  # whose attention: heads, tokens and head dim follow
    batches: tuple[int, ...]
    dtypes: tuple[str, ...]
    time_limit_s: float
    kernels: tuple[str, ...] = ()  # of those installed; empty: all


# Tokens and head dims: 197 of P = 16 at 224, 257 of 14, 577 of 16 at 384, 785 of 8, 1025 of 16 at 512; 64, and 80 in H.
# SigLIP's so400m, 16 heads of 72, has 729 tokens at 378; with a class token they are 730.
_SO400M = "H/14@378,width=1152,mlp_dim=4304,depth=27"
_ALL = ("B/16@224", "L/14@224", "B/16@384", "B/8@224", "L/16@512", "H/14@224", _SO400M)
_HALVES = ("float16", "bfloat16")

ON_CPU = {
    # the rest of torch's kernels are CUDA's, and to compile flex_attention takes ten seconds a cell
    "quick": Axes(("Ti/16@224",), (2,), ("float32", "bfloat16"), 120, ("flash", "naive")),
    "standard": Axes(("Ti/16@224", "Ti/16@384"), (2,), ("float32", "bfloat16"), 300),
    "full": Axes(("Ti/16@224", *_ALL), (1,), ("float32", *_HALVES), 900),
}
ON_CUDA = {
    "quick": Axes(("B/16@224",), (64,), ("bfloat16",), 180),
    "standard": Axes(("B/16@224", "B/16@384", "H/14@224"), (64,), ("float32", *_HALVES), 300),
    "full": Axes(_ALL, (1, 64), ("float32", "tf32", *_HALVES, "float8_e4m3fn"), 600),
}


def plan(options: Options) -> Iterator[Cell]:
    """Every kernel in turn on each shape, so that what is compared lies near in time."""
    on_cpu = options.device == "cpu"
    axes = (ON_CPU if on_cpu else ON_CUDA)[options.preset]
    models, batches, dtypes = (
        options.models or axes.models,
        options.batches or axes.batches,
        options.dtypes or axes.dtypes,
    )
    modes, kernels = (CALLS,) if on_cpu else (COLD, REPLAY), _kernels(options, axes)
    for model, batch, dtype, direction, mode, kernel in product(models, batches, dtypes, DIRECTIONS, modes, kernels):
        yield Cell.asked(
            options,
            suite="attention",
            implementation=kernel,
            name=package_of(kernel),
            task=direction,
            model=model,
            dtype=dtype,
            batch=batch,
            mode=mode,
            timed=True,
            time_limit_s=options.time_limit_s or axes.time_limit_s,
        )


def _kernels(options: Options, axes: Axes) -> tuple[str, ...]:
    found = installed_kernels()
    return options.kernels or tuple(name for name in found if not axes.kernels or name in axes.kernels)


def shape_of(cell: Cell) -> Shape:
    """(B, h, N + 1, D_h) of the cell's model."""
    config = model_config(cell.model)
    return Shape(batch=cell.batch, heads=config.num_heads, tokens=config.num_tokens, head_dim=config.head_dim)


def run(cell: Cell, results: Path) -> int:
    """Measure one cell."""
    from vitbench.suites.attention.attend import measure  # noqa: PLC0415  # torch, needed only now

    append(results, measure(cell))
    return 0


def lost(cell: Cell, ending: Ending) -> MeasurementRecord:
    """The record of a cell that measured nothing; its axes are there all the same."""
    return replace(unmeasured(cell, ending), kernel=cell.implementation, direction=cell.task, shape=shape_of(cell))


SUITE = Suite(
    name="attention",
    summary="attention kernels on a ViT's shapes: speed beside error, the kernel that ran by name",
    plan=plan,
    run=run,
    lost=lost,
)
