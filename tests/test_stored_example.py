"""The example on which a requirement failed is tried first by the next run, and changes nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from vitbench.assertions import assert_holds
from vitbench.check import Judgement, configured, given, judge, requirement
from vitbench.requirement import Status
from vitbench.stored_example import StoredExample, folder_of

NOBODY: Any = None


@pytest.fixture
def stored(tmp_path: Path) -> StoredExample:
    return StoredExample(tmp_path / "mine" / "VIT-HEAD-LOGITS")


def judged(limit: int, stored: StoredExample | None, seen: list[int] | None = None) -> Judgement:
    """A check that fails from ``limit`` up."""

    def body(impl: Any, case: int) -> None:
        if seen is not None:
            seen.append(case)
        assert_holds(condition=case < limit, failure=f"{case} is too many")

    check: Callable[..., None] = requirement("VIT-HEAD-LOGITS")(given(case=st.integers(0, 1000))(body))
    return judge(configured(check, "quick", 0, stored=stored), NOBODY)


def outcome(judgement: Judgement) -> tuple[Any, ...]:
    return judgement.status, judgement.reason, judgement.evidence.example, judgement.evidence.examples


def test_a_failing_requirement_fails_at_once_with_the_same_example(stored: StoredExample) -> None:
    first, seen = judged(137, stored), list[int]()
    again = judged(137, stored, seen)
    assert (first.evidence.example, again.evidence.example) == ("137", "137")
    assert (again.status, again.reason) == (first.status, first.reason) == (Status.FAILED, "137 is too many")
    assert set(seen) == {137}
    assert again.evidence.examples == 0


def test_storing_changes_nothing_of_the_run_that_stores(stored: StoredExample) -> None:
    assert outcome(judged(137, stored)) == outcome(judged(137, None))


def test_what_passes_now_is_judged_as_if_nothing_had_been_stored(stored: StoredExample) -> None:
    judged(137, stored)
    assert stored.exists
    seen, fresh = list[int](), list[int]()
    assert outcome(judged(1001, stored, seen)) == outcome(judged(1001, None, fresh))
    assert seen == [137, *fresh]
    assert not stored.exists


def test_another_failure_is_found_and_shrunk_as_without_the_stored_example(stored: StoredExample) -> None:
    judged(137, stored)
    assert outcome(judged(300, stored)) == outcome(judged(300, None))
    assert judged(300, stored).evidence.example == "300"


def test_a_passing_requirement_stores_nothing(stored: StoredExample) -> None:
    assert judged(1001, stored).status == Status.PASSED
    assert not stored.exists


@pytest.mark.parametrize("content", [b"", b"\x00\xff nonsense", b"x" * 5000])
def test_a_file_that_is_damaged_is_no_harm(stored: StoredExample, content: bytes) -> None:
    expected = outcome(judged(137, stored))
    stored._file.write_bytes(content)
    assert outcome(judged(137, stored)) == expected


def test_a_place_that_cannot_be_written_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert outcome(judged(137, StoredExample(tmp_path / "file" / "x"))) == outcome(judged(137, None))


def test_each_implementation_preset_seed_and_device_has_a_folder_of_its_own(tmp_path: Path) -> None:
    options = [
        ("a.py", "quick", 0, "cpu"),
        ("b/a.py", "quick", 0, "cpu"),
        ("b_a.py", "quick", 0, "cpu"),
        ("a.py", "full", 0, "cpu"),
        ("a.py", "quick", 1, "cpu"),
        ("a.py", "quick", 0, "cuda:0"),
        ("../../../etc/a.py", "quick", 0, "cpu"),
    ]
    folders = [folder_of(tmp_path, *one) for one in options]
    assert len(set(folders)) == len(options)
    assert all(folder.resolve().is_relative_to(tmp_path) for folder in folders)


ADAPTER = """
from vitbench.adapters.reference import ReferenceAdapter

class Mine(ReferenceAdapter):
    def patch_tokens(self, model, images):
        with open("calls", "a") as calls:
            calls.write("x")
        return super().patch_tokens(model, images)[:, int(images.shape[2] > 9):]
"""


def calls_of_a_run(pytester: pytest.Pytester, *options: str) -> int:
    Path("calls").unlink(missing_ok=True)
    suite = ("--pyargs", "vitbench.suites.conformance", "--impl", "mine.py", "-k", "VIT-PATCH-COUNT", "--no-diagnosis")
    result = pytester.runpytest_inprocess(*suite, *options)
    result.stdout.fnmatch_lines(
        ["FAILED *VIT-PATCH-COUNT*", "reproduce: *--seed 0"] if "-v" in options else ["FAILED *"]
    )
    return len(Path("calls").read_text())


def test_runs_keep_it_in_pytests_cache_and_do_without_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(mine=ADAPTER)
    first, again = calls_of_a_run(pytester), calls_of_a_run(pytester)
    assert again < first
    assert [path.name for path in Path(".pytest_cache/d/vitbench").rglob("VIT-*")] == ["VIT-PATCH-COUNT"]
    assert calls_of_a_run(pytester, "-p", "no:cacheprovider") == first
    assert calls_of_a_run(pytester, "--cache-clear") == first


def test_a_cache_that_cannot_be_written_is_no_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(mine=ADAPTER)
    Path(".pytest_cache").write_text("in the way")
    assert calls_of_a_run(pytester, "-W", "ignore") == calls_of_a_run(pytester, "-p", "no:cacheprovider")
