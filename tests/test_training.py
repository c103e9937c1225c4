"""Training repeats itself to the bit, goes on where it was killed, and stops where a loss is no number."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from math import isnan, log, nan
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitbench.datasets import Labelled
from vitbench.errors import OutputCut
from vitbench.reference.config import ViTConfig
from vitbench.reference.recipes import Recipe
from vitbench.reference.resnet import ResNet, ResNetConfig
from vitbench.reference.vit import ViT
from vitbench.training import TrainingDiverged, _Order, accuracy, mean_loss, train

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = ViTConfig(
    image_size=(8, 8),
    patch_size=(4, 4),
    channels=1,
    width=8,
    depth=1,
    num_heads=2,
    mlp_dim=8,
    num_classes=2,
    dropout=0.2,
)
RECIPE = Recipe(decay="cosine", learning_rate=0.01, steps=20, warmup_steps=2, batch=7, weight_decay=0.1, clip_norm=1.0)
SGD = replace(RECIPE, optimizer="sgd", weight_decay=0.0, learning_rate=0.1)


def lessons(count: int = 24) -> Labelled:
    """Bright above or bright below."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    labels = torch.arange(count) % 2
    images[labels == 1, :, :4] += 2
    return Labelled(images, labels)


class Killed(Exception):
    pass


def killer(at: int) -> object:
    def told(step: int) -> None:
        if step == at:
            raise Killed

    return told


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("recipe", [RECIPE, SGD], ids=["adam", "sgd"])
def test_one_seed_gives_one_training_and_another_seed_another(recipe: Recipe) -> None:
    found = []
    for seed in (0, 0, 1):
        model = ViT(CONFIG).train()
        torch.rand(seed + 3)  # what was drawn before does not matter
        found.append((train(model, model, lessons(), recipe, seed).losses, weights(model)))
    assert found[0][0] == found[1][0] != found[2][0]
    assert same(found[0][1], found[1][1])
    assert not same(found[0][1], found[2][1])


@pytest.mark.parametrize("kill_at", [1, 5, 19])
@pytest.mark.parametrize("recipe", [RECIPE, SGD], ids=["adam", "sgd"])
def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path: Path, recipe: Recipe, kill_at: int) -> None:
    whole = ViT(CONFIG).train()
    uninterrupted = train(whole, whole, lessons(), recipe, 3)
    killed, file = ViT(CONFIG).train(), tmp_path / "state"
    with pytest.raises(Killed):
        train(killed, killed, lessons(), recipe, 3, keep=file, told=killer(kill_at))
    resumed = ViT(CONFIG).train()
    course = train(resumed, resumed, lessons(), recipe, 3, keep=file)
    assert course.began_at == (kill_at - 1) // 2 * 2  # saved at every second of twenty steps
    assert course.losses == uninterrupted.losses
    assert same(weights(resumed), weights(whole))


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    first, again = ViT(CONFIG).train(), ViT(CONFIG).train()
    course = train(first, first, lessons(), RECIPE, 3, keep=tmp_path / "state")
    assert train(again, again, lessons(), RECIPE, 3, keep=tmp_path / "state", told=killer(1)).losses == course.losses
    assert same(weights(first), weights(again))


@pytest.mark.parametrize("what", ["seed", "recipe", "data", "weights", "threads", "nothing of it", "half of it"])
def test_the_state_of_another_training_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    model, file = ViT(CONFIG).train(), tmp_path / "state"
    train(model, model, lessons(), RECIPE, 3, keep=file)
    if what == "nothing of it":
        file.write_bytes(b"no state")
    if what == "half of it":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    if what == "threads":  # whose sums are in another order
        monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    again = ViT(CONFIG, seed=int(what == "weights")).train()
    course = train(
        again,
        again,
        lessons(26 if what == "data" else 24),
        replace(RECIPE, steps=21) if what == "recipe" else RECIPE,
        4 if what == "seed" else 3,
        keep=file,
    )
    assert course.began_at == 0


def test_a_state_that_cannot_be_saved_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    model = ViT(CONFIG).train()
    with pytest.raises(OutputCut, match=r"cannot keep the state of a training in .*file"):
        train(model, model, lessons(), RECIPE, 0, keep=tmp_path / "file" / "state")


def test_a_loss_that_is_no_number_stops_the_training_at_its_step() -> None:
    model, calls = ViT(CONFIG).train(), []

    def broken(images: Tensor) -> Tensor:
        calls.append(len(images))
        return model(images) * (float("nan") if len(calls) == 4 else 1.0)

    with pytest.raises(TrainingDiverged, match="the loss is nan at step 4 of 20; training stopped there"):
        train(model, broken, lessons(), RECIPE, 0)
    assert len(calls) == 4
    assert all(torch.isfinite(weight).all() for weight in weights(model))


def test_weights_that_are_no_numbers_after_the_last_step_are_no_end_of_a_training() -> None:
    model, calls = ViT(CONFIG).train(), []

    def broken(images: Tensor) -> Tensor:
        calls.append(len(images))
        found: Tensor = model(images)
        if len(calls) == RECIPE.steps:  # a loss that is a number, whose gradient is none
            found = found + 0 * (found - found).sqrt()
        return found

    with pytest.raises(TrainingDiverged, match=r" holds NaN or infinity after step 20, the last one"):
        train(model, broken, lessons(), RECIPE, 0)
    assert len(calls) == RECIPE.steps


def test_logits_that_are_no_numbers_have_no_accuracy() -> None:
    data = lessons()
    assert isnan(accuracy(lambda images: torch.full((len(images), 2), nan), data))
    assert accuracy(lambda images: torch.zeros(len(images), 2), data) == 0.5


def test_every_image_is_seen_once_before_one_is_seen_again() -> None:
    order = _Order(10, 4, seed=1)
    seen = [int(i) for step in range(10) for i in order.at(step)]
    assert [Counter(seen[start : start + 10]) for start in range(0, 40, 10)] == [Counter(range(10))] * 4
    assert seen[:10] != seen[10:20]
    assert _Order(10, 4, seed=1).at(7).tolist() == seen[28:32]  # without the steps before
    assert sorted(_Order(3, 8, seed=1).at(0).tolist()).count(0) >= 2  # a batch larger than the data


def test_what_can_be_learnt_is_learnt_by_both_architectures() -> None:
    resnet = ResNet(ResNetConfig(depths=(1,), width=4, num_groups=2, channels=1), num_classes=2)
    for model in (ViT(replace(CONFIG, dropout=0.0)), resnet):
        assert mean_loss(model, lessons()) == pytest.approx(log(2))  # the head is zero
        assert accuracy(model, lessons()) == 0.5
        train(model.train(), model, lessons(), replace(RECIPE, steps=60), 0)
        assert accuracy(model.eval(), lessons()) == 1.0


KILLED_FOR_GOOD = """
import os, signal, sys, torch
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_training import CONFIG, RECIPE, ViT, lessons, train
torch.set_num_threads(1)
model = ViT(CONFIG).train()
def told(step):
    if step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
train(model, model, lessons(), RECIPE, 5, keep=Path(sys.argv[1]), told=told)
"""


def test_a_process_that_was_killed_outright_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    file = tmp_path / "state"
    command = [sys.executable, "-c", KILLED_FOR_GOOD, str(file), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    whole, resumed = ViT(CONFIG).train(), ViT(CONFIG).train()
    expected = train(whole, whole, lessons(), RECIPE, 5)
    course = train(resumed, resumed, lessons(), RECIPE, 5, keep=file)
    assert (course.began_at, course.losses) == (12, expected.losses)
    assert same(weights(whole), weights(resumed))
