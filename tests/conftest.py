"""What every test may need."""

from collections.abc import Iterator

import pytest
import torch  # before any pytest run within this process, which would otherwise drop and import it again

pytest_plugins = ["pytester"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread: models this small only lose by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
