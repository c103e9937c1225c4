"""One deviation from the paper, as replaced functions of the reference."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """The reference with some of its functions replaced from outside."""

    id: str
    summary: str  # completes "equals the paper's ViT with …"
    replaces: Mapping[str, Any]  # "vit.attention_scale" -> another function; "adapter." is the reference's
    remedy: str = ""  # what to change; empty where no logits, gradients or resized positions can show it

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The reference is rewritten within this context."""
        patches = []
        for target, replacement in self.replaces.items():
            module_name, _, attribute = target.partition(".")
            where = "vitbench.adapters.reference" if module_name == "adapter" else f"vitbench.reference.{module_name}"
            owner: Any = importlib.import_module(where)
            *path, leaf = attribute.split(".")
            for part in path:
                owner = getattr(owner, part)
            patches.append(mock.patch.object(owner, leaf, replacement))
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in reversed(patches):
                patch.stop()


def together(first: Rewriting, second: Rewriting) -> Rewriting | None:
    """Both at once; None where they replace the same function, and nobody knows what both would make of it."""
    shared = {target: second.replaces[target] for target in first.replaces if target in second.replaces}
    if not all(hasattr(replacement, "after") for replacement in shared.values()):
        return None
    if not all(hasattr(first.replaces[target], "after") for target in shared):
        return None
    composed = {target: replacement.after(first.replaces[target]) for target, replacement in shared.items()}
    return Rewriting(
        id=f"{first.id} + {second.id}",
        summary=f"{first.summary}, and {second.summary}",
        replaces={**first.replaces, **second.replaces, **composed},
        remedy=f"{first.remedy}; and {second.remedy}",
    )


@dataclass(frozen=True, kw_only=True)
class Deviation(Rewriting):
    """The paper's Vision Transformer with one thing wrong."""

    breaks: str  # the requirement that is about this; others may fail too
    known_from: str = ""  # who had it


@dataclass(frozen=True, kw_only=True)
class Equivalent(Rewriting):
    """What looks like a deviation and cannot be seen from outside; no check may fail it."""

    proof: str  # why no weights and no images tell it from the paper's model
