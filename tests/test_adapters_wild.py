"""What is particular to the adapters of the packages of the extra ``wild``; what all have to do: test_adapters.py.

Where a package is not installed, its tests are skipped; ``tox -e wild`` installs them all.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from adapter_models import (
    CONFIGS,
    SQUARE,
    STAGES,
    adapter,
    built,
    close,
    forward_hooks,
    images_for,
    loaded,
)
from adapter_tables import DISTRIBUTIONS, WILD, WRONG
from torch import nn

from vitbench.adapter import NotSupported
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.vit import ViT, vision_transformer
from vitbench.registry import registered

RESIZING = ("open_clip", "pytorch_pretrained_vit")


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"]
    if not registered()[name].installed:
        pytest.skip(f"{DISTRIBUTIONS[name]} is not installed; tox -e wild has it")


@pytest.mark.parametrize(("name", "case"), sorted(WRONG))
def test_hides_nothing_of_what_its_package_computes_otherwise(name: str, case: str) -> None:
    wild, config = adapter(name), CONFIGS[case]
    model, weights = loaded(wild, config)
    images = images_for(config)
    expected = vision_transformer(images, weights, config, wild.conventions)
    assert not close(wild.logits(model, images), expected, 1e-3)


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
