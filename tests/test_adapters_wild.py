"""The adapters of the packages of the extra ``wild``, each against the real package and the reference.

Where a package is not installed, its tests are skipped; ``tox -e wild`` installs them all.
"""

from dataclasses import replace
from importlib import metadata
from typing import Any

import pytest
import torch
from adapter_models import (
    CONFIGS,
    EXACT,
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
from vitbench.registry import registered

DISTRIBUTIONS = {
    "open_clip": "open-clip-torch",
    "labml_nn": "labml-nn",
    "vformer": "vformer",
    "pytorch_pretrained_vit": "pytorch-pretrained-vit",
    "vision_transformer_pytorch": "vision-transformer-pytorch",
}
WILD = tuple(DISTRIBUTIONS)
RESIZING = ("open_clip", "pytorch_pretrained_vit")

REFUSED = {
    "open_clip": {
        "rectangular_all": "three channels only",
        "one_channel": "three channels only",
        "four_channels": "three channels only",
        "mlp_head": "linear projection only; no pre-training MLP head",
        "hybrid_stem": "no hybrid stem; its ResNet tower has no Transformer",
        "dropout": "no dropout",
        "attention_dropout": "no dropout",
        "both_dropouts": "no dropout",
        "drop_path": "no drop path",
    },
    "labml_nn": {
        "mean_pool": "class token only; no mean pooling",
        "hybrid_stem": "no hybrid stem",
        "drop_path": "no drop path",
    },
    "vformer": {
        "one_head": "two heads or more; with one it leaves out the output projection",
        "mlp_head": "linear head only; a decoder of several layers has norms and no activation",
        "hybrid_stem": "no hybrid stem",
        "attention_dropout": "no dropout of attention weights",
        "both_dropouts": "no dropout of attention weights",
        "drop_path": "no drop path; its encoder's is not among the model's arguments",
    },
    "pytorch_pretrained_vit": {
        "mean_pool": "class token only; without one its initialisation fails",
        "hybrid_stem": "no hybrid stem",
        "drop_path": "no drop path",
    },
    "vision_transformer_pytorch": {
        "mean_pool": "class token only; no mean pooling",
        "mlp_head": "linear head only; no pre-training MLP head",
        "hybrid_stem": "hybrids of one cell a patch only; its projection sees no more",
        "drop_path": "no drop path",
    },
}
WRONG = {("vformer", "mean_pool"), ("pytorch_pretrained_vit", "mlp_head")}  # docs/findings/ says why
OFFERED = [(name, case) for name in WILD for case in CONFIGS if case not in REFUSED[name]]
RIGHT = [pair for pair in OFFERED if pair not in WRONG]


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"]
    if not registered()[name].installed:
        pytest.skip(f"{DISTRIBUTIONS[name]} is not installed; tox -e wild has it")


@pytest.mark.parametrize("name", WILD)
def test_names_itself_and_the_version_of_its_package(name: str) -> None:
    wild = adapter(name)
    assert (wild.name, wild.version) == (name, metadata.version(DISTRIBUTIONS[name]))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("name", "case"), RIGHT)
def test_computes_the_reference_with_the_same_weights(name: str, case: str, batch: int) -> None:
    wild, config = adapter(name), CONFIGS[case]
    model, weights = loaded(wild, config)
    images = images_for(config, batch)
    assert close(wild.logits(model, images), vision_transformer(images, weights, config, wild.conventions))


@pytest.mark.parametrize(("name", "case"), sorted(WRONG))
def test_hides_nothing_of_what_its_package_computes_otherwise(name: str, case: str) -> None:
    wild, config = adapter(name), CONFIGS[case]
    model, weights = loaded(wild, config)
    images = images_for(config)
    expected = vision_transformer(images, weights, config, wild.conventions)
    assert not close(wild.logits(model, images), expected, 1e-3)


@pytest.mark.parametrize(("name", "case"), RIGHT)
def test_shows_every_stage_as_the_reference_has_it(name: str, case: str) -> None:
    wild, config = adapter(name), CONFIGS[case]
    model, weights = loaded(wild, config)
    images = images_for(config)
    taps: dict[str, list[Tensor]] = {stage: [] for stage in STAGES}
    vision_transformer(
        images, weights, config, wild.conventions, Mode(tap=lambda stage, value: taps[stage].append(value))
    )
    for stage in STAGES:
        shown = getattr(wild, stage)(model, images)
        shown = shown if isinstance(shown, list) else [shown]
        assert len(shown) == len(taps[stage])
        assert all(close(*pair) for pair in zip(shown, taps[stage], strict=True)), stage


@pytest.mark.parametrize(("name", "case"), OFFERED)
def test_exports_bit_for_bit_what_it_loaded(name: str, case: str) -> None:
    wild = adapter(name)
    model, weights = loaded(wild, CONFIGS[case])
    exported = wild.export(model)
    assert exported.keys() == weights.keys()
    assert all(torch.equal(exported[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", WILD)
def test_loads_into_the_parameters_that_the_model_has(name: str) -> None:
    wild = adapter(name)
    model = built(wild, SQUARE)
    before = {key: (parameter, parameter.clone()) for key, parameter in model.named_parameters()}
    wild.load(model, exercised_weights(SQUARE, wild.conventions, seed=1))
    for key, parameter in model.named_parameters():
        assert parameter is before[key][0]
        assert not torch.equal(parameter, before[key][1]), f"{key} was not loaded"


@pytest.mark.parametrize("name", WILD)
def test_exports_the_gradients_of_the_reference_from_a_model_that_holds_them(name: str) -> None:
    wild = adapter(name)
    model, weights = loaded(wild, SQUARE)
    wild.logits(model, images_for(SQUARE)).square().sum().backward()
    gradients = built(wild, SQUARE)
    with torch.no_grad():
        for target, source in zip(gradients.parameters(), model.parameters(), strict=True):
            target.copy_(source.grad)

    leaves = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
    vision_transformer(images_for(SQUARE), leaves, SQUARE, wild.conventions).square().sum().backward()
    largest = max(leaf.grad.abs().max() for leaf in leaves.values())
    for key, gradient in wild.export(gradients).items():
        assert (gradient - leaves[key].grad).abs().max() <= EXACT * largest, key


@pytest.mark.parametrize(("name", "case", "reason"), [(n, c, r) for n in WILD for c, r in REFUSED[n].items()])
def test_says_what_its_package_has_not(name: str, case: str, reason: str) -> None:
    with pytest.raises(NotSupported) as refusal:
        adapter(name).build(CONFIGS[case])
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("labml_nn", 2 * SQUARE.depth),  # one module for both branches' outputs, one after the activation; none at z_0
        ("vformer", 1 + 2 * SQUARE.depth),  # positions; after the activation, after the MLP; none after attention
        (
            "pytorch_pretrained_vit",
            2 * SQUARE.depth,
        ),  # one module for both branches' outputs, and the attention weights
        ("vision_transformer_pytorch", 1 + 3 * SQUARE.depth),  # positions; after attention, activation and MLP
    ],
)
def test_passes_the_dropout_rate_to_every_place_that_its_package_has(name: str, places: int) -> None:
    model = adapter(name).build(replace(SQUARE, dropout=0.5))
    assert sum(module.p == 0.5 for module in model.modules() if isinstance(module, nn.Dropout)) == places


@pytest.mark.parametrize("name", WILD)
def test_is_certain_in_training_without_a_rate(name: str) -> None:
    model = built(adapter(name), SQUARE).train()
    images = images_for(SQUARE, batch=8)
    assert torch.equal(adapter(name).logits(model, images), adapter(name).logits(model, images))


@pytest.mark.parametrize("name", WILD)
def test_declares_how_its_package_initialises_the_head(name: str) -> None:
    wild = adapter(name)
    weight = wild.export(wild.build(SQUARE))["head.weight"]
    assert (wild.conventions.head_init == "zero") == bool((weight == 0).all())


KEPT_FOR_PLOTS = {"attn", "scores"}  # labml-nn's and pytorch-pretrained-vit's attention keep their last weights


def settings(model: nn.Module) -> dict[str, dict[str, Any]]:
    return {
        key: {k: v for k, v in vars(module).items() if k not in KEPT_FOR_PLOTS or isinstance(v, nn.Module)}
        for key, module in model.named_modules()
    }


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hook", [*STAGES, "logits", "export"])
@pytest.mark.parametrize("name", WILD)
def test_looks_without_leaving_a_trace(name: str, hook: str, training: bool) -> None:
    wild = adapter(name)
    model, weights = loaded(wild, SQUARE)
    model.train(training)
    images = images_for(SQUARE)
    before, hooks, kept = settings(model), forward_hooks(model), images.clone()

    getattr(wild, hook)(model, *([] if hook == "export" else [images]))

    assert forward_hooks(model) == hooks
    assert torch.equal(images, kept)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in wild.export(model).items())
    assert settings(model) == before


@pytest.mark.parametrize(("grid", "new_grid"), [((3, 3), (5, 5)), ((4, 4), (2, 2)), ((2, 2), (3, 3))])
@pytest.mark.parametrize("name", RESIZING)
def test_resizes_positions_of_squares_as_it_declares(
    name: str, grid: tuple[int, int], new_grid: tuple[int, int]
) -> None:
    wild = adapter(name)
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(1, 1 + grid[0] * grid[1], 6, generator=generator, dtype=torch.float64)
    kept = table.clone()
    resized = wild.resize_position_embedding(table, grid, new_grid)
    assert close(resized, resize_position_embedding(table, grid, new_grid, wild.conventions.position_resize))
    assert torch.equal(table, kept)


@pytest.mark.parametrize("name", [name for name in WILD if name not in RESIZING])
def test_offers_no_other_image_size_where_its_package_has_none(name: str) -> None:
    wild = adapter(name)
    with pytest.raises(NotSupported, match="offers no resizing of position embeddings"):
        wild.resize_position_embedding(torch.zeros(1, 10, 6), (3, 3), (2, 2))
    with pytest.raises(NotSupported, match="does not change its image size"):
        wild.at_image_size(built(wild, SQUARE), (16, 16))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(40, 40), (16, 16), (24, 24)])
@pytest.mark.parametrize("name", RESIZING)
def test_takes_its_weights_to_another_image_size(name: str, size: tuple[int, int], training: bool) -> None:
    wild, config = adapter(name), SQUARE
    model, weights = loaded(wild, config)
    model.train(training)
    images, native = images_for(replace(config, image_size=size)), images_for(config)
    before, random_state = wild.logits(model, native), torch.get_rng_state()

    resized = wild.at_image_size(model, size)

    reference = ViT(config, wild.conventions).to(torch.float64)
    reference.load_state_dict(weights)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert resized.training == training
    assert close(wild.logits(resized, images), reference.at_image_size(size)(images))
    assert torch.equal(wild.logits(model, native), before)
