"""``--update-known``: what a run changes in the file of known failures, and what it leaves as a person wrote it."""

from pathlib import Path

import pytest
from sample_runs import requirement

from vitbench.errors import KnownFailuresUnusable, OutputUnwritable
from vitbench.known_failures import Situation, load
from vitbench.known_failures_file import Update, update, write
from vitbench.records import RequirementRecord
from vitbench.requirement import Status

HERE = Situation(version="1.4.2", preset="quick", device="cpu", torch="2.14.1", python="3.11.7")

FILE = """\
# Ours; ask the maintainers before you add to it.

# seen first in 1.2
[VIT-PATCH-COUNT]
reason = "counts one too many"   # really
margin = 120  # at seed 0
link = "https://example.org/7"

[VIT-PATCH-RASTER]
reason = '''
two
lines'''

[VIT-HEAD-LOGITS]
reason = "on another device"
[VIT-HEAD-LOGITS.when]
device = "cuda"
"""


def record(name: str, status: Status, margin: float | None = None) -> RequirementRecord:
    return requirement(id=name, status=status, worst_margin=margin)


def updated(tmp_path: Path, text: str | None, *records: RequirementRecord) -> Update:
    path = tmp_path / "known.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    known = load(path, for_update=True)
    return update(known, known.among(HERE), records)


def test_a_run_that_fails_as_is_known_changes_nothing(tmp_path: Path) -> None:
    found = updated(tmp_path, FILE, record("VIT-PATCH-COUNT", Status.KNOWN_FAILURE, 120.0))
    assert found.text == FILE
    assert str(found) == "nothing to change"


def test_what_passes_now_is_removed_with_its_comments_and_the_rest_is_kept_to_the_letter(tmp_path: Path) -> None:
    found = updated(
        tmp_path, FILE, record("VIT-PATCH-COUNT", Status.PASSED), record("VIT-PATCH-RASTER", Status.KNOWN_FAILURE)
    )  # fmt: skip
    above, _, below = FILE.partition("# seen first")
    assert found.text == above + below[below.index("[VIT-PATCH-RASTER]") :]
    assert found.removed == ["VIT-PATCH-COUNT"]


def test_what_was_not_judged_stays(tmp_path: Path) -> None:
    assert updated(tmp_path, FILE).text == FILE


def test_another_margin_is_written_and_nothing_else_of_its_line(tmp_path: Path) -> None:
    found = updated(tmp_path, FILE, record("VIT-PATCH-COUNT", Status.FAILED, 3.21e9))
    assert found.text == FILE.replace("margin = 120 ", "margin = 3.21e+09 ")
    assert str(found) == "1 margins changed (VIT-PATCH-COUNT)"


def test_a_margin_that_nobody_wrote_down_is_not_added(tmp_path: Path) -> None:
    assert updated(tmp_path, FILE, record("VIT-PATCH-RASTER", Status.KNOWN_FAILURE, 3.0)).text == FILE


def test_new_failures_are_added_and_wait_for_a_reason(tmp_path: Path) -> None:
    found = updated(
        tmp_path, FILE, record("VIT-TOKEN-LENGTH", Status.FAILED), record("VIT-ATTN-ROWS", Status.FAILED, 7e12)
    )
    added = (
        '\n[VIT-ATTN-ROWS]\nreason = ""  # say why; the file is refused without it\nmargin = 7e+12\n'
        '\n[VIT-TOKEN-LENGTH]\nreason = ""  # say why; the file is refused without it\n'
    )
    assert found.text == FILE + added
    assert str(found).startswith("2 added (VIT-ATTN-ROWS, VIT-TOKEN-LENGTH); say why in each new reason")
    path = tmp_path / "known.toml"
    write(path, found.text)
    with pytest.raises(KnownFailuresUnusable, match=r"\[VIT-ATTN-ROWS\] says no reason"):
        load(path)


def test_a_file_is_begun_where_there_is_none(tmp_path: Path) -> None:
    found = updated(tmp_path, None, record("VIT-ATTN-ROWS", Status.FAILED, float("inf")))
    write(tmp_path / "sub" / "known.toml", found.text)
    assert list(load(tmp_path / "sub" / "known.toml", for_update=True).entries) == ["VIT-ATTN-ROWS"]
    assert found.text.startswith("# Requirements that are known to fail")


def test_entries_for_elsewhere_stay_and_are_named_where_they_would_be_needed_here(tmp_path: Path) -> None:
    found = updated(tmp_path, FILE, record("VIT-HEAD-LOGITS", Status.FAILED, 5.0))
    assert found.text == FILE
    assert str(found) == "change by hand what holds elsewhere only: VIT-HEAD-LOGITS"
    assert updated(tmp_path, FILE, record("VIT-HEAD-LOGITS", Status.PASSED)).text == FILE


def test_a_second_update_changes_nothing_more(tmp_path: Path) -> None:
    records = (record("VIT-PATCH-COUNT", Status.PASSED), record("VIT-ATTN-ROWS", Status.FAILED, 7.0))
    once = updated(tmp_path, FILE, *records).text
    assert updated(tmp_path, once, *records).text == once


def test_a_file_in_another_style_is_refused_rather_than_spoiled(tmp_path: Path) -> None:
    inline = 'VIT-PATCH-COUNT = { reason = "x" }\nVIT-PATCH-RASTER = { reason = "y" }\n'
    with pytest.raises(KnownFailuresUnusable, match="cannot keep how this is written; change it by hand"):
        updated(tmp_path, inline, record("VIT-PATCH-COUNT", Status.PASSED))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable, match="cannot write known failures"):
        write(tmp_path / "file" / "known.toml", "")
