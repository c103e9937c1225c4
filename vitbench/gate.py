"""``python -m vitbench.gate``: did this change make it wrong, slower or larger? One tier a verb."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.console import speak_any_language, suitable_console
from vitbench.errors import OutputCut, ResultsUnreadable, UsageError, VitbenchError
from vitbench.folders import results_in
from vitbench.gating import baseline, options, shown, written
from vitbench.gating.decision import BaseUnavailable, Decision, NothingMeasured
from vitbench.gating.outcome import Finding, Outcome
from vitbench.plan import Cell
from vitbench.process import termination_as_interrupt

if TYPE_CHECKING:
    from vitbench.gating.duet import Side

INTERRUPTED = 130
UNREAD = 141  # 128 + SIGPIPE, as vitbench.run has it


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a gate; ``--help`` lists them."""
    speak_any_language()
    try:
        given = options.parser(_VERBS).parse_args(argv)
        for path in (getattr(given, name, None) for name in _WRITTEN):
            if path is not None:
                written.require_place(path)
        with termination_as_interrupt():
            code: int = _gated(given)
    except VitbenchError as error:
        print(f"vitbench gate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vitbench gate: interrupted; nothing was decided", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ending:  # rich's answer to a pipe that nobody reads any more; 1 would be a regression
        if ending.code != 1:
            raise
        return UNREAD
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:
        print(f"vitbench gate: {error.strerror or error}: {error.filename or 'standard output'}", file=sys.stderr)
        return OutputCut.exit_code
    return code


def _gated(given: argparse.Namespace) -> int:
    """What the tier comes to; a server is told of what could not be compared too."""
    try:
        code: int = given.gate(given)
    except (BaseUnavailable, NothingMeasured) as error:
        decision = Decision.NO_BASELINE if isinstance(error, BaseUnavailable) else Decision.NOTHING_MEASURED
        finding = Finding(name="gate", decision=decision, text=str(error))
        _write(Outcome(tier=given.tier, title="nothing was compared", findings=[finding]), given)
        raise
    return code


def _told(outcome: Outcome, given: argparse.Namespace) -> int:
    """Show and write what a gate came to; its exit code."""
    shown.show(outcome, suitable_console())
    _write(outcome, given)
    return outcome.exit_code


def _write(outcome: Outcome, given: argparse.Namespace) -> None:
    """To the files that were asked for, and as annotations in a GitHub workflow."""
    for name, render in (("output", Outcome.to_json), ("markdown", written.markdown), ("junit", written.junit)):
        path: Path | None = getattr(given, name, None)
        if path is not None:
            written.write(path, render(outcome))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(written.annotations(outcome)))


def _exact(given: argparse.Namespace) -> int:
    """A run against another, or a baseline, by what is the same every time."""
    from vitbench.gating import exact  # noqa: PLC0415
    from vitbench.gating.facts import facts  # noqa: PLC0415
    from vitbench.results import read  # noqa: PLC0415

    try:
        head = facts(read(results_in(given.head)))
    except (ResultsUnreadable, OSError) as error:  # a name too long for the system, say
        raise NothingMeasured(f"nothing to judge: {error}") from error
    return _told(exact.compare(baseline.base(given.base, head.key, nearest=True), head), given)


def _history(given: argparse.Namespace) -> int:
    """Where the figures of stored runs changed their level."""
    from vitbench import change_points  # noqa: PLC0415
    from vitbench.gating import history  # noqa: PLC0415
    from vitbench.results import read  # noqa: PLC0415

    if given.alpha < change_points.LEAST_ALPHA:
        raise UsageError(
            f"--alpha {given.alpha:g} is below {change_points.LEAST_ALPHA:g}, the least of a permutation test"
        )
    runs = [read(results_in(path)) for path in given.runs]
    return _told(history.history(runs, delta=math.log1p(given.min_change / 100), alpha=given.alpha), given)


def _baselines(given: argparse.Namespace) -> int:
    """What is saved, and what of it has to go."""
    from vitbench.gating import pruning  # noqa: PLC0415

    pruning.require_one(given)
    console = suitable_console()
    for line in pruning.prune(given):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    shown.show_baselines(pruning.listed(given.names, given.home), given.home, console)
    return 0


def _paired(given: argparse.Namespace) -> int:
    """Base and head as a duet on this machine."""
    from vitbench.gating import duet, paired, sequential  # noqa: PLC0415  # what the other tiers do without
    from vitbench.gating.surroundings import surroundings  # noqa: PLC0415

    cells = _cells(given)
    design = sequential.Design(delta=math.log1p(given.min_change / 100), alpha=given.alpha)
    protocol, most_s = duet.Protocol(), given.max_seconds or options.SECONDS_PER_CELL * len(cells)
    with ExitStack() as stack:
        base, head = _sides(given, stack)
        events = paired.duets(
            base, head, cells, design=design, protocol=protocol, seed=given.seed, most_s=most_s, play=duet.play
        )
        with surroundings() as around:
            gated = shown.followed(events, suitable_console(), most_s)
    around.control(paired.controlled(gated, protocol))
    outcome = Outcome(
        tier="paired",
        title=f"{_named(head)} against {_named(base)}{_at(given.base_rev)}",
        findings=[paired.finding(one, design) for one in gated],
        notes=[*paired.notes(gated), *around.notes],
        details={
            "design": asdict(design),
            "protocol": asdict(protocol),
            "surroundings": asdict(around),
            "cells": [asdict(one) for one in gated],
        },
    )
    return _told(outcome, given)


def _selftest(given: argparse.Namespace) -> int:
    """The gate on slowdowns of known size, on this machine."""
    from vitbench.gating import duet, selftest, sequential, trial_document  # noqa: PLC0415

    if given.plot is not None:
        trial_document.require_plots()
    design = sequential.Design(delta=math.log1p(given.min_change / 100), alpha=given.alpha)
    trials = selftest.measure(
        given.head, _cells(given)[0], duet.Protocol(), most_s=given.max_seconds, seed=given.seed, play=duet.play
    )
    observed = shown.followed_trials(trials, suitable_console(), given.max_seconds)
    found = [selftest.rates(one, design, given.seed) for one in observed]
    table = trial_document.markdown(found, design)
    print(table, end="")
    texts = [(given.output, trial_document.to_json(observed, found, design)), (given.markdown, table)]
    if given.plot is not None:
        texts.append((given.plot, trial_document.plot(found, design)))
    for path, text in texts:
        if path is not None:
            written.write(path, text)
    return 0


_WRITTEN = ("output", "markdown", "junit", "plot")  # options
_VERBS = {
    "exact": _exact,
    "paired": _paired,
    "history": _history,
    "baselines": _baselines,
    "selftest": _selftest,
}


def _cells(given: argparse.Namespace) -> list[Cell]:
    """Every combination of what was asked for; the implementation is each side's own."""
    points = product(
        given.task or ["inference"],
        given.model or ["Ti/16@224,depth=6"],
        given.dtype or ["float32"],
        given.mode or ["eager"],
        given.batch or [4],
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
            device="cpu" if given.gpu is None else f"cuda:{given.gpu}",
            threads=given.threads,
            seed=given.seed,
            timed=True,
        )
        for task, model, dtype, mode, batch in dict.fromkeys(points)
    ]


def _sides(given: argparse.Namespace, stack: ExitStack) -> tuple["Side", "Side"]:
    """Base and head, with all that their processes need in place.

    Raises:
        UsageError: nothing tells them apart.
        BaseUnavailable: the base's revision cannot be had.
    """
    from vitbench.gating import revision  # noqa: PLC0415
    from vitbench.gating.duet import BASE, HEAD, Side  # noqa: PLC0415

    options.require_two_sides(given)
    pythons = {BASE: (given.base or given.head, given.base_python), HEAD: (given.head, given.head_python)}
    sides = {}
    for label, (implementation, python) in pythons.items():
        folder: Path | None = None
        path: tuple[Path, ...] = ()
        within: tuple[Path, ...] = ()
        if label == BASE and given.base_rev is not None:
            folder, path = revision.revision(given.repository, given.base_rev)
            within = (folder, *path)
        if python is not None:
            path = (*path, revision.this_vitbench(Path(stack.enter_context(revision.temporary_folder()))))
        sides[label] = Side(
            label=label,
            implementation=implementation,
            python=_found(python) if python else sys.executable,
            path=path,
            folder=folder,
            within=within,
        )
    return sides[BASE], sides[HEAD]


def _found(python: str) -> str:
    """As it is from any folder: the base of a revision runs in its own. A bare name is looked for in PATH."""
    return str(Path(python).absolute()) if os.sep in python else python


def _at(revision: str | None) -> str:
    return f" at {revision}" if revision else ""


def _named(side: "Side") -> str:
    where = f" by {side.python}" if side.python != sys.executable else ""
    return f"{side.label} {side.implementation}{where}"


if __name__ == "__main__":
    sys.exit(main())
