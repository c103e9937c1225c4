"""An attention kernel as a candidate: how it is found, called, judged, and what is said when it cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checks import CHECKS, judged
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name
from torch.nn.attention import SDPBackend

from vitbench.benign.kernels import eager, in_numpy, sdpa_by, upcast
from vitbench.check import configured, judge
from vitbench.errors import AdapterBroken, AdapterNotFound, NotSupported, RequirementFailed
from vitbench.kernel import Kernel, smoke_kernel
from vitbench.kernel_cases import EXTREMES, LAYOUTS, KernelCase
from vitbench.kernel_orders import orders
from vitbench.reference.attention import attention
from vitbench.registry import resolve_kernel
from vitbench.requirement import Status
from vitbench.results import read
from vitbench.specification import requirements

pytestmark = pytest.mark.usefixtures("one_thread")

SUITE = ("--pyargs", "vitbench.suites.conformance", "-p", "no:cacheprovider")
SDPA = "torch.nn.functional:scaled_dot_product_attention"
CASE = KernelCase(batch=2, heads=3, tokens=5, head_dim=4, seed=1)


def test_the_reference_is_softmax_of_scaled_logits_times_values_by_hand() -> None:
    query = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    key = torch.tensor([[[[2.0, 9.0, 9.0, 9.0], [0.0, 9.0, 9.0, 9.0]]]])  # logits 2 / sqrt(4) = 1 and 0
    value = torch.tensor([[[[1.0, 0.0, 0.0, 4.0], [0.0, 1.0, 0.0, 4.0]]]])
    first = torch.e / (torch.e + 1)
    expected = torch.tensor([[[[first, 1 - first, 0.0, 4.0]]]])
    torch.testing.assert_close(attention(query, key, value), expected)


# --- how it is called ---


def test_a_kernel_gets_the_layout_that_was_drawn_in_memory_of_its_own() -> None:
    seen: list[Tensor] = []

    def kernel(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen.extend((query, key, value))
        return query

    for layout in LAYOUTS:
        seen.clear()
        inputs = CASE.inputs(torch.float64, layout)
        Kernel(kernel, "mine").output(inputs)
        assert [x.stride() for x in seen] == [x.stride() for x in inputs]
        assert [x.storage_offset() for x in seen] == [x.storage_offset() for x in inputs]
        assert all(torch.equal(a, b) for a, b in zip(seen, inputs, strict=True))
        assert not {x.untyped_storage().data_ptr() for x in seen} & {x.untyped_storage().data_ptr() for x in inputs}


def test_every_layout_holds_the_same_numbers_and_only_one_is_contiguous() -> None:
    plain = CASE.inputs(torch.float64)
    for layout in set(LAYOUTS) - {"expanded"}:
        inputs = CASE.inputs(torch.float64, layout)
        assert all(torch.equal(a, b) for a, b in zip(inputs, plain, strict=True))
        assert all(x.is_contiguous() == (layout == "contiguous") for x in inputs)
    expanded = KernelCase(*CASE.shape, CASE.seed, "expanded")
    strided, dense = expanded.inputs(torch.float64), expanded.inputs(torch.float64, "contiguous")
    assert all(torch.equal(a, b) for a, b in zip(strided, dense, strict=True))
    assert [x.stride(0) for x in strided] == [0, 0, 0]


def test_a_kernel_that_raises_fails_with_the_place() -> None:
    def broken(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise KeyError("block")

    with pytest.raises(RequirementFailed, match=r"^broken\(\) raised KeyError: 'block' \(test_kernel.py:\d+\)$"):
        Kernel(broken, "mine").output(CASE.inputs(torch.float32))


def test_a_kernel_that_is_a_tuple_too_much_fails() -> None:
    with pytest.raises(RequirementFailed, match=r"^both\(\) returned a tuple, expected a tensor$"):
        Kernel(named("both", lambda q, k, v: (q, k)), "mine").output(CASE.inputs(torch.float32))


def test_the_version_is_that_of_the_functions_package() -> None:
    assert Kernel(resolve_kernel(SDPA), SDPA).version in {torch.__version__, "unknown"}
    assert Kernel(attention, "mine").version == __import__("vitbench").__version__


def test_gradients_are_those_of_the_weighted_sum() -> None:
    inputs = CASE.inputs(torch.float64)
    upstream = CASE.random(CASE.shape, stream=1)
    leaves = [x.clone().requires_grad_() for x in inputs]
    expected = torch.autograd.grad((F.scaled_dot_product_attention(*leaves) * upstream).sum(), leaves)
    found = Kernel(eager, "mine").gradients(inputs, upstream)
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its)


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = name
    return function


# --- what it refuses ---


def without(*dtypes: torch.dtype) -> Callable[..., Tensor]:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.dtype in dtypes:
            raise RuntimeError(f"not implemented for {query.dtype}")
        return F.scaled_dot_product_attention(query, key, value)

    return attend


def statuses(function: Callable[..., Any], *names: str) -> dict[str, Status]:
    kernel = Kernel(function, "mine")
    return {name: judged(f"VIT-KERNEL-{name}", kernel).status for name in names}


def test_without_half_precision_only_that_is_not_offered() -> None:
    outcomes = statuses(without(torch.float16, torch.bfloat16), "SHAPE", "EXTREME", "HALF", "GRADIENTS")
    assert outcomes.pop("HALF") is Status.NOT_OFFERED
    assert set(outcomes.values()) == {Status.PASSED}


def test_without_float64_it_is_judged_in_float32() -> None:
    assert Kernel(without(torch.float64), "mine").dtype == torch.float32
    outcomes = statuses(without(torch.float64), "VALUES", "LENGTH", "FUSED-QKV", "BATCH", "EXTREME", "PURE")
    assert set(outcomes.values()) == {Status.PASSED}


def test_without_float32_what_asks_for_it_is_not_offered() -> None:
    outcomes = statuses(without(torch.float64, torch.float32), "SHAPE", "FLOAT32", "VALUES", "HALF", "EXTREME", "BATCH")
    missing = {id_ for id_, status in outcomes.items() if status is Status.NOT_OFFERED}
    assert (missing, set(outcomes.values())) == ({"SHAPE", "FLOAT32"}, {Status.PASSED, Status.NOT_OFFERED})


def test_a_kernel_that_rounds_to_float32_inside_is_judged_in_float32() -> None:
    assert Kernel(upcast, "mine").dtype == torch.float32
    assert Kernel(eager, "mine").dtype == torch.float64


@pytest.mark.parametrize("kernel", [in_numpy, torch.no_grad()(eager)], ids=["numpy", "detached"])
def test_without_gradients_only_they_are_not_offered(kernel: Callable[..., Any]) -> None:
    outcomes = statuses(kernel, "GRADIENTS", "VALUES", "PURE")
    assert outcomes.pop("GRADIENTS") is Status.NOT_OFFERED
    assert set(outcomes.values()) == {Status.PASSED}


def test_a_head_dim_that_is_refused_is_not_offered_and_one_of_the_papers_fails() -> None:
    def eights(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.shape[-1] % 8 or query.shape[-1] == 80:
            raise ValueError("head dim")
        return eager(query, key, value)

    outcomes = statuses(eights, "HEAD-DIM", "ODD-HEAD-DIM")
    assert outcomes["HEAD-DIM"] is Status.FAILED
    assert outcomes["ODD-HEAD-DIM"] is Status.PASSED  # 72 and 96 are served, and are right
    assert judged("VIT-KERNEL-ODD-HEAD-DIM", Kernel(eights, "mine")).evidence.unsupported > 0


def test_strides_that_are_refused_are_out_of_reach() -> None:
    def dense(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.stride(-1) != 1 or (query.stride(0) == 0 and not query.is_contiguous()):
            raise ValueError("the last dimension must be contiguous")
        return eager(query, key, value)

    assert statuses(dense, "FUSED-QKV") == {"FUSED-QKV": Status.PASSED}
    strides = judge(configured(CHECKS["VIT-KERNEL-STRIDES"], "standard", seed=0), Kernel(dense, "mine"))
    assert strides.evidence.unsupported > 0
    assert strides.status is Status.PASSED  # a batch of one, expanded to one, is contiguous
    assert "does without" in strides.reason


def test_a_kernel_of_zeros_is_the_kernels_fault_in_any_dtype() -> None:
    for zeros in (
        lambda q, k, v: torch.zeros_like(q),
        lambda q, k, v: torch.full_like(q, float("nan")),
        lambda q, k, v: without(torch.float64)(q, k, v) * 0,
    ):
        found = statuses(zeros, "VALUES", "LENGTH", "FLOAT32", "EXTREME")
        assert set(found.values()) == {Status.FAILED}
        assert Status.ERROR not in statuses(zeros, "STRIDES", "BATCH", "HALF", "GRADIENTS").values()


# --- torch's own ---


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_torchs_backends_for_the_cpu_pass_the_smoke_stage(backend: SDPBackend) -> None:
    smoke_kernel(Kernel(sdpa_by(backend), "mine"))


def test_extreme_inputs_are_exact_in_half_precision_where_they_are_used() -> None:
    case = KernelCase(batch=1, heads=1, tokens=64, head_dim=64, seed=3)
    for dtype in (torch.float16, torch.bfloat16):
        query, key, _ = EXTREMES["one logit far above"](case, dtype)
        logits = query.double() @ key.double().mT / 8
        two = logits.topk(2, dim=-1).values
        assert (two[..., 0] == 1024).all()
        assert (two[..., 0] - two[..., 1] > 100).all()
        assert torch.equal(logits, (query @ key.mT / 8).double())


def test_evaluation_orders_agree_in_float64() -> None:
    inputs = CASE.inputs(torch.float64)
    for order in {*orders(torch.float32), *orders(torch.float16)}:
        torch.testing.assert_close(order(*inputs), attention(*inputs), rtol=1e-12, atol=1e-12)


# --- how it is found ---

KERNEL = """
import torch
from torch.nn.functional import scaled_dot_product_attention

def attend(query, key, value):
    return scaled_dot_product_attention(query, key, value)

def needs_more(query, key, value, mask):
    return query

def pair(query, key, value):
    return query, key

def merged(query, key, value):
    return query.transpose(1, 2).flatten(2)

class Attention:
    def __call__(self, query, key, value):
        return query

attention = Attention()
TABLE = {}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_kernels.py").write_text(KERNEL)
    return tmp_path


@pytest.mark.parametrize("name", ["my_kernels:attend", "my_kernels.py:attend", "my_kernels:attention", SDPA])
def test_a_function_is_found_in_a_module_or_a_file(here: Path, name: str) -> None:
    assert callable(resolve_kernel(name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_kernels", "--kernel 'my_kernels': tried nothing: no function is named; use package.module:function, or a"),
        ("my_kernels.py", "--kernel 'my_kernels.py': tried nothing: no function is named; use"),
        ("my_kernels:other", "--kernel 'my_kernels:other': tried 'other' in 'my_kernels' (it has Attention, "),
        ("nowhere:attend", "--kernel 'nowhere:attend': tried module 'nowhere' (not importable); use package.module"),
        ("nowhere.py:attend", "--kernel 'nowhere.py:attend': tried file 'nowhere.py' (not there); use"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_was_tried(here: Path, name: str, message: str) -> None:
    with pytest.raises(AdapterNotFound) as caught:
        resolve_kernel(name)
    assert str(caught.value).startswith(message)
    assert "registered names" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "my_kernels:Attention",
            "kernel 'my_kernels:Attention' is a class, expected a function (query, key, value) ->",
        ),
        ("my_kernels:TABLE", "kernel 'my_kernels:TABLE' is a dict, expected a function (query, key, value) -> output"),
        ("broken.py:attend", "kernel 'broken.py:attend' fails to import: ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_called_or_imported_is_broken(here: Path, name: str, message: str) -> None:
    (here / "broken.py").write_text("1 / 0")
    with pytest.raises(AdapterBroken) as caught:
        resolve_kernel(name)
    assert str(caught.value).startswith(message)


# --- a whole run ---


def test_torchs_attention_conforms_and_its_records_are_a_kernels(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*SUITE, "--kernel", SDPA, "--results", "run.jsonl")
    result.stdout.fnmatch_lines([f"*conformance of {SDPA}*", "MUST */* passed: CONFORMS"])
    result.stdout.no_fnmatch_line("*deselected*")
    assert result.ret == 0
    run = read(pytester.path / "run.jsonl")
    assert {record.id for record in run.requirements} == set(requirements("kernel"))
    assert {record.status for record in run.requirements} == {"PASSED"}
    (verdict,) = run.verdicts
    assert (verdict.verdict, verdict.implementation, verdict.conventions) == ("CONFORMS", SDPA, {})
    assert verdict.must.total + verdict.should.total == len(run.requirements)
    assert run.complete


def test_workers_give_the_same_verdict(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*SUITE, "--kernel", SDPA, "-n", "2", "-k", "FUSED or STRIDES")
    result.stdout.fnmatch_lines([f"2 of {len(requirements('kernel'))} requirements were judged: a selection has no*"])
    assert result.ret == 0


def test_a_wrong_kernel_does_not_conform_and_says_how_to_see_it_again(pytester: pytest.Pytester) -> None:
    causal = "def causal(q, k, v):\n    return scaled_dot_product_attention(q, k, v, is_causal=True)\n"
    (pytester.path / "mine.py").write_text(KERNEL + causal)
    result = pytester.runpytest_inprocess(*SUITE, "--kernel", "mine.py:causal", "-k", "VIT-KERNEL-VALUES")
    result.stdout.fnmatch_lines(
        [
            "VIT-KERNEL-VALUES (MUST): A kernel must return softmax*",
            "  found: *output: * is right, at index *",
            "  example: *float64, batch 2, heads 2, tokens 64, head dim 64; seed *",
            "  reproduce: pytest --pyargs vitbench.suites.conformance -k VIT-KERNEL-VALUES --kernel mine.py:causal *",
        ]
    )
    assert result.ret == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("needs_more", "needs_more() raised TypeError: needs_more() missing 1 required positional argument: 'mask'*"),
        ("pair", "pair() returned a tuple, expected a tensor*"),
        ("merged", "merged() returned shape (2, 64, 128), expected (B, h, T, D_h) = (2, 2, 64, 64)*"),
    ],
)
def test_a_kernel_that_cannot_run_is_not_judged(pytester: pytest.Pytester, function: str, message: str) -> None:
    pytester.makepyfile(mine=KERNEL)
    name = f"mine.py:{function}"
    result = pytester.runpytest_inprocess(*SUITE, "--kernel", name, "--results", "run.jsonl")
    result.stdout.fnmatch_lines([f"ADAPTER BROKEN: kernel '{name}': {message}(smoke stage: *"])
    assert result.ret == 4
    assert [v.verdict for v in read(pytester.path / "run.jsonl").verdicts] == ["ADAPTER BROKEN"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--impl", "reference", "--kernel", SDPA],
            "ERROR: --impl judges a model, --kernel an attention kernel alone;*",
        ),
        (["--kernel", "nowhere:attend"], "ERROR: --kernel 'nowhere:attend': tried module 'nowhere' (not importable)*"),
        (
            ["--impl", "reference", "-k", "VIT-KERNEL"],
            "ERROR: only checks of attention kernels are selected; name what*",
        ),
        (["--kernel", SDPA, "-k", "VIT-ATTN"], "ERROR: only checks of models are selected; name what they judge with*"),
    ],
    ids=["both", "nowhere", "a model, kernel checks", "a kernel, model checks"],
)
def test_bad_options_end_with_one_line_and_exit_4(pytester: pytest.Pytester, options: list[str], message: str) -> None:
    result = pytester.runpytest_inprocess(*SUITE, *options)
    result.stderr.fnmatch_lines([message])
    assert result.ret == 4


def test_a_models_verdict_knows_nothing_of_kernels(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess(*SUITE, "--impl", "reference", "--collect-only", "-q")
    assert not [line for line in result.outlines if "test_kernel.py" in line]
    result.stdout.no_fnmatch_line("*deselected*")


def test_a_kernel_that_says_not_supported_is_believed() -> None:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.dtype == torch.bfloat16:
            raise NotSupported("bfloat16 needs another card")
        return eager(query, key, value)

    assert Kernel(attend, "mine").refusal(torch.bfloat16) == "bfloat16 needs another card"
