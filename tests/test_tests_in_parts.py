"""The tests are run in shares, and what one of them finds is not lost among the others."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "tests_in_parts.py"
FILES = 11  # a share and one more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(FILES):
        (tmp_path / f"test_{i:02}.py").write_text(f"def test_number_{i}():\n    pass\n", encoding="utf-8")
    return tmp_path


def run(folder: Path, *options: str) -> tuple[int, str]:
    """The exit code of the script, and the last lines of what it says."""
    command = [sys.executable, str(SCRIPT), str(folder), "-p", "no:cacheprovider", "--rootdir", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout.rpartition("=\n")[2].lstrip()


def test_every_file_is_in_one_share(folder: Path) -> None:
    code, told = run(folder)
    assert (code, told.partition(" in ")[0]) == (0, "all shares: 11 passed")


@pytest.mark.parametrize("broken", [0, FILES - 1], ids=["of the first share", "of the last"])
def test_a_failure_of_any_share_fails_the_whole(folder: Path, broken: int) -> None:
    (folder / f"test_{broken:02}.py").write_text("def test_wrong():\n    assert 1 == 2\n", encoding="utf-8")
    code, told = run(folder)
    assert code == 1
    assert told.startswith(
        f"FAILED test_{broken:02}.py::test_wrong - assert 1 == 2\nall shares: 1 failed, 10 passed in "
    )


def test_a_share_that_dies_fails_the_whole(folder: Path) -> None:
    (folder / "test_00.py").write_text("import os\n\ndef test_wrong():\n    os._exit(7)\n", encoding="utf-8")
    code, told = run(folder)
    assert code == 7
    assert "pytest ended with 7" in told


def test_a_selection_may_leave_shares_empty_but_not_all(folder: Path) -> None:
    code, told = run(folder, "-k", "number_10")
    assert (code, told.partition(" in ")[0]) == (0, "all shares: 10 deselected, 1 passed")
    assert run(folder, "-k", "no_such_test")[0] == 5
