"""Where runs are kept: a folder for each, in one home, and the results in it."""

from datetime import UTC, datetime
from pathlib import Path

HOME = Path("vitbench-results")
RESULTS = "results.jsonl"  # within a run's folder


def new_folder(home: Path = HOME) -> Path:
    """A folder for a run that names none, called by the time in UTC."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    free = (home / (stamp + suffix) for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(folder for folder in free if not folder.exists())


def latest_results(home: Path = HOME) -> Path | None:
    """The results that were written last; None where there are none."""
    return max(home.glob(f"*/{RESULTS}"), key=lambda path: path.stat().st_mtime_ns, default=None)


def results_in(path: Path) -> Path:
    """A run's folder stands for the results in it."""
    return path / RESULTS if path.is_dir() else path
