"""The base as another revision of a repository: checked out, installed, cached; and what cannot be had is said."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vitbench import gate
from vitbench.gating.decision import BaseUnavailable
from vitbench.gating.revision import revision, this_vitbench

PROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "candidate"
version = "1.0"
[tool.setuptools]
py-modules = ["candidate"]
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A module whose first revision, called base, has another content than its present one."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "candidate.py").write_text("BEFORE = True\n", encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    git(folder, "tag", "base")
    (folder / "candidate.py").write_text("BEFORE = False\n", encoding="utf-8")
    git(folder, "commit", "-qam", "second")
    return folder


def test_files_are_those_of_the_revision_whatever_lies_there_now(repository: Path, tmp_path: Path) -> None:
    files, path = revision(repository, "base", tmp_path / "cache")
    assert (files / "candidate.py").read_text() == "BEFORE = True\n"
    assert path == (files,)
    assert (repository / "candidate.py").read_text() == "BEFORE = False\n"


def test_a_package_is_installed_once_and_then_taken_from_the_cache(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "a package")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads it as: without isolation
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    _, (site,) = revision(repository, "HEAD", tmp_path / "cache")
    assert (site / "candidate.py").read_text() == "BEFORE = False\n"
    (site / "kept").touch()
    _, (again,) = revision(repository, "HEAD", tmp_path / "cache")
    assert (again / "kept").exists()


def test_what_an_interrupted_run_left_is_made_anew(repository: Path, tmp_path: Path) -> None:
    files, _ = revision(repository, "base", tmp_path / "cache")
    (files.parent / "complete").unlink()
    (files / "candidate.py").write_text("half", encoding="utf-8")
    assert (revision(repository, "base", tmp_path / "cache")[0] / "candidate.py").read_text() == "BEFORE = True\n"


def test_a_revision_that_does_not_install_is_no_baseline(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "pyproject.toml").write_text("this is no TOML", encoding="utf-8")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "broken")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(repository)  # the head is looked for before the base
    command = ["paired", "--head", "candidate", "--base-rev", "HEAD", "--repository", str(repository)]
    assert gate.main(command) == 4
    assert "revision 'HEAD' does not install: " in capsys.readouterr().err


def test_a_revision_that_is_not_there_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseUnavailable, match="revision 'nowhere' is not to be found in the git repository at"):
        revision(repository, "nowhere", tmp_path / "cache")


def test_a_folder_without_a_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseUnavailable, match="is not to be found in the git repository at"):
        revision(tmp_path, "main", tmp_path / "cache")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads it as: without isolation
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.mark.usefixtures("offline")
def test_a_package_in_a_folder_of_its_repository_is_the_one_that_is_installed(repository: Path, tmp_path: Path) -> None:
    package = repository / "packages" / "one"
    package.mkdir(parents=True)
    (package / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (package / "candidate.py").write_text("WHERE = 'packages/one'\n", encoding="utf-8")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "a package in a folder")
    files, (site,) = revision(package, "HEAD", tmp_path / "cache")
    assert files.parts[-2:] == ("packages", "one")
    assert (site / "candidate.py").read_text() == "WHERE = 'packages/one'\n"
    _, (root,) = revision(repository, "HEAD", tmp_path / "cache")
    assert (root / "candidate.py").read_text() == "BEFORE = False\n"


def test_a_folder_that_the_revision_lacks_is_named(repository: Path, tmp_path: Path) -> None:
    (repository / "later").mkdir()
    with pytest.raises(BaseUnavailable, match="revision 'base' has no folder later"):
        revision(repository / "later", "base", tmp_path / "cache")


def test_links_that_lead_out_of_a_repository_do_not_keep_it_from_being_checked_out(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "data").symlink_to("/somewhere/else")
    (repository / "above").symlink_to("../../above")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "links")
    files, _ = revision(repository, "HEAD", tmp_path / "cache")
    assert (files / "candidate.py").exists()


def test_a_file_for_other_tools_makes_no_package(repository: Path, tmp_path: Path) -> None:
    (repository / "setup.cfg").write_text("[flake8]\n", encoding="utf-8")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "settings of a linter")
    files, path = revision(repository, "HEAD", tmp_path / "cache")
    assert path == (files,)


def test_gates_that_want_the_same_revision_at_once_all_get_it(repository: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as several:
        found = list(several.map(lambda _: revision(repository, "base", tmp_path / "cache"), range(4)))
    assert len(set(found)) == 1
    assert (found[0][0] / "candidate.py").exists()
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing half-made


def test_a_cache_that_cannot_be_written_is_named(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(BaseUnavailable, match=r"revision 'base' cannot be put into .*cache"):
        revision(repository, "base", tmp_path / "cache")


def test_a_git_that_does_not_answer_is_named(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr("vitbench.gating.revision.subprocess.run", hangs)
    with pytest.raises(BaseUnavailable, match="git did not end within 60 s"):
        revision(repository, "base", tmp_path / "cache")


def test_another_interpreter_gets_this_vitbench_and_nothing_else_of_ours(tmp_path: Path) -> None:
    folder = this_vitbench(tmp_path)
    code = "import vitbench, vitbench.reference.config, vitbench.suites.throughput; print(vitbench.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(folder)}
    )
    assert Path(done.stdout.strip()).is_relative_to(folder)
    assert [entry.name for entry in folder.iterdir()] == ["vitbench"]
