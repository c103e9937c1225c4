"""Large imports go undisturbed by the garbage collector, which works on afterwards."""

import gc

import pytest

from vitbench.imports import undisturbed_imports


def test_nothing_is_collected_while_a_package_is_imported() -> None:
    with undisturbed_imports():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_collector_works_on_after_a_failed_import() -> None:
    with pytest.raises(ModuleNotFoundError), undisturbed_imports():
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with undisturbed_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
