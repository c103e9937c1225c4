"""The script that takes the README's pictures."""

import importlib.util
import re
from pathlib import Path

import pytest
from chromium import needs_chromium, written
from sample_charts import measured

ROOT = Path(__file__).resolve().parents[1]


@needs_chromium
def test_every_picture_is_taken_at_the_size_of_its_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "scripts" / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    screenshots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(screenshots)
    written(measured(), tmp_path)
    assert screenshots.main(tmp_path, tmp_path) == 0
    widths = {path.name: int.from_bytes(path.read_bytes()[16:20]) for path in tmp_path.glob("*.png")}
    assert widths == {
        "report.png": 1280, "report-dark.png": 1280, "report-phone.png": 390, "report-phone-dark.png": 390, "charts.png": 1280,
    }  # fmt: skip
    assert (tmp_path / "report.png").read_bytes() != (tmp_path / "report-dark.png").read_bytes()
    assert capsys.readouterr().out.count(" bytes") == len(widths)


def test_every_picture_that_the_readme_shows_is_one_that_a_script_makes() -> None:
    shown = set(re.findall(r"docs/images/([\w.-]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").iterdir() if path.is_file())
    made = {name for name in shown if f'"{name}"' in scripts}
    assert shown == made
    assert all((ROOT / "docs" / "images" / name).stat().st_size > 10_000 for name in shown)
