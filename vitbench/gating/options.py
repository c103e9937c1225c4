"""The command line of the gate: a verb for each tier, and the options that they share."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitbench import arguments
from vitbench.arithmetic import ARITHMETICS
from vitbench.errors import AdapterNotFound, UsageError
from vitbench.gating.baseline import HOME
from vitbench.options import MODES, TASKS, require_present
from vitbench.parser import Parser

SECONDS_PER_CELL = 120.0
Verb = Callable[[argparse.Namespace], int]


def parser(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """Of the whole command; what it parses has the verb's own function as ``gate``."""
    whole = Parser(
        prog="vitbench gate",
        description="Did this change make it wrong, slower or larger? Stops what is worse for certain, and says how "
        "small a change it could have seen.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    tiers = whole.add_subparsers(metavar="TIER", required=True, parser_class=Parser)
    for name, (short, long, add) in _TIERS.items():
        tier = tiers.add_parser(name, help=short, description=long, allow_abbrev=False)
        tier.set_defaults(gate=verbs[name], tier=name)
        add(tier)
    return whole


_EPILOG = """examples:
  vitbench run --suite conformance --suite counts --impl mypkg --output head
  vitbench gate exact base head                            verdicts and counts against those of an earlier run
  vitbench gate paired --base timm --head ./adapter.py     two implementations, side by side on this machine
  vitbench gate paired --head mypkg --base-rev main        the present state of a repository against its main branch
  vitbench gate history vitbench-results/*/                changes of level in stored runs
  vitbench gate baselines                                  what vitbench run --save-baseline NAME has saved

exit codes:
  0  pass          3  inconclusive                       5  nothing measured
  1  regression    4  no baseline, or another machine's  6  correctness failed
  2  an option cannot be used; nothing ran
"""


def _add_exact(tier: argparse.ArgumentParser) -> None:
    tier.add_argument("base", metavar="BASE", help="results file, the folder of a run, or the name of a baseline")
    tier.add_argument("head", type=Path, metavar="HEAD", help="results file, or the folder of a run, of the change")
    _add_outputs(tier)


def _add_paired(tier: argparse.ArgumentParser) -> None:
    sides = tier.add_argument_group("what is compared")
    sides.add_argument("--head", required=True, metavar="NAME", help="implementation to gate, as --impl takes it")
    sides.add_argument("--base", metavar="NAME", help="implementation to compare with (default: as --head)")
    sides.add_argument("--base-python", metavar="PYTHON", help="the base's interpreter, with its own packages")
    sides.add_argument("--head-python", metavar="PYTHON", help="the head's interpreter")
    sides.add_argument(
        "--base-rev", metavar="REVISION", help="base is this git revision; checked out and installed into a cache"
    )
    sides.add_argument(
        "--repository", type=Path, default=Path(), metavar="DIR", help="of --base-rev (default: the present folder)"
    )
    _add_work(tier)
    sure = tier.add_argument_group("how sure, and how long")
    _add_certainty(sure, 2.0)
    sure.add_argument(
        "--max-seconds",
        type=arguments.seconds,
        metavar="S",
        help=f"for all cells (default: {SECONDS_PER_CELL:g} for each)",
    )
    _add_seed(sure)
    _add_outputs(tier)


def _add_history(tier: argparse.ArgumentParser) -> None:
    tier.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="results file, or the folder of a run")
    _add_certainty(tier, 5.0)
    _add_outputs(tier)


def _add_baselines(tier: argparse.ArgumentParser) -> None:
    tier.add_argument("names", nargs="*", metavar="NAME", help="baseline, repeatable (default: all)")
    tier.add_argument("--home", type=Path, default=HOME, metavar="DIR", help=f"where they are kept (default: {HOME})")
    prune = tier.add_argument_group("pruning; what goes is listed")
    prune.add_argument(
        "--keep",
        type=arguments.named("number", arguments.at_least(1)),
        metavar="N",
        help="keep the times of the newest N runs of each",
    )
    prune.add_argument(
        "--older-than",
        type=arguments.named("number", arguments.at_least(1)),
        metavar="DAYS",
        help="remove those whose newest run is older",
    )
    prune.add_argument("--remove", action="store_true", help="remove those named")


def _add_selftest(tier: argparse.ArgumentParser) -> None:
    tier.add_argument("--head", default="reference", metavar="NAME", help="implementation (default: reference)")
    _add_work(tier)
    _add_certainty(tier, 2.0)
    tier.add_argument(
        "--max-seconds", type=arguments.seconds, default=1800.0, metavar="S", help="in all (default: 1800)"
    )
    _add_seed(tier)
    outputs = tier.add_argument_group("what is written")
    outputs.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="every pair, and what was made of them, as JSON"
    )
    outputs.add_argument("--markdown", type=Path, metavar="FILE", help="the tables")
    outputs.add_argument("--plot", type=Path, metavar="FILE", help="regressions found by size of the slowdown, as SVG")


_TIERS: Mapping[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {
    "exact": (
        "compare two runs by what is the same every time: verdicts, parameters, operators, bytes",
        (
            "Compare two runs of vitbench.run by what is the same on every run of the same code: verdicts of "
            "requirements, parameters, operators, graph breaks, bytes allocated. Runs on any machine; looks at no time."
        ),
        _add_exact,
    ),
    "paired": (
        "time base and head on this machine, as a duet of live processes",
        (
            "Time base and head on this machine: fresh pairs of processes that take turns in short blocks, until "
            "a slowdown, or its absence, is certain."
        ),
        _add_paired,
    ),
    "history": (
        "look for changes of level in the figures of stored runs",
        (
            "Look for changes of level in the figures of stored runs, machine by machine. A change is told of once "
            "two more runs have confirmed it."
        ),
        _add_history,
    ),
    "baselines": (
        "list and prune what vitbench run --save-baseline has saved",
        (
            "List the baselines that vitbench run --save-baseline NAME has saved, and prune them. A baseline has a file for "
            "each machine and set of packages; vitbench run --baseline NAME gates a run against the one that fits."
        ),
        _add_baselines,
    ),
    "selftest": (
        "try the paired gate on identical sides and on slowdowns of known size",
        (
            "Try the paired gate on this machine: identical sides, sides with a slowdown of known size, and designs "
            "that lack a part of its own; beside it what the usual rules make of the same processes."
        ),
        _add_selftest,
    ),
}


def _add_work(tier: argparse.ArgumentParser) -> None:
    work = tier.add_argument_group("at what work")
    for option, choices in (("--task", TASKS), ("--dtype", tuple(ARITHMETICS)), ("--mode", MODES)):
        work.add_argument(option, action="append", choices=choices, help=f"repeatable (default: {choices[0]})")
    work.add_argument(
        "--model",
        action="append",
        type=arguments.model,
        metavar="VARIANT",
        help="repeatable, as B/16@224 (default: Ti/16@224,depth=6)",
    )
    work.add_argument(
        "--batch",
        action="append",
        type=arguments.named("number", arguments.at_least(1)),
        metavar="N",
        help="images, repeatable (default: 4)",
    )
    work.add_argument(
        "--gpu",
        type=arguments.named("number", arguments.at_least(0)),
        metavar="N",
        help="CUDA device N (default: the CPU)",
    )
    work.add_argument(
        "--threads", type=arguments.threads, default=1, metavar="N", help="CPU threads of each side (default: 1)"
    )


def _add_seed(group: Any) -> None:
    group.add_argument(
        "--seed",
        type=arguments.seed,
        default=0,
        metavar="N",
        help="of weights, images and the order of blocks (default: 0)",
    )


def _add_certainty(group: Any, min_change: float) -> None:
    group.add_argument(
        "--min-change",
        type=arguments.percent,
        default=min_change,
        metavar="PERCENT",
        help=f"slowdown that matters (default: {min_change:g})",
    )
    group.add_argument(
        "--alpha",
        type=arguments.rate,
        default=0.01,
        metavar="RATE",
        help="of false regressions, at most (default: 0.01)",
    )


def _add_outputs(tier: argparse.ArgumentParser) -> None:
    outputs = tier.add_argument_group("what is written")
    outputs.add_argument("-o", "--output", type=Path, metavar="FILE", help="the outcome with its data, as JSON")
    outputs.add_argument("--markdown", type=Path, metavar="FILE", help="a summary for a job page or a pull request")
    outputs.add_argument("--junit", type=Path, metavar="FILE", help="a test case for each finding, for a CI server")


def require_two_sides(given: argparse.Namespace) -> None:
    """Refuse a gate of one thing against itself, or of a name that is nowhere.

    Raises:
        UsageError: nothing tells base and head apart, or this interpreter's own side is plainly not there.
    """
    if given.base is None and given.base_python is None and given.base_rev is None:
        raise UsageError("nothing to compare with: give --base NAME, --base-rev REVISION or --base-python PYTHON")
    here = [given.head] if given.head_python is None else []
    here += [given.base] if given.base and given.base_python is None and given.base_rev is None else []
    for name in here:
        try:
            require_present(name)
        except AdapterNotFound as error:
            raise UsageError(str(error)) from error
