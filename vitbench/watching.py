"""Which options of a configuration an adapter looks at: one that it ignores is not offered, rather than wrong."""

import weakref
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

from vitbench.reference.config import ViTConfig

OPTIONS: dict[str, Any] = {f.name: f.default for f in fields(ViTConfig) if f.default is not MISSING}
"""What a configuration can do without, and its value then."""

_WHOLE = "__dict__"  # vars(config), copies and pickles read every field


class _WatchedConfig(ViTConfig):
    """A configuration that remembers which of its fields were read."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in OPTIONS or name == _WHOLE:
            own = super().__getattribute__(_WHOLE)
            own.setdefault("read", set()).update(OPTIONS if name == _WHOLE else (name,))
        return value


def ignored_options(build: Callable[[ViTConfig], Any], config: ViTConfig) -> tuple[Any, set[str]]:
    """What ``build(config)`` returns, and the options that it neither read nor kept for later.

    A configuration that is kept may still be read when the model runs, so nothing is said of it.
    """
    watched = _WatchedConfig(**{f.name: getattr(config, f.name) for f in fields(config)})
    read: set[str] = object.__getattribute__(watched, _WHOLE).setdefault("read", set())
    read.clear()  # validation has looked at all of them
    kept = weakref.ref(watched)
    passed = [watched]
    del watched
    model = build(passed.pop())
    return model, set() if kept() is not None else set(OPTIONS) - read
