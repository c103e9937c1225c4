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


@dataclass(frozen=True, kw_only=True)
class Deviation(Rewriting):
    """The paper's Vision Transformer with one thing wrong."""

    breaks: str  # the requirement that is about this; others may fail too
    known_from: str = ""  # who had it


@dataclass(frozen=True, kw_only=True)
class Equivalent(Rewriting):
    """What looks like a deviation and cannot be seen from outside; no check may fail it."""

    proof: str  # why no weights and no images tell it from the paper's model
