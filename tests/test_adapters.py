"""Every built-in adapter against the real package and the reference.

Where a package of the extra ``wild`` is not installed, its tests are skipped; ``tox -e wild`` installs them all.
"""

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
    images_for,
    loaded,
)
from adapter_tables import DISTRIBUTIONS, OFFERED, REFUSED, RIGHT
from torch import Tensor, nn

from vitbench.adapter import NotSupported
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.vit import Mode, vision_transformer
from vitbench.registry import registered


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"]
    if not registered()[name].installed:
        pytest.skip(f"{DISTRIBUTIONS[name]} is not installed; tox -e wild has it")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_names_itself_and_the_version_of_its_package(name: str) -> None:
    tested = adapter(name)
    assert (tested.name, tested.version) == (name, metadata.version(DISTRIBUTIONS[name]))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(("name", "case"), RIGHT)
def test_computes_the_reference_with_the_same_weights(name: str, case: str, batch: int) -> None:
    tested, config = adapter(name), CONFIGS[case]
    model, weights = loaded(tested, config)
    images = images_for(config, batch)
    assert close(tested.logits(model, images), vision_transformer(images, weights, config, tested.conventions))


@pytest.mark.parametrize(("name", "case"), RIGHT)
def test_shows_every_stage_as_the_reference_has_it(name: str, case: str) -> None:
    tested, config = adapter(name), CONFIGS[case]
    model, weights = loaded(tested, config)
    images = images_for(config)
    taps: dict[str, list[Tensor]] = {stage: [] for stage in STAGES}
    vision_transformer(
        images, weights, config, tested.conventions, Mode(tap=lambda stage, value: taps[stage].append(value))
    )
    for stage in STAGES:
        shown = getattr(tested, stage)(model, images)
        shown = shown if isinstance(shown, list) else [shown]
        # transformers forms attention weights in its eager path alone, and takes their softmax in float32.
        tolerance = IN_FLOAT32 if (name, stage) == ("transformers", "attention") else EXACT
        assert len(shown) == len(taps[stage])
        assert all(close(*pair, tolerance) for pair in zip(shown, taps[stage], strict=True)), stage


@pytest.mark.parametrize(("name", "case"), OFFERED)
def test_exports_bit_for_bit_what_it_loaded(name: str, case: str) -> None:
    tested = adapter(name)
    model, weights = loaded(tested, CONFIGS[case])
    exported = tested.export(model)
    assert exported.keys() == weights.keys()
    assert all(torch.equal(exported[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_loads_into_the_parameters_that_the_model_has(name: str) -> None:
    tested = adapter(name)
    model = built(tested, SQUARE)
    before = {key: (parameter, parameter.clone()) for key, parameter in model.named_parameters()}
    tested.load(model, exercised_weights(SQUARE, tested.conventions, seed=1))
    for key, parameter in model.named_parameters():
        assert parameter is before[key][0]
        assert not torch.equal(parameter, before[key][1]), f"{key} was not loaded"


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_exports_the_gradients_of_the_reference_from_a_model_that_holds_them(name: str) -> None:
    tested = adapter(name)
    model, weights = loaded(tested, SQUARE)
    tested.logits(model, images_for(SQUARE)).square().sum().backward()
    gradients = built(tested, SQUARE)
    with torch.no_grad():
        for target, source in zip(gradients.parameters(), model.parameters(), strict=True):
            target.copy_(source.grad)

    leaves = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
    vision_transformer(images_for(SQUARE), leaves, SQUARE, tested.conventions).square().sum().backward()
    largest = max(leaf.grad.abs().max() for leaf in leaves.values())
    for key, gradient in tested.export(gradients).items():
        assert (gradient - leaves[key].grad).abs().max() <= EXACT * largest, key


@pytest.mark.parametrize(("name", "case", "reason"), [(n, c, r) for n in DISTRIBUTIONS for c, r in REFUSED[n].items()])
def test_says_what_its_package_has_not(name: str, case: str, reason: str) -> None:
    with pytest.raises(NotSupported) as refusal:
        adapter(name).build(CONFIGS[case])
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("timm", 1 + 3 * SQUARE.depth),  # positions; attention's output, after the activation, after the MLP
        ("torchvision", 1 + 3 * SQUARE.depth),  # the same
        ("transformers", 1 + SQUARE.depth),  # one module for both branches' outputs; none after the activation
        ("vit_pytorch", 1 + 4 * SQUARE.depth),  # as timm, and the attention weights at the same rate
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
    rate = {"dropout": 0.5, "attention_dropout": 0.5 if name == "vit_pytorch" else 0.0}
    model = adapter(name).build(replace(SQUARE, **rate))
    assert sum(module.p == rate["dropout"] for module in model.modules() if isinstance(module, nn.Dropout)) == places


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_is_certain_in_training_without_a_rate(name: str) -> None:
    model = built(adapter(name), SQUARE).train()
    images = images_for(SQUARE, batch=8)
    assert torch.equal(adapter(name).logits(model, images), adapter(name).logits(model, images))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_declares_how_its_package_initialises_the_head(name: str) -> None:
    tested = adapter(name)
    weight = tested.export(tested.build(SQUARE))["head.weight"]
    assert (tested.conventions.head_init == "zero") == bool((weight == 0).all())
