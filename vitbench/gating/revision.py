"""Another revision of the candidate's repository, and this vitbench for another interpreter, as folders to import from."""

import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
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

    Returns:
        The folder with its files, and the folders to import from, the first first: what pip installed of it, without
        dependencies, or the files themselves where the repository is no package.

    Raises:
        BaseUnavailable: no repository, no such revision, or it does not install.
    """
    commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", what=f"revision {name!r}")
    root = Path(_git(repository, "rev-parse", "--show-toplevel", what="its root"))
    home = (cache or cache_folder()) / f"{commit[:16]}-py{sys.version_info.major}{sys.version_info.minor}"
    files, site = home / "files", home / "site"
    if not (home / _COMPLETE).exists():
        shutil.rmtree(home, ignore_errors=True)  # what an interrupted run left
        _check_out(root, commit, files)
        if _is_package(files):
            _install(files, site, name)
        (home / _COMPLETE).touch()
    inside = files / repository.resolve().relative_to(root.resolve())
    return inside, ((site,) if _is_package(files) else (inside,))


_COMPLETE = "complete"


def _is_package(files: Path) -> bool:
    return any((files / name).is_file() for name in ("pyproject.toml", "setup.py", "setup.cfg"))


def _check_out(root: Path, commit: str, files: Path) -> None:
    packed = subprocess.run(  # noqa: S603  # no shell
        ["git", "-C", str(root), "archive", "--format=tar", commit],  # noqa: S607
        capture_output=True,
        timeout=_GIT_LIMIT_S,
        check=False,
    )
    if packed.returncode:
        raise BaseUnavailable(f"git archive {commit} in {root}: {_said(packed.stderr)}")
    files.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(files, filter="data")


def _install(files: Path, site: Path, name: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(files)]
    done = subprocess.run(command, capture_output=True, timeout=_INSTALL_LIMIT_S, check=False)  # noqa: S603
    if done.returncode:
        raise BaseUnavailable(f"revision {name!r} does not install: {_said(done.stderr)}")


def _git(repository: Path, *arguments: str, what: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # no shell
            ["git", "-C", str(repository), *arguments],  # noqa: S607
            capture_output=True,
            timeout=_GIT_LIMIT_S,
            check=False,
        )
    except OSError as error:
        raise BaseUnavailable(f"git cannot be run: {error.strerror or error}") from error
    if done.returncode:
        raise BaseUnavailable(f"{what} is not to be found in the git repository at {repository}: {_said(done.stderr)}")
    return done.stdout.decode().strip()


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
