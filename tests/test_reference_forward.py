"""The reference's forward pass, each function against an implementation that is not its own: torch's kernels."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor, nn
from torch.nn import functional

from vitbench.reference import vit
from vitbench.reference.config import ConfigurationError, Conventions, ViTConfig
from vitbench.reference.parameters import exercised_weights, within
from vitbench.reference.stages import stages
from vitbench.reference.vit import Mode, ViT, vision_transformer

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = ViTConfig(
    image_size=(6, 12), patch_size=(3, 4), channels=2, width=12, depth=3, num_heads=3, mlp_dim=7, num_classes=5
)  # 2 x 3 patches, T = 7, D_h = 4
PAPER = Conventions()
TRAINING = Mode(training=True)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Dropout draws from torch's global generator; each test has it at the same place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights_of(config: ViTConfig = CONFIG, conventions: Conventions = PAPER) -> dict[str, Tensor]:
    return exercised_weights(config, conventions, seed=0)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Equal up to float64's rounding; and never for want of anything to compare."""
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)


# --- patches and tokens ---


def test_patches_are_in_raster_order_and_flattened_channel_row_column() -> None:
    """Each pixel carries its own address: 1000 c + 100 y + x."""
    config = replace(CONFIG, image_size=(4, 6), patch_size=(2, 3))
    c, y, x = torch.meshgrid(torch.arange(2), torch.arange(4), torch.arange(6), indexing="ij")
    found = vit.patches((1000 * c + 100 * y + x)[None], config)
    first_row = [0, 1, 2, 100, 101, 102, 1000, 1001, 1002, 1100, 1101, 1102]
    assert found.shape == (1, 4, 12)
    assert found[0, 0].tolist() == first_row
    assert found[0, 1].tolist() == [n + 3 for n in first_row]  # to the right
    assert found[0, 2].tolist() == [n + 200 for n in first_row]  # the next row


def test_patches_are_those_of_torchs_unfold() -> None:
    images = normal(3, 2, 6, 12)
    expected = functional.unfold(images, (3, 4), stride=(3, 4)).transpose(1, 2)
    assert torch.equal(vit.patches(images, CONFIG), expected)


def test_the_patch_projection_is_a_strided_convolution() -> None:
    weights, images = weights_of(), normal(3, 2, 6, 12)
    kernel, bias = weights["patch_embedding.weight"], weights["patch_embedding.bias"]
    expected = functional.conv2d(images, kernel, bias, stride=(3, 4)).flatten(2).transpose(1, 2)
    assert_close(vit.patch_tokens(images, weights, CONFIG, PAPER), expected)


def test_the_patch_projection_between_two_norms() -> None:
    conventions = Conventions(patch_embedding="norm_linear_norm", layer_norm_eps=1e-5)
    weights, images = weights_of(CONFIG, conventions), normal(3, 2, 6, 12)
    w = within(weights, "patch_embedding")
    flat = functional.unfold(images, (3, 4), stride=(3, 4)).transpose(1, 2)
    normed = functional.layer_norm(flat, (24,), w["input_norm.weight"], w["input_norm.bias"], 1e-5)
    projected = functional.linear(normed, w["weight"].reshape(12, 24), w["bias"])
    expected = functional.layer_norm(projected, (12,), w["output_norm.weight"], w["output_norm.bias"], 1e-5)
    assert_close(vit.patch_tokens(images, weights, CONFIG, conventions), expected)


def test_the_patch_projection_without_a_bias() -> None:
    conventions = Conventions(patch_bias=False)
    weights, images = weights_of(CONFIG, conventions), normal(3, 2, 6, 12)
    expected = functional.conv2d(images, weights["patch_embedding.weight"], stride=(3, 4)).flatten(2).transpose(1, 2)
    assert_close(vit.patch_tokens(images, weights, CONFIG, conventions), expected)


@pytest.mark.parametrize("shape", [(1, 2, 6, 8), (1, 2, 12, 6), (1, 3, 6, 12), (1, 2, 7, 12), (2, 6, 12)])
def test_refuses_images_of_another_size_and_says_what_fits(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^images of shape ") as caught:
        vision_transformer(torch.zeros(shape, dtype=torch.float64), weights_of(), CONFIG, PAPER)
    assert str(caught.value) == (
        f"images of shape (C, H, W) = {shape[1:]} for a model of (2, 6, 12); "
        "resize the images, or the model's position embeddings"
    )


def test_the_class_token_comes_first_and_the_same_for_every_image() -> None:
    x_e, class_token = normal(3, 6, 12), normal(1, 1, 12, seed=2)
    z = vit.prepend_class_token(x_e, class_token)
    assert z.shape == (3, 7, 12)
    assert torch.equal(z[:, 1:], x_e)
    assert all(torch.equal(z[b, 0], class_token[0, 0]) for b in range(3))


def test_each_token_gets_the_row_of_its_place() -> None:
    weights, x_e = weights_of(), normal(3, 6, 12)
    z = vit.embed(x_e, weights, CONFIG, PAPER, Mode())
    table = weights["position_embedding"][0]
    assert_close(z[:, 0], (weights["class_token"][0, 0] + table[0]).expand(3, 12))
    for n in range(6):
        assert_close(z[:, n + 1], x_e[:, n] + table[n + 1])


def test_a_class_token_without_a_position_is_left_as_it_is() -> None:
    conventions = Conventions(class_token_has_position=False)
    weights, x_e = weights_of(CONFIG, conventions), normal(3, 6, 12)
    z = vit.embed(x_e, weights, CONFIG, conventions, Mode())
    assert torch.equal(z[:, 0], weights["class_token"][0].expand(3, 12))
    for n in range(6):
        assert_close(z[:, n + 1], x_e[:, n] + weights["position_embedding"][0, n])


def test_a_norm_before_the_blocks_comes_after_the_positions() -> None:
    conventions = Conventions(pre_norm=True)
    weights, x_e = weights_of(CONFIG, conventions), normal(3, 6, 12)
    w = within(weights, "pre_norm")
    expected = functional.layer_norm(
        vit.embed(x_e, weights, CONFIG, PAPER, Mode()), (12,), w["weight"], w["bias"], 1e-6
    )
    assert_close(vit.embed(x_e, weights, CONFIG, conventions, Mode()), expected)


# --- attention ---


def test_attention_weights_are_the_softmax_of_scaled_products() -> None:
    """Two tokens in closed form: the weight of the second is the logistic function of the scores' difference."""
    query = torch.tensor([[1.0, 2.0, 0.0, -1.0], [0.5, 0.0, 3.0, 1.0]], dtype=torch.float64)
    key = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, -1.0, 2.0]], dtype=torch.float64)
    found = vit.attention_weights(query, key)
    scores = [[1.0, 0.0], [3.5, -1.0]]  # by hand; then over sqrt(4)
    second = [1 / (1 + np.exp((row[0] - row[1]) / 2)) for row in scores]
    assert_close(found, torch.tensor([[1 - s, s] for s in second], dtype=torch.float64))


def test_attention_is_torchs_scaled_dot_product_attention() -> None:
    query, key, value = (normal(2, 3, 7, 4, seed=seed) for seed in (1, 2, 3))
    expected = functional.scaled_dot_product_attention(query, key, value)
    assert_close(vit.attention_weights(query, key) @ value, expected)


@pytest.mark.parametrize(("head_dim", "scale"), [(1, 1.0), (4, 0.5), (64, 0.125)])
def test_the_scale_is_one_over_the_root_of_the_heads_width(head_dim: int, scale: float) -> None:
    assert vit.attention_scale(head_dim) == scale


def test_attention_weights_stay_finite_for_huge_scores() -> None:
    query, key = 1e6 * normal(1, 1, 3, 4), normal(1, 1, 3, 4, seed=2)
    found = vit.attention_weights(query, key)
    assert_close(found.sum(dim=-1), torch.ones(1, 1, 3, dtype=torch.float64))


def test_head_i_has_the_features_from_i_times_its_width() -> None:
    x = torch.arange(24).reshape(1, 2, 12)
    heads = vit.split_heads(x, 3)
    assert heads.tolist() == [
        [
            [[0, 1, 2, 3], [12, 13, 14, 15]],
            [[4, 5, 6, 7], [16, 17, 18, 19]],
            [[8, 9, 10, 11], [20, 21, 22, 23]],
        ]
    ]
    assert torch.equal(vit.merge_heads(heads), x)


def torchs_attention(weights: dict[str, Tensor], dropout: float = 0.0) -> nn.MultiheadAttention:
    """torch's own multi-head attention with the same weights."""
    module = nn.MultiheadAttention(12, 3, dropout=dropout, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([weights[f"{n}.weight"] for n in ("query", "key", "value")]))
        module.in_proj_bias.copy_(torch.cat([weights[f"{n}.bias"] for n in ("query", "key", "value")]))
        module.out_proj.weight.copy_(weights["output.weight"])
        module.out_proj.bias.copy_(weights["output.bias"])
    return module


def test_self_attention_is_torchs_multi_head_attention() -> None:
    weights, z = within(weights_of(), "blocks.0.attention"), normal(2, 7, 12)
    seen: list[Tensor] = []
    found = vit.multi_head_self_attention(z, weights, CONFIG, Mode(tap=lambda _, value: seen.append(value)))
    with torch.no_grad():
        expected, attention = torchs_attention(weights)(z, z, z, need_weights=True, average_attn_weights=False)
    assert_close(found, expected)
    assert_close(seen[0], attention)


def test_self_attention_without_biases_is_that_with_biases_of_zero() -> None:
    weights, z = within(weights_of(), "blocks.0.attention"), normal(2, 7, 12)
    bare = {name: w for name, w in weights.items() if name.endswith("weight") or name.startswith("output")}
    zeroed = {name: w if name in bare else torch.zeros_like(w) for name, w in weights.items()}
    found = vit.multi_head_self_attention(z, bare, CONFIG, Mode())
    with torch.no_grad():
        expected = torchs_attention(zeroed)(z, z, z, need_weights=False)[0]
    assert_close(found, expected)


# --- the pieces ---


def test_layer_norm_is_torchs() -> None:
    x, w = 3 + 2 * normal(2, 7, 12), {"weight": normal(12, seed=2), "bias": normal(12, seed=3)}
    for eps in (1e-12, 1e-6, 1e-2):
        found = vit.layer_norm(x, w, Conventions(layer_norm_eps=eps))
        assert_close(found, functional.layer_norm(x, (12,), w["weight"], w["bias"], eps))


def test_layer_norm_of_two_values_as_by_hand() -> None:
    """Mean 2, biased variance 1: (∓1) / sqrt(1 + 0.44) = ∓1 / 1.2, times the gain, plus the bias."""
    w = {"weight": torch.tensor([6.0, 12.0]).double(), "bias": torch.tensor([1.0, 0.5]).double()}
    found = vit.layer_norm(torch.tensor([1.0, 3.0]).double(), w, Conventions(layer_norm_eps=0.44))
    assert_close(found, torch.tensor([1 - 5.0, 0.5 + 10.0]).double())


def test_linear_is_torchs_with_and_without_a_bias() -> None:
    x, weight, bias = normal(2, 7, 12), normal(5, 12, seed=2), normal(5, seed=3)
    assert_close(vit.linear(x, {"weight": weight, "bias": bias}), functional.linear(x, weight, bias))
    assert_close(vit.linear(x, {"weight": weight}), functional.linear(x, weight))


POINTS = torch.linspace(-8, 8, 1001, dtype=torch.float64)
INDEPENDENT: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * 1 / (1 + torch.exp(-1.702 * x)),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_an_activation_is_its_independent_counterpart(name: Any) -> None:
    assert_close(vit.ACTIVATIONS[name](POINTS), INDEPENDENT[name](POINTS))


def test_gelu_is_x_times_the_normal_distribution_function_of_scipy() -> None:
    x = POINTS.numpy()
    assert_close(vit.gelu(POINTS), torch.from_numpy(x * (1 + erf(x / np.sqrt(2))) / 2))


@pytest.mark.parametrize(("approximate", "gap"), [(vit.gelu_tanh, 4.7e-4), (vit.quick_gelu, 0.0203)])
def test_the_approximations_of_gelu_are_as_far_off_as_their_docstrings_say(
    approximate: Callable[[Tensor], Tensor], gap: float
) -> None:
    assert (approximate(POINTS) - vit.gelu(POINTS)).abs().max().item() == pytest.approx(gap, rel=0.02)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_the_mlp_is_two_linear_layers_with_the_declared_activation(name: Any) -> None:
    weights, z = within(weights_of(), "blocks.0.mlp"), normal(2, 7, 12)
    hidden = INDEPENDENT[name](functional.linear(z, weights["fc1.weight"], weights["fc1.bias"]))
    expected = functional.linear(hidden, weights["fc2.weight"], weights["fc2.bias"])
    assert_close(vit.mlp(z, weights, CONFIG, Conventions(activation=name), Mode()), expected)


# --- blocks ---


def torchs_block(weights: dict[str, Tensor], eps: float) -> nn.TransformerEncoderLayer:
    """torch's pre-norm encoder layer with the same weights."""
    layer = nn.TransformerEncoderLayer(
        12, 3, 7, dropout=0.0, activation="gelu", layer_norm_eps=eps, batch_first=True, norm_first=True
    ).double()
    state = {
        "self_attn.in_proj_weight": torch.cat([weights[f"attention.{n}.weight"] for n in ("query", "key", "value")]),
        "self_attn.in_proj_bias": torch.cat([weights[f"attention.{n}.bias"] for n in ("query", "key", "value")]),
        "self_attn.out_proj.weight": weights["attention.output.weight"],
        "self_attn.out_proj.bias": weights["attention.output.bias"],
    }
    renamed = {"mlp.fc1": "linear1", "mlp.fc2": "linear2", "norm1": "norm1", "norm2": "norm2"}
    for ours, theirs in renamed.items():
        state |= {f"{theirs}.{leaf}": weights[f"{ours}.{leaf}"] for leaf in ("weight", "bias")}
    layer.load_state_dict(state)
    return layer


def test_an_encoder_block_is_torchs_pre_norm_layer() -> None:
    conventions = Conventions(layer_norm_eps=1e-3)
    weights, z = within(weights_of(), "blocks.1"), normal(2, 7, 12)
    found = vit.encoder_block(z, weights, CONFIG, conventions, Mode())
    with torch.no_grad():
        assert_close(found, torchs_block(weights, 1e-3)(z))


def test_the_encoder_is_its_blocks_one_after_the_other() -> None:
    weights, z = weights_of(), normal(2, 7, 12)
    seen: list[tuple[str, Tensor]] = []
    found = vit.encoder(z, weights, CONFIG, PAPER, Mode(tap=lambda *shown: seen.append(shown)))
    outputs = [value for stage, value in seen if stage == "block_outputs"]
    with torch.no_grad():
        for i in range(3):
            z = torchs_block(within(weights, f"blocks.{i}"), 1e-6)(z)
            assert_close(outputs[i], z)
    assert_close(found, z)


# --- representation and heads ---


def test_pools_the_class_token_alone_or_the_mean_of_the_patches_alone() -> None:
    z = torch.tensor([[[100.0, 7.0], [1.0, 2.0], [3.0, 4.0], [8.0, 0.0]]])
    assert vit.pool(z, "class_token").tolist() == [[100.0, 7.0]]
    assert vit.pool(z, "mean").tolist() == [[4.0, 2.0]]


@pytest.mark.parametrize("pool", ["class_token", "mean"])
def test_the_representation_is_normalised_before_it_is_pooled(pool: Any) -> None:
    weights, z = weights_of(), normal(2, 7, 12)
    normed = functional.layer_norm(z, (12,), weights["norm.weight"], weights["norm.bias"], 1e-6)
    expected = normed[:, 0] if pool == "class_token" else normed[:, 1:].sum(dim=1) / 6
    assert_close(vit.representation(z, weights, replace(CONFIG, pool=pool), PAPER), expected)


def test_the_fine_tuning_head_is_one_linear_layer() -> None:
    weights, y = within(weights_of(), "head"), normal(2, 12)
    assert_close(vit.head(y, weights, CONFIG, PAPER), functional.linear(y, weights["weight"], weights["bias"]))


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("tanh", np.tanh),
        ("gelu", lambda x: x * (1 + erf(x / 2**0.5)) / 2),
        ("relu", lambda x: np.maximum(x, 0)),
    ],
)
def test_the_pre_training_head_has_a_hidden_layer(name: Any, activation: Any) -> None:
    config = replace(CONFIG, head="mlp")
    weights, y = within(weights_of(config), "head"), normal(2, 12)
    hidden = activation(y.numpy() @ weights["hidden.weight"].numpy().T + weights["hidden.bias"].numpy())
    expected = hidden @ weights["weight"].numpy().T + weights["bias"].numpy()
    assert_close(vit.head(y, weights, config, Conventions(head_activation=name)), torch.from_numpy(expected))


# --- the whole model ---


def torchs_model(images: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """The paper's default model out of torch's layers."""
    patches = functional.conv2d(
        images, weights["patch_embedding.weight"], weights["patch_embedding.bias"], stride=(3, 4)
    )
    tokens = torch.cat([weights["class_token"].repeat(len(images), 1, 1), patches.flatten(2).transpose(1, 2)], dim=1)
    z = tokens + weights["position_embedding"]
    for i in range(3):
        z = torchs_block(within(weights, f"blocks.{i}"), 1e-6)(z)
    y = functional.layer_norm(z[:, 0], (12,), weights["norm.weight"], weights["norm.bias"], 1e-6)
    return functional.linear(y, weights["head.weight"], weights["head.bias"])


def test_the_model_is_that_of_torchs_layers() -> None:
    weights, images = weights_of(), normal(3, 2, 6, 12)
    with torch.no_grad():
        assert_close(vision_transformer(images, weights, CONFIG, PAPER), torchs_model(images, weights))


def test_gradients_are_those_of_torchs_layers() -> None:
    """Of the parameters before and behind the blocks: those of torch's blocks are copies, but pass gradients on."""
    taken = ("patch_embedding.weight", "patch_embedding.bias", "class_token", "position_embedding", "norm.weight")
    images = normal(3, 2, 6, 12)
    gradients = []
    for model in (lambda i, w: vision_transformer(i, w, CONFIG, PAPER), torchs_model):
        weights = weights_of()
        leaves = [weights[name].requires_grad_() for name in taken]
        gradients.append(torch.autograd.grad((model(images, weights) ** 2).sum(), leaves))
    for name, found, expected in zip(taken, *gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)


def test_taps_show_every_stage_once_in_the_order_of_the_paper() -> None:
    weights, images = weights_of(), normal(2, 2, 6, 12)
    seen: list[tuple[str, tuple[int, ...]]] = []
    mode = Mode(tap=lambda stage, value: seen.append((stage, tuple(value.shape))))
    tapped = vision_transformer(images, weights, CONFIG, PAPER, mode)
    block = [("attention", (2, 3, 7, 7)), ("block_outputs", (2, 7, 12))]
    expected = [("patch_tokens", (2, 6, 12)), ("tokens", (2, 7, 12)), *3 * block, ("representation", (2, 12))]
    assert seen == expected
    assert torch.equal(tapped, vision_transformer(images, weights, CONFIG, PAPER))


def test_stages_hold_what_the_taps_show() -> None:
    weights, images = weights_of(), normal(2, 2, 6, 12)
    shown = stages(images, weights, CONFIG, PAPER)
    assert torch.equal(shown.tokens, vit.embed(shown.patch_tokens, weights, CONFIG, PAPER, Mode()))
    assert torch.equal(shown.representation, vit.representation(shown.block_outputs[-1], weights, CONFIG, PAPER))
    assert torch.equal(shown.logits, vit.head(shown.representation, within(weights, "head"), CONFIG, PAPER))
    assert [len(shown.block_outputs), len(shown.attention)] == [3, 3]


# --- the model as a torch module ---


def loaded(config: ViTConfig = CONFIG, conventions: Conventions = PAPER) -> ViT:
    model = ViT(config, conventions).double()
    model.load_state_dict(weights_of(config, conventions))
    return model


def test_the_module_computes_the_functions_with_its_own_parameters() -> None:
    images = normal(2, 2, 6, 12)
    expected = vision_transformer(images, weights_of(), CONFIG, PAPER)
    assert torch.equal(loaded().eval()(images), expected)


def test_the_module_computes_in_the_dtype_of_its_parameters() -> None:
    images = normal(2, 2, 6, 12)
    exact = loaded().eval()(images)
    single = loaded().eval().float()(images.float())
    assert (exact.dtype, single.dtype) == (torch.float64, torch.float32)
    assert 1e-9 < (single - exact).abs().max() < 1e-4


def test_every_parameter_has_a_gradient_but_for_the_key_biases() -> None:
    """Softmax is shift-invariant: the key's bias is there, and without effect."""
    model = loaded(replace(CONFIG, head="mlp"))
    (model(normal(2, 2, 6, 12)) ** 2).sum().backward()
    largest = {name: p.grad.abs().max().item() for name, p in model.named_parameters() if p.grad is not None}
    assert len(largest) == len(list(model.parameters()))
    asleep = {name for name, size in largest.items() if size < 1e-10}
    assert asleep == {f"blocks.{i}.attention.key.bias" for i in range(3)}


def test_a_hybrid_stem_is_refused_rather_than_ignored() -> None:
    """``reference/hybrid.py`` has it; this is the ViT behind the stem."""
    with pytest.raises(ConfigurationError, match="patches are counted on its feature map"):
        ViT(replace(CONFIG, stem="hybrid"))


def test_another_image_size_keeps_weights_dtype_and_mode() -> None:
    model = loaded().eval()
    larger = model.at_image_size((9, 8))
    assert (larger.config.image_size, larger.training) == ((9, 8), False)
    assert (model.config.image_size, model.get_parameter("position_embedding").shape) == ((6, 12), (1, 7, 12))
    before, after = model.state_dict(), larger.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"position_embedding"}
    assert larger(normal(2, 2, 9, 8)).dtype == torch.float64
    assert model.train().at_image_size((9, 8)).training


def test_the_same_image_size_keeps_every_bit() -> None:
    model = loaded().eval()
    images = normal(2, 2, 6, 12)
    assert torch.equal(model.at_image_size((6, 12))(images), model(images))


# --- dropout and drop path ---
#
# Counts are binomial. Each bound leaves the tails beyond it a probability that is computed below, and the seed is
# fixed: should torch draw differently one day, a correct dropout fails with that probability and no more.


def tail(n: int, rate: float, allowed: int) -> float:
    """Probability that a binomial count of ``n`` draws lies further than ``allowed`` from its mean."""
    mean = n * rate
    within_bounds = (k for k in range(n + 1) if abs(k - mean) <= allowed)
    return 1 - sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in within_bounds)


@pytest.mark.parametrize(("rate", "allowed"), [(0.1, 50), (0.5, 80)])
def test_dropout_zeroes_the_declared_share_and_rescales_the_rest(rate: float, allowed: int) -> None:
    """Of 1000 elements; false alarms: less than 1 in a million."""
    assert 0 < tail(1000, rate, allowed) < 1e-6
    x = 2 + normal(1000).abs()
    dropped = vit.dropout(x, rate, TRAINING)
    zero = dropped == 0
    assert abs(int(zero.sum()) - 1000 * rate) <= allowed
    assert_close(dropped[~zero], x[~zero] / (1 - rate))


def test_dropout_draws_each_element_on_its_own() -> None:
    """In 200 rows of 5: a column goes all one way with probability 2^-199, a row with 1 in 16."""
    kept = vit.dropout(torch.ones(200, 5), 0.5, TRAINING) != 0
    assert all(0 < int(column.sum()) < 200 for column in kept.T)
    mixed = int(((kept.sum(dim=1) > 0) & (kept.sum(dim=1) < 5)).sum())
    assert tail(200, 15 / 16, 25) < 1e-6
    assert abs(mixed - 187.5) <= 25


def test_drop_path_drops_whole_branches_for_each_image_and_rescales() -> None:
    """Of 1000 images; false alarms: less than 1 in a million."""
    assert 0 < tail(1000, 0.3, 75) < 1e-6
    branch = 1 + normal(1000, 3, 4).abs()
    dropped = vit.drop_path(branch, 0.3, TRAINING)
    gone = (dropped == 0).flatten(1)
    assert torch.equal(gone.all(dim=1), gone.any(dim=1))  # all of an image's branch or nothing
    assert abs(int(gone.all(dim=1).sum()) - 300) <= 75
    survivors = ~gone.all(dim=1)
    assert_close(dropped[survivors], branch[survivors] / 0.7)


def test_drop_path_drops_at_batch_size_one_too() -> None:
    """64 draws at rate a half: all alike once in 2^63."""
    outcomes = {bool(vit.drop_path(torch.ones(1, 2, 2), 0.5, TRAINING).any()) for _ in range(64)}
    assert outcomes == {True, False}


@pytest.mark.parametrize("drop", [vit.dropout, vit.drop_path])
def test_nothing_is_dropped_in_evaluation_or_at_rate_zero(drop: Callable[[Tensor, float, Mode], Tensor]) -> None:
    x = normal(4, 3, 2)
    state = torch.get_rng_state()
    assert drop(x, 0.9, Mode()) is x
    assert drop(x, 0.0, TRAINING) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_the_rate_of_drop_path_grows_linearly_to_the_last_block() -> None:
    config = replace(CONFIG, depth=5, drop_path=0.4)
    assert [vit._block_config(config, i).drop_path for i in range(5)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_the_only_block_of_a_model_is_its_first_and_never_dropped() -> None:
    assert vit._block_config(replace(CONFIG, depth=1, drop_path=0.4), 0).drop_path == 0


class Recorder:
    """Stands for ``dropout`` or ``drop_path``: drops nothing, and remembers rates and shapes."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, tuple[int, ...]]] = []

    def __call__(self, x: Tensor, rate: float, mode: Mode) -> Tensor:
        assert mode.training
        self.calls.append((round(rate, 6), tuple(x.shape)))
        return x


def test_dropout_stands_where_the_paper_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appendix B.1: after every dense layer but the qkv projections, and after the sum with the positions."""
    config = replace(CONFIG, depth=2, dropout=0.1, attention_dropout=0.2, drop_path=0.3)
    dropout, drop_path = Recorder(), Recorder()
    monkeypatch.setattr(vit, "dropout", dropout)
    monkeypatch.setattr(vit, "drop_path", drop_path)
    vision_transformer(normal(2, 2, 6, 12), weights_of(config), config, PAPER, TRAINING)
    tokens, hidden, attention = (2, 7, 12), (2, 7, 7), (2, 3, 7, 7)
    block = [(0.2, attention), (0.1, tokens), (0.1, hidden), (0.1, tokens)]
    assert dropout.calls == [(0.1, tokens), *2 * block]
    assert drop_path.calls == [(0.0, tokens), (0.0, tokens), (0.3, tokens), (0.3, tokens)]


def test_a_dropped_block_leaves_its_tokens_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """drop_path multiplies the branch, not the residual stream."""
    monkeypatch.setattr(vit, "drop_path", lambda branch, _rate, _mode: torch.zeros_like(branch))
    z = normal(2, 7, 12)
    assert torch.equal(vit.encoder_block(z, within(weights_of(), "blocks.0"), CONFIG, PAPER, TRAINING), z)


@pytest.mark.parametrize("kind", ["dropout", "attention_dropout", "drop_path"])
def test_the_training_flag_switches_each_kind_of_dropout(kind: str) -> None:
    config = replace(CONFIG, **{kind: 0.5})
    model, images = loaded(config), normal(4, 2, 6, 12)
    expected = loaded()(images)
    assert torch.equal(model.eval()(images), expected)
    assert not torch.equal(model.train()(images), expected)
    torch.manual_seed(5)
    first = model(images)
    torch.manual_seed(5)
    assert torch.equal(model(images), first)


def test_dropped_branches_keep_their_expectation() -> None:
    """The mean over 4000 images of a branch of ones has a deviation of 0.0104 at rate 0.3; 0.06 is 5.8 sigma."""
    dropped = vit.drop_path(torch.ones(4000, 1, 1, dtype=torch.float64), 0.3, TRAINING)
    assert dropped.mean().item() == pytest.approx(1, abs=0.06)
