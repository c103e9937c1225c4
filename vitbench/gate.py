"""``python -m vitbench.gate``: did this change make it wrong, slower or larger? One tier a verb."""

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vitbench.arithmetic import ARITHMETICS
from vitbench.console import speak_any_language, suitable_console
from vitbench.errors import OutputUnwritable, ResultsUnreadable, UsageError, VitbenchError
from vitbench.folders import results_in
from vitbench.gating import shown
from vitbench.gating.decision import BaseUnavailable, NothingMeasured
from vitbench.gating.outcome import Outcome
from vitbench.models import canonical
from vitbench.options import MODES, TASKS
from vitbench.plan import Cell
from vitbench.reference.config import ConfigurationError

if TYPE_CHECKING:
    from vitbench.gating.duet import Side

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a gate; ``--help`` lists them."""
    speak_any_language()
    try:
        options = _parser().parse_args(argv)
        code: int = options.gate(options)
    except VitbenchError as error:
        print(f"vitbench gate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vitbench gate: interrupted; nothing was decided", file=sys.stderr)
        return INTERRUPTED
    return code


def _told(outcome: Outcome, options: argparse.Namespace) -> int:
    """Show and write what a gate came to; its exit code."""
    shown.show(outcome, suitable_console())
    for path, render in ((options.output, Outcome.to_json), (options.markdown, shown.markdown)):
        if path is not None:
            _write(path, render(outcome))
    return outcome.exit_code


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputUnwritable(f"cannot write {path}: {error.strerror or error}") from error


def _exact(options: argparse.Namespace) -> int:
    """Two runs, by what is the same every time."""
    from vitbench.gating import exact  # noqa: PLC0415
    from vitbench.results import read  # noqa: PLC0415

    try:
        base = read(results_in(options.base))
    except ResultsUnreadable as error:
        raise BaseUnavailable(f"no base to compare with: {error}") from error
    try:
        head = read(results_in(options.head))
    except ResultsUnreadable as error:
        raise NothingMeasured(f"nothing to judge: {error}") from error
    return _told(exact.compare(base, head), options)


def _history(options: argparse.Namespace) -> int:
    """Where the figures of stored runs changed their level."""
    from vitbench.gating import history  # noqa: PLC0415
    from vitbench.results import read  # noqa: PLC0415

    runs = [read(results_in(path)) for path in options.runs]
    found = history.history(runs, delta=math.log1p(options.min_change / 100), alpha=options.alpha)
    return _told(found, options)


def _paired(options: argparse.Namespace) -> int:
    """Base and head as a duet on this machine."""
    from vitbench.gating import duet, paired, sequential  # noqa: PLC0415  # what the other tiers do without

    cells = _cells(options)
    design = sequential.Design(delta=math.log1p(options.min_change / 100), alpha=options.alpha)
    protocol, most_s = duet.Protocol(), options.max_seconds or _DEFAULT_S * len(cells)
    with ExitStack() as stack:
        base, head = _sides(options, stack)
        events = paired.duets(
            base, head, cells, design=design, protocol=protocol, seed=options.seed, most_s=most_s, play=duet.play
        )
        gated = shown.followed(events, suitable_console(), most_s)
    outcome = Outcome(
        tier="paired",
        title=f"{_named(head)} against {_named(base)}",
        findings=[paired.finding(one, design) for one in gated],
        details={"design": asdict(design), "protocol": asdict(protocol), "cells": [asdict(one) for one in gated]},
    )
    return _told(outcome, options)


def _selftest(options: argparse.Namespace) -> int:
    """The gate on slowdowns of known size, on this machine."""
    from vitbench.gating import duet, selftest, sequential  # noqa: PLC0415

    design = sequential.Design(delta=math.log1p(options.min_change / 100), alpha=options.alpha)
    trials = selftest.measure(
        options.head,
        _cells(options)[0],
        duet.Protocol(),
        most_s=options.max_seconds,
        seed=options.seed,
        play=duet.play,
    )
    observed = shown.followed_trials(trials, suitable_console(), options.max_seconds)
    found = [selftest.rates(one, design, options.seed) for one in observed]
    table = selftest.document(found, design)
    print(table, end="")
    for path, text in ((options.output, selftest.to_json(observed, found, design)), (options.markdown, table)):
        if path is not None:
            _write(path, text)
    return 0


_DEFAULT_S = 120.0  # for each cell


def _cells(options: argparse.Namespace) -> list[Cell]:
    """Every combination of what was asked for; the implementation is each side's own."""
    points = product(
        options.task or ["inference"],
        options.model or ["Ti/16@224,depth=6"],
        options.dtype or ["float32"],
        options.mode or ["eager"],
        options.batch or [4],
    )
    return [
        Cell(
            suite="throughput",
            implementation="",
            task=task,
            model=model,
            dtype=dtype,
            mode=mode,
            batch=batch,
            device="cpu" if options.gpu is None else f"cuda:{options.gpu}",
            threads=options.threads,
            seed=options.seed,
            timed=True,
        )
        for task, model, dtype, mode, batch in dict.fromkeys(points)
    ]


def _sides(options: argparse.Namespace, stack: ExitStack) -> tuple["Side", "Side"]:
    """Base and head, with all that their processes need in place.

    Raises:
        UsageError: nothing tells them apart.
        BaseUnavailable: the base's revision cannot be had.
    """
    from vitbench.gating import revision  # noqa: PLC0415
    from vitbench.gating.duet import BASE, HEAD, Side  # noqa: PLC0415

    given = {BASE: (options.base or options.head, options.base_python), HEAD: (options.head, options.head_python)}
    if options.base is None and options.base_python is None and options.base_rev is None:
        raise UsageError("nothing to compare with: give --base NAME, --base-rev REVISION or --base-python PYTHON")
    sides = {}
    for label, (implementation, python) in given.items():
        folder: Path | None = None
        path: tuple[Path, ...] = ()
        if label == BASE and options.base_rev is not None:
            folder, path = revision.revision(options.repository, options.base_rev)
        if python is not None:
            path = (*path, revision.this_vitbench(Path(stack.enter_context(revision.temporary_folder()))))
        sides[label] = Side(
            label=label, implementation=implementation, python=python or sys.executable, path=path, folder=folder
        )
    return sides[BASE], sides[HEAD]


def _named(side: "Side") -> str:
    where = f" by {side.python}" if side.python != sys.executable else ""
    return f"{side.label} {side.implementation}{where}"


class _Parser(argparse.ArgumentParser):
    """Leaves it to ``main`` to print a mistake, as it prints every other one."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} ({self.prog} --help explains the options)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="vitbench gate",
        description="Did this change make it wrong, slower or larger? Stops what is worse for certain, and says how "
        "small a change it could have seen.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    tiers = parser.add_subparsers(metavar="TIER", required=True, parser_class=_Parser)
    _add_exact(tiers)
    _add_paired(tiers)
    _add_history(tiers)
    _add_selftest(tiers)
    return parser


_EPILOG = """examples:
  vitbench run --suite conformance --suite counts --impl mypkg --output head
  vitbench gate exact base head                            verdicts and counts against those of an earlier run
  vitbench gate paired --base timm --head ./adapter.py     two implementations, side by side on this machine
  vitbench gate history vitbench-results/*/                changes of level in stored runs
  vitbench gate paired --head mypkg --base-rev main        the present state of a repository against its main branch

exit codes:
  0  pass          3  inconclusive                       5  nothing measured
  1  regression    4  no baseline, or another machine's  6  correctness failed
  2  an option cannot be used; nothing ran
"""


def _add_exact(tiers: Any) -> None:
    parser = tiers.add_parser(
        "exact",
        help="compare two runs by what is the same every time: verdicts, parameters, operators, bytes",
        description="Compare two runs of vitbench.run by what is the same on every run of the same code: verdicts of "
        "requirements, parameters, operators, graph breaks, bytes allocated. Runs on any machine; looks at no time.",
        allow_abbrev=False,
    )
    parser.set_defaults(gate=_exact)
    parser.add_argument("base", type=Path, metavar="BASE", help="results file, or the folder of a run")
    parser.add_argument("head", type=Path, metavar="HEAD", help="the same, of the change")
    _add_outputs(parser)


def _add_paired(tiers: Any) -> None:
    parser = tiers.add_parser(
        "paired",
        help="time base and head on this machine, as a duet of live processes",
        description="Time base and head on this machine: fresh pairs of processes that take turns in short blocks, until "
        "a slowdown, or its absence, is certain.",
        allow_abbrev=False,
    )
    parser.set_defaults(gate=_paired)
    sides = parser.add_argument_group("what is compared")
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
    _add_work(parser)
    sure = parser.add_argument_group("how sure, and how long")
    _add_certainty(sure, 2.0)
    sure.add_argument(
        "--max-seconds", type=_positive, metavar="S", help=f"for all cells (default: {_DEFAULT_S:g} for each)"
    )
    _add_seed(sure)
    _add_outputs(parser)


def _add_history(tiers: Any) -> None:
    parser = tiers.add_parser(
        "history",
        help="look for changes of level in the figures of stored runs",
        description="Look for changes of level in the figures of stored runs, machine by machine. A change is told of once "
        "two more runs have confirmed it.",
        allow_abbrev=False,
    )
    parser.set_defaults(gate=_history)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="results file, or the folder of a run")
    _add_certainty(parser, 5.0)
    _add_outputs(parser)


def _add_work(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("at what work")
    for option, choices in (("--task", TASKS), ("--dtype", tuple(ARITHMETICS)), ("--mode", MODES)):
        work.add_argument(option, action="append", choices=choices, help="repeatable: " + ", ".join(choices))
    work.add_argument("--model", action="append", type=_model, metavar="VARIANT", help="repeatable, as B/16@224")
    work.add_argument("--batch", action="append", type=_whole, metavar="N", help="images, repeatable (default: 4)")
    work.add_argument("--gpu", type=_number, metavar="N", help="CUDA device N (default: the CPU)")
    work.add_argument("--threads", type=_whole, default=1, metavar="N", help="CPU threads of each side (default: 1)")


def _add_seed(parser: Any) -> None:
    parser.add_argument(
        "--seed", type=_number, default=0, metavar="N", help="of weights, images and the order of blocks (default: 0)"
    )


def _add_selftest(tiers: Any) -> None:
    parser = tiers.add_parser(
        "selftest",
        help="try the paired gate on identical sides and on slowdowns of known size",
        description="Try the paired gate on this machine: identical sides, sides with a slowdown of known size, and designs "
        "that lack a part of its own; beside it what the usual rules make of the same processes.",
        allow_abbrev=False,
    )
    parser.set_defaults(gate=_selftest)
    parser.add_argument("--head", default="reference", metavar="NAME", help="implementation (default: reference)")
    _add_work(parser)
    _add_certainty(parser, 2.0)
    parser.add_argument("--max-seconds", type=_positive, default=900.0, metavar="S", help="in all (default: 900)")
    _add_seed(parser)
    _add_outputs(parser)


def _add_certainty(parser: Any, min_change: float) -> None:
    parser.add_argument(
        "--min-change",
        type=_positive,
        default=min_change,
        metavar="PERCENT",
        help=f"slowdown that matters (default: {min_change:g})",
    )
    parser.add_argument(
        "--alpha", type=_rate, default=0.01, metavar="RATE", help="of false regressions, at most (default: 0.01)"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    outputs = parser.add_argument_group("what is written")
    outputs.add_argument("-o", "--output", type=Path, metavar="FILE", help="the outcome with its data, as JSON")
    outputs.add_argument("--markdown", type=Path, metavar="FILE", help="a summary for a job page or a pull request")


def _model(text: str) -> str:
    try:
        return canonical(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _number(text: str, least: int = 0) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
    return int(text)


def _whole(text: str) -> int:
    return _number(text, least=1)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return value


def _rate(text: str) -> float:
    value = _positive(text)
    if value >= _HIGHEST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate below {_HIGHEST_RATE}")
    return value


_HIGHEST_RATE = 0.5


if __name__ == "__main__":
    sys.exit(main())
