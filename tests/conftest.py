"""What every test may need."""

import os
import tempfile
from collections.abc import Iterator

import pytest
import torch  # before any pytest run within this process, which would otherwise drop and import it again

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def locks_of_their_own() -> Iterator[None]:
    """Runs that the tests start do not wait for those of other tests and other people to let the processor go."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="vitbench-tests-") as folder:  # the kept name of the folder is asked before
        os.environ["TMPDIR"] = folder
        yield
    os.environ.pop("TMPDIR", None) if before is None else os.environ.update(TMPDIR=before)


@pytest.fixture(scope="session", autouse=True)
def runs_of_their_own() -> None:
    """A pytest run that a test starts is no worker of pytest-xdist, though the tests themselves may be shared out."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a CUDA device is skipped without one; a claim goes into JUnit's file, for scripts/gpu_acceptance.py."""
    for item in items:
        marker = item.get_closest_marker("gpu")
        if marker is not None:
            item.user_properties.append(("claim", marker.kwargs["claim"]))
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread: models this small only lose by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
