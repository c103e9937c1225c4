"""What a configuration refuses, in which words, and what follows from its sizes."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from vitbench.reference.config import ConfigurationError, Conventions, ViTConfig
from vitbench.reference.variants import variant

SIZES: dict[str, Any] = {
    "image_size": (32, 48),
    "patch_size": (8, 16),
    "width": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 40,
}


def refusal(**changes: Any) -> str:
    """The text with which these sizes are refused."""
    with pytest.raises(ConfigurationError) as caught:
        ViTConfig(**SIZES | changes)
    return str(caught.value)


def test_derives_grid_patches_tokens_and_head_width() -> None:
    config = ViTConfig(**SIZES)
    assert (config.grid, config.num_patches, config.num_tokens, config.head_dim) == ((4, 3), 12, 13, 8)


def test_defaults_are_those_of_the_papers_fine_tuned_model() -> None:
    config = ViTConfig(**SIZES)
    chosen = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in SIZES}
    assert chosen == {
        "channels": 3,
        "num_classes": 1000,
        "head": "linear",
        "pool": "class_token",
        "stem": "patch",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "drop_path": 0.0,
    }


def test_cannot_be_changed_once_made() -> None:
    config = ViTConfig(**SIZES)
    with pytest.raises(FrozenInstanceError):
        config.width = 48  # type: ignore[misc]


@pytest.mark.parametrize("name", ["image_size", "patch_size"])
@pytest.mark.parametrize(
    "value", [8, (8,), (8, 8, 8), [8, 8], (8, 0), (-8, 8), (8.0, 8), (True, 8), "88", None], ids=repr
)
def test_refuses_a_size_that_is_no_pair_of_whole_numbers(name: str, value: object) -> None:
    expected = f"{name} must be a pair of positive whole numbers (height, width), got {value!r} (ViTConfig)"
    assert refusal(**{name: value}) == expected


@pytest.mark.parametrize("name", ["channels", "width", "depth", "num_heads", "mlp_dim", "num_classes"])
@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None], ids=repr)
def test_refuses_a_number_that_is_not_whole_or_not_positive(name: str, value: object) -> None:
    assert refusal(**{name: value}) == f"{name} must be a positive whole number, got {value!r} (ViTConfig)"


@pytest.mark.parametrize(
    ("name", "known"),
    [("head", "linear, mlp"), ("pool", "class_token, mean"), ("stem", "patch, hybrid")],
)
@pytest.mark.parametrize("value", ["Linear", "", None, ["mean"]], ids=repr)
def test_refuses_an_unknown_word_and_lists_the_known_ones(name: str, known: str, value: object) -> None:
    assert refusal(**{name: value}) == f"{name} must be one of {known}, got {value!r} (ViTConfig)"


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "drop_path"])
@pytest.mark.parametrize("value", [1, 1.0, -0.1, 1.5, float("nan"), float("inf"), "0.1", None], ids=repr)
def test_refuses_a_rate_outside_of_0_to_1(name: str, value: object) -> None:
    assert refusal(**{name: value}) == f"{name} must be a rate from 0 to below 1, got {value!r} (ViTConfig)"


@pytest.mark.parametrize("value", [0, 0.5, 0.999])
def test_accepts_rates_from_0_to_below_1(value: float) -> None:
    config = ViTConfig(**SIZES, dropout=value, attention_dropout=value, drop_path=value)
    assert (config.dropout, config.attention_dropout, config.drop_path) == (value, value, value)


@pytest.mark.parametrize(
    ("image", "patch", "divisor"),
    [(224, 15, 16), (224, 13, 14), (224, 300, 224), (7, 2, 1), (30, 4, 5), (32, 3, 4)],
)
def test_rejects_a_patch_size_that_does_not_divide_the_image(image: int, patch: int, divisor: int) -> None:
    """On either axis; of two divisors equally near, the larger is proposed."""
    expected = f"patch_size {patch} does not divide image_size {image} (ViTConfig); use a divisor such as {divisor}"
    assert refusal(image_size=(image, 8), patch_size=(patch, 8)) == expected
    assert refusal(image_size=(8, image), patch_size=(8, patch)) == expected


@pytest.mark.parametrize(("width", "heads", "divisor"), [(24, 5, 6), (24, 7, 8), (768, 11, 12), (7, 3, 1), (8, 9, 8)])
def test_rejects_heads_that_do_not_divide_the_width(width: int, heads: int, divisor: int) -> None:
    expected = f"num_heads {heads} does not divide width {width} (ViTConfig); use a divisor such as {divisor}"
    assert refusal(width=width, num_heads=heads) == expected


def test_a_refusal_is_a_value_error_so_that_callers_need_not_know_vitbench() -> None:
    with pytest.raises(ValueError, match="width must be a positive whole number"):
        ViTConfig(**SIZES | {"width": 0})


# --- conventions ---


def convention_refusal(**choice: Any) -> str:
    """The text with which a convention is refused."""
    with pytest.raises(ConfigurationError) as caught:
        Conventions(**choice)
    return str(caught.value)


@pytest.mark.parametrize("value", [0.0, -1e-6, 1.0, 1, "1e-6", None, float("nan")], ids=repr)
def test_refuses_an_epsilon_that_is_no_small_positive_number(value: object) -> None:
    expected = f"layer_norm_eps must be a small positive float, got {value!r} (Conventions)"
    assert convention_refusal(layer_norm_eps=value) == expected


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("activation", "gelu, gelu_tanh, quick_gelu"),
        (
            "position_resize",
            "bilinear, bilinear_antialias, bilinear_corners, bicubic, bicubic_antialias, bicubic_corners",
        ),
        ("head_init", "zero, random"),
        ("head_activation", "gelu, tanh, relu"),
        ("patch_embedding", "linear, norm_linear_norm"),
        ("invalid_size", "error, pad"),
    ],
)
def test_refuses_an_unknown_convention_and_lists_the_known_ones(name: str, known: str) -> None:
    assert convention_refusal(**{name: "silu"}) == f"{name} must be one of {known}, got 'silu' (Conventions)"


def test_declares_every_convention_by_name() -> None:
    assert Conventions(layer_norm_eps=1e-12, qkv_bias=False).declared() == {
        "layer_norm_eps": 1e-12,
        "activation": "gelu",
        "qkv_bias": False,
        "position_resize": "bilinear_corners",
        "head_init": "zero",
        "head_activation": "tanh",
        "class_token_has_position": True,
        "patch_embedding": "linear",
        "patch_bias": True,
        "head_bias": True,
        "pre_norm": False,
        "invalid_size": "error",
    }


# --- the published variants by name ---


@pytest.mark.parametrize(
    ("name", "image", "patch"), [("B/16", 224, 16), ("B/16@384", 384, 16), ("L/32@224", 224, 32), ("H/14@518", 518, 14)]
)
def test_a_variants_name_gives_patch_and_image_size(name: str, image: int, patch: int) -> None:
    config = variant(name)
    assert (config.image_size, config.patch_size) == ((image, image), (patch, patch))


def test_a_variant_takes_classes_and_channels() -> None:
    config = variant("Ti/16", num_classes=21843, channels=1)
    assert (config.num_classes, config.channels) == (21843, 1)


@pytest.mark.parametrize("name", ["", "B", "B/", "b/16", "G/14", "B/16@", "B/16@384x384", "ViT-B/16", "B/16 ", "B/-16"])
def test_an_unknown_variant_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        variant(name)
    assert str(caught.value) == (
        f"{name!r} is no variant; write VARIANT/PATCH or VARIANT/PATCH@IMAGE such as B/16@224, "
        "with a variant of Ti, S, B, L, H"
    )


def test_a_variant_whose_patches_do_not_fit_says_which_would() -> None:
    with pytest.raises(ConfigurationError, match=r"patch_size 16 does not divide image_size 225 .* such as 15$"):
        variant("B/16@225")
