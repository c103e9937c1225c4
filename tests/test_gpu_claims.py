"""What can only be shown on a CUDA device. Each test carries its claim, as docs/gpu-status.md lists it.

``scripts/gpu_acceptance.sh`` runs them and writes down what passed; without a device they are skipped.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from vitbench import memory
from vitbench.arithmetic import arithmetic, computing
from vitbench.conditions.nvml import uuid_of
from vitbench.conditions.record import Evidence, Validity
from vitbench.conditions.watch import watching
from vitbench.datasets import Labelled
from vitbench.devices import require_device
from vitbench.environment import device_name
from vitbench.errors import DeviceUnavailable
from vitbench.exclusive import identity
from vitbench.executor import Finished, execute
from vitbench.gating import duet
from vitbench.gating.slowdown import Slowdown
from vitbench.limits.ceilings import measure_ceilings
from vitbench.limits.peaks import peak_of
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.config import ViTConfig
from vitbench.reference.recipes import Recipe
from vitbench.reference.vit import ViT
from vitbench.suites.attention.attend import measure as measure_attention
from vitbench.suites.attention.calls import captured
from vitbench.suites.attention.suite import BOTH, COLD, FORWARD
from vitbench.suites.memory.measure import measure as measure_memory
from vitbench.suites.scaling.measure import measure as measure_scaling
from vitbench.timer import CudaClock, Effort, ReplayClock, Timing, sample
from vitbench.training import accuracy, train

DEVICE = "cuda:0"
CLOSE = 0.02  # what the timer promises on a quiet machine
EFFORT = Effort(relative_width=0.01, least_s=0.5, most_s=3.0, most_warmup_s=1.0)
SLEEP_CYCLES = 20_000_000  # some 10 ms


def claim(name: str) -> pytest.MarkDecorator:
    return pytest.mark.gpu(claim=name)


def asleep() -> None:
    """Work of a length that does not depend on memory or on other work."""
    torch.cuda._sleep(SLEEP_CYCLES)


def by_the_host(work: Any, times: int = 30) -> float:
    """Seconds of a launch, many of them between two looks at the host's clock."""
    for _ in range(5):
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


# --- time


@claim("events-known-load")
def test_cuda_events_take_as_long_as_a_known_load_takes_by_the_wall_clock() -> None:
    timing = sample(asleep, CudaClock(DEVICE), EFFORT)
    assert timing.converged
    assert timing.median_s == pytest.approx(by_the_host(asleep), rel=CLOSE)


@claim("events-proportional")
def test_twice_the_load_takes_twice_as_long_by_cuda_events() -> None:
    once = sample(asleep, CudaClock(DEVICE), EFFORT).median_s
    twice = sample(lambda: torch.cuda._sleep(2 * SLEEP_CYCLES), CudaClock(DEVICE), EFFORT).median_s
    assert twice == pytest.approx(2 * once, rel=CLOSE)


@claim("host-bound-told")
def test_a_host_that_cannot_keep_up_is_told_by_the_wall_clock_beside_the_events() -> None:
    def late() -> None:
        time.sleep(2e-3)
        torch.cuda._sleep(SLEEP_CYCLES // 200)

    busy, idle = sample(asleep, CudaClock(DEVICE), EFFORT), sample(late, CudaClock(DEVICE), EFFORT)
    assert busy.wall_clock_ratio == pytest.approx(1.0, abs=0.1)
    assert idle.wall_clock_ratio is not None
    assert idle.wall_clock_ratio > 1.1
    assert any("host-bound" in reason for reason in watched(late)[1].reasons)


def watched(work: Any, effort: Effort = EFFORT) -> tuple[Timing, Evidence]:
    with watching(DEVICE) as watch:
        timing = sample(work, CudaClock(DEVICE), effort)
    return timing, watch.evidence(timing, images=1)


@claim("l2-cold")
def test_a_wiped_cache_slows_a_small_kernel_down() -> None:
    cache_bytes = torch.cuda.get_device_properties(DEVICE).L2_cache_size
    read = torch.ones(cache_bytes // 4, dtype=torch.uint8, device=DEVICE).view(torch.float32)
    wiped = torch.empty(2 * cache_bytes, dtype=torch.uint8, device=DEVICE)
    warm = sample(read.sum, CudaClock(DEVICE), EFFORT).median_s
    cold = sample(read.sum, CudaClock(DEVICE, before=wiped.zero_), EFFORT).median_s
    assert cold > 1.05 * warm


def attention_inputs() -> list[torch.Tensor]:
    generator = torch.Generator(DEVICE).manual_seed(0)
    shape, how = (8, 12, 197, 64), {"device": DEVICE, "dtype": torch.bfloat16}
    return [torch.randn(shape, generator=generator, **how) for _ in range(3)]  # type: ignore[call-overload]


@claim("graph-replay-equal")
def test_a_graphs_replay_gives_what_the_calls_give() -> None:
    inputs, held = attention_inputs(), list[torch.Tensor]()

    def launch() -> None:
        held[:] = [torch.nn.functional.scaled_dot_product_attention(*inputs)]

    launch()
    eager = held[0].clone()
    graph = captured(launch, torch.cuda)
    held[0].zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(held[0], eager)


@claim("graph-replay-time")
def test_a_replayed_launch_is_not_slower_than_one_from_the_host() -> None:
    inputs = attention_inputs()

    def launch() -> object:
        return torch.nn.functional.scaled_dot_product_attention(*inputs)

    calls = sample(launch, CudaClock(DEVICE), EFFORT).median_s
    replayed = sample(captured(launch, torch.cuda).replay, ReplayClock(DEVICE, 20), EFFORT).median_s
    assert replayed < 1.1 * calls


@claim("do-bench-agrees")
def test_tritons_do_bench_finds_the_same_median_of_a_large_product() -> None:
    testing = pytest.importorskip("triton.testing")
    left, right = (torch.randn(4096, 4096, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    cache_bytes = torch.cuda.get_device_properties(DEVICE).L2_cache_size
    wiped = torch.empty(2 * cache_bytes, dtype=torch.uint8, device=DEVICE)
    ours = sample(lambda: left @ right, CudaClock(DEVICE, before=wiped.zero_), EFFORT).median_s
    theirs = testing.do_bench(lambda: left @ right, warmup=200, rep=1000, return_mode="median") * 1e-3
    assert ours == pytest.approx(theirs, rel=0.05)


@claim("torch-benchmark-agrees")
def test_torchs_own_timer_finds_the_same_median_of_a_large_product() -> None:
    from torch.utils.benchmark import Timer

    left, right = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    ours = sample(lambda: left @ right, CudaClock(DEVICE), EFFORT).median_s
    theirs = Timer("left @ right", globals={"left": left, "right": right}).blocked_autorange(min_run_time=1.0)
    assert ours == pytest.approx(median(theirs.times), rel=0.05)


# --- arithmetic and kernels


@claim("tf32-error")
def test_tf32_multiplies_with_a_larger_error_and_float32_without_it() -> None:
    generator = torch.Generator(DEVICE).manual_seed(0)
    left, right = (torch.randn(1024, 1024, generator=generator, device=DEVICE) for _ in range(2))
    exact = left.double() @ right.double()
    errors = {}
    for name in ("float32", "tf32"):
        with computing(arithmetic(name), DEVICE):
            errors[name] = ((left @ right).double() - exact).abs().max().item() / exact.abs().max().item()
    assert errors["float32"] < 1e-5
    assert errors["tf32"] > 10 * errors["float32"]


@claim("triton-kernel-conforms")
@pytest.mark.parametrize("model", ["B/16@224", "H/14@224"])  # heads of 64 and of 80
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_projects_triton_kernel_computes_attention_on_the_device(model: str, dtype: str) -> None:
    found = measure_attention(attention(model, dtype, FORWARD, "vitbench.kernels.triton_attention:attention"))
    assert found.precision is not None
    assert found.precision.within
    assert found.precision.images > 1


@claim("kernel-named")
@pytest.mark.parametrize("kernel", ["flash", "efficient", "math"])
def test_a_backend_of_torch_that_is_forced_runs_and_is_named(kernel: str) -> None:
    found = measure_attention(attention("B/16@224", "bfloat16", BOTH, kernel))
    assert found.precision is not None
    assert found.precision.within
    assert found.kernels_ran
    assert found.evidence is not None


def attention(model: str, dtype: str, direction: str, kernel: str) -> Cell:
    how = {"suite": "attention", "mode": COLD, "batch": 16, "device": DEVICE}
    return Cell(implementation=kernel, model=model, dtype=dtype, task=direction, **how)  # type: ignore[arg-type]


@claim("ceilings")
def test_ceilings_rise_from_float32_to_halves_and_stay_below_the_datasheet() -> None:
    found = measure_ceilings(DEVICE)
    rates = {product.arithmetic: product.flops_per_s for product in found.products}
    assert rates["float32"] is not None
    assert rates["bfloat16"] is not None
    assert rates["bfloat16"] > rates["float32"] > 1e12
    assert found.copy is not None
    peak = peak_of(device_name(DEVICE))
    if peak is not None:
        assert found.copy.bytes_per_s < 1.05 * peak.bytes_per_s
        assert all(
            rate < 1.05 * peak.flops_per_s[name] for name, rate in rates.items() if rate and name in peak.flops_per_s
        )


# --- memory


@claim("memory-closed-form")
def test_the_allocators_figures_are_those_of_the_closed_form() -> None:
    """The package whose eager model keeps no more than it has to, by the tests on the CPU."""
    pytest.importorskip("timm")
    how = {"suite": "memory", "implementation": "timm", "dtype": "float32", "mode": "eager", "device": DEVICE}
    found = measure_memory(Cell(task="training", model="S/16@224", batch=8, **how)).memory  # type: ignore[arg-type]
    assert found is not None
    assert found.parameters_bytes == found.parameters_expected_bytes
    assert found.optimizer_bytes == pytest.approx(found.optimizer_expected_bytes, rel=0.01)
    assert found.activations_bytes == pytest.approx(found.activations_expected_bytes, rel=0.05)
    assert found.reserved_bytes is not None
    assert found.device_bytes is not None
    assert found.allocated_bytes <= found.reserved_bytes <= found.device_bytes


@claim("memory-of-a-phase")
def test_a_phase_that_holds_so_many_bytes_is_seen_to_hold_them() -> None:
    kept: list[torch.Tensor] = []

    def work() -> None:
        torch.empty(3 * 2**20, dtype=torch.uint8, device=DEVICE)
        kept.append(torch.empty(2**20, dtype=torch.uint8, device=DEVICE))

    torch.cuda.empty_cache()  # a block that is only a little too large would be handed out whole
    (phase,) = memory.allocator(DEVICE).phases(work)
    assert (phase.left, phase.peak) == (2**20, 3 * 2**20)


# --- the device and what watches it


@claim("nvml-watches")
def test_nvml_tells_clocks_power_and_energy_of_a_busy_device() -> None:
    timing, seen = watched(asleep, Effort(relative_width=1e-9, least_s=3.0, most_s=3.0, most_warmup_s=1.0))
    assert seen.verdict in {Validity.VALID, Validity.INVALID}, seen.reasons
    assert seen.readings >= 10
    assert seen.sm_clock_hz is not None
    assert seen.sm_clock_hz.median > 1e8
    assert seen.power_w is not None
    assert seen.energy_j is not None
    assert seen.energy_j == pytest.approx(seen.power_w.median * (timing.ended_s - timing.started_s), rel=0.3)


@claim("nvml-own-process")
def test_nvml_shows_this_process_and_what_it_takes() -> None:
    held = torch.ones(2**28, dtype=torch.uint8, device=DEVICE)
    seen = watched(asleep)[1]
    assert seen.foreign_processes is not None
    taken = memory.on_device(DEVICE)
    assert taken.device > held.nbytes
    assert taken.process is not None
    assert taken.process > held.nbytes


@claim("device-identity")
def test_a_gpu_has_one_name_in_every_process_whatever_its_number_is_there() -> None:
    code = "from vitbench.exclusive import identity; print(identity('cuda:0'))"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": uuid_of(DEVICE)}
    asked = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == identity(DEVICE)


@claim("device-missing")
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DeviceUnavailable, match=torch.cuda.get_device_name(0)):
        require_device("cuda:99")


@claim("peak-by-name")
def test_the_table_of_peaks_knows_the_device_by_the_name_it_gives_itself() -> None:
    name = device_name(DEVICE)
    if not any(known in name for known in ("H100", "H200", "A100", "B200", "L4", "RTX 4090")):
        pytest.skip(f"the table has no row for {name}")
    assert peak_of(name) is not None


# --- faults

FAULTS = {
    "runs_out_of_memory": "return torch.empty(2**45, dtype=torch.uint8, device='cuda:0')",
    "spoils_the_context": "torch.zeros(1, device='cuda:0')[torch.tensor([5], device='cuda:0')].cpu()",
}


def results_of(folder: Path) -> dict[str, MeasurementRecord]:
    """Faulty cells, then the reference's, each in a real process."""
    cells = []
    for name, fault in {**FAULTS, "is_sound": "pass"}.items():
        file = folder / f"{name}.py"
        file.write_text(
            "import torch\nfrom vitbench.adapters.reference import ReferenceAdapter\n"
            f"class Mine(ReferenceAdapter):\n    name = {name!r}\n"
            f"    def logits(self, model, images):\n        {fault}\n        return super().logits(model, images)\n"
        )
        how = {"suite": "memory", "task": "inference", "model": "Ti/16@64", "dtype": "float32", "mode": "eager"}
        cells.append(
            Cell(implementation=str(file), name=name, batch=1, device=DEVICE, timed=True, **how)  # type: ignore[arg-type]
        )
    found = [event.result for event in execute(cells) if isinstance(event, Finished)]
    return {one.implementation: one for one in found if isinstance(one, MeasurementRecord)}


@claim("faults-end-their-cell")
def test_a_lack_of_memory_and_a_spoiled_context_end_their_cells_and_the_next_one_runs(tmp_path: Path) -> None:
    found = results_of(tmp_path)
    assert found["runs_out_of_memory"].outcome == Outcome.OUT_OF_MEMORY, found["runs_out_of_memory"].reason
    assert found["spoils_the_context"].outcome == Outcome.FAILED
    assert "device-side assert" in found["spoils_the_context"].reason
    assert found["is_sound"].outcome == Outcome.MEASURED, found["is_sound"].reason


@claim("gate-paired")
def test_two_live_processes_take_turns_on_a_device_and_the_slow_one_shows() -> None:
    cell = Cell(
        suite="throughput",
        implementation="",
        task="inference",
        model="Ti/16@224,depth=6",
        dtype="float32",
        mode="eager",
        batch=16,
        device=DEVICE,
    )
    base = duet.Side(label=duet.BASE, implementation="reference")
    protocol = duet.Protocol(pair_s=2.0)
    for slowdown, low, high in ((None, -0.1, 0.1), (Slowdown(kind="work", fraction=0.5), 0.2, 0.8)):
        head = duet.Side(label=duet.HEAD, implementation="reference", slowdown=slowdown)
        pair = duet.play(base, head, cell, protocol, random.Random(0))
        assert low < pair.log_ratio < high
        assert not pair.cores


# --- training


@claim("studies-train")
def test_a_model_learns_on_the_device_and_goes_on_from_its_state(tmp_path: Path) -> None:
    config = ViTConfig(
        image_size=(8, 8), patch_size=(4, 4), channels=1, width=16, depth=1, num_heads=2, mlp_dim=16, num_classes=2
    )
    images, labels = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
    images[labels == 1, :, :4] += 2
    data = Labelled(images, labels).to(DEVICE)
    recipe = Recipe(decay="cosine", learning_rate=0.01, steps=60, warmup_steps=6, batch=16, clip_norm=1.0)
    model, again = ViT(config).to(DEVICE).train(), ViT(config).to(DEVICE).train()
    course = train(model, model, data, recipe, 0, keep=tmp_path / "state")
    assert accuracy(model.eval(), data) > 0.9
    resumed = train(again, again, data, recipe, 0, keep=tmp_path / "state")
    assert (resumed.began_at, resumed.losses) == (60, course.losses)
    weights, others = model.state_dict(), again.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


# --- several workers; the last, for they start processes that take seconds

SMALL = "L/16@64,depth=4,width=256,num_heads=4,mlp_dim=1024,num_classes=10"


def scaled(strategy: str) -> MeasurementRecord:
    """By torchrun on all devices that there are, from the first on."""
    how = {"suite": "scaling", "implementation": "reference", "dtype": "float32", "device": DEVICE}
    cell = Cell(task="training", model=SMALL, batch=8, mode=strategy, time_limit_s=90.0, **how)  # type: ignore[arg-type]
    return measure_scaling(cell)


@claim("scaling-nccl")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_group_of_workers_by_nccl_computes_what_one_worker_does(strategy: str) -> None:
    found = scaled(strategy)
    assert found.outcome == Outcome.MEASURED, found.reason
    assert found.scaling is not None
    assert found.scaling.backend == "nccl"
    assert found.scaling.points[-1].workers == torch.cuda.device_count()
    agreed = found.scaling.agreement
    assert agreed is not None
    assert agreed.loss_together == pytest.approx(agreed.loss_alone, rel=1e-4)


@claim("scaling-several-gpus")
def test_several_gpus_compute_more_images_than_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device here, and it takes two")
    found = scaled("ddp").scaling
    assert found is not None
    assert found.points[-1].images_per_s.value > found.alone_images_per_s.value
    assert found.points[-1].communication_share is not None
