"""What the studies train: candidates' ViTs and ResNets, whose head can be replaced by one of zeros; and linear few-shot."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from vitbench.adapter import Adapter, NotSupported
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.candidate import Candidate
from vitbench.datasets import Labelled
from vitbench.errors import RequirementFailed
from vitbench.few_shot import few, linear_accuracy
from vitbench.learner import Learner, ResNetLearner, ViTLearner
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.parameters import authors_weights
from vitbench.reference.resnet import RESNETS
from vitbench.registry import resolve

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = ViTConfig(
    image_size=(8, 8), patch_size=(4, 4), channels=3, width=16, depth=1, num_heads=2, mlp_dim=32, num_classes=5
)


def images(count: int = 2, side: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def learner(name: str) -> Learner:
    if name == "resnet":
        return ResNetLearner(replace(RESNETS["R8x1/8"], channels=3), 5, 0, "cpu")
    return ViTLearner(Candidate(resolve(name)), CONFIG, 0, pretraining=True)


@pytest.mark.parametrize("name", ["reference", "timm", "torchvision", "transformers", "resnet"])
def test_a_new_head_is_zero_and_everything_else_stays(name: str) -> None:
    old = learner(name)
    with torch.no_grad():
        for parameter in old.module.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    before = old.representation(images())
    same, larger = old.with_new_head(3, (8, 8)), old.with_new_head(3, (12, 12))
    assert torch.equal(same.logits(images()), torch.zeros(2, 3))
    assert torch.equal(larger.logits(images(side=12)), torch.zeros(2, 3))
    assert torch.allclose(same.representation(images()), before, atol=1e-6)
    with torch.no_grad():
        next(same.module.parameters()).add_(1)
    assert torch.equal(old.representation(images()), before)  # no memory is shared


def test_a_representation_of_another_shape_is_said() -> None:
    class Halved(ReferenceAdapter):
        def representation(self, model: Any, images: torch.Tensor) -> torch.Tensor:
            return super().representation(model, images)[1:]

    halved = ViTLearner(Candidate(Halved()), CONFIG, 0)
    with pytest.raises(RequirementFailed, match=r"returned shape \(1, 16\), expected \(B, D\) = \(2, 16\)"):
        halved.representation(images())


def test_the_reference_is_pre_trained_with_a_hidden_layer_in_its_head_and_timm_without() -> None:
    heads = {
        name: ViTLearner(Candidate(resolve(name)), CONFIG, 0, pretraining=True).config.head
        for name in ("reference", "timm")
    }
    assert heads == {"reference": "mlp", "timm": "linear"}
    assert ViTLearner(Candidate(ReferenceAdapter()), CONFIG, 0).config.head == "linear"


def test_a_candidate_that_cannot_be_transferred_says_what_it_lacks() -> None:
    class Bare(Adapter):
        name = "bare"
        build, load = ReferenceAdapter().build, ReferenceAdapter().load

    bare = ViTLearner(Candidate(Bare()), CONFIG, 0)
    with pytest.raises(NotSupported, match=r"bare has no export\(\)"):
        bare.with_new_head(3, (12, 12))
    with pytest.raises(NotSupported, match=r"has no representation\(\)"):
        bare.representation(images())
    fixed = learner("vit_pytorch")
    assert torch.equal(fixed.with_new_head(3, (8, 8)).logits(images()), torch.zeros(2, 3))
    with pytest.raises(NotSupported, match=r"vit_pytorch has no at_image_size\(\)"):
        fixed.with_new_head(3, (12, 12))

    class Frozen(ReferenceAdapter):
        def build(self, config: ViTConfig) -> object:
            return super().build(config).requires_grad_(False)

    with pytest.raises(NotSupported, match="none of its parameters asks for a gradient"):
        ViTLearner(Candidate(Frozen()), CONFIG, 0)

    class Foreign(ReferenceAdapter):
        def build(self, config: ViTConfig) -> object:
            return [super().build(config)]

        def load(self, model: object, state: object) -> None:
            pass

    with pytest.raises(NotSupported, match="its model is a list, no torch module"):
        ViTLearner(Candidate(Foreign()), CONFIG, 0)


def test_the_authors_weights_follow_the_seed_and_have_their_sizes() -> None:
    config = replace(CONFIG, width=64, mlp_dim=128, num_heads=4, head="mlp")
    first, same, other = (authors_weights(config, Conventions(), seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["blocks.0.mlp.fc1.weight"], other["blocks.0.mlp.fc1.weight"])
    fc1 = first["blocks.0.mlp.fc1.weight"]
    assert float(fc1.abs().max()) == pytest.approx((6 / (64 + 128)) ** 0.5, rel=0.01)  # uniform up to there
    assert float(first["patch_embedding.weight"].std()) == pytest.approx(48**-0.5, rel=0.05)
    assert float(first["position_embedding"].std()) == pytest.approx(0.02, rel=0.15)
    assert float(first["head.hidden.weight"].std()) > 0.1
    zero = {name for name, weight in first.items() if not weight.any()}
    assert zero == {"class_token", "head.weight", *(name for name in first if name.endswith("bias"))}
    assert all((first[f"{name}.weight"] == 1).all() for name in ("norm", "blocks.0.norm1", "blocks.0.norm2"))


def test_the_few_are_so_many_of_each_class_drawn_by_the_seed() -> None:
    data = Labelled(torch.arange(30.0).reshape(30, 1, 1, 1), torch.arange(30) % 3)
    drawn = few(data, 4, 3, seed=1)
    assert drawn.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(drawn.images.flatten() % 3, drawn.labels.float())
    assert drawn.images.tolist() == few(data, 4, 3, seed=1).images.tolist() != few(data, 4, 3, seed=2).images.tolist()
    assert len(few(data, 99, 3, seed=1)) == 30


def test_the_regression_draws_the_line_in_the_middle_of_two_classes() -> None:
    seen, labels = torch.tensor([[1.0, 7.0], [3.0, 7.0]]), torch.tensor([0, 1])  # the second feature tells nothing
    unseen = torch.tensor([[1.9, 7.0], [2.1, 7.0], [-50.0, 7.0], [1.5, 7.0]])
    assert linear_accuracy(seen, labels, unseen, torch.tensor([0, 1, 0, 1]), 2) == 0.75


def test_regularisation_keeps_a_feature_that_hardly_tells_from_deciding_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    told = torch.nn.functional.one_hot(labels).float() + 0.2 * torch.randn(200, 4, generator=generator)
    noise = torch.randn(200, 40, generator=generator)
    x = torch.cat([told, noise], dim=1)
    found = [linear_accuracy(x[:40], labels[:40], x[40:], labels[40:], 4, ridge) for ridge in (1e-9, 0.1)]
    assert found[0] < found[1] > 0.6


def test_a_representation_that_is_not_finite_is_no_accuracy() -> None:
    with pytest.raises(RequirementFailed, match="holds NaN or infinity"):
        linear_accuracy(torch.full((2, 2), float("nan")), torch.tensor([0, 1]), torch.zeros(1, 2), torch.tensor([0]), 2)
