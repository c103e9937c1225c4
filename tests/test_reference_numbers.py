"""The published numbers: parameters and multiply-accumulates, in closed form and of the model that is built."""

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitbench.reference import parameters
from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.cost import multiply_accumulates, parameter_count
from vitbench.reference.parameters import exercised_weights, initial_weights, parameter_shapes, within
from vitbench.reference.variants import variant
from vitbench.reference.vit import ViT

IMAGENET_1K = {
    "Ti/16": 5_717_416,
    "S/16": 22_050_664,
    "S/32": 22_878_952,
    "B/32": 88_224_232,
    "B/16": 86_567_656,
    "B/8": 86_576_872,
    "L/32": 306_535_400,
    "L/16": 304_326_632,
    "H/14": 632_045_800,
    "B/16@384": 86_859_496,
    "L/16@384": 304_715_752,
}
IMAGENET_21K = {
    "Ti/16": 9_740_115,
    "S/16": 30_075_219,
    "B/16": 102_595_923,
    "L/16": 325_690_707,
    "H/14": 658_745_683,
}
COUNTS = [(name, 1000, count) for name, count in IMAGENET_1K.items()]
COUNTS += [(name, 21843, count) for name, count in IMAGENET_21K.items()]

GMACS = {
    "B/32@224": 4.409,
    "B/16@224": 17.564,
    "B/16@384": 55.484,
    "L/32@224": 15.378,
    "L/16@224": 61.555,
    "L/16@512": 361.986,
    "H/14@224": 167.295,
    "H/14@518": 1016.717,
}

SMALL = ViTConfig(
    image_size=(6, 8), patch_size=(2, 4), channels=2, width=6, depth=2, num_heads=3, mlp_dim=7, num_classes=5
)  # N = 3 · 2 = 6, T = 7


def scalars(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def built_without_storage(config: ViTConfig) -> ViT:
    """The model on the meta device: shapes of real parameters, and none of their gigabytes."""

    def empty(*arguments: Any) -> dict[str, torch.Tensor]:
        return {name: torch.empty(shape, device="meta") for name, shape in parameter_shapes(*arguments[:2]).items()}

    with mock.patch("vitbench.reference.vit.initial_weights", empty):
        return ViT(config)


@pytest.mark.parametrize(("name", "classes", "published"), COUNTS)
def test_the_closed_form_gives_the_published_parameter_count(name: str, classes: int, published: int) -> None:
    assert parameter_count(variant(name, num_classes=classes)) == published


@pytest.mark.parametrize(("name", "classes", "published"), COUNTS)
def test_the_model_has_the_published_parameter_count(name: str, classes: int, published: int) -> None:
    assert scalars(built_without_storage(variant(name, num_classes=classes))) == published


def test_the_smallest_published_model_has_its_count_when_really_built() -> None:
    assert scalars(ViT(variant("Ti/16"))) == IMAGENET_1K["Ti/16"]


def test_a_pre_training_head_adds_one_square_layer() -> None:
    linear = variant("B/16", num_classes=21843)
    assert parameter_count(replace(linear, head="mlp")) - parameter_count(linear) == 768 * 768 + 768


def test_counts_a_small_model_as_by_hand() -> None:
    patches = 6 * (2 * 2 * 4) + 6
    tokens = 6 + 7 * 6
    block = 4 * (6 * 6 + 6) + (6 * 7 + 7) + (7 * 6 + 6) + 4 * 6
    rest = 2 * 6 + 6 * 5 + 5
    assert parameter_count(SMALL) == patches + tokens + 2 * block + rest == scalars(ViT(SMALL))


@pytest.mark.parametrize(
    ("convention", "difference"),
    [
        ({"qkv_bias": False}, -2 * 3 * 6),
        ({"class_token_has_position": False}, -6),
        ({"patch_embedding": "norm_linear_norm"}, 2 * 16 + 2 * 6),
        ({"patch_bias": False}, -6),
        ({"head_bias": False}, -5),
        ({"pre_norm": True}, 2 * 6),
        ({"activation": "quick_gelu"}, 0),
    ],
)
def test_conventions_that_have_parameters_are_counted(convention: dict[str, Any], difference: int) -> None:
    conventions = Conventions(**convention)
    assert parameter_count(SMALL, conventions) - parameter_count(SMALL) == difference
    assert scalars(ViT(SMALL, conventions)) == parameter_count(SMALL, conventions)


@pytest.mark.parametrize(("name", "features", "published"), [("B/32", 512, 87_849_216), ("B/16", 512, 86_192_640)])
def test_the_image_towers_of_clip_have_their_published_count(name: str, features: int, published: int) -> None:
    """As OpenAI's ViT-B/32 and ViT-B/16 have: LayerNorm before the blocks, a projection for a head, no bias at the ends."""
    clip = Conventions(layer_norm_eps=1e-5, activation="quick_gelu", patch_bias=False, head_bias=False, pre_norm=True)
    assert parameter_count(variant(name, num_classes=features), clip) == published


@pytest.mark.parametrize(("name", "published"), GMACS.items())
def test_the_closed_form_gives_the_published_gmacs(name: str, published: float) -> None:
    assert round(multiply_accumulates(variant(name)) / 1e9, 3) == published


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_multiply_accumulates_are_those_that_torch_counts(head: Any) -> None:
    """torch counts two operations for each; the reference has no fused kernel that it would miss."""
    config = replace(SMALL, head=head)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ViT(config)(torch.zeros(1, 2, 6, 8))
    assert counter.get_total_flops() == 2 * multiply_accumulates(config)


def test_multiply_accumulates_of_a_small_model_as_by_hand() -> None:
    patches = 6 * 16 * 6
    block = 4 * 7 * 6 * 6 + 2 * 7 * 6 * 7 + 2 * 7 * 7 * 6
    assert multiply_accumulates(SMALL) == patches + 2 * block + 6 * 5


# --- the parameters themselves ---


def test_parameters_have_the_canonical_names_and_shapes() -> None:
    shapes = parameter_shapes(replace(SMALL, depth=1, head="mlp"), Conventions())
    assert shapes == {
        "patch_embedding.weight": (6, 2, 2, 4),
        "patch_embedding.bias": (6,),
        "class_token": (1, 1, 6),
        "position_embedding": (1, 7, 6),
        "blocks.0.norm1.weight": (6,),
        "blocks.0.norm1.bias": (6,),
        "blocks.0.attention.query.weight": (6, 6),
        "blocks.0.attention.query.bias": (6,),
        "blocks.0.attention.key.weight": (6, 6),
        "blocks.0.attention.key.bias": (6,),
        "blocks.0.attention.value.weight": (6, 6),
        "blocks.0.attention.value.bias": (6,),
        "blocks.0.attention.output.weight": (6, 6),
        "blocks.0.attention.output.bias": (6,),
        "blocks.0.norm2.weight": (6,),
        "blocks.0.norm2.bias": (6,),
        "blocks.0.mlp.fc1.weight": (7, 6),
        "blocks.0.mlp.fc1.bias": (7,),
        "blocks.0.mlp.fc2.weight": (6, 7),
        "blocks.0.mlp.fc2.bias": (6,),
        "norm.weight": (6,),
        "norm.bias": (6,),
        "head.hidden.weight": (6, 6),
        "head.hidden.bias": (6,),
        "head.weight": (5, 6),
        "head.bias": (5,),
    }


def test_a_models_parameters_are_the_canonical_ones() -> None:
    conventions = Conventions(patch_embedding="norm_linear_norm", class_token_has_position=False)
    found = {name: tuple(p.shape) for name, p in ViT(SMALL, conventions).named_parameters()}
    assert found == parameter_shapes(SMALL, conventions)


def test_within_takes_what_lies_below_a_prefix_and_nothing_that_only_begins_like_it() -> None:
    weights = {name: torch.tensor(float(i)) for i, name in enumerate(["blocks.1.a.b", "blocks.10.a.b", "blocks.1"])}
    assert within(weights, "blocks.1") == {"a.b": torch.tensor(0.0)}


def norm_gains(weights: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in weights if name.endswith("weight") and "norm" in name}


ALL_PARTS = replace(SMALL, head="mlp")
ALL_CONVENTIONS = Conventions(patch_embedding="norm_linear_norm")


def test_training_starts_from_identity_norms_zero_biases_and_small_matrices() -> None:
    weights = initial_weights(ALL_PARTS, ALL_CONVENTIONS, torch.Generator().manual_seed(0))
    gains = norm_gains(weights)
    assert len(gains) == 2 + 2 * 2 + 1
    assert all(torch.equal(weights[name], torch.ones_like(weights[name])) for name in gains)
    assert all(not weights[name].any() for name in weights if name.endswith("bias"))
    drawn = {name: w for name, w in weights.items() if name not in gains and not name.endswith("bias")}
    assert {name for name, w in drawn.items() if not w.any()} == {"head.weight"}
    assert all(w.abs().max() <= 0.2 for w in drawn.values())  # ten standard deviations


@pytest.mark.parametrize(("choice", "starts_at_zero"), [("zero", True), ("random", False)])
def test_the_head_starts_as_declared(choice: Any, starts_at_zero: bool) -> None:
    model = ViT(SMALL, Conventions(head_init=choice))
    assert (model.get_parameter("head.weight").count_nonzero() == 0) == starts_at_zero
    assert model.get_parameter("head.bias").count_nonzero() == 0


def test_a_zero_head_gives_zero_logits_for_any_image() -> None:
    images = torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ViT(SMALL)(images), torch.zeros(3, 5))


def test_drawn_matrices_have_the_standard_deviation_of_the_authors() -> None:
    """0.02, truncated far out; 36,864 draws know their deviation to 0.4 %, so 2 % is five sigma."""
    config = replace(SMALL, width=192)
    drawn = initial_weights(config, Conventions(), torch.Generator().manual_seed(0))["blocks.0.attention.query.weight"]
    assert drawn.std().item() == pytest.approx(0.02, rel=0.02)


def test_a_seed_draws_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (ViT(SMALL, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["position_embedding"], other["position_embedding"])


def test_exercised_weights_leave_nothing_zero_constant_or_huge() -> None:
    weights = exercised_weights(ALL_PARTS, ALL_CONVENTIONS, seed=0)
    assert set(weights) == set(parameter_shapes(ALL_PARTS, ALL_CONVENTIONS))
    for name, tensor in weights.items():
        assert tensor.dtype == torch.float64
        assert tensor.count_nonzero() == tensor.numel(), name
        assert tensor.std() > 0.05, name
        assert tensor.abs().max() < 5, name


def test_exercised_matrices_keep_the_order_of_what_they_multiply() -> None:
    """A unit normal input gives an output of unit deviation; 512 · 64 outputs know it to 1 %, so 5 % is far out."""
    config = replace(SMALL, width=512, num_heads=4)
    weight = exercised_weights(config, Conventions(), seed=0)["blocks.0.attention.query.weight"]
    x = torch.randn(64, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert (x @ weight.T).std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("name", "is_norm"),
    [
        ("norm.weight", True),
        ("blocks.3.norm1.bias", True),
        ("blocks.3.norm2.weight", True),
        ("patch_embedding.input_norm.weight", True),
        ("patch_embedding.output_norm.bias", True),
        ("patch_embedding.weight", False),
        ("blocks.3.mlp.fc1.weight", False),
        ("blocks.3.mlp.fc2.bias", False),
        ("head.hidden.weight", False),
        ("class_token", False),
    ],
)
def test_tells_norms_from_other_parameters(name: str, is_norm: bool) -> None:
    assert parameters._is_norm(name) == is_norm
