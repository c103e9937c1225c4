"""Candidates that hang, crash, leave, flood or lie about their types: each ends in its own status, and the rest is judged."""

from pathlib import Path

import pytest

from vitbench.errors import OutputCut
from vitbench.forked import AVAILABLE
from vitbench.requirement import Status
from vitbench.results import Run, read

ADAPTER = """
import ctypes, os, sys, time, threading
import numpy, random, torch
from vitbench.adapter import Adapter, NotSupported
from vitbench.adapters.reference import ReferenceAdapter

class Mine(ReferenceAdapter):
    name, version = "mine", "0.1"
"""

needs_forks = pytest.mark.skipif(not AVAILABLE, reason="candidates are judged apart on Linux only")


def adapter(pytester: pytest.Pytester, methods: str = "", *, before: str = "") -> str:
    """An adapter file: the reference, but for these methods."""
    body = "\n".join(f"    {line}" for line in methods.strip("\n").split("\n"))
    pytester.makepyfile(mine=ADAPTER.replace("\nclass", f"{before}\nclass") + body)
    return "mine.py"


def judge(
    pytester: pytest.Pytester, impl: str, requirements: str, *options: str, diagnose: bool = False
) -> tuple[pytest.RunResult, Run]:
    """A real run of some requirements, and its records."""
    result = pytester.runpytest_inprocess(
        "--pyargs",
        "vitbench.suites.conformance",
        "-p",
        "no:cacheprovider",
        *(() if diagnose else ("--no-diagnosis",)),  # takes longer than what is judged here
        *("--impl", impl, "--results", "run.jsonl", "-k", " or ".join(requirements.split())),
        *options,
    )
    return result, read(pytester.path / "run.jsonl")


def outcomes(run: Run) -> dict[str, tuple[Status, str]]:
    return {record.id: (record.status, record.reason) for record in run.requirements}


@needs_forks
def test_whatever_ends_or_hangs_costs_its_own_requirement_alone(pytester: pytest.Pytester) -> None:
    impl = adapter(
        pytester,
        """
def patch_tokens(self, model, images):
    while True:
        pass

def tokens(self, model, images):
    os._exit(0)

def block_outputs(self, model, images):
    ctypes.string_at(0)

def attention(self, model, images):
    sys.exit(0)

def representation(self, model, images):
    return torch.zeros(10**15)
""",
    )
    chosen = "VIT-PATCH-COUNT VIT-TOKEN-LENGTH VIT-BLOCK-DEPTH VIT-ATTN-ROWS VIT-HEAD-LINEAR VIT-PURE-BATCH"
    result, run = judge(pytester, impl, chosen, "--time-limit", "3")
    found = outcomes(run)
    assert found.pop("VIT-PURE-BATCH") == (Status.PASSED, "")
    assert {status for status, _ in found.values()} == {Status.FAILED}
    reasons = {requirement: reason for requirement, (_, reason) in found.items()}
    assert reasons["VIT-PATCH-COUNT"].startswith("did not end within 3 s in patch_tokens() (mine.py:")
    assert reasons["VIT-PATCH-COUNT"].endswith("; if it is only slow, give an example more time with --time-limit")
    assert reasons["VIT-TOKEN-LENGTH"] == "while this was judged, its process exited with code 0"
    assert "killed by SIGSEGV in string_at()" in reasons["VIT-BLOCK-DEPTH"]
    assert reasons["VIT-ATTN-ROWS"].startswith("attention() raised SystemExit: 0 (mine.py:")
    assert reasons["VIT-HEAD-LINEAR"].startswith("representation() needs more memory than there is: ")
    assert result.ret == 1
    lost = next(record for record in run.requirements if record.id == "VIT-TOKEN-LENGTH")
    assert lost.example.startswith("image 4×9, patch 2×3")
    assert lost.reproduce.endswith("-k VIT-TOKEN-LENGTH --impl mine.py --preset quick --seed 0")
    assert run.complete


@needs_forks
@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("while True: pass", "none: it hung while it was judged, and was asked no more"),
        ("os._exit(3)", "none: while the cause was looked for, its process exited with code 3"),
    ],
    ids=["hangs", "leaves"],
)
def test_why_there_is_no_diagnosis_is_told(pytester: pytest.Pytester, ending: str, told: str) -> None:
    """Of what is lost in a check, and would be again."""
    impl = adapter(
        pytester,
        f"""
def logits(self, model, images):
    if images.shape[-1] != images.shape[-2]:  # which the smoke stage does not try
        {ending}
    return super().logits(model, images)
""",
    )
    options = ("--time-limit", "2")
    result, _ = judge(pytester, impl, "VIT-HEAD-LOGITS", *options, diagnose=True)
    result.stdout.fnmatch_lines([f"DIAGNOSIS    {told}*"])
    result.stdout.no_fnmatch_line("  took:*")


@needs_forks
def test_a_process_that_leaves_late_is_told_with_the_example_it_left_at(pytester: pytest.Pytester) -> None:
    impl = adapter(
        pytester,
        """
def patch_tokens(self, model, images):
    if images.shape[0] == 4:
        os._exit(3)
    return super().patch_tokens(model, images)
""",
    )
    _, run = judge(pytester, impl, "VIT-PATCH-COUNT")
    (record,) = run.requirements
    assert record.reason == "while this was judged, its process exited with code 3"
    assert "; batch 4, seed" in record.example
    assert record.examples > 1


@needs_forks
@pytest.mark.parametrize(
    ("methods", "before", "text"),
    [
        ("pass", "os._exit(0)", "ERROR: adapter 'mine.py': while it was loaded, its process exited with code 0"),
        (
            "def build(self, config):\n    os._exit(0)",
            "",
            "ADAPTER BROKEN: *its process exited with code 0 (smoke stage)",
        ),
        (
            "def build(self, config):\n    time.sleep(99)",
            "",
            "ADAPTER BROKEN: *did not end within 3 s in build() (mine.py:*) (smoke stage)",
        ),
    ],
    ids=["leaves when imported", "leaves when built", "hangs when built"],
)
def test_what_cannot_even_be_tried_has_exit_code_4(
    pytester: pytest.Pytester, methods: str, before: str, text: str
) -> None:
    impl = adapter(pytester, methods, before=before)
    result = pytester.runpytest_inprocess(
        "--pyargs", "vitbench.suites.conformance", "-p", "no:cacheprovider", "--impl", impl, "--time-limit", "3"
    )  # fmt: skip
    (result.stderr if text.startswith("ERROR") else result.stdout).fnmatch_lines([text])
    assert result.ret == 4
    assert "Traceback" not in str(result.stdout)


@pytest.mark.parametrize(
    ("methods", "text"),
    [
        ("@property\ndef name(self):\n    raise ValueError('no')", "raised ValueError when asked what it is: no (mine.py:"),
        ("def __init__(self):\n    self.conventions = {}", "conventions is a dict, expected vitbench.adapter.Conventions(...)"),
    ],
)  # fmt: skip
def test_an_adapter_that_cannot_say_what_it_is_ends_in_one_line(
    pytester: pytest.Pytester, methods: str, text: str
) -> None:
    impl = adapter(pytester, methods)
    result = pytester.runpytest_inprocess("--pyargs", "vitbench.suites.conformance", "--impl", impl)
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert text in line
    assert result.ret == 4


def test_a_name_cannot_steer_the_terminal(pytester: pytest.Pytester) -> None:
    impl = adapter(pytester, "name = 'a\\x1b[31mb\\n' + 'c' * 999\nversion = 7")
    result, run = judge(pytester, impl, "VIT-PATCH-COUNT")
    (record,) = run.requirements
    assert (record.status, record.implementation) == (Status.PASSED, "a?[31mb?" + "c" * 72)
    assert result.ret == 0


@pytest.mark.parametrize(
    ("methods", "requirement", "reason"),
    [
        (
            "def tokens(self, model, images):\n    return super().tokens(model, images).to('meta')",
            "VIT-TOKEN-LENGTH",
            "tokens() returned a tensor on the meta device, expected a dense one",
        ),
        (
            "def tokens(self, model, images):\n    return super().tokens(model, images).half()",
            "VIT-TOKEN-LENGTH",
            "tokens() returned dtype float16, expected float64",
        ),
        (
            "def block_outputs(self, model, images):\n    return super().block_outputs(model, images)[:1]",
            "VIT-BLOCK-DEPTH",
            "block_outputs() returned 1 tensors, expected one per block: 2",
        ),
        (
            "@property\ndef tokens(self):\n    raise ValueError('no hook')",
            "VIT-TOKEN-LENGTH",
            "looking up tokens raised ValueError: no hook (mine.py:",
        ),
    ],
    ids=["another device", "another dtype", "wrong length", "a property that raises"],
)
def test_a_hook_that_returns_what_it_should_not_fails_its_requirement(
    pytester: pytest.Pytester, methods: str, requirement: str, reason: str
) -> None:
    _, run = judge(pytester, adapter(pytester, methods), f"{requirement} VIT-PURE-BATCH")
    found = outcomes(run)
    assert found.pop("VIT-PURE-BATCH") == (Status.PASSED, "")
    status, text = found[requirement]
    assert status is Status.FAILED
    assert text.startswith(reason)


def test_a_hook_that_hands_out_its_own_memory_is_judged_by_what_it_said(pytester: pytest.Pytester) -> None:
    """A buffer that every answer is written into, as a graph's static output is."""
    impl = adapter(
        pytester,
        """
buffers = {}

def logits(self, model, images):
    answer = super().logits(model, images)
    return self.buffers.setdefault(answer.shape, answer.clone()).copy_(answer)
""",
    )
    _, run = judge(pytester, impl, "VIT-PURE-BATCH VIT-HEAD-LOGITS")
    assert {status for status, _ in outcomes(run).values()} == {Status.PASSED}


FULL = "cannot go on writing /dev/full: No space left on device"


def test_a_disk_that_is_full_from_the_start_ends_in_one_line(pytester: pytest.Pytester) -> None:
    suite = ("--pyargs", "vitbench.suites.conformance", "--impl", "reference", "-k", "VIT-PATCH-COUNT")
    result = pytester.runpytest_inprocess(*suite, "--results", "/dev/full")
    result.stderr.fnmatch_lines([f"ERROR: {FULL}"])
    assert "INTERNALERROR" not in str(result.stdout)
    assert result.ret == 4


def test_a_disk_that_is_full_midway_does_not_keep_the_verdict_back(pytester: pytest.Pytester) -> None:
    suite = ("--pyargs", "vitbench.suites.conformance", "--impl", "reference", "-k", "VIT-PATCH-COUNT")
    result = pytester.runpytest_inprocess(*suite, "--results", "/dev/full", "--results-cell", "no header")
    result.stdout.fnmatch_lines(
        ["*1 of * requirements were judged*", f"results: {FULL}; what was written before stays"]
    )
    assert "INTERNALERROR" not in str(result.stdout)
    assert result.ret == OutputCut.exit_code == 74


def test_a_megabyte_of_output_is_cut(pytester: pytest.Pytester) -> None:
    impl = adapter(
        pytester,
        """
def patch_tokens(self, model, images):
    print("begin" + "x" * 10**6 + "end")
    raise ValueError("y" * 10**6)
""",
    )
    result, run = judge(pytester, impl, "VIT-PATCH-COUNT")
    (record,) = run.requirements
    assert len(record.reason) < 600
    assert len(str(result.stdout)) < 12_000
    result.stdout.fnmatch_lines(["begin*", "… * characters left out …", "*end"])


@needs_forks
def test_what_a_lost_process_printed_is_shown_with_its_own_requirement(pytester: pytest.Pytester) -> None:
    impl = adapter(
        pytester,
        """
def patch_tokens(self, model, images):
    os.write(1, b"last words")
    os._exit(1)

def tokens(self, model, images):
    raise ValueError("later")
""",
    )
    result, _ = judge(pytester, impl, "VIT-PATCH-COUNT VIT-TOKEN-LENGTH")
    assert str(result.stdout).count("last words") == 1


@pytest.mark.parametrize(
    ("draw", "state"),
    [
        ("random.random()", "Python's random state"),
        ("numpy.random.rand()", "numpy's random state"),
        ("numpy.random.seed(0)", "numpy's random state"),
    ],
)
def test_a_forward_pass_that_draws_from_the_callers_generators_is_seen(
    pytester: pytest.Pytester, draw: str, state: str
) -> None:
    impl = adapter(pytester, f"def logits(self, model, images):\n    {draw}\n    return super().logits(model, images)")
    _, run = judge(pytester, impl, "VIT-PURE-GLOBAL")
    status, reason = outcomes(run)["VIT-PURE-GLOBAL"]
    assert status is Status.FAILED
    assert f"a forward pass changed {state}" in reason


def test_a_model_may_be_initialised_from_any_generator(pytester: pytest.Pytester) -> None:
    impl = adapter(
        pytester,
        "def build(self, config):\n    torch.rand(()); random.random(); numpy.random.rand()\n    return super().build(config)",
    )
    _, run = judge(pytester, impl, "VIT-PURE-GLOBAL")
    assert outcomes(run) == {"VIT-PURE-GLOBAL": (Status.PASSED, "")}


@needs_forks
def test_workers_say_the_same_of_a_candidate_that_leaves(pytester: pytest.Pytester) -> None:
    impl = adapter(pytester, "def patch_tokens(self, model, images):\n    os._exit(0)")
    chosen = "VIT-PATCH-COUNT VIT-TOKEN-LENGTH VIT-PURE-BATCH"
    _, alone = judge(pytester, impl, chosen)
    result, together = judge(pytester, impl, chosen, "-n", "2")
    assert outcomes(together) == outcomes(alone)
    assert result.ret == 1


def test_workers_say_the_same_of_an_adapter_that_is_broken(pytester: pytest.Pytester) -> None:
    impl = adapter(pytester, "def build(self, config):\n    raise ValueError('no')")
    result, run = judge(pytester, impl, "VIT-PATCH-COUNT VIT-TOKEN-LENGTH", "-n", "2")
    result.stdout.fnmatch_lines(["ADAPTER BROKEN: adapter 'mine': build() raised ValueError: no*"])
    assert ([verdict.verdict for verdict in run.verdicts], result.ret) == (["ADAPTER BROKEN"], 4)


def test_in_process_nothing_is_forked(pytester: pytest.Pytester) -> None:
    impl = adapter(
        pytester,
        """
def patch_tokens(self, model, images):
    raise ValueError(f"judged in {os.getpid()}")
""",
    )
    import os

    _, run = judge(pytester, impl, "VIT-PATCH-COUNT", "--in-process")
    assert f"judged in {os.getpid()} " in run.requirements[0].reason
    _, run = judge(pytester, impl, "VIT-PATCH-COUNT")
    assert (f"judged in {os.getpid()} " in run.requirements[0].reason) is not AVAILABLE


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_limit_is_a_positive_number_of_seconds(pytester: pytest.Pytester, limit: str) -> None:
    result = pytester.runpytest_inprocess("--impl", "reference", f"--time-limit={limit}")
    result.stderr.fnmatch_lines([f"*error: argument --time-limit: '{limit}' is no positive number of seconds"])
    assert result.ret == 4


def test_the_run_goes_on_past_what_is_known_of_no_file(pytester: pytest.Pytester) -> None:
    """An adapter file that cannot be read as Python is one line, not a traceback."""
    Path("mine.py").write_text("def build(:\n")
    result = pytester.runpytest_inprocess("--pyargs", "vitbench.suites.conformance", "--impl", "mine.py")
    result.stderr.fnmatch_lines(["ERROR: adapter 'mine.py' fails to import: SyntaxError*"])
    assert result.ret == 4
