"""Another revision of the candidate's repository, and this vitbench for another interpreter, as folders to import from."""

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import vitbench
from vitbench.gating.decision import BaseUnavailable

_PARTS = ("reference", "suites", "reports")  # of the package vitbench that lie elsewhere in a checkout
_GIT_LIMIT_S, _INSTALL_LIMIT_S = 60, 600
_KEPT_LINES = 3  # of what a command said


def cache_folder() -> Path:
    """Where revisions are kept: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitbench" / "revisions"


def revision(repository: Path, name: str, cache: Path | None = None) -> tuple[Path, tuple[Path, ...]]:
    """Check out and install a revision, unless the cache has it; dependencies are those of the present environment.

    The package is the one in the folder given, or else the one at the root of its repository.

    Returns:
        The folder with its files, and the folders to import from, the first first: what pip installed of it, without
        dependencies, or the files themselves where the repository is no package.

    Raises:
        BaseUnavailable: no repository, no such revision, or it does not install.
    """
    commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", what=f"revision {name!r}")
    root = Path(_git(repository, "rev-parse", "--show-toplevel", what="its root"))
    within = repository.resolve().relative_to(root.resolve())
    home = (cache or cache_folder()) / _name(commit, within)
    try:
        if not (home / _COMPLETE).exists():
            _make(home, root, commit, within, name)
    except (OSError, tarfile.TarError) as error:
        raise BaseUnavailable(f"revision {name!r} cannot be put into {home.parent}: {error}") from error
    files, site = home / "files", home / "site"
    inside = files / within
    if not inside.is_dir():
        raise BaseUnavailable(f"revision {name!r} has no folder {within}; choose another --base-rev or --repository")
    return inside, ((site,) if site.is_dir() else (inside,))


def _name(commit: str, within: Path) -> str:
    """Of a revision's folder in the cache."""
    of_folder = "" if within == Path() else f"-{hashlib.sha256(str(within).encode(errors='replace')).hexdigest()[:8]}"
    return f"{commit[:16]}{of_folder}-py{sys.version_info.major}{sys.version_info.minor}"


def _make(home: Path, root: Path, commit: str, within: Path, name: str) -> None:
    """Prepare it beside its place, and put it there in one step: another gate may be at the same."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{home.name}.", dir=home.parent) as folder:
        made = Path(folder, "made")
        _check_out(root, commit, made / "files")
        package = next((one for one in (made / "files" / within, made / "files") if _is_package(one)), None)
        if package is not None:
            _install(package, made / "site", name)
        (made / _COMPLETE).touch()
        if not (home / _COMPLETE).exists():
            shutil.rmtree(home, ignore_errors=True)  # what an interrupted run of an older vitbench left
            with suppress(OSError):  # another gate has put its own there just now
                made.rename(home)
    if not (home / _COMPLETE).exists():
        raise OSError(f"{home.name} is not complete")


_COMPLETE = "complete"


def _is_package(files: Path) -> bool:
    return any((files / name).is_file() for name in ("pyproject.toml", "setup.py"))


def _check_out(root: Path, commit: str, files: Path) -> None:
    packed = _ran(["git", "-C", str(root), "archive", "--format=tar", commit], _GIT_LIMIT_S)
    if packed.returncode:
        raise BaseUnavailable(f"git archive {commit} in {root}: {_said(packed.stderr)}")
    files.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(files, filter="tar")  # links may lead out of it, as they do in the repository


def _install(files: Path, site: Path, name: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(files)]
    done = _ran(command, _INSTALL_LIMIT_S)
    if done.returncode:
        raise BaseUnavailable(f"revision {name!r} does not install: {_said(done.stderr)}")


def _git(repository: Path, *arguments: str, what: str) -> str:
    done = _ran(["git", "-C", str(repository), *arguments], _GIT_LIMIT_S)
    if done.returncode:
        raise BaseUnavailable(f"{what} is not to be found in the git repository at {repository}: {_said(done.stderr)}")
    return os.fsdecode(done.stdout).strip()


def _ran(command: Sequence[str], limit_s: float) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(command, capture_output=True, timeout=limit_s, check=False)  # noqa: S603  # no shell
    except subprocess.TimeoutExpired as error:
        raise BaseUnavailable(f"{command[0]} did not end within {limit_s:g} s: {' '.join(command[1:])}") from error
    except OSError as error:
        raise BaseUnavailable(f"{Path(command[0]).name} cannot be run: {error.strerror or error}") from error


def _said(output: bytes) -> str:
    lines: Sequence[str] = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-_KEPT_LINES:]) or "it says nothing more"


def this_vitbench(folder: Path) -> Path:
    """A folder with this vitbench and nothing else, for an interpreter that has another one, or none."""
    for name, at in (("vitbench", "vitbench"), *((f"vitbench.{part}", f"vitbench/{part}") for part in _PARTS)):
        module = vitbench if name == "vitbench" else importlib.import_module(name)
        source = Path(str(module.__file__)).parent
        shutil.copytree(source, folder / at, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """For ``this_vitbench``."""
    return tempfile.TemporaryDirectory(prefix="vitbench-gate-")
