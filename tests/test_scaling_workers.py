"""Training by several workers: what they compute together, in processes that are forked with their rounds cut short."""

import json
import multiprocessing
import os
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitbench.adapters.reference import ReferenceAdapter
from vitbench.conditions.record import Validity
from vitbench.plan import Cell
from vitbench.records import MeasurementRecord, Outcome
from vitbench.reference.config import ViTConfig
from vitbench.results import Follower
from vitbench.suites.scaling import rounds, ways, words
from vitbench.suites.scaling.worker import FOUND, main
from vitbench.timer import Effort

SMALL = "Ti/16@32,depth=2,width=48,num_heads=2,mlp_dim=96,num_classes=10"


def scaling_cell(**changes: Any) -> Cell:
    fixed = {"task": "training", "model": SMALL, "dtype": "float32", "batch": 4, "mode": "ddp", "time_limit_s": 60.0}
    return Cell(suite="scaling", **{"implementation": "reference", **fixed, **changes})


class Awkward(ReferenceAdapter):
    """The reference, with something wrong in one of its workers."""

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong

    def build(self, config: ViTConfig) -> Any:
        if os.environ["RANK"] == "1":
            if self.wrong == "raises":
                raise ValueError("no such luck")
            if self.wrong == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.10 GiB")
        return super().build(config)

    def load(self, model: Any, state: Any) -> None:
        super().load(model, state)
        if self.wrong == "unused":
            model.nobody_reads = nn.Parameter(torch.ones(3))

    def logits(self, model: Any, images: Tensor) -> Tensor:
        answer = super().logits(model, images)
        return answer * float("nan") if self.wrong == "nan" and images.std() > 0 and model.training else answer


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    effort = Effort(relative_width=0.01, least_samples=6, least_s=0.0, most_s=0.0)
    monkeypatch.setattr(rounds, "EFFORT", {"quick": effort})
    monkeypatch.setattr(rounds, "BLOCK_S", {"quick": 0.002})
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # which imports torch's compiler: once, before the forks


def together(folder: Path, cell: Cell, workers: int = 2) -> tuple[MeasurementRecord | None, list[int | None]]:
    """What workers record, and their exit codes; without torchrun, whose start takes seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def work(rank: int) -> None:
        place = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": workers,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        os.environ |= {name: str(value) for name, value in place.items()}
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        os._exit(main([json.dumps(cell.to_json()), str(folder)]))

    forks = [multiprocessing.get_context("fork").Process(target=work, args=(rank,)) for rank in range(workers)]
    for fork in forks:
        fork.start()
    for fork in forks:
        fork.join(60)
        fork.kill()
    found = [one for one in Follower(folder / FOUND).new() if isinstance(one, MeasurementRecord)]
    return (found[0] if found else None), [fork.exitcode for fork in forks]


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, with gloo on the loopback interface")


@needs_linux
@pytest.mark.usefixtures("short", "one_thread")
@pytest.mark.parametrize("mode", ["ddp", "fsdp2"])
def test_two_workers_with_half_the_images_each_come_to_the_loss_of_one_with_all(tmp_path: Path, mode: str) -> None:
    found, codes = together(tmp_path, scaling_cell(mode=mode))
    assert codes == [0, 0]
    assert found is not None
    assert found.scaling is not None
    agreed = found.scaling.agreement
    assert agreed is not None
    assert agreed.loss_alone is not None
    assert agreed.loss_alone < 0.95 * agreed.loss_before  # the steps went somewhere
    assert agreed.loss_together == pytest.approx(agreed.loss_alone, rel=1e-5)
    assert [one.workers for one in found.scaling.points] == [1, 2]
    one, two = found.scaling.points
    assert (one.communication_share, one.silent_samples_s) == (None, [])
    assert two.communication_share is not None
    rounds_done = found.scaling.rounds
    assert len(two.silent_samples_s) == len(two.samples_s) == len(found.scaling.alone_samples_s) == rounds_done >= 1
    assert found.samples_s == two.samples_s
    assert found.throughput_images_per_s == two.images_per_s.value
    assert (found.scaling.strategy, found.scaling.backend, found.outcome) == (mode, "gloo", Outcome.MEASURED)


class Apart(nn.Module):
    """What DDP would be without a word between the workers."""

    no_sync = staticmethod(nullcontext)

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)


class Summing(ways.DistributedDataParallel):
    """DDP whose gradient is the sum over the workers, not the mean."""

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__(module, **options)
        self.register_comm_hook(options["process_group"], _summed)


def _summed(group: Any, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
    work = torch.distributed.all_reduce(bucket.buffer(), group=group, async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


@needs_linux
@pytest.mark.usefixtures("short", "one_thread")
@pytest.mark.parametrize("wrong", [Apart, Summing])
def test_gradients_that_are_not_the_mean_make_the_figures_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: type
) -> None:
    monkeypatch.setattr(ways, "DistributedDataParallel", wrong)
    found, _ = together(tmp_path, scaling_cell())
    assert found is not None
    assert found.evidence is not None
    assert found.evidence.verdict == Validity.INVALID
    assert "2 workers are not one: after 3 steps their loss is" in " ".join(found.evidence.reasons)


def awkward(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setattr("vitbench.suites.scaling.worker.resolve", lambda name: Awkward(wrong))


@needs_linux
@pytest.mark.usefixtures("short", "one_thread")
def test_a_loss_that_becomes_nan_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    awkward(monkeypatch, "nan")
    found, _ = together(tmp_path, scaling_cell())
    assert found is not None
    assert found.evidence is not None
    assert found.evidence.verdict == Validity.INVALID
    assert "the loss of worker 0 was no finite number after 0 rounds (one worker alone)" in found.evidence.reasons


@needs_linux
@pytest.mark.usefixtures("short", "one_thread")
@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ("raises", words.FAILED, "build() raised ValueError: no such luck"),
        ("memory", words.OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 3.10 GiB"),
    ],
)
def test_the_worker_that_fails_first_says_why_and_the_other_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, kind: str, text: str
) -> None:
    awkward(monkeypatch, wrong)
    found, codes = together(tmp_path, scaling_cell())
    assert found is None
    assert codes == [1, 1]  # the one that waits for it hears of its end
    ended = words.why(tmp_path)
    assert ended is not None
    assert (ended.worker, ended.kind) == (1, kind)
    assert text in ended.text


@needs_linux
@pytest.mark.usefixtures("short", "one_thread")
def test_a_candidate_of_another_framework_is_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign(ReferenceAdapter):
        framework = "jax"

    monkeypatch.setattr("vitbench.suites.scaling.worker.resolve", lambda name: Foreign())
    together(tmp_path, scaling_cell(), workers=1)
    ended = words.why(tmp_path)
    assert ended is not None
    assert ended.kind == words.NOT_SUPPORTED
    assert ended.text == "its model computes with jax, which torch's DDP and FSDP2 cannot divide"


@needs_linux
@pytest.mark.usefixtures("short", "one_thread")
def test_parameters_without_a_gradient_stop_nobody_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DDP refuses the second step of a model with one, unless it is told to look for them."""
    awkward(monkeypatch, "unused")
    found, _ = together(tmp_path, scaling_cell())
    assert found is not None
    assert found.scaling is not None
    assert "parameters that get no gradient: 1" in found.scaling.notes
