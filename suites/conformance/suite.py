"""The conformance suite as cells of a run: one for each implementation, judged by pytest in the cell's process."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vitbench.options import Options
from vitbench.plan import Cell
from vitbench.records import RequirementRecord, VerdictRecord
from vitbench.requirement import Level, Tally, Verdict, tally
from vitbench.specification import total
from vitbench.suite import Ending, Suite

TIME_LIMIT_S = {"quick": 300.0, "standard": 1800.0, "full": 7200.0}


def plan(options: Options) -> Iterator[Cell]:
    """All requirements of one implementation make one cell, since the verdict speaks of them together."""
    for implementation in options.implementations:
        yield Cell.asked(
            options,
            suite="conformance",
            implementation=implementation,
            time_limit_s=options.time_limit_s or TIME_LIMIT_S[options.preset],
        )


def run(cell: Cell, results: Path) -> int:
    """Run the suite as a user would, but without the pytest settings and plugins of wherever this is."""
    import pytest  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "pytest.ini")
        settings.write_text("[pytest]\n", encoding="utf-8")
        os.environ.pop("PYTEST_ADDOPTS", None)
        os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HYPOTHESIS_STORAGE_DIRECTORY": folder}
        return int(pytest.main([f"--config-file={settings}", f"--rootdir={folder}", *_arguments(cell, results)]))


def _arguments(cell: Cell, results: Path) -> list[str]:
    options = {
        "--impl": cell.implementation,
        "--device": cell.device,
        "--preset": cell.preset,
        "--seed": str(cell.seed),
        "--results": str(results),
        "--results-cell": cell.key,
    }
    chosen = [f"{name}={value}" for name, value in options.items()]
    plugins = ["-p", "vitbench.plugin", "-p", "no:cacheprovider"]
    return ["--pyargs", "vitbench.suites.conformance", *plugins, "--quiet", *chosen]


def lost(cell: Cell, ending: Ending) -> VerdictRecord:
    """The verdict where pytest gave none: what was judged until then counts, the rest is not judged."""
    judged = [(r.level, r.status) for r in ending.records if isinstance(r, RequirementRecord)]
    verdicts = {3: Verdict.HARNESS_ERROR, 4: Verdict.ADAPTER_BROKEN}  # by pytest's exit code

    def of(level: Level) -> Tally:
        return tally(judged, level, total(level))

    return VerdictRecord(
        cell=cell.key,
        implementation=cell.name or cell.implementation,
        version="",
        verdict=verdicts.get(ending.exit_code or 0, Verdict.INCOMPLETE),
        must=of(Level.MUST),
        should=of(Level.SHOULD),
        may=of(Level.MAY),
        conventions={},
        reason=f"{ending.outcome}: {ending.reason}",
        duration_s=ending.duration_s,
    )


SUITE = Suite(
    name="conformance",
    summary="does it compute what the paper says? one verdict, every requirement with its evidence",
    plan=plan,
    run=run,
    lost=lost,
)
