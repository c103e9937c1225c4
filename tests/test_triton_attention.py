"""The Triton kernel: right by Triton's interpreter, and compilable for GPUs that are not here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="torch's Linux wheels bring Triton along")

KERNEL = "vitbench.kernels.triton_attention:attention"


def interpreted(program: str) -> str:
    """What a program prints that sets Triton to interpret, in a process of its own: it is decided at import."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", program]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


JUDGED = """
import torch
from vitbench.kernel import Kernel
from vitbench.kernel_cases import KernelCase
from vitbench.registry import resolve_kernel

torch.set_num_threads(1)
kernel = Kernel(resolve_kernel({kernel!r}), "triton")
for case in (
    KernelCase(batch=2, heads=2, tokens=197, head_dim=64, seed=0),
    KernelCase(batch=1, heads=2, tokens=257, head_dim=80, seed=1, layout="fused"),
    KernelCase(batch=2, heads=1, tokens=65, head_dim=72, seed=2, layout="transposed"),
    KernelCase(batch=1, heads=3, tokens=1, head_dim=5, seed=3),
):
    trial = kernel.trial(case, torch.{dtype})
    output = trial.output()
    assert output.dtype == torch.{dtype}
    trial.assert_output(output, str(case))
print("right")
"""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_it_is_as_exact_as_its_dtype_allows_at_lengths_and_widths_that_fill_no_block(dtype: str) -> None:
    """In bfloat16 the interpreter's own product is wrong, and the kernel widens before it; the rounding is the same."""
    assert interpreted(JUDGED.format(kernel=KERNEL, dtype=dtype)) == "right\n"


REFUSED = """
import torch
from vitbench.errors import NotSupported
from vitbench.kernels.triton_attention import attention

for dtype, head_dim in ((torch.float64, 64), (torch.float16, 160)):
    x = torch.randn(1, 1, 4, head_dim).to(dtype)
    try:
        attention(x, x, x)
    except NotSupported as refused:
        print(refused)
print(tuple(attention(*[torch.randn(0, 2, 4, 64)] * 3).shape))
"""


def test_it_says_what_it_is_not_made_for_and_serves_an_empty_batch() -> None:
    assert interpreted(REFUSED).splitlines() == [
        "the Triton kernel is for float16, bfloat16, float32, not float64",
        "the Triton kernel is for heads of up to 128 features, not 160",
        "(0, 2, 4, 64)",
    ]


def test_on_the_cpu_without_the_interpreter_it_says_how_to_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import torch
from vitbench.kernels.triton_attention import attention
x = torch.zeros(1, 1, 4, 64)
attention(x, x, x)
"""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert "NotSupported: Triton compiles for a GPU; on the CPU, set TRITON_INTERPRET=1" in ended.stderr


def test_the_conformance_suite_finds_it_forward_only_and_otherwise_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitbench.results import read

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    file = tmp_path / "results.jsonl"
    chosen = "VIT-KERNEL-VALUES or VIT-KERNEL-HEAD-DIM or VIT-KERNEL-EXTREME or VIT-KERNEL-HALF or VIT-KERNEL-GRADIENTS"
    command = [sys.executable, "-m", "pytest", "--pyargs", "vitbench.suites.conformance", "-p", "no:cacheprovider"]
    command += ["--kernel", KERNEL, "-k", chosen, "--results", str(file), "-q"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300, check=False)
    statuses = {record.id: str(record.status) for record in read(file).requirements}
    assert statuses.pop("VIT-KERNEL-GRADIENTS") == "NOT_OFFERED"
    assert set(statuses.values()) == {"PASSED"}
    assert len(statuses) == 4


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("dtype", "width", "keys"), [("fp16", 64, 64), ("bf16", 128, 64), ("fp32", 128, 32)])
def test_it_compiles_for_gpus_and_fits_their_shared_memory(capability: int, dtype: str, width: int, keys: int) -> None:
    """Triton needs no GPU to compile for one. 99 KiB: what the smallest of today's, such as an L4, lets a block have."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from vitbench.kernels.triton_attention import _attend

    fixed = {"QUERIES": 64, "KEYS": keys, "WIDTH": width, "WIDEN": False}
    fixed |= {f"{tensor}_feature": 1 for tensor in "qkvo"}  # as Triton specialises for
    pointers = dict.fromkeys(("query", "key", "value", "output"), f"*{dtype}")
    kinds = {name: pointers.get(name, "constexpr" if name in fixed else "i32") for name in _attend.arg_names}
    kinds["scale"] = "fp32"
    places = {(_attend.arg_names.index(name),): value for name, value in fixed.items()}
    made = triton.compile(
        ASTSource(_attend, kinds, places),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": 4, "num_stages": 2},
    )
    assert made.metadata.shared <= 99 * 1024
    assert ("mma" in made.asm["ptx"]) == (dtype != "fp32")  # tensor cores; float32 proper has none


def test_nothing_of_triton_is_imported_unless_it_is_asked_for() -> None:
    program = """
import sys
import vitbench.kernels, vitbench.kernel_registry, vitbench.attention_kernels, vitbench.options
assert "vitbench.kernels.triton_attention" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
