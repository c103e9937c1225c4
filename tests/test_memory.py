"""Memory: what the harness counts is what was taken, and the closed forms are what packages need."""

import gc

import pytest
import torch
from torch import Tensor

from vitbench import memory
from vitbench.adapter import NotSupported
from vitbench.conditions.record import Validity
from vitbench.memory_fit import growths
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.records import Memory, Outcome
from vitbench.reference.config import ViTConfig
from vitbench.reference.memory import activation_bytes, optimizer_bytes, parameter_bytes
from vitbench.results import from_line, to_line
from vitbench.suites.memory import measure as memory_suite
from vitbench.suites.memory.suite import plan

pytestmark = pytest.mark.usefixtures("one_thread")

MIB = 2**20
MODEL = "Ti/16@64,depth=2"


def cell(implementation: str = "reference", task: str = "training", **changes: object) -> Cell:
    fixed = {"model": MODEL, "dtype": "float32", "batch": 4, "mode": "eager"}
    return Cell(suite="memory", implementation=implementation, task=task, **{**fixed, **changes})  # type: ignore[arg-type]


def measured(of: Cell) -> Memory:
    record = memory_suite.measure(of)
    assert record.memory is not None
    return record.memory


# --- counting ---


def test_a_phase_is_what_was_left_and_the_most_at_once() -> None:
    kept: list[Tensor] = []

    def work() -> None:
        kept.append(torch.empty(MIB, dtype=torch.uint8))
        scratch = torch.empty(5 * MIB, dtype=torch.uint8)
        del scratch
        kept.append(torch.empty(2 * MIB, dtype=torch.uint8))

    (phase,) = memory.CpuAllocator().phases(work)
    assert (phase.left, phase.peak, phase.scratch) == (3 * MIB, 6 * MIB, 3 * MIB)


def test_a_later_phase_lets_go_what_an_earlier_one_made() -> None:
    held: list[Tensor] = []

    def make() -> None:
        held.append(torch.empty(4 * MIB, dtype=torch.uint8))

    def let_go() -> None:
        grown = torch.empty(MIB, dtype=torch.uint8)
        held.clear()
        del grown

    first, second = memory.CpuAllocator().phases(make, let_go)
    assert (first.left, first.peak, first.scratch) == (4 * MIB, 4 * MIB, 0)
    assert (second.left, second.peak, second.scratch) == (-4 * MIB, MIB, MIB)


def test_the_peak_of_the_process_sees_memory_that_was_given_back() -> None:
    gc.collect()
    before = memory.resident()

    def work() -> None:
        torch.ones(256 * MIB, dtype=torch.uint8)

    peak = memory.process_peak(work)
    if before is None or peak is None:
        pytest.skip("this operating system does not tell a process its peak afresh")
    assert 250 * MIB < peak - before < 300 * MIB
    assert memory.process_peak(lambda: None) < before + 50 * MIB  # type: ignore[operator]  # afresh


def test_storage_that_tensors_share_counts_once() -> None:
    whole = torch.zeros(10, dtype=torch.float32)
    assert memory.size([whole, whole[2:4], whole.view(2, 5), torch.zeros(1)]) == 44


# --- the suite ---


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_closed_forms_are_what_packages_take(name: str) -> None:
    """Activations to 1 %: the loss is a number, too, and has a few of its own."""
    pytest.importorskip(name)
    found = measured(cell(name))
    assert found.parameters_bytes == found.parameters_expected_bytes
    assert found.optimizer_bytes == pytest.approx(found.optimizer_expected_bytes, rel=1e-4)  # and a step count for each
    assert found.gradients_bytes == pytest.approx(found.parameters_bytes, rel=1e-3)
    assert found.activations_bytes == pytest.approx(found.activations_expected_bytes, rel=0.01)


def test_attention_that_is_written_out_keeps_its_weights() -> None:
    """The reference forms them, and pays for it."""
    config = model_config(MODEL)
    fused, written_out = (activation_bytes(config, 4, 4, fused_attention=fused) for fused in (True, False))
    t, h = config.num_tokens, config.num_heads
    assert written_out - fused == 4 * 4 * config.depth * h * t * (t - 1)
    assert measured(cell()).activations_bytes > written_out


def test_the_peak_holds_all_that_is_there_at_once() -> None:
    found = measured(cell())
    held = found.parameters_bytes + found.optimizer_bytes + found.activations_bytes
    assert found.allocated_bytes >= held
    assert found.temporaries_bytes > 0
    assert found.process_bytes is None or found.process_bytes > found.allocated_bytes


def test_inference_keeps_nothing_for_a_backward_pass() -> None:
    found = measured(cell(task="inference"))
    assert (found.gradients_bytes, found.optimizer_bytes, found.activations_bytes) == (0, 0, 0)
    assert found.allocated_bytes > found.parameters_bytes
    assert found.optimizer_expected_bytes == found.activations_expected_bytes == 0


def test_a_model_that_torch_cannot_train_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitbench.adapters.reference import ReferenceAdapter

    class Frozen(ReferenceAdapter):
        def build(self, config: ViTConfig) -> torch.nn.Module:
            model: torch.nn.Module = super().build(config)
            return model.requires_grad_(requires_grad=False)

    monkeypatch.setattr(memory_suite, "resolve", lambda name: Frozen())
    with pytest.raises(NotSupported, match="asks for a gradient"):
        memory_suite.measure(cell())


def test_a_record_survives_its_file() -> None:
    record = memory_suite.measure(cell(batch=1))
    assert record.outcome is Outcome.MEASURED
    assert from_line(to_line(record)) == from_line(to_line(from_line(to_line(record))))
    assert isinstance(from_line(to_line(record)).memory, Memory)  # type: ignore[union-attr]
    assert record.evidence is not None
    assert record.evidence.verdict == (Validity.UNWATCHED if memory.swapped() is None else Validity.VALID)


def test_a_preset_has_batches_enough_for_a_line() -> None:
    from vitbench.options import parse

    for preset in ("quick", "standard", "full"):
        cells = list(plan(parse(["--impl", "reference", "--preset", preset])))
        assert len({c.batch for c in cells}) >= 2
        assert {c.task for c in cells} == {"inference", "training"}


# --- closed forms and fit ---


def test_weights_and_states_follow_from_the_number_of_parameters() -> None:
    config = model_config("B/16@224")
    assert parameter_bytes(config, 2) == 2 * 86_567_656
    assert optimizer_bytes(config, 4) == 8 * 86_567_656


def test_a_line_through_the_peaks_is_found_again() -> None:
    from dataclasses import replace

    base = memory_suite.measure(cell(batch=1))
    assert base.memory is not None
    records = [
        replace(base, batch=batch, memory=replace(base.memory, allocated_bytes=1000 + 70 * batch + off))
        for batch, off in ((1, 0), (2, 0), (8, 0))
    ]
    (growth,) = growths(records)
    assert (growth.fixed_bytes, growth.per_image_bytes) == pytest.approx((1000, 70))
    assert growth.worst_bytes == pytest.approx(0, abs=1e-6)
    assert growth.largest_batch(1700) == 10
    assert growths(records[:1]) == []
    assert growths([replace(r, task=f"task {r.batch}") for r in records]) == []


def test_tasks_and_dtypes_that_are_asked_for_are_weighed() -> None:
    from vitbench.options import parse

    cells = plan(parse(["--impl", "reference", "--task", "training", "--dtype", "bfloat16", "--batch", "1"]))
    assert [(c.task, c.dtype) for c in cells] == [("training", "bfloat16")]
    half, whole = measured(cell(dtype="bfloat16")), measured(cell())
    assert 2 * half.parameters_bytes == whole.parameters_bytes
    assert half.activations_bytes < 0.7 * whole.activations_bytes  # some statistics stay in float32


def test_a_mixture_of_dtypes_is_not_weighed() -> None:
    with pytest.raises(NotSupported, match="in one dtype for all, not in autocast-bfloat16"):
        measured(cell(dtype="autocast-bfloat16"))
