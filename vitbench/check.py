"""From a test function to a requirement's verdict, whoever runs it: pytest, or the calibration in one process."""

import importlib
import math
import pkgutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from types import ModuleType
from typing import Any, TypeVar
from zlib import crc32

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky, UnsatisfiedAssumption
from hypothesis.strategies import SearchStrategy

from vitbench.candidate import ForeignCode
from vitbench.errors import HarnessError, NotSupported, RequirementFailed
from vitbench.evidence import Evidence, collecting, current_evidence
from vitbench.requirement import Requirement, Status
from vitbench.specification import REQUIREMENTS
from vitbench.stored_example import StoredExample, after_replay

Check = TypeVar("Check", bound=Callable[..., None])

EXAMPLES = {"quick": 8, "standard": 45, "full": 500}
"""Configurations per requirement. Presets are the same words everywhere."""

FEW = {"quick": 3, "standard": 15, "full": 100}
"""For properties that hardly hang on a model's sizes."""

_GLOBAL_SEED = 20_211_022
"""Of torch's global generator at the start of each example: packages initialise from it, and a verdict must repeat.
A number that no package sets, so that one which sets the seed is seen."""

_MOST_SHRINKING_RUNS = 40
"""After a failure, so many further examples are run in search of a smaller one; a verdict is worth most when quick."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One requirement, judged for one candidate."""

    requirement: Requirement
    status: Status
    reason: str
    evidence: Evidence
    duration_s: float


def given(
    *,
    examples: Mapping[str, int] | None = None,
    beyond: Sequence[Mapping[str, Any]] = (),
    **strategies: SearchStrategy[Any] | Mapping[str, SearchStrategy[Any]],
) -> Callable[[Check], Check]:
    """Hypothesis' ``given`` for a check; its examples are drawn once preset and seed are known.

    Args:
        examples: how many for each preset, where a check is too slow for the usual number or needs fewer.
        beyond: arguments of examples that are too large to be drawn. Each is tried once, after those drawn have passed:
            a defect that shows in small ones is told, and shrunk, by them.
        strategies: by argument; or one for each preset, where a slower way is worth trying in a larger preset only.
    """

    def keep(body: Check) -> Check:
        body.strategies = strategies  # type: ignore[attr-defined]
        body.most_examples = {**EXAMPLES, **(examples or {})}  # type: ignore[attr-defined]
        body.beyond = beyond  # type: ignore[attr-defined]
        return body

    return keep


def requirement(requirement_id: str) -> Callable[[Check], Check]:
    """Declare that a test function is the check of a requirement; stands above ``@given``.

    The function gets the candidate as ``impl``. An example in which it raises ``NotSupported`` counts as out of
    the candidate's reach, and one in which it asserts nothing is an error of the harness.
    """
    if requirement_id not in REQUIREMENTS:
        raise HarnessError(
            f"check of an undeclared requirement {requirement_id!r}; declare it in vitbench/specification/"
        )

    def declare(body: Check) -> Check:
        return _drawn(_observed(body), REQUIREMENTS[requirement_id], "quick")

    return declare


def _drawn(body: Check, declared: Requirement, preset: str, change: Callable[[Any], Any] | None = None) -> Check:
    strategies = {
        name: drawn[preset] if isinstance(drawn, Mapping) else drawn
        for name, drawn in getattr(body, "strategies", {}).items()
    }
    if change is not None:
        strategies = {name: drawn.map(change) for name, drawn in strategies.items()}
    check: Any = hypothesis.given(**strategies)(body) if strategies else body
    check.requirement, check.body, check.strategies = declared, body, strategies
    return check


def requirement_of(function: object) -> Requirement | None:
    """The requirement that a function checks, or None for any other function."""
    found = getattr(function, "requirement", None)
    return found if isinstance(found, Requirement) else None


def is_slow(check: Callable[..., None], preset: str) -> bool:
    """Whether a check has so few examples because each takes long."""
    most: Mapping[str, int] = getattr(getattr(check, "body", check), "most_examples", EXAMPLES)
    return most[preset] < FEW[preset]


def collect(suite: ModuleType) -> dict[str, Callable[..., None]]:
    """Every check of a package's modules by the id of its requirement, in the order of the specification.

    Raises:
        HarnessError: a requirement with two checks.
    """
    found: dict[str, Callable[..., None]] = {}
    for module_info in pkgutil.iter_modules(suite.__path__):
        module = importlib.import_module(f"{suite.__name__}.{module_info.name}")
        for name, function in vars(module).items():
            declared = requirement_of(function)
            if not name.startswith("test_") or declared is None:
                continue
            if declared.id in found:
                raise HarnessError(f"{declared.id} has two checks; a requirement has one")
            found[declared.id] = function
    return {id_: found[id_] for id_ in REQUIREMENTS if id_ in found}


def configured(
    check: Callable[..., None], preset: str, seed: int, *, shrink: bool = True, stored: StoredExample | None = None
) -> Callable[..., None]:
    """The check with a preset's number of examples, drawn from a seed; the same arguments draw the same examples.

    Where a run before has ``stored`` the example on which it failed, that one is tried first.
    """
    parts: Any = check
    if not parts.strategies:
        return _drawn(parts.body, parts.requirement, preset)
    phases = (Phase.explicit, Phase.generate, Phase.shrink) if shrink else (Phase.generate,)

    def bounded(phases: Sequence[Phase]) -> Callable[..., None]:
        fresh = _drawn(parts.body, parts.requirement, preset)
        return _bounded(fresh, parts.body.most_examples[preset], seed, phases, stored)

    whole = _and_beyond(bounded(phases), parts.body)
    return after_replay(bounded((Phase.reuse,)), whole) if stored and stored.exists else whole


def sampled(check: Callable[..., None], seeds: int, seed: int) -> Callable[..., None]:
    """The check on examples that each have a seed of weights and images of their own, stopping at the first failure.

    A check that the quick preset tries on fewer examples than others, for what each costs, gets as many fewer here; a
    slow one gets the preset's own few.
    """
    parts: Any = check
    fresh = _drawn(parts.body, parts.requirement, "quick", change=_reseeded)
    if not parts.strategies:
        return fresh
    usual: int = parts.body.most_examples["quick"]
    share = math.ceil(seeds * min(usual / EXAMPLES["quick"], 1))
    most = min(share, usual) if is_slow(check, "quick") else share
    return _and_beyond(_bounded(fresh, most, seed, (Phase.generate,)), parts.body)


def _reseeded(example: Any) -> Any:
    """An example with a seed made of all that was drawn: hypothesis likes to draw a number again."""
    if not hasattr(example, "seed"):
        return example
    return replace(example, seed=crc32(repr(example).encode()))


def _bounded(
    check: Any, examples: int, seed: int, phases: Sequence[Phase], stored: StoredExample | None = None
) -> Callable[..., None]:
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=stored,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    bounded: Callable[..., None] = chosen(hypothesis.seed(seed)(check))  # a seed given last takes the database away
    return bounded


def _and_beyond(check: Callable[..., None], body: Any) -> Callable[..., None]:
    """The check, and once what it draws has passed, the examples that are larger."""
    if not getattr(body, "beyond", ()):
        return check

    @wraps(check)
    def run(*args: Any, **kwargs: Any) -> None:
        check(*args, **kwargs)
        for example in body.beyond:
            with suppress(UnsatisfiedAssumption):  # nothing could be told by it
                body(*args, **kwargs, **example)

    return run


def judge(
    check: Callable[..., None], candidate: ForeignCode, clock: Callable[[], float] = time.perf_counter
) -> Judgement:
    """Run a configured check for a candidate, and say how it went."""
    declared = requirement_of(check)
    if declared is None:
        raise HarnessError(f"{check} is no check: it carries no @requirement")
    start, error = clock(), None
    with collecting() as evidence:
        try:
            check(impl=candidate)
        except Exception as raised:  # noqa: BLE001  # whatever it is, it becomes this requirement's status
            error = raised
    status, reason = classify(error, evidence)
    return Judgement(requirement=declared, status=status, reason=reason, evidence=evidence, duration_s=clock() - start)


def classify(error: BaseException | None, evidence: Evidence) -> tuple[Status, str]:
    """Status and reason from what a check raised, or did not raise."""
    match error:
        case None if evidence.examples:
            found = Status.PASSED, "; ".join(evidence.notes)
        case None if evidence.unsupported:
            found = Status.NOT_OFFERED, evidence.unsupported_reason
        case None:
            found = Status.ERROR, "the check ran no example"
        case NotSupported():
            found = Status.NOT_OFFERED, str(error)
        case RequirementFailed():
            found = Status.FAILED, str(error)
        case Flaky():
            causes = "; ".join(f"{type(cause).__name__}: {cause}" for cause in getattr(error, "exceptions", ()))
            found = Status.FAILED, f"fails in one run of an example and passes in another: {causes or error}"
        case _:
            found = Status.ERROR, f"{type(error).__name__}: {error}"
    return found


def _observed(inner: Check) -> Check:
    """The body of a check, with each of its examples counted and bounded in number once one has failed."""

    @wraps(inner)
    def run_example(*args: Any, **kwargs: Any) -> None:
        evidence, example = current_evidence(), _described(kwargs)
        if evidence.failed and evidence.shrinking_runs >= _MOST_SHRINKING_RUNS and example not in evidence.failed:
            return
        evidence.begin(example)
        evidence.shrinking_runs += bool(evidence.failed)
        try:
            with torch.random.fork_rng(devices=[]):
                _seed_global_generators(_GLOBAL_SEED)
                inner(*args, **kwargs)
        except NotSupported as error:
            evidence.unsupported += 1
            evidence.unsupported_reason = str(error)
            return
        except UnsatisfiedAssumption:
            raise  # no example at all: hypothesis draws another
        except Exception:
            evidence.failed.add(example)
            raise
        evidence.examples += 1
        if not evidence.assertions:
            raise HarnessError(
                f"the check asserted nothing for {example or 'its only example'}; it could not have failed"
            )

    return run_example  # type: ignore[return-value]


def _seed_global_generators(seed: int) -> None:
    """``torch.manual_seed`` without the stack trace that it takes for each kind of device: a tenth of an example's time."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _described(arguments: Mapping[str, Any]) -> str:
    return "; ".join(str(value) for name, value in arguments.items() if name != "impl")
