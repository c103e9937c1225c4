"""The built-in adapters, each against the real package and the reference."""

from dataclasses import replace
from importlib import metadata

import pytest
import torch
from adapter_models import (
    CONFIGS,
    EXACT,
    IN_FLOAT32,
    SQUARE,
    STAGES,
    adapter,
    built,
    close,
    forward_hooks,
    images_for,
    loaded,
)
from torch import Tensor, nn

from vitbench.adapter import NotSupported
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.vit import Mode, ViT, vision_transformer

DISTRIBUTIONS = {
    "timm": "timm",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "vit_pytorch": "vit-pytorch",
}
PEERS = tuple(DISTRIBUTIONS)
RESIZING_PEERS = ("timm", "torchvision", "transformers")

REFUSED = {
    "timm": {
        "mlp_head": "linear head only; no pre-training MLP head",
    },
    "torchvision": {
        "rectangular_image": "square images only",
        "rectangular_patches": "square patches only",
        "rectangular_all": "three channels only",
        "one_channel": "three channels only",
        "four_channels": "three channels only",
        "mean_pool": "class token only; no mean pooling",
        "hybrid_stem": "no hybrid stem; its convolutional stem is another (arXiv:2106.14881)",
        "drop_path": "no drop path",
    },
    "transformers": {
        "mean_pool": "class token only; no mean pooling",
        "mlp_head": "linear head only; its pooler is part of the model without a classifier",
        "hybrid_stem": "no hybrid stem",
        "drop_path": "no drop path",
    },
    "vit_pytorch": {
        "one_head": "two heads or more; with one it leaves out the output projection",
        "mean_pool": "class token only; with mean pooling it has no class token at all",
        "mlp_head": "linear head only; no pre-training MLP head",
        "hybrid_stem": "no hybrid stem",
        "dropout": "one rate for dropout and attention dropout",
        "attention_dropout": "one rate for dropout and attention dropout",
        "drop_path": "no drop path",
    },
}
# A hybrid's weights have shapes that follow from its stem: tests/test_adapters_hybrid.py.
OFFERED = [(peer, name) for peer in PEERS for name in CONFIGS if name not in {*REFUSED[peer], "hybrid_stem"}]
STOCHASTIC = [(peer, name) for peer, name in OFFERED if "drop" in name]


@pytest.mark.parametrize("name", PEERS)
def test_names_itself_and_the_version_of_its_package(name: str) -> None:
    peer = adapter(name)
    assert (peer.name, peer.version) == (name, metadata.version(DISTRIBUTIONS[name]))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(("name", "case"), OFFERED)
def test_computes_the_reference_with_the_same_weights(name: str, case: str, batch: int) -> None:
    peer, config = adapter(name), CONFIGS[case]
    model, weights = loaded(peer, config)
    images = images_for(config, batch)
    assert close(peer.logits(model, images), vision_transformer(images, weights, config, peer.conventions))


@pytest.mark.parametrize(("name", "case"), OFFERED)
def test_shows_every_stage_as_the_reference_has_it(name: str, case: str) -> None:
    peer, config = adapter(name), CONFIGS[case]
    model, weights = loaded(peer, config)
    images = images_for(config)
    taps: dict[str, list[Tensor]] = {stage: [] for stage in STAGES}
    vision_transformer(
        images, weights, config, peer.conventions, Mode(tap=lambda stage, value: taps[stage].append(value))
    )
    for stage in STAGES:
        shown = getattr(peer, stage)(model, images)
        shown = shown if isinstance(shown, list) else [shown]
        # transformers forms attention weights in its eager path alone, and takes their softmax in float32.
        tolerance = IN_FLOAT32 if (name, stage) == ("transformers", "attention") else EXACT
        assert len(shown) == len(taps[stage])
        assert all(close(*pair, tolerance) for pair in zip(shown, taps[stage], strict=True)), stage


@pytest.mark.parametrize(("name", "case"), OFFERED)
def test_exports_bit_for_bit_what_it_loaded(name: str, case: str) -> None:
    peer = adapter(name)
    model, weights = loaded(peer, CONFIGS[case])
    exported = peer.export(model)
    assert exported.keys() == weights.keys()
    assert all(torch.equal(exported[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", PEERS)
def test_loads_into_the_parameters_that_the_model_has(name: str) -> None:
    peer = adapter(name)
    model = built(peer, SQUARE)
    before = {key: (parameter, parameter.clone()) for key, parameter in model.named_parameters()}
    peer.load(model, exercised_weights(SQUARE, peer.conventions, seed=1))
    for key, parameter in model.named_parameters():
        assert parameter is before[key][0]
        assert not torch.equal(parameter, before[key][1]), f"{key} was not loaded"


@pytest.mark.parametrize("name", PEERS)
def test_exports_copies_that_can_be_changed_freely(name: str) -> None:
    peer = adapter(name)
    model, weights = loaded(peer, SQUARE)
    for tensor in peer.export(model).values():
        tensor.zero_()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in peer.export(model).items())


@pytest.mark.parametrize("name", PEERS)
def test_exports_the_gradients_of_the_reference_from_a_model_that_holds_them(name: str) -> None:
    peer = adapter(name)
    model, weights = loaded(peer, SQUARE)
    peer.logits(model, images_for(SQUARE)).square().sum().backward()
    gradients = built(peer, SQUARE)
    with torch.no_grad():
        for target, source in zip(gradients.parameters(), model.parameters(), strict=True):
            target.copy_(source.grad)

    leaves = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
    vision_transformer(images_for(SQUARE), leaves, SQUARE, peer.conventions).square().sum().backward()
    largest = max(leaf.grad.abs().max() for leaf in leaves.values())
    for key, gradient in peer.export(gradients).items():
        assert (gradient - leaves[key].grad).abs().max() <= EXACT * largest, key


@pytest.mark.parametrize("name", PEERS)
def test_refuses_a_state_of_another_shape_and_changes_nothing(name: str) -> None:
    peer = adapter(name)
    model, weights = loaded(peer, SQUARE)
    others = exercised_weights(SQUARE, peer.conventions, seed=2)
    for key in weights:
        narrowed = {**others, key: others[key][..., :1]}  # broadcasts: a bare copy_ would take it
        with pytest.raises(ValueError, match=f"{key} has shape"):
            peer.load(model, narrowed)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in peer.export(model).items())


@pytest.mark.parametrize("name", PEERS)
def test_refuses_a_state_with_a_parameter_too_few_or_too_many(name: str) -> None:
    peer = adapter(name)
    model, weights = loaded(peer, SQUARE)
    for key in weights:
        with pytest.raises(ValueError, match=f"lacks {key}"):
            peer.load(model, {other: tensor for other, tensor in weights.items() if other != key})
    with pytest.raises(ValueError, match=r"also has head\.hidden\.bias"):
        peer.load(model, {**weights, "head.hidden.bias": torch.zeros(SQUARE.width)})


@pytest.mark.parametrize(("name", "case", "reason"), [(n, c, r) for n in PEERS for c, r in REFUSED[n].items()])
def test_says_what_its_package_has_not(name: str, case: str, reason: str) -> None:
    with pytest.raises(NotSupported) as refusal:
        adapter(name).build(CONFIGS[case])
    assert str(refusal.value) == reason


@pytest.mark.parametrize(("name", "case"), STOCHASTIC)
def test_honours_the_rates_that_it_accepts(name: str, case: str) -> None:
    peer, config = adapter(name), CONFIGS[case]
    model, _ = loaded(peer, config)
    images = images_for(config, batch=8)
    certain = peer.logits(model, images)
    assert torch.equal(peer.logits(model, images), certain)
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(peer.logits(model, images), peer.logits(model, images))


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("timm", 1 + 3 * SQUARE.depth),  # positions; attention's output, after the activation, after the MLP
        ("torchvision", 1 + 3 * SQUARE.depth),  # the same
        ("transformers", 1 + SQUARE.depth),  # one module for both branches' outputs; none after the activation
        ("vit_pytorch", 1 + 4 * SQUARE.depth),  # as timm, and the attention weights at the same rate
    ],
)
def test_passes_the_dropout_rate_to_every_place_that_its_package_has(name: str, places: int) -> None:
    rate = {"dropout": 0.5, "attention_dropout": 0.5 if name == "vit_pytorch" else 0.0}
    model = adapter(name).build(replace(SQUARE, **rate))
    assert sum(module.p == rate["dropout"] for module in model.modules() if isinstance(module, nn.Dropout)) == places


@pytest.mark.parametrize("name", PEERS)
def test_is_certain_in_training_without_a_rate(name: str) -> None:
    model = built(adapter(name), SQUARE).train()
    images = images_for(SQUARE, batch=8)
    assert torch.equal(adapter(name).logits(model, images), adapter(name).logits(model, images))


@pytest.mark.parametrize("name", PEERS)
def test_declares_how_its_package_initialises_the_head(name: str) -> None:
    peer = adapter(name)
    weight = peer.export(peer.build(SQUARE))["head.weight"]
    assert (peer.conventions.head_init == "zero") == bool((weight == 0).all())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hook", [*STAGES, "logits", "export"])
@pytest.mark.parametrize("name", PEERS)
def test_looks_without_leaving_a_trace(name: str, hook: str, training: bool) -> None:
    peer = adapter(name)
    model, weights = loaded(peer, SQUARE)
    model.train(training)
    images = images_for(SQUARE)
    settings = {key: vars(module).copy() for key, module in model.named_modules()}
    configured = vars(getattr(model, "config", object)).copy()
    hooks, random_state, kept = forward_hooks(model), torch.get_rng_state(), images.clone()

    getattr(peer, hook)(model, *([] if hook == "export" else [images]))

    assert forward_hooks(model) == hooks
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(images, kept)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in peer.export(model).items())
    assert vars(getattr(model, "config", object)) == configured
    assert all(vars(module) == settings[key] for key, module in model.named_modules())


@pytest.mark.parametrize("setting", [True, False])
def test_puts_back_the_attention_path_of_timm_even_after_an_error(setting: bool) -> None:
    peer = adapter("timm")
    model, _ = loaded(peer, SQUARE)
    for block in model.blocks:
        block.attn.fused_attn = setting
    with pytest.raises(AssertionError, match="doesn't match model"):
        peer.attention(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    assert all(block.attn.fused_attn is setting for block in model.blocks)


@pytest.mark.parametrize("setting", ["sdpa", "eager"])
def test_puts_back_the_attention_path_of_transformers_even_after_an_error(setting: str) -> None:
    peer = adapter("transformers")
    model, _ = loaded(peer, SQUARE)
    model.set_attn_implementation(setting)
    with pytest.raises(ValueError, match="doesn't match model"):
        peer.attention(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    assert model.config._attn_implementation == setting


SQUARE_GRIDS = [((3, 3), (5, 5)), ((4, 4), (2, 2)), ((2, 2), (3, 3))]
ONTO_RECTANGLES = [((3, 3), (2, 5)), ((4, 4), (3, 7))]
FROM_RECTANGLES = [((2, 3), (4, 5)), ((5, 2), (3, 3))]
RESIZES = [
    *[("timm", *grids) for grids in SQUARE_GRIDS + ONTO_RECTANGLES + FROM_RECTANGLES],
    *[("torchvision", *grids) for grids in SQUARE_GRIDS],
    *[("transformers", *grids) for grids in SQUARE_GRIDS + ONTO_RECTANGLES],
]


@pytest.mark.parametrize(("name", "grid", "new_grid"), RESIZES)
def test_resizes_positions_as_it_declares(name: str, grid: tuple[int, int], new_grid: tuple[int, int]) -> None:
    peer = adapter(name)
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(1, 1 + grid[0] * grid[1], 6, generator=generator, dtype=torch.float64, requires_grad=True)
    random_state, kept = torch.get_rng_state(), table.detach().clone()
    resized = peer.resize_position_embedding(table, grid, new_grid)
    expected = resize_position_embedding(table, grid, new_grid, peer.conventions.position_resize)
    # timm interpolates in float32 and casts back.
    assert close(resized, expected, IN_FLOAT32 if name == "timm" else EXACT)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(table, kept)
    (gradient,) = torch.autograd.grad(resized.sum(), table)
    assert (gradient != 0).any()


@pytest.mark.parametrize(("grid", "new_grid"), ONTO_RECTANGLES + FROM_RECTANGLES)
def test_torchvision_resizes_square_grids_only(grid: tuple[int, int], new_grid: tuple[int, int]) -> None:
    table = torch.zeros(1, 1 + grid[0] * grid[1], 6)
    with pytest.raises(NotSupported, match="square grids only"):
        adapter("torchvision").resize_position_embedding(table, grid, new_grid)


def test_vit_pytorch_offers_no_other_image_size() -> None:
    peer = adapter("vit_pytorch")
    with pytest.raises(NotSupported, match="offers no resizing of position embeddings"):
        peer.resize_position_embedding(torch.zeros(1, 10, 6), (3, 3), (2, 2))
    with pytest.raises(NotSupported, match="does not change its image size"):
        peer.at_image_size(built(peer, SQUARE), (16, 16))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(40, 40), (16, 16), (24, 24)])
@pytest.mark.parametrize(
    ("name", "case"),
    [*[(name, "square") for name in RESIZING_PEERS], ("timm", "mean_pool"), ("torchvision", "mlp_head")],
)
def test_takes_its_weights_to_another_image_size(name: str, case: str, size: tuple[int, int], training: bool) -> None:
    peer, config = adapter(name), CONFIGS[case]
    model, weights = loaded(peer, config)
    model.train(training)
    images, native = images_for(replace(config, image_size=size)), images_for(config)
    before, random_state = peer.logits(model, native), torch.get_rng_state()

    resized = peer.at_image_size(model, size)

    reference = ViT(config, peer.conventions).to(torch.float64)
    reference.load_state_dict(weights)
    tolerance = IN_FLOAT32 if name == "timm" else EXACT
    assert torch.equal(torch.get_rng_state(), random_state)
    assert resized.training == training
    assert close(peer.logits(resized, images), reference.at_image_size(size)(images), tolerance)
    assert torch.equal(peer.logits(model, native), before)


@pytest.mark.parametrize("name", ["timm", "transformers"])
def test_shows_its_stages_at_another_image_size(name: str) -> None:
    peer, config, size = adapter(name), SQUARE, (16, 40)
    model, weights = loaded(peer, config)
    reference = ViT(config, peer.conventions).to(torch.float64)
    reference.load_state_dict(weights)
    images = images_for(replace(config, image_size=size))
    taps: dict[str, list[Tensor]] = {stage: [] for stage in STAGES}
    reference.at_image_size(size)(images, lambda stage, value: taps[stage].append(value))
    resized = peer.at_image_size(model, size)
    for stage in STAGES:
        shown = getattr(peer, stage)(resized, images)
        shown = shown if isinstance(shown, list) else [shown]
        assert all(close(*pair, IN_FLOAT32) for pair in zip(shown, taps[stage], strict=True)), stage


def test_torchvision_changes_to_square_images_only() -> None:
    peer = adapter("torchvision")
    with pytest.raises(NotSupported, match="square images only"):
        peer.at_image_size(built(peer, SQUARE), (16, 24))


def test_hides_nothing_of_what_transformers_makes_of_an_indivisible_image() -> None:
    peer = adapter("transformers")
    model, _ = loaded(peer, SQUARE)
    images = images_for(SQUARE).new_ones(1, 3, 28, 31)
    shown = peer.logits(peer.at_image_size(model, (28, 31)), images)
    assert torch.equal(shown, model(images, interpolate_pos_encoding=True).logits)


@pytest.mark.parametrize(
    ("name", "error"), [("timm", AssertionError), ("torchvision", AssertionError), ("transformers", ValueError)]
)
def test_leaves_the_answer_to_images_of_another_size_to_its_package(name: str, error: type[Exception]) -> None:
    peer = adapter(name)
    model, _ = loaded(peer, SQUARE)
    with pytest.raises(error):
        peer.logits(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64))
