"""What benchmark cells do: training, compiled models, arithmetics, memory formats; and what a preset plans."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.arithmetic import ARITHMETICS, arithmetic, computing
from vitbench.errors import NotSupported, UsageError
from vitbench.exclusive import waited_s
from vitbench.models import model_config
from vitbench.options import COMPILED, MODES, TASKS, parse
from vitbench.plan import Cell
from vitbench.process import age_s
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.config import ViTConfig
from vitbench.reference.cost import training_step
from vitbench.suites.throughput import measure as throughput
from vitbench.suites.throughput.suite import plan
from vitbench.timer import Effort

pytestmark = pytest.mark.usefixtures("one_thread")

CELL = Cell(
    suite="throughput",
    implementation="reference",
    task="training",
    model="Ti/16@32,depth=1,width=48,num_classes=7",
    dtype="float32",
    batch=2,
    mode="eager",
    timed=True,
)
BRIEF = Effort(relative_width=float("inf"), least_samples=6, least_s=0.0, most_s=60.0, most_warmup_s=0.0)


class Watched(ReferenceAdapter):
    """The reference, which keeps its model and remembers in which mode and dtype it ran."""

    def build(self, config: ViTConfig) -> Any:
        self.model = super().build(config)
        self.loaded: dict[str, torch.Tensor] = {}  # the weights with which it first answers
        self.seen: list[tuple[bool, bool]] = []
        self.formats: list[bool] = []
        self.answers: set[torch.dtype] = set()
        self.autocasts: set[torch.dtype | None] = set()
        return self.model

    def logits(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        self.loaded = self.loaded or {name: p.detach().clone() for name, p in model.named_parameters()}
        self.seen.append((model.training, torch.is_grad_enabled()))
        self.formats.append(images.is_contiguous(memory_format=torch.channels_last))
        cast = torch.is_autocast_enabled("cpu")
        self.autocasts.add(torch.get_autocast_dtype("cpu") if cast else None)
        answer = super().logits(model, images)
        self.answers.add(answer.dtype)
        return answer


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    adapter = Watched()
    monkeypatch.setattr(throughput, "resolve", lambda name: adapter)
    monkeypatch.setattr(throughput, "EFFORT", {"quick": BRIEF})
    return adapter


def measured(**changes: Any) -> MeasurementRecord:
    return throughput.measure(replace(CELL, **changes))


# --- training ---


def test_a_training_step_is_forward_backward_and_update(watched: Watched) -> None:
    record = measured()
    assert record.outcome is Outcome.MEASURED
    assert watched.seen[0] == (False, False)  # the first answer, in evaluation
    assert set(watched.seen[1:]) == {(True, True)}
    moved = [name for name, p in watched.model.named_parameters() if not torch.equal(p.detach(), watched.loaded[name])]
    assert moved == list(watched.loaded)
    assert all(p.grad is None for p in watched.model.parameters())


def test_training_is_set_against_its_own_work(watched: Watched) -> None:
    record = measured()
    config = model_config(CELL.model)
    assert record.roofline is not None
    assert record.roofline.flops == training_step(config, 2, 4).flops


def test_what_torch_cannot_train_is_not_supported(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    build = watched.build
    monkeypatch.setattr(watched, "build", lambda config: build(config).requires_grad_(requires_grad=False))
    with pytest.raises(NotSupported, match="none of its parameters asks for a gradient"):
        measured()


# --- modes ---


@pytest.mark.parametrize("task", TASKS)
def test_a_compiled_cell_tells_its_compilation_apart(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    asked: list[str | None] = []
    compile_eagerly = partial(torch.compile, backend="eager")

    def compile_as_asked(model: nn.Module, mode: str | None) -> Any:
        asked.append(mode)
        return compile_eagerly(model)

    monkeypatch.setattr(torch, "compile", compile_as_asked)
    record = measured(task=task, mode="compile-max-autotune")
    assert asked == ["max-autotune"]
    assert record.compile_s is not None
    assert record.first_forward_s is not None
    assert record.compile_s > min(record.samples_s)
    assert measured(task=task).compile_s is None


def test_channels_last_is_the_images_layout_too(watched: Watched) -> None:
    measured(task="inference", mode="channels-last")
    assert all(watched.formats)


def test_every_mode_and_task_of_the_command_line_is_one_that_runs() -> None:
    assert set(MODES) == {"eager", "channels-last", *COMPILED}
    assert TASKS == ("inference", "training")


# --- arithmetic ---


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_pure_dtype_is_that_of_weights_and_answers(watched: Watched, name: str) -> None:
    record = measured(task="inference", dtype=name)
    assert (watched.answers, watched.autocasts) == ({getattr(torch, name)}, {None})
    assert record.roofline is not None
    assert record.roofline.arithmetic == name


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_training_in_a_pure_dtype_leaves_weights_that_are_numbers(watched: Watched, name: str) -> None:
    measured(task="training", dtype=name)
    assert all(parameter.isfinite().all() for parameter in watched.model.parameters())


def test_autocast_keeps_weights_in_float32_and_multiplies_in_halves(watched: Watched) -> None:
    record = measured(dtype="autocast-bfloat16")
    assert {p.dtype for p in watched.model.parameters()} == {torch.float32}
    assert watched.autocasts == {torch.bfloat16}
    assert record.roofline is not None
    assert record.roofline.arithmetic == "bfloat16"


def test_tf32_is_of_cuda_alone(watched: Watched) -> None:
    with pytest.raises(NotSupported, match="the CPU has none"):
        measured(dtype="tf32")


def test_settings_are_as_they_were_afterwards() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    with computing(arithmetic("float32"), "cpu"):
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert not torch.is_autocast_enabled("cpu")
    with computing(arithmetic("autocast-float16"), "cpu"):
        assert torch.get_autocast_dtype("cpu") == torch.float16
    assert torch.backends.cuda.matmul.fp32_precision == before
    assert not torch.is_autocast_enabled("cpu")


def test_an_unknown_arithmetic_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no arithmetic 'float8'; there are float32, tf32, bfloat16"):
        arithmetic("float8")


# --- cold start ---


def test_the_cold_start_is_counted_from_the_process_own_start(watched: Watched) -> None:
    age = age_s()
    if age is None:
        pytest.skip("this system does not tell when a process was started")
    cold = measured(task="inference").cold_start_s
    assert cold is not None
    own = age - waited_s()  # another test of this process may have waited for a device
    assert own < cold < own + 60


# --- plan ---


def keys(*arguments: str) -> list[str]:
    return [cell.key for cell in plan(parse(["--impl", "reference", "--suite", "throughput", *arguments]))]


def test_quick_measures_inference_and_training() -> None:
    assert keys() == [
        "throughput inference reference Ti/16@64 float32 eager batch=8 cpu threads=1 quick seed=0",
        "throughput training reference Ti/16@64 float32 eager batch=8 cpu threads=1 quick seed=0",
    ]


@pytest.mark.parametrize("preset", ["quick", "standard", "full"])
def test_no_point_is_planned_twice_whatever_the_sweeps_share(preset: str) -> None:
    found = keys("--preset", preset)
    assert len(found) == len(set(found))
    assert keys("--preset", preset, "--model", "Ti/16@64", "--batch", "2") != found


def test_full_sweeps_batches_sizes_arithmetics_and_modes() -> None:
    cells = list(plan(parse(["--impl", "reference", "--suite", "throughput", "--preset", "full"])))
    assert {"S/16@224", "S/16@288", "S/16@384", "S/16@512"} <= {c.model for c in cells}
    assert {1, 2, 4, 8, 16} <= {c.batch for c in cells if c.model == "S/16@224"}
    assert {"float32", "bfloat16", "autocast-bfloat16"} <= {c.dtype for c in cells}
    assert {"eager", "channels-last", "compile"} <= {c.mode for c in cells}


def test_what_is_asked_for_replaces_the_presets_and_nothing_else() -> None:
    found = keys("--task", "training", "--dtype", "bfloat16", "--mode", "compile", "--batch", "1", "--batch", "2")
    assert found == [
        f"throughput training reference Ti/16@64 bfloat16 compile batch={batch} cpu threads=1 quick seed=0"
        for batch in (1, 2)
    ]


def test_options_name_every_arithmetic() -> None:
    for name in ARITHMETICS:
        assert parse(["--impl", "reference", "--dtype", name]).dtypes == (name,)
