"""The runs that are published: whole, readable, and showing what is said of them."""

from pathlib import Path

import pytest

from vitbench.report import main
from vitbench.reports.site import build
from vitbench.results import read

PUBLISHED = Path(__file__).parents[1] / "reports" / "published"
RUNS = sorted(PUBLISHED.rglob("results.jsonl"))
RELEASES = sorted((PUBLISHED / "timm-releases").iterdir())


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.parent.name)
def test_a_published_run_is_complete(path: Path) -> None:
    run = read(path)
    assert run.complete
    assert run.verdicts or run.studies


def test_the_history_of_timms_releases_shows_since_when_a_position_table_of_equal_count_is_resized() -> None:
    """The release before returned it unchanged: pytorch-image-models #2737."""
    found = build([read(release / "results.jsonl") for release in RELEASES])
    assert len(found.runs) == 10
    turned = {turn.id: (turn.version, turn.before.word, turn.now.word) for turn in found.turns}
    assert turned["VIT-POS-EQUAL-COUNT"] == ("1.0.31", "failed", "passed")


def test_the_site_of_timms_releases_is_written_as_its_page_says(tmp_path: Path) -> None:
    assert main([str(PUBLISHED / "timm-releases"), "-o", str(tmp_path / "site")]) == 0
    pages = {page.name for page in (tmp_path / "site" / "runs").iterdir()}
    assert pages == {f"{release.name}.html" for release in RELEASES}
