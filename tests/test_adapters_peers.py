"""What is particular to the adapters of the peers; what all adapters have to do: test_adapters.py."""

from dataclasses import replace

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
from adapter_tables import OFFERED, PEERS
from torch import Tensor

from vitbench.adapter import NotSupported
from vitbench.reference.parameters import exercised_weights
from vitbench.reference.positions import resize_position_embedding
from vitbench.reference.vit import ViT

RESIZING_PEERS = ("timm", "torchvision", "transformers")
STOCHASTIC = [(peer, name) for peer, name in OFFERED if peer in PEERS and "drop" in name]


@pytest.mark.parametrize("name", PEERS)
def test_exports_copies_that_can_be_changed_freely(name: str) -> None:
    peer = adapter(name)
    model, weights = loaded(peer, SQUARE)
    for tensor in peer.export(model).values():
        tensor.zero_()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in peer.export(model).items())


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
