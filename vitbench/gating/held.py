"""A run of ``vitbench.run`` held to a stored one, and saved for those after it."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from vitbench.gating import baseline, shown, stored
from vitbench.gating.decision import EXIT_CODES, BaseUnavailable, Decision
from vitbench.gating.facts import Facts, facts
from vitbench.machine_key import key
from vitbench.options import Options
from vitbench.results import Run


def base_of(options: Options, environment: Mapping[str, Any], console: Console) -> Facts | None:
    """What a run is to be held to, looked for before anything is measured; None where nothing is, or nothing yet.

    Raises:
        BaseUnavailable: there is none for this machine and its packages, and this run is not to begin one.
    """
    if options.baseline is None:
        return None
    try:
        return baseline.base(options.baseline, key(environment))
    except BaseUnavailable as error:
        if options.save_baseline is None:
            raise
        console.print(f"{error}; this run begins one", markup=False, soft_wrap=True)
        return None


def hold(base: Facts | None, run: Run, options: Options, console: Console) -> int:
    """Compare the run with its base, and save it unless it is worse or cut short; the gate's exit code, 0 if none is asked for."""
    found, code, worse = facts(run), 0, False
    if base is not None:
        outcome = stored.compare(base, found, stored.Policy())
        console.print()
        shown.show(outcome, console)
        code, worse = outcome.exit_code, outcome.worse
    elif options.baseline is not None:
        code = EXIT_CODES[Decision.NO_BASELINE]
    if options.save_baseline is not None:
        said = _saved(options.save_baseline, found, worse=worse, complete=run.complete)
        console.print(f"baseline {options.save_baseline}: {said}", markup=False, soft_wrap=True)
    return code


def _saved(name: str, found: Facts, *, worse: bool, complete: bool) -> str:
    if worse:
        return "not saved, since the run is worse than its base"
    if not complete:
        return "not saved, since the run is not complete"
    if found.broken:
        return f"not saved, since an adapter is broken: {next(iter(found.broken.values()))}"
    file, how = baseline.save(name, found)
    return f"{how}, in {file}"
