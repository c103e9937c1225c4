"""The conformance suite's checks, for tests that run them without pytest."""

import importlib
import pkgutil
from collections.abc import Callable

import vitbench.suites.conformance as suite
from vitbench.candidate import Candidate
from vitbench.check import Judgement, configured, judge, requirement_of


def checks() -> dict[str, Callable[..., None]]:
    """Every check by the id of its requirement; a requirement with two checks is an error."""
    found: dict[str, Callable[..., None]] = {}
    for module_info in pkgutil.iter_modules(suite.__path__):
        module = importlib.import_module(f"{suite.__name__}.{module_info.name}")
        for name, function in vars(module).items():
            declared = requirement_of(function)
            if name.startswith("test_") and declared is not None:
                assert declared.id not in found, f"{declared.id} has two checks"
                found[declared.id] = configured(function, "quick", seed=0)
    return found


CHECKS = checks()


def judged(requirement_id: str, candidate: Candidate) -> Judgement:
    """One requirement, judged in this process."""
    return judge(CHECKS[requirement_id], candidate)
