"""A candidate's warnings: shown, and no failure of it, whatever those who run the tests make of their own."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def warnings_warn() -> Iterator[None]:
    """Within this context no warning is an error, as ``-W error`` or pytest's ``filterwarnings`` would have it."""
    if all(action != "error" for action, *_ in warnings.filters):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield
