"""The attention suite: what it plans, judges and records; kernels that refuse, fail, fall back or are wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from vitbench import preflight
from vitbench.attention_kernels import AttentionKernel, flash, naive
from vitbench.cell import _outcome
from vitbench.cell import run as run_cell
from vitbench.errors import AdapterBroken, NotSupported, RequirementFailed
from vitbench.kernel_registry import BUILT_IN
from vitbench.options import Options
from vitbench.plan import Cell, plan
from vitbench.records import MeasurementRecord, Outcome, Shape
from vitbench.results import Follower, from_line, to_line
from vitbench.suite import Ending, load
from vitbench.suites.attention import attend, calls, precision
from vitbench.suites.attention.suite import BOTH, COLD, FORWARD, ON_CPU, ON_CUDA, REPLAY, shape_of
from vitbench.timer import Effort

pytestmark = pytest.mark.usefixtures("one_thread")

BRIEF = Effort(relative_width=float("inf"), least_samples=6, least_s=0.0, most_s=60.0, most_warmup_s=0.0)
CELL = Cell(
    suite="attention",
    implementation="naive",
    name="torch",
    task=FORWARD,
    model="Ti/16@64",  # 3 heads, 17 tokens, head dim 64
    dtype="float32",
    batch=2,
    mode="calls",
    timed=True,
)
OPTIONS = Options(implementations=("reference",), named=True, suites=("attention",))


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attend, "EFFORT", {"quick": BRIEF})


def measured(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, cell: Cell = CELL, **known: Any
) -> MeasurementRecord:
    """A cell of a user's own kernel."""
    kernel = AttentionKernel(name="mine", version="1", function=function, **known)
    monkeypatch.setattr(attend, "attention_kernel", lambda name: kernel)
    return attend.measure(cell)


# --- the plan ---


def test_every_kernel_gets_a_cell_of_each_dtype_and_direction() -> None:
    cells = plan(OPTIONS)
    axes = ON_CPU["quick"]
    assert {(cell.implementation, cell.dtype, cell.task) for cell in cells} == {
        (kernel, dtype, direction) for kernel in axes.kernels for dtype in axes.dtypes for direction in (FORWARD, BOTH)
    }
    assert all(cell.timed for cell in cells)


def test_kernels_that_are_named_are_measured_alone_and_models_give_the_shapes() -> None:
    options = replace(OPTIONS, kernels=("flash", "mypkg.kernels:attend"), models=("H/14@224",), batches=(3,))
    cells = plan(options)
    assert {(cell.implementation, cell.name) for cell in cells} == {
        ("flash", "torch"),
        ("mypkg.kernels:attend", "mypkg"),
    }
    assert {shape_of(cell) for cell in cells} == {Shape(batch=3, heads=16, tokens=257, head_dim=80)}


def test_on_cuda_each_is_timed_from_a_cold_cache_and_in_a_graph() -> None:
    assert {cell.mode for cell in plan(replace(OPTIONS, device="cuda:0"))} == {COLD, REPLAY}


def test_the_full_presets_hold_the_lengths_and_widths_of_the_published_models() -> None:
    for device, axes in (("cpu", ON_CPU), ("cuda:0", ON_CUDA)):
        shapes = [shape_of(cell) for cell in plan(replace(OPTIONS, preset="full", device=device))]
        assert {shape.tokens for shape in shapes} == {197, 257, 577, 730, 785, 1025}
        assert {shape.head_dim for shape in shapes} == {64, 72, 80}
        assert "float16" in axes["full"].dtypes


def test_torchs_backends_are_registered_and_the_rest_where_it_is_installed() -> None:
    names = {registration.name for registration in BUILT_IN if registration.installed}
    assert {"math", "flash", "efficient", "cudnn", "flex", "naive"} <= names


# --- what is recorded ---


def test_speed_stands_beside_error_and_the_name_of_what_ran() -> None:
    record = attend.measure(replace(CELL, implementation="flash"))
    assert (record.outcome, record.implementation, record.kernel, record.direction) == (
        "measured",
        "torch",
        "flash",
        FORWARD,
    )
    assert record.shape == Shape(batch=2, heads=3, tokens=17, head_dim=64)
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in record.kernels_ran  # the longest, unless disturbed
    assert record.flops == 4 * 2 * 3 * 17**2 * 64
    assert record.latency_s is not None
    assert record.flops_per_s == record.flops / record.latency_s
    assert record.roofline is not None
    assert record.roofline.flops == record.flops
    assert record.precision is not None
    assert record.precision.output_error is not None
    assert 0 < record.precision.output_error < record.precision.output_bound < 1e-4
    assert record.precision.within
    assert record.precision.gradient_error is None
    assert record.precision.images == 2
    assert from_line(to_line(record)) == replace(
        record, samples_s=list(record.samples_s), kernels_ran=list(record.kernels_ran)
    )


@pytest.mark.parametrize("name", ["math", "naive"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_are_judged_and_timed_with_the_forward_pass(name: str, dtype: str) -> None:
    record = attend.measure(replace(CELL, implementation=name, task=BOTH, dtype=dtype))
    assert record.flops == round(3.5 * 4 * 2 * 3 * 17**2 * 64)
    assert record.precision is not None
    assert record.precision.gradient_of in {"query", "key", "value"}
    assert record.precision.gradient_error is not None
    assert record.precision.within


def test_tensors_lie_elsewhere_before_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[int, ...]] = []

    def watched(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        places.append((query.data_ptr(), key.data_ptr(), value.data_ptr()))
        return naive().function(query, key, value)

    record = measured(watched, monkeypatch)
    assert record.memory_layouts == len(record.samples_s) == 6
    assert record.evidence is not None
    assert record.evidence.window_s > 0
    assert len(set(places)) > 6


def test_a_cell_without_a_measurement_has_its_axes_too() -> None:
    ending = Ending(outcome=Outcome.CRASHED, reason="killed by SIGSEGV", duration_s=1.0)
    record = load("attention").lost(CELL, ending)
    assert isinstance(record, MeasurementRecord)
    assert (record.kernel, record.implementation, record.direction, record.shape) == (
        "naive",
        "torch",
        FORWARD,
        shape_of(CELL),
    )


# --- what is not supported ---


def test_a_refusal_is_a_result_of_its_cell_with_all_axes(tmp_path: Path) -> None:
    assert run_cell(replace(CELL, implementation="cudnn"), tmp_path / "results.jsonl") == 0
    (record,) = Follower(tmp_path / "results.jsonl").new()
    assert isinstance(record, MeasurementRecord)
    assert (record.outcome, record.kernel, record.shape) == (Outcome.NOT_SUPPORTED, "cudnn", shape_of(CELL))
    assert "No viable backend" in record.reason


def test_a_kernel_that_cannot_be_had_stops_the_run_before_it_begins() -> None:
    with pytest.raises(AdapterBroken, match="is a module, expected a function"):
        preflight.check(replace(OPTIONS, kernels=("torch:nn",)))


@pytest.mark.parametrize("name", ["efficient", "cudnn"])
def test_a_backend_that_the_device_lacks_is_not_supported(name: str) -> None:
    with pytest.raises(NotSupported, match="No viable backend"):
        attend.measure(replace(CELL, implementation=name))


def test_flex_attention_gives_no_gradients_on_the_cpu() -> None:
    with pytest.raises(NotSupported, match="does not support backward on CPU"):
        attend.measure(replace(CELL, implementation="flex", task=BOTH))


@pytest.mark.parametrize("name", ["math", "flash", "naive"])
def test_a_dtype_that_torch_does_not_compute_in_is_not_supported(name: str) -> None:
    with pytest.raises(NotSupported, match=r"raised|float8"):
        attend.measure(replace(CELL, implementation=name, dtype="float8_e4m3fn"))


def test_an_answer_in_a_dtype_without_a_yardstick_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def widening(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return naive().function(query.float(), key.float(), value.float()).to(query.dtype)

    with pytest.raises(NotSupported, match="torch computes nothing in float8_e4m3fn"):
        measured(widening, monkeypatch, replace(CELL, dtype="float8_e4m3fn"))


def test_tf32_is_not_supported_on_the_cpu_and_an_unknown_dtype_nowhere() -> None:
    with pytest.raises(NotSupported, match="the CPU has none"):
        attend.measure(replace(CELL, dtype="tf32"))
    with pytest.raises(NotSupported, match="has no dtype float7"):
        attend.measure(replace(CELL, dtype="float7"))


def test_a_users_kernel_that_refuses_the_plainest_input_of_a_dtype_does_not_support_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def halves_only(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.dtype == torch.float32:
            raise TypeError("bf16 or fp16")
        return naive().function(query, key, value)

    with pytest.raises(NotSupported, match="raised TypeError: bf16 or fp16"):
        measured(halves_only, monkeypatch)
    assert measured(halves_only, monkeypatch, replace(CELL, dtype="bfloat16")).outcome == "measured"


@pytest.mark.parametrize(
    "refusal",
    [
        NotSupported("no kernel for it"),
        NotImplementedError,
        RuntimeError("\"attend_cpu\" not implemented for 'Float'"),
        RuntimeError("FlashAttention only support fp16 and bf16 data type"),
        RuntimeError("No available kernel. Aborting execution."),
        RuntimeError("head_size should be no more than 32"),
        ValueError("Pointer argument (at 0) cannot be accessed from Triton (cpu tensor?)"),
    ],
    ids=str,
)
def test_what_a_users_kernel_says_that_it_lacks_is_not_supported(
    refusal: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise refusal

    with pytest.raises(NotSupported):
        measured(refusing, monkeypatch)


def test_a_check_without_a_word_is_a_refusal_where_another_dtype_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_halves(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        assert query.dtype == torch.bfloat16
        return naive().function(query, key, value)

    with pytest.raises(NotSupported, match="raised AssertionError"):
        measured(of_halves, monkeypatch)


def test_a_kernel_without_gradients_does_not_support_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSupported, match="takes no part in autograd"):
        measured(lambda q, k, v: naive().function(q, k, v).detach(), monkeypatch, replace(CELL, task=BOTH))


def test_a_backend_that_falls_back_silently_is_seen_by_what_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSupported, match=r"mine was forced, but aten::_scaled_dot_product_attention_math ran"):
        measured(
            torch.nn.functional.scaled_dot_product_attention,
            monkeypatch,
            forced=attend.attention_kernel("math").forced,
            operator=flash().operator,
        )


# --- what fails ---


@pytest.mark.parametrize(
    "bug",
    [
        TypeError("unsupported operand type(s) for +: 'NoneType' and 'Tensor'"),
        TypeError("attend() got an unexpected keyword argument 'dtype'"),
        TypeError("'Tensor' object does not support the context manager protocol"),
        IndexError("index 64 is out of bounds for dimension 0 with size 64"),
        ZeroDivisionError("division by zero"),
        AssertionError("unreachable"),
        NameError("name 'quary' is not defined"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (17x64 and 17x64)"),
        RuntimeError("expected m1 and m2 to have the same dtype, but got: float != c10::Half"),
        RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
    ids=str,
)
@pytest.mark.parametrize("task", [FORWARD, BOTH])
def test_a_kernel_with_a_bug_has_failed_and_the_reason_names_it(
    task: str, bug: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise bug

    with pytest.raises(RequirementFailed) as raised:
        measured(broken, monkeypatch, replace(CELL, task=task))
    outcome, reason = _outcome(raised.value)
    assert outcome == Outcome.FAILED
    assert f"raised {type(bug).__name__}: {bug}" in reason


def test_a_bug_in_one_dtype_has_failed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        blocks = {torch.float64: 8, torch.float32: 0}
        return naive().function(query, key, value) * (64 % blocks[query.dtype] + 1)

    with pytest.raises(RequirementFailed, match="raised ZeroDivisionError"):
        measured(broken, monkeypatch)


@pytest.mark.parametrize("task", [FORWARD, BOTH])
def test_a_kernel_that_is_right_at_first_only_is_not_taken_for_right(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def tiring(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        calls[0] += 1
        return naive().function(query, key, value) * (1.0 if calls[0] < 4 else 1.1)

    found = measured(tiring, monkeypatch, replace(CELL, task=task)).precision
    assert found is not None
    assert not found.within
    assert (found.gradient_error or found.output_error) > 0.05


def test_a_kernel_that_spoils_its_answer_while_it_is_timed_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [0]

    def spoiling(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        calls[0] += 1
        return naive().function(query, key, value) * (1.0 if calls[0] < 4 else float("nan"))

    with pytest.raises(RequirementFailed, match="elements are NaN or infinite"):
        measured(spoiling, monkeypatch)


def test_a_kernel_that_crashes_on_this_shape_only_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_64(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.shape[2] % 16:
            raise IndexError("out of the block")
        return naive().function(query, key, value)

    with pytest.raises(RequirementFailed, match="raised IndexError: out of the block"):
        measured(of_64, monkeypatch)


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (
            lambda output: output[:, :, 1:],
            r"returned shape \(2, 3, 16, 64\), expected \(B, h, T, D_h\) = \(2, 3, 17, 64\)",
        ),
        (lambda output: output.double(), "output: dtype float64, expected float32"),
        (lambda output: output.masked_fill(output > 1, float("nan")), "elements are NaN or infinite"),
        (lambda output: None, "returned a NoneType"),
    ],
)
def test_what_is_no_attention_at_all_has_no_figure(
    spoiled: Callable[[Tensor], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RequirementFailed, match=message):
        measured(lambda q, k, v: spoiled(naive().function(q, k, v)), monkeypatch)


def test_nan_in_a_gradient_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Poisoned(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor) -> Tensor:
            return upstream[0] * float("nan")

    with pytest.raises(RequirementFailed, match=r"gradient of the key: .* NaN or infinite"):
        measured(lambda q, k, v: naive().function(q, Poisoned.apply(k), v), monkeypatch, replace(CELL, task=BOTH))


def test_an_error_beyond_the_bound_is_told_beside_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    record = measured(lambda q, k, v: naive().function(1.001 * q, k, v), monkeypatch)
    assert record.latency_s is not None
    assert record.precision is not None
    assert not record.precision.within
    error, bound = record.precision.worst
    assert error is not None
    assert bound is not None
    assert error > 10 * bound


def test_a_lack_of_memory_is_told_from_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(NotSupported) as raised:
        measured(greedy, monkeypatch, may_refuse=True)
    assert _outcome(raised.value)[0] == Outcome.OUT_OF_MEMORY


# --- how much is judged ---


def test_the_first_and_the_last_image_are_judged_of_a_batch_that_is_too_large() -> None:
    assert precision.judged_images(batch=4, heads=3, tokens=17) == [0, 1, 2, 3]
    some = precision.judged_images(batch=64, heads=12, tokens=577)
    assert (some[0], some[-1], len(some)) == (0, 63, 4)
    assert precision.judged_images(batch=64, heads=16, tokens=1025) == [0]


# --- CUDA's modes, on a stand-in ---


class FakeCuda:
    """Streams and graphs that remember; an event that takes a second from its start to its end."""

    def __init__(self, *, captures: bool = True) -> None:
        self.log: list[str] = []
        self._captures = captures
        self.CUDAGraph = lambda: SimpleNamespace(replay=lambda: self.log.append("replay"))

    def get_device_properties(self, device: str) -> Any:
        return SimpleNamespace(L2_cache_size=1000)

    def Stream(self) -> Any:  # noqa: N802  # torch's name
        return SimpleNamespace(wait_stream=lambda other: None)

    current_stream = Stream

    @contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        yield

    device = stream

    @contextmanager
    def graph(self, graph: object) -> Iterator[None]:
        self.log.append("capture")
        if not self._captures:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield
        self.log.append("captured")

    def synchronize(self, device: str) -> None:
        self.log.append("synchronize")

    def Event(self, *, enable_timing: bool) -> Any:  # noqa: N802  # torch's name
        return SimpleNamespace(record=lambda: self.log.append("event"), elapsed_time=lambda end: 1000.0)


def launching(cuda: FakeCuda) -> calls.Calls:
    x = torch.ones(1, 1, 2, 2)
    return calls.Calls(lambda q, k, v: cuda.log.append("launch"), (x, x, x), None, "cpu")


def test_a_cold_cache_is_wiped_before_each_sample_and_not_within_it() -> None:
    cuda = FakeCuda()
    launch, clock = calls.conditions(launching(cuda), replace(CELL, device="cuda:0", mode=COLD), cuda)
    wipe = clock._before  # type: ignore[attr-defined]
    clock._before = lambda: cuda.log.append(f"wipe {wipe().nbytes}")  # type: ignore[attr-defined]
    assert clock.time(launch, 2) == [1.0, 1.0]
    assert cuda.log == [*["wipe 2000", "event", "launch", "event"] * 2, "synchronize"]
    assert not clock.own_time  # the wall clock holds the wiping too


def test_a_replayed_graph_holds_twenty_launches_and_gives_the_time_of_one() -> None:
    cuda = FakeCuda()
    launch, clock = calls.conditions(launching(cuda), replace(CELL, device="cuda:0", mode=REPLAY), cuda)
    assert cuda.log == [*["launch"] * 3, "capture", *["launch"] * 20, "captured"]
    cuda.log.clear()
    assert clock.time(launch, 2) == [0.05, 0.05]
    assert cuda.log == [*["event", "replay", "event"] * 2, "synchronize"]


def test_a_kernel_that_no_graph_can_hold_is_not_supported_in_one() -> None:
    cuda = FakeCuda(captures=False)
    with pytest.raises(NotSupported, match="cannot be captured in a CUDA graph: operation not permitted"):
        calls.conditions(launching(cuda), replace(CELL, device="cuda:0", mode=REPLAY), cuda)
