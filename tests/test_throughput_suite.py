"""The throughput suite: what it runs and records, on stand-ins for clock and candidate, and once for real."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from vitbench.adapter import Adapter
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.conditions.record import Validity
from vitbench.errors import AdapterBroken, NotSupported, RequirementFailed
from vitbench.inputs import ImagePool
from vitbench.layout import MemoryLayout
from vitbench.measurement import unmeasured
from vitbench.models import model_config
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.cost import multiply_accumulates
from vitbench.results import from_line, to_line
from vitbench.suite import Ending
from vitbench.suites.throughput import measure as throughput
from vitbench.timer import Effort

MODEL = "Ti/16@32,depth=1,width=48,num_classes=7"
CELL = Cell(
    suite="throughput",
    implementation="reference",
    task="inference",
    model=MODEL,
    dtype="float32",
    batch=2,
    mode="eager",
    timed=True,
)
BRIEF = Effort(relative_width=float("inf"), least_samples=6, least_s=0.0, most_s=60.0, most_warmup_s=0.0)

pytestmark = pytest.mark.usefixtures("one_thread")


class Watched(ReferenceAdapter):
    """The reference, which remembers what it was asked."""

    name = "watched"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool, torch.dtype, tuple[int, ...]]] = []
        self.images: set[int] = set()

    def logits(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((torch.is_grad_enabled(), model.training, images.dtype, tuple(images.shape)))
        self.images.add(images.data_ptr())
        return super().logits(model, images)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Measured in place of what the cell names, in six samples."""
    adapter = Watched()
    monkeypatch.setattr(throughput, "resolve", lambda name: adapter)
    monkeypatch.setattr(throughput, "EFFORT", {"quick": BRIEF})
    return adapter


def measured_instead(adapter: Adapter, monkeypatch: pytest.MonkeyPatch, cell: Cell = CELL) -> MeasurementRecord:
    monkeypatch.setattr(throughput, "resolve", lambda name: adapter)
    monkeypatch.setattr(throughput, "EFFORT", {"quick": BRIEF})
    return throughput.measure(cell)


def test_it_runs_the_adapters_logits_in_evaluation_mode_without_gradients(watched: Watched) -> None:
    throughput.measure(CELL)
    assert set(watched.seen) == {(False, False, torch.float32, (2, 3, 32, 32))}


def test_it_counts_the_first_forward_the_warm_up_and_the_samples(watched: Watched) -> None:
    record = throughput.measure(CELL)
    assert record.warmup_iterations == 1
    unsampled = 1 + record.warmup_iterations + len(record.samples_s) + 1  # one before each sample, and a last answer
    assert len(watched.seen) == unsampled + len(record.samples_s)
    assert len(record.samples_s) == record.memory_layouts == 6


def test_it_computes_with_the_threads_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()

    class Counting(ReferenceAdapter):
        def logits(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
            threads.add(torch.get_num_threads())
            return super().logits(model, images)

    assert measured_instead(Counting(), monkeypatch, replace(CELL, threads=2)).threads == 2
    assert threads == {2}


def test_a_cell_is_set_against_the_products_that_it_makes(watched: Watched) -> None:
    record = throughput.measure(replace(CELL, dtype="autocast-bfloat16"))
    assert record.roofline is not None
    assert (record.dtype, record.roofline.arithmetic) == ("autocast-bfloat16", "bfloat16")


def test_images_come_from_memory_that_changes(watched: Watched) -> None:
    throughput.measure(CELL)
    assert len(watched.images) > 4


def test_figures_follow_from_the_samples(watched: Watched) -> None:
    record = throughput.measure(CELL)
    ordered = sorted(record.samples_s)
    assert record.latency_s == (ordered[2] + ordered[3]) / 2
    assert record.throughput_images_per_s == 2 / record.latency_s
    assert (record.latency_low_s, record.latency_high_s) == (ordered[0], ordered[-1])
    assert record.converged


def test_the_record_says_what_was_measured(watched: Watched) -> None:
    record = throughput.measure(CELL)
    config = model_config(MODEL)
    assert (record.outcome, record.reason, record.implementation) == (Outcome.MEASURED, "", "watched")
    assert (record.model, record.batch, record.dtype, record.mode, record.threads) == (MODEL, 2, "float32", "eager", 1)
    assert record.multiply_accumulates == multiply_accumulates(config)
    assert record.parameters == sum(p.numel() for p in watched.build(config).parameters())
    assert record.device_name
    assert record.build_s is not None
    assert record.first_forward_s is not None
    assert to_line(from_line(to_line(record))) == to_line(record)


def test_no_weight_is_left_at_zero_since_zeros_are_faster(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[nn.Module] = []
    build = watched.build
    monkeypatch.setattr(watched, "build", lambda config: models.append(build(config)) or models[-1])
    throughput.measure(CELL)
    assert all(parameter.count_nonzero() == parameter.numel() for parameter in models[0].parameters())


def test_what_the_package_does_not_support_is_left_to_the_cell_to_record(monkeypatch: pytest.MonkeyPatch) -> None:
    class Declining(ReferenceAdapter):
        def build(self, config: object) -> nn.Module:
            raise NotSupported("squares only")

    with pytest.raises(NotSupported, match="squares only"):
        measured_instead(Declining(), monkeypatch)


def test_an_adapter_that_takes_no_weights_is_measured_with_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(ReferenceAdapter):
        def load(self, model: object, state: object) -> None:
            raise NotSupported("maps no weights")

    assert measured_instead(Own(), monkeypatch).outcome == Outcome.MEASURED


def test_an_adapter_that_raises_is_named_with_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    class Raising(ReferenceAdapter):
        def build(self, config: object) -> nn.Module:
            raise ValueError("no such width")

    with pytest.raises(RequirementFailed, match=r"build\(\) raised ValueError: no such width"):
        measured_instead(Raising(), monkeypatch)


def test_logits_of_the_wrong_shape_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flat(ReferenceAdapter):
        def logits(self, model: object, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    with pytest.raises(AdapterBroken, match=r"returned shape \(2, 3072\), expected \(B, K\) = \(2, 7\)"):
        measured_instead(Flat(), monkeypatch)


def test_logits_that_change_their_shape_while_they_are_timed_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tiring(ReferenceAdapter):
        calls = 0

        def logits(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return super().logits(model, images) if self.calls == 1 else images[:, 0, 0, :3]

    with pytest.raises(AdapterBroken, match=r"returned shape \(2, 3\), expected \(B, K\) = \(2, 7\)"):
        measured_instead(Tiring(), monkeypatch)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: torch.set_num_threads(2), "the number of threads"),
        (lambda: torch.set_default_dtype(torch.float64), "the default dtype"),
    ],
)
def test_figures_under_settings_that_the_candidate_changed_are_invalid(
    change: Callable[[], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(ReferenceAdapter):
        def logits(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
            change()
            return super().logits(model, images)

    try:
        evidence = measured_instead(Changing(), monkeypatch).evidence
    finally:
        torch.set_default_dtype(torch.float32)
    assert evidence is not None
    assert evidence.verdict == Validity.INVALID
    assert f"the candidate changed {name}" in evidence.reasons


def test_settings_that_stay_as_they_were_are_no_reason(watched: Watched) -> None:
    evidence = throughput.measure(CELL).evidence
    assert evidence is not None
    assert not [reason for reason in evidence.reasons if "the candidate changed" in reason]


@pytest.mark.parametrize(
    ("task", "lost", "reason"),
    [
        ("inference", float("nan"), "2 of 14 logits are NaN or infinite after the last sample"),
        ("inference", float("inf"), "2 of 14 logits are NaN or infinite after the last sample"),
        ("training", float("nan"), "14 of 14 logits are NaN or infinite after the last training step"),
    ],
)
def test_figures_of_logits_that_are_not_finite_stand_and_are_invalid(
    task: str, lost: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing(ReferenceAdapter):
        def logits(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
            logits = super().logits(model, images)
            return torch.cat([logits[:, :1] * lost, logits[:, 1:]], dim=1)

    record = measured_instead(Losing(), monkeypatch, replace(CELL, task=task))
    assert record.throughput_images_per_s is not None
    assert record.evidence is not None
    assert record.evidence.verdict == Validity.INVALID
    assert reason in record.evidence.reasons


@pytest.mark.parametrize("task", ["inference", "training"])
def test_finite_logits_are_no_reason(task: str, watched: Watched) -> None:
    evidence = throughput.measure(replace(CELL, task=task)).evidence
    assert evidence is not None
    assert not [reason for reason in evidence.reasons if "logits" in reason]


def test_a_wait_for_the_device_is_no_part_of_a_cold_start(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "age_s", lambda: 12.5)
    monkeypatch.setattr(throughput, "waited_s", lambda: 10.0)
    assert throughput.measure(CELL).cold_start_s == 2.5
    monkeypatch.setattr(throughput, "age_s", lambda: None)
    assert throughput.measure(CELL).cold_start_s is None


def test_a_model_of_another_framework_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    taken_over: list[str] = []

    class Lazy:
        """An array that is computed when it is asked for."""

        def __array__(self, dtype: object = None, copy: object = None) -> object:
            taken_over.append("computed")
            return torch.zeros(2, 7).numpy()

    class Foreign(Adapter):
        def build(self, config: object) -> object:
            return "an opaque model"

        def logits(self, model: object, images: torch.Tensor) -> object:  # type: ignore[override]
            return Lazy()

    record = measured_instead(Foreign(), monkeypatch)
    assert len(taken_over) == 1 + 1 + len(record.samples_s) + 1
    assert record.memory_layouts == 1  # its memory is not ours to move
    assert record.parameters is None


def test_a_cell_without_a_measurement_still_has_its_axes() -> None:
    ending = Ending(outcome=Outcome.TIMED_OUT, reason="too slow", duration_s=3.0)
    record = unmeasured(replace(CELL, name="mine"), ending)
    assert (record.cell, record.implementation, record.model, record.batch) == (CELL.key, "mine", MODEL, 2)
    assert (record.outcome, record.reason, record.duration_s) == (Outcome.TIMED_OUT, "too slow", 3.0)
    assert record.throughput_images_per_s is None


def test_images_rotate_are_random_and_follow_the_seed() -> None:
    def pool(seed: int) -> ImagePool:
        return ImagePool(model_config(MODEL), 2, size=3, seed=seed, device="cpu", dtype=torch.float32)

    first = pool(0)
    turns = [first.next() for _ in range(6)]
    assert [turn.data_ptr() for turn in turns[:3]] == [turn.data_ptr() for turn in turns[3:]]
    assert len({float(turn.sum()) for turn in turns}) == 3
    assert torch.equal(first.batches[0], pool(0).batches[0])
    assert not torch.equal(first.batches[0], pool(1).batches[0])


class Tied(nn.Module):
    """A weight that two layers share, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.ones(64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) * self.scale


def test_a_drawn_layout_moves_every_tensor_and_changes_no_value() -> None:
    model, inputs = Tied(), [torch.randn(2, 64)]
    layout = MemoryLayout(model, inputs, seed=0)
    tensors = [*model.parameters(), *model.buffers()]
    held = list(tensors)
    with torch.inference_mode():
        before, places = model(inputs[0]), {tensor.data_ptr() for tensor in [*tensors, *inputs]}
        for _ in range(5):
            layout.draw()
            now = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers(), *inputs]}
            assert not now & places
            places = now
            assert torch.equal(model(inputs[0]), before)
    assert all(new is old for new, old in zip([*model.parameters(), *model.buffers()], held, strict=True))
    assert model.second.weight is model.first.weight
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in model.parameters())


def test_an_opaque_model_cannot_be_moved() -> None:
    assert not MemoryLayout(object(), [torch.zeros(1)], seed=0).movable


@pytest.mark.parametrize("name", ["timm", "torchvision", "transformers", "vit_pytorch"])
def test_the_peers_can_be_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    monkeypatch.setattr(throughput, "EFFORT", {"quick": BRIEF})
    record = throughput.measure(replace(CELL, implementation=name, model="Ti/16@32,depth=1"))
    assert (record.outcome, record.implementation) == (Outcome.MEASURED, name)
    assert record.version
