"""The pytest plugin, driven as users drive it: real pytest runs of the real suite."""

import json
from pathlib import Path

import pytest

from vitbench.results import read

SUITE = ("--pyargs", "vitbench.suites.conformance")

ADAPTER = """
import torch
from vitbench.adapter import Adapter, Conventions, NotSupported
from vitbench.reference.vit import ViT

class Mine(Adapter):
    name, version = "mine", "0.1"

    def build(self, config):
        if config.head != "linear" or config.pool != "class_token":
            raise NotSupported("linear head on the class token only")
        return ViT(config)

    def load(self, model, state):
        model.load_state_dict(state)
"""


def run(pytester: pytest.Pytester, *options: str, apart: bool = False) -> pytest.RunResult:
    """Run the suite in this process, or where its exit and its start-up matter in one of its own."""
    runner = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
    return runner(*SUITE, "-p", "no:cacheprovider", "--no-diagnosis", *options)  # test_diagnosis_told.py has that


def write_adapter(pytester: pytest.Pytester, extra: str = "", name: str = "adapter") -> str:
    """An adapter file as a user would write it, with more methods or none."""
    pytester.makepyfile(**{name: ADAPTER + extra})
    return f"{name}.py"


def test_the_reference_conforms_from_an_empty_folder(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--impl", "reference", "--results", "run.jsonl", apart=True)
    result.stdout.fnmatch_lines(["*conformance of reference*", "MUST */* passed: CONFORMS"])
    assert result.ret == 0
    written = read(pytester.path / "run.jsonl")
    assert written.complete
    assert [v.verdict for v in written.verdicts] == ["CONFORMS"]
    assert {r.status for r in written.requirements} == {"PASSED"}
    assert min(r.examples for r in written.requirements) > 0


def test_a_users_adapter_without_hooks_is_incomplete(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--impl", write_adapter(pytester))
    result.stdout.fnmatch_lines(["NOT OFFERED  *attention(): MUST VIT-ATTN-ROWS*", "MUST * not offered: INCOMPLETE"])
    result.stdout.no_fnmatch_line("FAILED *")
    assert result.ret == 1


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("return torch.zeros(images.shape[0], model.config.num_classes, dtype=images.dtype)", "VIT-HEAD-LOGITS"),
        ("return model(images) * float('nan')", "VIT-HEAD-LOGITS"),
        ("images.mul_(0.5); return model(images)", "VIT-PURE-INPUT"),
        ("torch.manual_seed(0); return model(images)", "VIT-PURE-GLOBAL"),
    ],
    ids=["returns zeros", "returns NaN", "changes its input", "sets the global seed"],
)
def test_a_lying_adapter_is_caught(pytester: pytest.Pytester, fault: str, broken: str) -> None:
    path = write_adapter(pytester, f"\n    def logits(self, model, images):\n        {fault}\n")
    result = run(pytester, "--impl", path)
    result.stdout.fnmatch_lines([f"FAILED       MUST * {broken} *", "MUST *: DOES NOT CONFORM"])
    assert result.ret == 1


def test_hooks_that_do_not_belong_to_the_model_are_caught(pytester: pytest.Pytester) -> None:
    """Zeros for the class token's representation: the head's answer does not follow from it."""
    path = write_adapter(
        pytester,
        "\n    def representation(self, model, images):\n"
        "        return torch.zeros(images.shape[0], model.config.width, dtype=images.dtype)\n",
    )
    result = run(pytester, "--impl", path, "-k", "VIT-HEAD-LINEAR")
    result.stdout.fnmatch_lines(["FAILED *VIT-HEAD-LINEAR*"])
    assert result.ret == 1


def test_a_failure_names_what_was_found_the_example_and_a_command(pytester: pytest.Pytester) -> None:
    path = write_adapter(pytester, "\n    def logits(self, model, images):\n        return model(images) + 1\n")
    result = run(pytester, "--impl", path, "-k", "VIT-HEAD-LOGITS", "--seed", "7")
    result.stdout.fnmatch_lines(
        [
            "VIT-HEAD-LOGITS (MUST): The logits must equal*",
            "  found: *largest error 1, allowed *",
            "  example: *image *patch *seed *",
            "  source: *Eq. 1 to 4",
            "  reproduce: pytest --pyargs vitbench.suites.conformance -k VIT-HEAD-LOGITS "
            "--impl adapter.py --preset quick --seed 7",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_hook_that_raises_fails_its_requirements_with_the_place(pytester: pytest.Pytester) -> None:
    path = write_adapter(pytester, "\n    def tokens(self, model, images):\n        raise KeyError('z_0')\n")
    result = run(pytester, "--impl", path, "-k", "VIT-TOKEN-LENGTH")
    result.stdout.fnmatch_lines(["  found: *tokens() raised KeyError: 'z_0' (adapter.py:*)"])
    assert result.ret == 1


def test_a_block_hook_of_the_wrong_length_fails(pytester: pytest.Pytester) -> None:
    path = write_adapter(pytester, "\n    def block_outputs(self, model, images):\n        return [images]\n")
    result = run(pytester, "--impl", path, "-k", "VIT-BLOCK-DEPTH")
    result.stdout.fnmatch_lines(["  found: *block_outputs() returned 1 tensors, expected one per block: 2"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            "\n    def build(self, config):\n        raise RuntimeError('no such size')\n",
            "*build() raised RuntimeError: no such size*",
        ),
        (
            "\n    def logits(self, model, images):\n        return model(images)[:, :1]\n",
            "*returned shape (2, 1), expected (B, K) = (2, 5)*",
        ),
        (
            "\n    def logits(self, model, images):\n        return 'cat'\n",
            "*logits() returned a str, expected a tensor*",
        ),
        (
            "\n    def logits(self, model, images):\n        return model(images) + torch.rand(())\n",
            "*differ between two calls*evaluation mode*",
        ),
    ],
    ids=["cannot build", "wrong shape", "no tensor", "not repeatable"],
)
def test_a_broken_adapter_is_not_judged(pytester: pytest.Pytester, extra: str, message: str) -> None:
    result = run(pytester, "--impl", write_adapter(pytester, extra), "--results", "run.jsonl")
    result.stdout.fnmatch_lines([f"ADAPTER BROKEN: {message}"])
    assert result.ret == 4
    assert [v.verdict for v in read(pytester.path / "run.jsonl").verdicts] == ["ADAPTER BROKEN"]


def test_without_impl_the_registered_names_are_listed(pytester: pytest.Pytester) -> None:
    result = run(pytester)
    result.stderr.fnmatch_lines(["ERROR: say what to judge with --impl NAME; registered names: reference, timm,*"])
    assert result.ret == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--impl", "nowhere"], "ERROR: --impl 'nowhere': tried package 'nowhere'*registered names: reference,*"),
        (["--impl", "reference", "--device", "tpu"], "ERROR: device 'tpu' is unknown; use cpu or cuda:N"),
        (["--impl", "reference", "--results", "/proc/none/run.jsonl"], "ERROR: cannot write /proc/none/run.jsonl*"),
    ],
    ids=["implementation", "device", "results"],
)
def test_bad_options_end_with_one_line_and_exit_4(pytester: pytest.Pytester, options: list[str], message: str) -> None:
    result = run(pytester, *options)
    result.stderr.fnmatch_lines([message])
    result.stderr.no_fnmatch_line("*Traceback*")
    assert result.ret == 4


def test_a_selection_has_no_verdict(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--impl", "reference", "-k", "VIT-PATCH-COUNT or VIT-PATCH-RASTER")
    result.stdout.fnmatch_lines(["2 of * requirements were judged: a selection has no verdict"])
    assert result.ret == 0


def test_the_same_seed_judges_the_same_examples(pytester: pytest.Pytester) -> None:
    path = write_adapter(pytester, "\n    def logits(self, model, images):\n        return model(images) + 1\n")
    found = []
    for name in ("a.jsonl", "b.jsonl"):
        run(pytester, "--impl", path, "-k", "VIT-HEAD-LOGITS", "--results", name, "--seed", "3")
        record = read(pytester.path / name).requirements[0]
        found.append((record.reason, record.example, record.examples))
    assert found[0] == found[1]


def test_a_cell_of_a_larger_run_writes_bare_records(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        "--impl",
        "reference",
        "-k",
        "VIT-PATCH-COUNT",
        "--results",
        "cell.jsonl",
        "--results-cell",
        "some cell",
    )
    lines = [json.loads(line) for line in Path("cell.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["cell"]) for line in lines] == [("requirement", "some cell")]


def test_workers_give_the_same_verdict(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--impl", "reference", "-n", "2", "--results", "run.jsonl", apart=True)
    result.stdout.fnmatch_lines(["MUST */* passed: CONFORMS"])
    assert result.ret == 0
    assert read(pytester.path / "run.jsonl").verdicts[0].verdict == "CONFORMS"


def test_a_check_that_asserts_nothing_is_an_error_of_the_harness(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from vitbench.cases import vit_cases
        from vitbench.check import given, requirement

        @requirement("VIT-HEAD-LOGITS")
        @given(case=vit_cases())
        def test_nothing(impl, case):
            impl.trial(case).logits()
        """
    )
    result = pytester.runpytest_inprocess("--impl", "reference")
    result.stdout.fnmatch_lines(["ERROR *VIT-HEAD-LOGITS*the check asserted nothing for image*"])


def test_other_peoples_tests_are_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_mine():\n    assert 'torch' not in sys.modules")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)


def test_an_adapter_imports_what_lies_beside_it(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("mine")
    (folder / "beside_the_adapter.py").write_text("ANSWER = 1")
    (folder / "adapter.py").write_text("import beside_the_adapter\n" + ADAPTER)
    result = run(pytester, "--impl", "mine/adapter.py", "-k", "VIT-PURE-BATCH", apart=True)
    assert result.ret == 0


def write_check(pytester: pytest.Pytester, folder: str, body: str) -> None:
    """A suite of one check, as somebody might have it."""
    (pytester.path / folder).mkdir()
    (pytester.path / folder / "test_token.py").write_text(
        'from vitbench.check import requirement\n\n\n@requirement("VIT-TOKEN-LENGTH")\ndef test_tokens(impl):\n    '
        + body
    )


def test_an_error_of_the_harness_in_a_selection_has_its_own_exit_code(pytester: pytest.Pytester) -> None:
    write_check(pytester, "mine", "pass\n")
    result = pytester.runpytest_inprocess("mine", "-p", "no:cacheprovider", "--impl", "reference")
    result.stdout.fnmatch_lines(
        ["ERROR        MUST   VIT-TOKEN-LENGTH *asserted nothing*", "*a selection has no verdict"]
    )
    assert result.ret == 3


def test_a_suite_that_lacks_a_check_is_an_error_and_no_selection(pytester: pytest.Pytester) -> None:
    write_check(pytester, "mine", "impl.trial(__import__('vitbench.smoke').smoke.SMOKE_CONFIG)\n")
    (pytester.path / "mine" / "suite.py").write_text("")
    result = pytester.runpytest_inprocess("mine", "-p", "no:cacheprovider", "--impl", "reference")
    result.stdout.fnmatch_lines(
        ["ERROR        MUST   VIT-PATCH-COUNT *no check of it in the suite*", "MUST *: HARNESS ERROR"]
    )
    assert result.ret == 3


def test_an_unknown_id_is_told_with_what_may_have_been_meant(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--impl", "reference", "-k", "VIT-PATCH-COUNTS or VIT-TOKEN")
    result.stderr.fnmatch_lines(
        ["ERROR: -k VIT-PATCH-COUNTS: no requirement has that in its id; did you mean VIT-PATCH-COUNT*"]
    )
    assert result.ret == 4


def test_what_failed_is_listed_once_below_its_full_text(pytester: pytest.Pytester) -> None:
    path = write_adapter(pytester, "\n    def tokens(self, model, images):\n        raise KeyError('z' * 300)\n")
    result = run(pytester, "--impl", path, "-k", "VIT-TOKEN-LENGTH")
    lines = [line for line in result.outlines if line.startswith("FAILED")]
    assert len(lines) == 1
    assert lines[0].endswith("z…")
    assert any("found:" in line and "z" * 300 in line for line in result.outlines)
    asked = run(pytester, "--impl", path, "-k", "VIT-TOKEN-LENGTH", "-rf")
    asked.stdout.fnmatch_lines(["*short test summary info*", "FAILED *::test_*"])


def test_a_slip_in_the_adapter_is_not_put_down_to_the_model(pytester: pytest.Pytester) -> None:
    path = write_adapter(
        pytester, "\n    def tokens(self, model, images):\n        return model.no_such_part(images)\n"
    )
    result = run(pytester, "--impl", path, "-k", "VIT-TOKEN-LENGTH")
    result.stdout.fnmatch_lines(
        ["  found: *tokens() raised AttributeError in the adapter's own code, not in the model: *(adapter.py:*)"]
    )
    assert result.ret == 1


def test_a_results_file_is_named_with_what_can_be_made_of_it(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--impl", "reference", "-k", "VIT-TOKEN-LENGTH", "--results", "run.jsonl")
    result.stdout.fnmatch_lines(["results: run.jsonl", "*vitbench.report run.jsonl*", "*vitbench.compare run.jsonl*"])
