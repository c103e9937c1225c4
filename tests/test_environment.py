"""What a run says of where it ran."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vitbench.environment import repository_of, torch_flags


def module(file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("an_adapter", file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "an_adapter", loaded)
    spec.loader.exec_module(loaded)
    return loaded


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_candidate_in_a_repository_of_its_own_is_told_with_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "adapter.py"
    file.write_text("class Mine:\n    pass\n")
    adapter = module(file, monkeypatch).Mine
    assert repository_of(adapter()) is None
    git(tmp_path, "init", "-q")
    assert (
        repository_of(adapter()) is None
    )  # not tracked, as what is installed in an environment inside of a repository
    git(tmp_path, "add", "adapter.py")
    git(tmp_path, "commit", "-qm", "mine")
    assert repository_of(adapter()) == {"git_commit": git(tmp_path, "rev-parse", "HEAD"), "git_clean": True}
    file.write_text("class Mine:\n    changed = True\n")
    assert repository_of(adapter()) == {"git_commit": git(tmp_path, "rev-parse", "HEAD"), "git_clean": False}


def test_what_is_installed_or_built_in_has_no_repository() -> None:
    assert repository_of(torch.nn.Linear(1, 1)) is None
    assert repository_of(1) is None


def test_flags_are_torchs_own() -> None:
    flags = torch_flags()
    assert flags["matmul_fp32_precision"] == torch.backends.cuda.matmul.fp32_precision
    assert flags["default_dtype"] == "float32"
    assert flags["deterministic"] is False
    assert all(isinstance(value, str | bool | int | None) for value in flags.values())
