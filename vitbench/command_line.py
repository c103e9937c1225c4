"""The options of a conformance run under pytest: each mistake is one line, before anything heavy is imported."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vitbench.errors import VitbenchError

if TYPE_CHECKING:
    from vitbench.requirement import Subject
    from vitbench.session import Options

_SEEDS = 2**32


def add_options(parser: pytest.Parser) -> None:
    """What ``pytest --help`` shows of vitbench."""
    group = parser.getgroup("vitbench", "vitbench: conformance of Vision Transformers")
    group.addoption(
        "--impl",
        action=_EveryImpl,
        metavar="NAME",
        help="implementation to judge, or to measure (then repeatable): a registered name (reference, timm, torchvision, transformers, vit_pytorch, …), "
        "package.module:object (an adapter, or any torch class), a package with vitbench_adapter, a path adapter.py[:object], "
        "a file model.onnx, or onnx:NAME, a torch model by its export",
    )
    group.addoption(
        "--kernel",
        metavar="NAME",
        help="attention kernel to judge alone, in place of --impl: package.module:function or a path kernel.py:function; "
        "the function takes query, key and value, (B, heads, tokens, head dim) each, and returns the same shape",
    )
    group.addoption(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help="cpu, cuda:N, or cuda: the first GPU, or with pytest-xdist's -n one for each worker (default: cpu)",
    )
    group.addoption(
        "--preset",
        choices=("quick", "standard", "full"),
        default="quick",
        help="on how many configurations each requirement is tried, or how much is measured (default: quick)",
    )
    group.addoption(
        "--seed", type=_seed, default=0, metavar="N", help="draws configurations, weights, images (default: 0)"
    )
    group.addoption(
        "--time-limit",
        type=_seconds,
        metavar="SECONDS",
        help="a requirement of which one example has not ended by then has failed (default: 60)",
    )
    group.addoption(
        "--in-process",
        action="store_true",
        help="judge in pytest's own process, for debuggers and coverage: no time limit, and a crash ends the run "
        "(always so with --pdb, and where there is no Linux)",
    )
    group.addoption(
        "--known-failures",
        metavar="FILE",
        help="TOML file of requirements that are known to fail, and why; what is listed there and fails does not fail "
        "the run, and what is listed and passes does",
    )
    group.addoption(
        "--allow-incomplete",
        action="store_true",
        help="what is not offered does not fail the run: INCOMPLETE keeps its name, with exit code 0",
    )
    group.addoption("--update-known", action="store_true", help="write that file as this run has it")
    group.addoption("--no-diagnosis", action="store_true", help="do not look for the cause of failures (at most 10 s)")
    group.addoption("--results", metavar="FILE", help="write the records as JSON Lines, for vitbench.report")
    group.addoption("--results-cell", metavar="KEY", help="write bare records under this key, as part of a larger run")


class _EveryImpl(argparse.Action):
    """The last one is judged, as of any option; all of them can be measured side by side."""

    def __call__(self, _parser: object, namespace: argparse.Namespace, value: Any, _option: str | None = None) -> None:
        namespace.impl, namespace.impls = value, [*getattr(namespace, "impls", []), value]


def add_measuring_options(parser: pytest.Parser) -> None:
    """What ``pytest suites/throughput`` measures, by the names that ``vitbench.run`` has for it."""
    from vitbench.options import add_axes, add_threads  # noqa: PLC0415  # not for other people's tests

    group = parser.getgroup("vitbench-measuring", "vitbench: pytest suites/throughput, with pytest-benchmark")
    add_axes(group.addoption)
    add_threads(group.addoption)


def is_about_vitbench(arguments: Iterable[str]) -> bool:
    """Whether the command line asks for vitbench: the options above have names that other people's tests have too."""
    return any(argument.startswith("--impl") or _SUITE.search(argument) for argument in arguments)


_SUITE = re.compile(r"(^|[/\\.])suites[/\\.]throughput\b")


def require_consistent(option: argparse.Namespace) -> None:
    """Refuse what cannot be meant before anything is collected, or xdist's workers are started.

    Raises:
        pytest.UsageError: the text says what.
    """
    if option.impl is not None or option.kernel is not None:
        _require_known_ids(option.keyword)
    if option.update_known and not option.known_failures:
        raise pytest.UsageError("--update-known needs the file: --known-failures FILE --update-known")
    if option.known_failures:
        from vitbench.known_failures import load  # noqa: PLC0415

        try:
            load(Path(option.known_failures), for_update=option.update_known)
        except VitbenchError as error:
            raise pytest.UsageError(str(error)) from error


def _require_known_ids(expression: str) -> None:
    """What looks like an id in ``-k`` and is in none would select nothing, without a word."""
    from vitbench.specification import REQUIREMENTS, did_you_mean  # noqa: PLC0415

    for word in re.findall(r"\bVIT-[A-Z0-9-]+", expression.upper()):
        if not any(word in id_ for id_ in REQUIREMENTS):
            raise pytest.UsageError(
                f"-k {word}: no requirement has that in its id{did_you_mean(word)} (python -m vitbench.spec lists them)"
            )


def subject_of(option: argparse.Namespace) -> "Subject":
    """What is judged: each of the two options has its own checks, and the others are not for it."""
    if option.impl is not None and option.kernel is not None:
        raise pytest.UsageError("--impl judges a model, --kernel an attention kernel alone; give one of the two")
    return "model" if option.kernel is None else "kernel"


def options_of(option: argparse.Namespace) -> "Options":
    """The options as one typed value.

    Raises:
        pytest.UsageError: nothing to judge was named.
    """
    from vitbench.registry import registered  # noqa: PLC0415
    from vitbench.session import Options  # noqa: PLC0415

    subject = subject_of(option)
    if option.impl is None and subject == "model":
        names = ", ".join(registered())
        raise pytest.UsageError(
            f"say what to judge with --impl NAME; registered names: {names}; other forms: pytest --help"
        )
    return Options(
        impl=option.kernel if subject == "kernel" else option.impl,
        subject=subject,
        device=option.device,
        preset=option.preset,
        seed=option.seed,
        results=Path(option.results) if option.results else None,
        cell=option.results_cell,
        known_failures=Path(option.known_failures) if option.known_failures else None,
        update_known=option.update_known,
        allow_incomplete=option.allow_incomplete,
    )


def _seed(text: str) -> int:
    if not text.strip().isdecimal() or int(text) >= _SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 2^32 - 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return seconds
