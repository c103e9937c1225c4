"""From --kernel to an attention kernel: registered names, entry points, packages that are there or not."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vitbench import kernel_registry
from vitbench.errors import AdapterBroken, AdapterNotFound, UsageError
from vitbench.kernel_registry import attention_kernel, installed_kernels, package_of, registered_kernels
from vitbench.options import parse

SDPA = "torch.nn.functional:scaled_dot_product_attention"


def test_a_function_is_a_kernel_with_its_packages_version() -> None:
    kernel = attention_kernel(SDPA)
    assert (kernel.name, kernel.version, kernel.may_refuse) == (SDPA, torch.__version__, False)
    assert kernel.function is torch.nn.functional.scaled_dot_product_attention


def test_an_entry_point_registers_a_kernel_after_vitbenchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint(name, SDPA, "vitbench.kernels") for name in ("theirs", "flash")]
    monkeypatch.setattr(kernel_registry, "entry_points", lambda group: entries if group == "vitbench.kernels" else [])
    assert list(registered_kernels())[-1] == "theirs"
    assert registered_kernels()["flash"].target == "vitbench.attention_kernels:flash"
    assert "theirs" in installed_kernels()
    assert (attention_kernel("theirs").name, package_of("theirs")) == ("theirs", "torch")


def test_a_kernels_package_is_known_without_importing_it() -> None:
    assert [package_of(name) for name in ("flash", "mypkg.fast:attend", "path/to/mine.py:attend")] == [
        "torch",
        "mypkg",
        "mine",
    ]


@pytest.mark.parametrize(("name", "module"), [("flash_attn", "flash_attn"), ("xformers", "xformers.ops")])
def test_a_package_with_tokens_before_heads_gets_them_so(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(query.shape))
        return query

    package, stand_in = ModuleType(name), ModuleType(module)
    stand_in.__version__ = package.__version__ = "9.9"  # type: ignore[attr-defined]
    stand_in.flash_attn_func = stand_in.memory_efficient_attention = attend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.setattr(kernel_registry.Registration, "installed", True)
    kernel = attention_kernel(name)
    x = torch.randn(1, 2, 5, 4)
    assert torch.equal(kernel.function(x, x, x), x)
    assert seen == [(1, 5, 2, 4)]
    assert (kernel.version, kernel.may_refuse) == ("9.9", True)


def test_a_package_that_does_not_import_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
    monkeypatch.setattr(kernel_registry.Registration, "installed", True)
    with pytest.raises(AdapterBroken, match=r"flash_attn\.flash_attn_func cannot be imported: AttributeError"):
        attention_kernel("flash_attn")


# --- the command line ---


def test_naming_a_kernel_chooses_the_attention_suite() -> None:
    assert parse(["--impl", "reference", "--kernel", "flash", "--kernel", SDPA]).suites == ("attention",)
    options = parse(["--impl", "reference", "--kernel", "flash", "--suite", "attention", "--suite", "throughput"])
    assert (options.kernels, options.suites) == (("flash",), ("attention", "throughput"))


def test_a_kernel_without_the_attention_suite_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="--kernel is for the suite attention; add --suite attention"):
        parse(["--impl", "reference", "--kernel", "flash", "--suite", "throughput"])


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("flush", "registered names: math, flash, efficient, cudnn, flex, naive, flash_attn, xformers"),
        ("no_such_package:attend", "module 'no_such_package' (not importable)"),
        ("no_such_file.py:attend", "file 'no_such_file.py' (not there)"),
        ("flash_attn", "needs the package 'flash_attn', which is not installed; pip install flash-attn"),
    ],
)
def test_a_kernel_that_is_not_there_is_told_before_anything_runs(kernel: str, message: str) -> None:
    if kernel in installed_kernels():
        pytest.skip("it is installed here")
    with pytest.raises(AdapterNotFound) as error:
        parse(["--impl", "reference", "--kernel", kernel])
    assert message in str(error.value)


def test_a_kernel_from_a_file_is_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def attend(query, key, value):\n    return query\n", encoding="utf-8")
    assert parse(["--impl", "reference", "--kernel", f"{file}:attend"]).kernels == (f"{file}:attend",)
