"""Known failures in real runs: what a candidate's CI sees."""

from pathlib import Path

import pytest

from vitbench.results import Run, read

ADAPTER = """
from vitbench.adapters.reference import ReferenceAdapter

class Mine(ReferenceAdapter):
    name, version = "mine", "1.4"

    def patch_tokens(self, model, images):
        return super().patch_tokens(model, images)[:, 1:]
"""
COUNT = '[VIT-PATCH-COUNT]\nreason = "one is lost"\n'


def run(
    pytester: pytest.Pytester, known: str | None, *options: str, impl: str = "mine.py"
) -> tuple[pytest.RunResult, Run]:
    pytester.makepyfile(mine=ADAPTER)
    if known is not None:
        Path("known.toml").write_text(known)
    suite = ("--pyargs", "vitbench.suites.conformance", "-p", "no:cacheprovider", "--no-diagnosis", "--impl", impl)
    result = pytester.runpytest_inprocess(*suite, "--known-failures", "known.toml", "--results", "run.jsonl", *options)
    return result, read(pytester.path / "run.jsonl")


def some(*names: str) -> tuple[str, str]:
    return "-k", " or ".join(names)


def test_a_ci_passes_while_exactly_the_known_failures_fail(pytester: pytest.Pytester) -> None:
    """The whole life of a file: written, refused without reasons, accepted with them, still no conformance."""
    result, _ = run(pytester, None, "--update-known")
    result.stdout.fnmatch_lines(["known failures in known.toml: * added (*VIT-PATCH-COUNT*"])
    assert result.ret == 1
    refused, _ = run(pytester, None)
    refused.stderr.fnmatch_lines(["ERROR: known failures known.toml: [[]VIT-*] says no reason; write why *"])
    assert refused.ret == 4
    explained = Path("known.toml").read_text().replace('reason = ""', 'reason = "one patch is lost"')
    accepted, records = run(pytester, explained)
    accepted.stdout.fnmatch_lines(
        [
            "KNOWN        MUST   VIT-PATCH-COUNT * known (one patch is lost): *",
            "MUST * failed: DOES NOT CONFORM",
            "every failure is known (known.toml): exit code 0",
        ]
    )
    accepted.stdout.no_fnmatch_line("FAILED *")
    assert accepted.ret == 0
    assert records.verdicts[0].verdict == "DOES NOT CONFORM"
    assert records.verdicts[0].must.failed > 0
    again, _ = run(pytester, explained, "--update-known")
    again.stdout.fnmatch_lines(["known failures in known.toml: nothing to change"])
    assert Path("known.toml").read_text() == explained


def test_an_unexpected_pass_fails_and_is_no_failure_of_the_requirement(pytester: pytest.Pytester) -> None:
    known = COUNT + '[VIT-TOKEN-LENGTH]\nreason = "gone"\n'
    result, records = run(pytester, known, *some("VIT-PATCH-COUNT", "VIT-TOKEN-LENGTH"))
    result.stdout.fnmatch_lines(
        [
            "VIT-TOKEN-LENGTH passes, but is listed in known.toml as a known failure; remove the entry, or use *",
            "OUTDATED     MUST   VIT-TOKEN-LENGTH *",
        ]
    )
    assert {r.id: r.status for r in records.requirements} == {
        "VIT-PATCH-COUNT": "KNOWN_FAILURE",
        "VIT-TOKEN-LENGTH": "PASSED",
    }
    assert result.ret == 1


def test_a_selection_keeps_the_entries_that_it_does_not_judge(pytester: pytest.Pytester) -> None:
    known = COUNT + '\n[VIT-TOKEN-LENGTH]\nreason = "gone"\n\n[VIT-ATTN-ROWS]\nreason = "not looked at"\n'
    result, _ = run(pytester, known, *some("VIT-PATCH-COUNT", "VIT-TOKEN-LENGTH"), "--update-known")
    result.stdout.fnmatch_lines(["known failures in known.toml: 1 removed (VIT-TOKEN-LENGTH)"])
    assert Path("known.toml").read_text() == COUNT + '\n[VIT-ATTN-ROWS]\nreason = "not looked at"\n'


def test_an_entry_for_another_version_excuses_nothing(pytester: pytest.Pytester) -> None:
    known = COUNT + 'when = { version = "<1.4" }\n'
    result, _ = run(pytester, known, *some("VIT-PATCH-COUNT"))
    result.stdout.fnmatch_lines(["FAILED       MUST   VIT-PATCH-COUNT *"])
    assert result.ret == 1


@pytest.mark.parametrize(
    ("known", "options", "text"),
    [
        ('[VIT-NO]\nreason = "x"', (), "ERROR: known failures known.toml: [[]VIT-NO] is no requirement of this vitbench*"),
        (None, ("--known-failures", "none.toml"), "ERROR: cannot read known failures none.toml: No such file*"),
        (COUNT + 'when = { version = "<1" }', ("--impl", "bare.py"), "ERROR: known failure VIT-PATCH-COUNT: when.version *"),
    ],
    ids=["unmatched", "missing", "version of a package without one"],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_ends_in_one_line_before_anything_is_judged(
    pytester: pytest.Pytester, known: str | None, options: tuple[str, ...], text: str
) -> None:
    pytester.makepyfile(bare=ADAPTER.replace('"1.4"', '"unknown"'), mine=ADAPTER)
    if known is not None:
        Path("known.toml").write_text(known)
    suite = ("--pyargs", "vitbench.suites.conformance", "--impl", "mine.py", "--known-failures", "known.toml")
    result = pytester.runpytest_inprocess(*suite, *options)
    result.stderr.fnmatch_lines([text])
    assert result.ret == 4


def test_an_update_needs_a_file(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(
        "--pyargs", "vitbench.suites.conformance", "--impl", "reference", "--update-known"
    )
    result.stderr.fnmatch_lines(["ERROR: --update-known needs the file: --known-failures FILE --update-known"])


def test_workers_know_the_same(pytester: pytest.Pytester) -> None:
    known = COUNT + '[VIT-TOKEN-LENGTH]\nreason = "gone"\n'
    result, records = run(pytester, known, *some("VIT-PATCH-COUNT", "VIT-TOKEN-LENGTH"), "-n", "2")
    result.stdout.fnmatch_lines(["OUTDATED     MUST   VIT-TOKEN-LENGTH *", "KNOWN        MUST   VIT-PATCH-COUNT *"])
    assert {r.status for r in records.requirements} == {"KNOWN_FAILURE", "PASSED"}
    assert result.ret == 1


LACKING = """
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.errors import NotSupported

class Mine(ReferenceAdapter):
    name, version = "mine", "1.4"

    def attention(self, model, images):
        raise NotSupported("fused")
"""


def test_what_is_known_not_to_be_offered_does_not_fail_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(lacking=LACKING)
    missing, records = run(pytester, "", impl="lacking.py")
    missing.stdout.fnmatch_lines(["MUST * not offered: INCOMPLETE", "exit code 1: * MUSTs are not offered *"])
    assert missing.ret == 1
    ids = [r.id for r in records.requirements if r.status == "NOT_OFFERED" and r.level == "MUST"]
    listed = "".join(f'[{id_}]\nreason = "fused"\nnot_offered = true\n' for id_ in ids)
    accepted, _ = run(pytester, listed, impl="lacking.py")
    accepted.stdout.fnmatch_lines(
        ["MUST * not offered: INCOMPLETE", "exit code 0: * MUSTs are not offered, as listed in known.toml"]
    )
    assert accepted.ret == 0
    allowed, _ = run(pytester, "", "--allow-incomplete", impl="lacking.py")
    allowed.stdout.fnmatch_lines(["exit code 0: * MUSTs are not offered, --allow-incomplete"])
    assert allowed.ret == 0


def test_what_is_listed_as_not_offered_and_is_offered_fails_as_it_is(pytester: pytest.Pytester) -> None:
    known = COUNT + "not_offered = true\n" + '[VIT-TOKEN-LENGTH]\nreason = "gone"\nnot_offered = true\n'
    result, _ = run(pytester, known, *some("VIT-PATCH-COUNT", "VIT-TOKEN-LENGTH"), "--allow-incomplete")
    result.stdout.fnmatch_lines(
        [
            "OUTDATED     MUST   VIT-TOKEN-LENGTH * passes, but is listed in known.toml as not offered; *",
            "FAILED       MUST   VIT-PATCH-COUNT *",
        ]
    )
    assert result.ret == 1
