"""Where runs are kept: a folder for each, in one home, and the results in it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from vitbench.errors import OutputUnwritable
from vitbench.lock_file import LockFile

HOME = Path("vitbench-results")
RESULTS, REPORT = "results.jsonl", "report.html"  # within a run's folder
STATES = "training"  # within a run's folder: what cells that train keep until they are done
LOCK = "results.lock"  # there while a run writes


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
    return path / RESULTS if _is_folder(path) else path


def runs_in(path: Path) -> list[Path]:
    """The results of a run, or of every run that a folder holds, by name."""
    if _is_folder(path) and not (path / RESULTS).exists():
        return sorted(path.glob(f"*/{RESULTS}")) or [path / RESULTS]
    return [results_in(path)]


def _is_folder(path: Path) -> bool:
    """Where that cannot be told, as of a name too long, reading it as a file will say why."""
    try:
        return path.is_dir()
    except OSError:
        return False


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Make the folder, and be the only run that writes to it.

    Raises:
        OutputUnwritable: another run does, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputUnwritable(f"cannot write to {folder}: it is a file; choose a folder with --output") from None
    except OSError as error:
        raise OutputUnwritable(
            f"cannot write to {folder}: {error.strerror or error}; choose another folder with --output"
        ) from error
    with closing(_locked(folder)) as lock:
        lock.say(f"begun {datetime.now(UTC).isoformat(timespec='seconds')}")
        try:
            yield
        finally:
            lock.remove()


def require_free(folder: Path) -> None:
    """Refuse a folder that another run writes to, and leave it untouched.

    Raises:
        OutputUnwritable: the text says who writes.
    """
    if (folder / LOCK).exists():
        _locked(folder).close()


def _locked(folder: Path) -> LockFile:
    while True:
        lock = LockFile(folder / LOCK)
        if not lock.acquire():
            lock.close()
            raise OutputUnwritable(
                f"another run writes to {folder} ({lock.holder()}); wait for its end, or choose another folder "
                "with --output"
            )
        if lock.is_in_place():
            return lock
        lock.close()  # removed by its last holder just before it was ours


def put_aside(file: Path) -> Path:
    """Give a file another name beside its own, one that is free: results.1.jsonl, …; where it is now."""
    names = (file.with_name(f"{file.stem}.{n}{file.suffix}") for n in count(1))
    place = next(name for name in names if not name.exists())
    try:
        return file.rename(place)
    except OSError as error:
        raise OutputUnwritable(f"cannot rename {file} to {place.name}: {error.strerror or error}") from error
