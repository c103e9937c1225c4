"""Benchmark suites under pytest: the cells that ``vitbench.run`` would run, each an item for pytest-benchmark.

It is loaded into every pytest run of an environment that has vitbench, so it does nothing, and imports nothing heavy,
until a benchmark of vitbench is collected.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from vitbench.errors import VitbenchError
from vitbench.imports import undisturbed_imports

if TYPE_CHECKING:
    from vitbench.options import Options
    from vitbench.plan import Cell

MARK = "cells"
_PLANNED = pytest.StashKey[dict[str, "Cell"]]()


class BenchmarkItems:
    """The hooks of one pytest run."""

    def __init__(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", f"{MARK}(suite): a benchmark, once for each cell that the suite plans")
        config.stash[_PLANNED] = {}
        self._config = config
        self._collected = False

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """An item for each cell, grouped so that pytest-benchmark's table sets implementations beside each other."""
        marker = metafunc.definition.get_closest_marker(MARK)
        if marker is None:
            return
        from vitbench.suite import load  # noqa: PLC0415

        self._collected = True
        cells = list(load(*marker.args).plan(_options(self._config)))
        self._config.stash[_PLANNED].update((cell.key, cell) for cell in cells)
        metafunc.parametrize("cell", [_item(cell) for cell in cells])

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self) -> None:
        """A mistake ends pytest with one line and exit code 4, as it does for conformance."""
        if self._collected:
            _as_usage_error(self._require_present)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Import what is measured before anything is, outside of the filters that pytest sets for warnings."""
        if self._collected and not self._config.option.collectonly:
            _as_usage_error(self._resolve)

    def _require_present(self) -> None:
        from vitbench.options import require_present  # noqa: PLC0415
        from vitbench.registry import registered  # noqa: PLC0415

        for impl in _implementations(self._config):
            require_present(impl)
        if not _implementations(self._config):
            raise pytest.UsageError(
                "say what to measure with --impl NAME, repeatable; registered names: "
                f"{', '.join(registered())}; other forms: pytest --help"
            )

    def _resolve(self) -> None:
        from vitbench.devices import require_device  # noqa: PLC0415
        from vitbench.registry import resolve  # noqa: PLC0415

        require_device(self._config.option.device)
        with undisturbed_imports():
            for impl in _implementations(self._config):
                resolve(impl)


def planned_cell(config: pytest.Config, key: str) -> "Cell":
    """The cell of an item, from its parameter."""
    return config.stash[_PLANNED][key]


def _item(cell: "Cell") -> Any:
    """Its id has every axis, so that ``-k`` finds it and saved runs compare; its group is the cell, whoever is measured."""
    point = (cell.task, cell.model, cell.dtype, f"batch{cell.batch}", cell.mode)
    elsewhere = (*[cell.device] * (cell.device != "cpu"), *[f"{cell.threads}threads"] * (cell.threads > 1))
    about: dict[str, Any] = {"group": " ".join((*point, *elsewhere))}
    if cell.device != "cpu":
        from vitbench.timer import clock_for  # noqa: PLC0415

        about["timer"] = clock_for(cell.device).now_s  # the device's work is over when it returns
    name = "-".join((cell.implementation, *point, *elsewhere))
    return pytest.param(cell.key, marks=pytest.mark.benchmark(**about), id=name)


def _options(config: pytest.Config) -> "Options":
    from vitbench.options import Options, axes_of  # noqa: PLC0415

    option = config.option
    return Options(
        implementations=_implementations(config),
        named=True,
        preset=option.preset,
        device=option.device,
        threads=option.threads,
        seed=option.seed,
        **axes_of(option),
    )


def _implementations(config: pytest.Config) -> tuple[str, ...]:
    return tuple(dict.fromkeys(getattr(config.option, "impls", ())))


def _as_usage_error(look: Callable[[], None]) -> None:
    try:
        look()
    except VitbenchError as error:
        raise pytest.UsageError(str(error)) from error
