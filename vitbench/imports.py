"""Imports of large packages, without Python's garbage collector looking through them again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed_imports() -> Iterator[None]:
    """Collect no garbage within this context.

    An import makes some hundred thousand objects, and they stay; going through them at each of the collector's turns
    took a fifth of the imports' time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
