"""The file of known failures: what it may say, what follows from it, and how it is kept up to date."""

from datetime import date
from pathlib import Path

import pytest

from vitbench.errors import KnownFailuresUnusable
from vitbench.known_failures import KnownFailures, Situation, load
from vitbench.requirement import Status

TODAY = date(2026, 11, 22)
HERE = Situation(version="1.4.2", preset="quick", device="cpu", torch="2.14.1+cpu", python="3.11.7")
ID = "VIT-PATCH-COUNT"


def loaded(tmp_path: Path, text: str, *, for_update: bool = False) -> KnownFailures:
    path = tmp_path / "known.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, today=TODAY, for_update=for_update)


def entry(tmp_path: Path, more: str = "") -> KnownFailures:
    return loaded(tmp_path, f'[{ID}]\nreason = "counts one too many"\n{more}')


# --- what the file may say ---


def test_reads_all_that_an_entry_can_say(tmp_path: Path) -> None:
    found = entry(
        tmp_path,
        'link = "https://example.org/7"\nmargin = 3.2e+09\nexpires = 2027-01-31\n'
        'when = { version = ">=1.0,<2", preset = ["quick", "full"], device = "cpu" }\n',
    ).entries[ID]
    assert (found.id, found.reason, found.link) == (ID, "counts one too many", "https://example.org/7")
    assert (found.margin, found.expires) == (3.2e9, date(2027, 1, 31))
    assert found.when == {"version": ">=1.0,<2", "preset": ["quick", "full"], "device": "cpu"}


def test_an_empty_file_knows_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, "# nothing yet\n").entries == {}


def test_says_every_mistake_at_once(tmp_path: Path) -> None:
    text = f'[{ID}]\nreason = ""\n[VIT-NO-SUCH]\nreason = "x"\n[VIT-TOKEN-POSITION]\nreason = "fine"\n'
    with pytest.raises(KnownFailuresUnusable) as raised:
        loaded(tmp_path, text)
    first, second = str(raised.value).splitlines()
    assert f"[{ID}] says no reason" in first
    assert "[VIT-NO-SUCH] is no requirement" in second


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            '[VIT-PATCH-COUNTS]\nreason = "x"',
            "[VIT-PATCH-COUNTS] is no requirement of this vitbench; did you mean VIT-PATCH-COUNT, ",
        ),
        (f"{ID} = 3", f"[{ID}] is 3, expected a table"),
        (f"[{ID}]\n", f'[{ID}] says no reason; write why it may fail, as reason = "…"'),
        (f'[{ID}]\nreason = "  "', f"[{ID}] says no reason"),
        (f"[{ID}]\nreason = 3", f"[{ID}] says no reason"),
        (f'[{ID}]\nreason = "x"\nreasons = 1', f"[{ID}] has an unknown key reasons; there are reason, link, margin"),
        (f'[{ID}]\nreason = "x"\nlink = 7', f"[{ID}] link is 7, expected a text"),
        (f'[{ID}]\nreason = "x"\nmargin = "big"', f"[{ID}] margin is 'big', expected a number from 0 up"),
        (f'[{ID}]\nreason = "x"\nmargin = nan', f"[{ID}] margin is nan, expected a number from 0 up"),
        (f'[{ID}]\nreason = "x"\nmargin = true', f"[{ID}] margin is True"),
        (f'[{ID}]\nreason = "x"\nexpires = "soon"', f"[{ID}] expires is 'soon', expected a date such as 2027-01-31"),
        (f'[{ID}]\nreason = "x"\nexpires = 2027-01-31T00:00:00', f"[{ID}] expires is datetime"),
        (f'[{ID}]\nreason = "x"\nexpires = 2026-11-21', f"[{ID}] expired on 2026-11-21; mend the failure, or give"),
        (f'[{ID}]\nreason = "x"\nnot_offered = "yes"', f"[{ID}] not_offered is 'yes', expected true or false"),
        (f'[{ID}]\nreason = "x"\nmargin = 3\nnot_offered = true', f"[{ID}] has a margin, and what is not_offered"),
        (f'[{ID}]\nreason = "x"\nwhen = "now"', f"[{ID}] when is 'now', expected a table"),
        (f'[{ID}]\nreason = "x"\nwhen = {{ os = "x" }}', f"[{ID}] has an unknown key when.os; there are when.version"),
        (
            f'[{ID}]\nreason = "x"\nwhen = {{ version = "one" }}',
            f"[{ID}] when.version is 'one', expected versions such",
        ),
        (f'[{ID}]\nreason = "x"\nwhen = {{ torch = 2 }}', f"[{ID}] when.torch is 2, expected versions such"),
        (f'[{ID}]\nreason = "x"\nwhen = {{ preset = "fast" }}', f"[{ID}] when.preset is 'fast', expected of quick, "),
        (f'[{ID}]\nreason = "x"\nwhen = {{ device = [] }}', f"[{ID}] when.device is [], expected of cpu, cuda"),
        (f'[{ID}]\nreason = "x"\n[{ID}]\nreason = "y"', "not TOML: Cannot declare"),
        (f"[{ID}\n", "not TOML: Expected"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line_that_names_file_and_entry(
    tmp_path: Path, text: str, mistake: str
) -> None:
    with pytest.raises(KnownFailuresUnusable) as caught:
        loaded(tmp_path, text)
    assert str(caught.value).startswith(f"known failures {tmp_path / 'known.toml'}: {mistake}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KnownFailuresUnusable, match=r"no\.toml: No such file or directory; --update-known writes"):
        load(tmp_path / "no.toml", today=TODAY)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KnownFailuresUnusable, match=r"binary\.toml: not TOML: "):
        load(tmp_path / "binary.toml", today=TODAY)


def test_an_entry_is_good_on_its_last_day(tmp_path: Path) -> None:
    assert ID in entry(tmp_path, "expires = 2026-11-22").entries


def test_an_update_bears_what_a_person_has_still_to_mend(tmp_path: Path) -> None:
    assert load(tmp_path / "no.toml", for_update=True).entries == {}
    text = f'[{ID}]\nreason = ""\nexpires = 2020-01-01'
    assert list(loaded(tmp_path, text, for_update=True).entries) == [ID]


# --- when an entry speaks ---


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("", True),
        ('version = ">=1.0,<2"', True),
        ('version = ">=2"', False),
        ('torch = "==2.14.*"', True),
        ('torch = "==2.14.1"', True),
        ('python = "<3.11"', False),
        ('preset = "quick"', True),
        ('preset = ["standard", "full"]', False),
        ('device = "cpu"', True),
        ('device = "cuda"', False),
        ('version = "<2", device = "cuda"', False),
    ],
)
def test_an_entry_speaks_where_all_its_conditions_hold(tmp_path: Path, when: str, holds: bool) -> None:
    assert (ID in entry(tmp_path, f"when = {{ {when} }}").among(HERE).entries) is holds


def test_a_prerelease_counts_by_its_number() -> None:
    with_rc = Situation(version="2.0rc1", preset="quick", device="cuda", torch="2.14.1", python="3.11.7")
    known = KnownFailures(path=Path("k"), entries={})
    assert known.among(with_rc).entries == {}


def test_a_condition_on_the_version_of_a_package_without_one_is_an_error(tmp_path: Path) -> None:
    unknown = Situation(version="unknown", preset="quick", device="cpu", torch="2.14.1", python="3.11.7")
    with pytest.raises(
        KnownFailuresUnusable, match=r"VIT-PATCH-COUNT: when.version is '<2', but .* is 'unknown'; give"
    ):
        entry(tmp_path, 'when = { version = "<2" }').among(unknown)


def test_the_situation_is_read_off_this_environment() -> None:
    import torch

    here = Situation.here(version="1", preset="full", device="cuda:3")
    assert (here.device, here.torch.partition("+")[0]) == ("cuda", torch.__version__.partition("+")[0])


# --- what follows from it ---


def test_a_known_failure_says_why_it_is_known_and_what_was_found(tmp_path: Path) -> None:
    known = entry(tmp_path, 'link = "https://example.org/7"')
    assert known.judged(ID, Status.FAILED, "7, expected 6", 3.0) == (
        Status.KNOWN_FAILURE,
        "known (counts one too many; https://example.org/7): 7, expected 6",
    )


def test_only_failures_of_the_requirement_listed_are_known(tmp_path: Path) -> None:
    known = entry(tmp_path)
    for status in (Status.PASSED, Status.NOT_OFFERED, Status.ERROR):
        assert known.judged(ID, status, "text", None) == (status, "text")
    assert known.judged("VIT-PATCH-RASTER", Status.FAILED, "text", 2.0) == (Status.FAILED, "text")


@pytest.mark.parametrize(
    ("margin", "worse"),
    [
        (100.0, ""),
        (3.0, ""),
        (1000.0, ""),
        (1001.0, "margin 1e+03; 100 was seen before"),
        (float("inf"), "margin inf; 100 was seen before"),
        (float("nan"), "margin nan; 100 was seen before"),
        (None, "no margin, so it fails in another way; 100 was seen before"),
    ],
)
def test_a_failure_that_became_clearly_worse_fails(tmp_path: Path, margin: float | None, worse: str) -> None:
    status, reason = entry(tmp_path, "margin = 100").judged(ID, Status.FAILED, "wrong", margin)
    expected = (Status.FAILED, f"worse than is known ({worse}): wrong") if worse else (Status.KNOWN_FAILURE, reason)
    assert (status, reason) == expected


def test_without_a_margin_any_failure_is_the_known_one(tmp_path: Path) -> None:
    assert entry(tmp_path).judged(ID, Status.FAILED, "wrong", 1e30)[0] is Status.KNOWN_FAILURE


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status.PASSED, "passes, but is listed in "),
        (Status.NOT_OFFERED, "is not offered, but is listed in "),
        (Status.KNOWN_FAILURE, ""),
        (Status.FAILED, ""),
        (Status.ERROR, ""),
    ],
)
def test_an_entry_of_what_does_not_fail_is_out_of_date(tmp_path: Path, status: Status, text: str) -> None:
    found = entry(tmp_path).outdated(ID, status)
    assert found.startswith(text) if text else found == ""
    assert entry(tmp_path).outdated("VIT-PATCH-RASTER", status) == ""
