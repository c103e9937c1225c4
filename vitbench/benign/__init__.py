"""The benign pool: candidates that are right in every way a Vision Transformer can be, to prove that nothing accuses them.

The reference under every package's conventions and rewritten with equal functions, a model as packages write it in many
layouts, models that are no torch modules, and the real packages with the failures that were looked up.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vitbench.adapter import Conventions
from vitbench.benign import kernels
from vitbench.benign.adapters import (
    AnySizeAdapter,
    CompiledAdapter,
    LazyAdapter,
    RewrittenAdapter,
    SinglePrecisionAdapter,
    StyledAdapter,
    VmapAdapter,
)
from vitbench.benign.arrays import NumpyAdapter
from vitbench.benign.module import Style
from vitbench.benign.rewritten import together
from vitbench.registry import installed, resolve
from vitbench.requirement import Subject

__all__ = ["CONVENTIONS", "POOL", "Benign"]

CONVENTIONS = {
    "transformers": Conventions(layer_norm_eps=1e-12, position_resize="bicubic", head_init="random"),
    "timm": Conventions(position_resize="bicubic_antialias", head_init="random"),
    "torchvision": Conventions(position_resize="bicubic_corners"),
    "big_vision": Conventions(activation="gelu_tanh", class_token_has_position=False, head_activation="tanh"),
    "vit-pytorch": Conventions(layer_norm_eps=1e-5, qkv_bias=False, patch_embedding="norm_linear_norm"),
    "CLIP": Conventions(
        layer_norm_eps=1e-5,
        activation="quick_gelu",
        position_resize="bilinear",
        head_activation="gelu",
        patch_bias=False,
        head_bias=False,
        pre_norm=True,
    ),
}
"""What known packages choose where the paper leaves a choice."""


@dataclass(frozen=True, kw_only=True)
class Benign:
    """One candidate that is right, but for failures of a real package that were traced to its source."""

    id: str
    summary: str
    make: Callable[[], Any]  # its adapter; of a kernel, the function itself
    subject: Subject = "model"
    recorded: frozenset[str] = field(default=frozenset())  # requirements that it is known to miss
    most_seeds: int | None = None  # where each model takes seconds to make
    quick: bool = True  # whether it is cheap enough for the quick calibration


WRITTEN = {
    "declared": ("patches-image-by-image", "softmax-in-float32", "layer-norm-in-float32"),
    "transformers": ("unfold-patching", "sdpa-math", "checkpointed", "sequence-first-mlp"),
    "timm": ("conv-patching", "sdpa-flash", "library-functions", "logits-transposed"),
    "torchvision": ("einsum-patching", "sdpa-packed", "pooled-before-norm"),
    "big_vision": ("sliced-patching", "attention-head-by-head"),
    "CLIP": (),
}
"""The rewritings of the reference under each of these conventions: every one once, those that round to float32 together,
since what they round is judged by a wider tolerance. What concerns other parts of a model cannot hide one another. The
conventions of vit-pytorch are those of the package itself, below."""

STYLES = {
    "module-library-block": (
        "torch.nn.TransformerEncoderLayer, norm first, positions kept as an image, the class token's apart",
        Style(attention="library-block", table_on_grid=True),
    ),
    "module-sequence-first": (
        "torch.nn.TransformerEncoderLayer on (N+1, B, D), patches flattened as (P_h, P_w, C)",
        Style(attention="library-block", sequence_first=True, pixels_last=True),
    ),
}

_OWN = (
    *(
        Benign(id=id_, summary=summary, make=partial(StyledAdapter, id_, style))
        for id_, (summary, style) in STYLES.items()
    ),
    Benign(
        id="vmapped",
        summary="a model of one image, vmapped over the batch; model and images in channels-last layout, class token and its "
        "position kept as their sum",
        make=partial(VmapAdapter, "vmapped", Style(folded=True)),
    ),
    Benign(
        id="lazy",
        summary="an object that makes its torch module when first used; keys without a bias, heads in the opposite order, "
        "the scale of attention kept within the query's weights",
        make=partial(LazyAdapter, "lazy"),
    ),
    Benign(
        id="any-size",
        summary="positions resized in float32 in each call, for images of whatever size; torch.nn.MultiheadAttention",
        make=partial(AnySizeAdapter, "any-size"),
    ),
    Benign(
        id="single-precision",
        summary="an engine that computes in float32, whatever it is given",
        make=partial(SinglePrecisionAdapter, "single-precision"),
    ),
    Benign(id="numpy", summary="written in numpy; answers with foreign arrays", make=NumpyAdapter),
    Benign(
        id="compiled-eager",
        summary="torch.compile, graphs captured and run eagerly",
        make=partial(CompiledAdapter, "compiled-eager", "eager"),
        most_seeds=2,
    ),
    Benign(
        id="compiled-inductor",
        summary="torch.compile with inductor",
        make=partial(CompiledAdapter, "compiled-inductor", "inductor"),
        most_seeds=1,
        quick=False,
    ),
)


def _conventional(name: str, conventions: Conventions) -> Benign:
    rewriting = together(*WRITTEN[name])
    summary = f"the reference with {name}'s conventions{f', {rewriting.summary}' if WRITTEN[name] else ''}"
    return Benign(id=f"reference-as-{name}", summary=summary, make=partial(RewrittenAdapter, rewriting, conventions))


_CONVENTIONAL = tuple(_conventional(name, {"declared": Conventions(), **CONVENTIONS}[name]) for name in WRITTEN)

RECORDED: dict[str, frozenset[str]] = {
    "timm": frozenset({"VIT-PATCH-INDIVISIBLE"}),
    "torchvision": frozenset(),
    "transformers": frozenset(
        {
            "VIT-PATCH-INDIVISIBLE",
            "VIT-POS-RECTANGULAR",
            "VIT-POS-EQUAL-COUNT",
            "VIT-POS-MODEL",
            "VIT-TRAIN-DROPOUT-HIDDEN",
        }
    ),
    "vit_pytorch": frozenset({"VIT-CONFIG-IMAGE-SIZE"}),
}
"""What the real packages are known to miss, each traced to a line of theirs in docs/findings."""

_PACKAGES = tuple(
    Benign(id=name, summary=f"{name}, as installed", make=partial(resolve, name), recorded=recorded)
    for name, recorded in RECORDED.items()
    if name in installed()
)


def _itself(kernel: kernels.Attention) -> kernels.Attention:
    return kernel


_KERNELS = tuple(
    Benign(
        id=f"kernel-{re.sub('[^a-z0-9]+', '-', name.lower())}",
        summary=f"an attention kernel: {name}",
        make=partial(_itself, kernel),
        subject="kernel",
    )
    for name, kernel in {**kernels.BENIGN, "in numpy": kernels.in_numpy}.items()
)

POOL: dict[str, Benign] = {member.id: member for member in (*_CONVENTIONAL, *_OWN, *_PACKAGES, *_KERNELS)}
