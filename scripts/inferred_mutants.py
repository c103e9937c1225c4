"""The bank's mutants as ordinary torch classes, judged behind adapters that are inferred: does inference hide a defect?

    python scripts/inferred_mutants.py                 every mutant that an inferred adapter can show
    python scripts/inferred_mutants.py norm-rms mlp-linear

A line a mutant: FAILED with the requirement that told, REFUSED where no adapter could be inferred, NOT SEEN where
nothing failed, with what was assumed. A mutant is judged by the requirement that is about it, then by some that see most.
"""

import importlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.candidate import Candidate
from vitbench.check import collect, configured, judge
from vitbench.deviations import BANK, Deviation
from vitbench.errors import NotInferred
from vitbench.inference.apart import adapter_of, inferred
from vitbench.inference.sketch import Source
from vitbench.reference import vit
from vitbench.reference.config import ViTConfig
from vitbench.requirement import Status

MODULE = "vitbench_deviants"
UNSEEN_PARTS = ("adapter.", "hybrid.", "resnet.", "positions.")  # of what an inferred adapter does not offer
BROAD = (
    "VIT-HEAD-LOGITS",
    "VIT-BLOCK-PRENORM",
    "VIT-TOKEN-POSITION",
    "VIT-NORM-EPSILON",
    "VIT-TRAIN-GRADIENT",
    "VIT-STATE-ROUND-TRIP",
    "VIT-STATE-REBUILD",
    "VIT-PURE-REPEATABLE",
)


class Step(nn.Module):
    """A block that shows what it received and returned, as a block of a real model does."""

    def forward(self, _received: Tensor, returned: Tensor) -> Tensor:
        """Shapes kept."""
        return returned


def ordinary(deviation: Deviation) -> type[nn.Module]:
    """The reference with a deviation, as somebody's class."""

    class Ordinary(vit.ViT):
        """Takes its sizes one by one."""

        def __init__(
            self,
            image_size: tuple[int, int],
            patch_size: tuple[int, int],
            *,
            channels: int,
            classes: int,
            width: int,
            depth: int,
            heads: int,
            mlp_dim: int,
            dropout: float = 0.0,
            attention_dropout: float = 0.0,
        ) -> None:
            config = ViTConfig(
                image_size=image_size,
                patch_size=patch_size,
                channels=channels,
                num_classes=classes,
                width=width,
                depth=depth,
                num_heads=heads,
                mlp_dim=mlp_dim,
                dropout=dropout,
                attention_dropout=attention_dropout,
            )
            with deviation.applied():
                super().__init__(config)
            for block in self.blocks.children():
                block.__class__ = Step

        def load_state_dict(self, *arguments: Any, **named: Any) -> Any:
            """With the deviation, where it is one of loading."""
            with deviation.applied():
                return super().load_state_dict(*arguments, **named)

        def forward(self, images: Tensor) -> Tensor:
            """(B, C, H, W) -> (B, K)."""
            passed: list[Tensor] = []

            def tap(stage: str, value: Tensor) -> None:
                if stage == "block_outputs" and passed and len(passed) <= len(list(self.blocks.children())):
                    self.blocks.get_submodule(str(len(passed) - 1))(passed[-1], value)
                if stage in ("tokens", "block_outputs"):
                    passed.append(value)

            with deviation.applied():
                return super().forward(images, tap)

    Ordinary.__name__ = Ordinary.__qualname__ = "Ordinary"
    return Ordinary


def outcome(deviation: Deviation, checks: dict[str, Callable[..., None]]) -> tuple[str, str]:
    """What became of a mutant, in a word, and by which requirement or why."""
    module: Any = ModuleType(MODULE)
    module.Ordinary = ordinary(deviation)
    module.Ordinary.__module__ = MODULE
    sys.modules[MODULE] = module
    source = Source(impl=f"{MODULE}:Ordinary", module=MODULE, attribute="Ordinary", distribution="")
    try:
        inference = inferred(module.Ordinary, source)
    except NotInferred as error:
        reasons = [line.strip() for line in str(error).splitlines() if "not understood" in line]
        return "REFUSED", "; ".join(reasons)
    candidate = Candidate(adapter_of(inference))
    offered = False
    for id_ in dict.fromkeys((deviation.breaks, *BROAD)):
        judgement = judge(configured(checks[id_], "quick", 0, shrink=False), candidate)
        if judgement.status is Status.FAILED:
            return "FAILED", id_
        offered |= id_ == deviation.breaks and judgement.status is Status.PASSED
    usual = ("layer_norm_eps = 1e-06", "activation = gelu", "pool = class_token")
    word = "NOT SEEN" if offered else "NOT OFFERED"
    return (
        word,
        f"{deviation.breaks}; assumed: {', '.join(a for a in inference.assumed if a not in usual) or 'the usual'}",
    )


def main(ids: Sequence[str]) -> int:
    """Judge the mutants; 0, whatever was found."""
    torch.set_num_threads(1)
    checks = collect(importlib.import_module("vitbench.suites.conformance"))
    mutants = [
        d
        for d in BANK.values()
        if (d.id in ids if ids else not any(target.startswith(UNSEEN_PARTS) for target in d.replaces))
    ]
    found: Counter[str] = Counter()
    for deviation in mutants:
        start = time.perf_counter()
        word, why = outcome(deviation, checks)
        found[word] += 1
        print(f"{word:<12} {deviation.id:<36} {why} ({time.perf_counter() - start:.1f} s)", flush=True)
    print(", ".join(f"{number} {word}" for word, number in found.most_common()), f"of {len(mutants)} mutants")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
