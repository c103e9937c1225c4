"""The specification as a document."""

import subprocess
import sys
from pathlib import Path

import pytest

from vitbench.spec import document, main
from vitbench.specification import REQUIREMENTS

COMMITTED = Path(__file__).resolve().parent.parent / "docs" / "SPEC.md"


def test_the_committed_document_is_what_the_declarations_say() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == document(), "stale: run python -m vitbench.spec -o docs/SPEC.md"


def test_every_requirement_has_its_entry() -> None:
    lines = document().splitlines()
    assert [line.removeprefix("### ") for line in lines if line.startswith("### ")] == list(REQUIREMENTS)


def test_it_is_written_without_torch(tmp_path: Path) -> None:
    script = "import sys; from vitbench.spec import main; main(['-o', 'SPEC.md']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "SPEC.md").read_text(encoding="utf-8") == document()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", str(tmp_path / "none" / "SPEC.md")]) == 2
    assert capsys.readouterr().err.startswith("vitbench spec: cannot write ")
