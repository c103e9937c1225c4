"""What is planted in the example in numpy is found. Its verdict: tests/test_frameworks.py."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from checks import judged

import vitbench.examples.numpy_vit as example
from vitbench.candidate import Candidate


def without_scale(model: Any, z: Any, name: str, slopes: Any) -> Any:
    config = model.config
    model.config = type("Config", (), {"num_heads": config.num_heads, "head_dim": config.width})()
    try:
        return _attention(model, z, name, slopes)
    finally:
        model.config = config


_attention, _layer_norm = example.VisionTransformer.attention, example.layer_norm


def mean_of_all(model: Any, z: Any, slopes: Any) -> Any:
    normed, back = example.layer_norm(z, model.weights, "norm", slopes)
    return normed.mean(axis=1), back


def norm_without_mean_in_its_gradient(x: Any, weights: Any, name: str, slopes: Any) -> Any:
    y, back = _layer_norm(x, weights, name, slopes)
    scale = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + example.EPSILON)
    return y, lambda gradient: (back(gradient), scale * gradient * weights[f"{name}.weight"])[1]


def in_tanh(x: Any) -> Any:
    form = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + form), lambda gradient: gradient


def bilinear_swapped(table: Any, grid: Any, new_grid: Any) -> Any:
    return _resized(table, grid[::-1], new_grid)


_resized = example.resized

PLANTED: dict[str, tuple[Any, str, Callable[..., Any] | float]] = {
    "VIT-ATTN-SCALE": (example.VisionTransformer, "attention", without_scale),
    "VIT-HEAD-MEAN": (example.VisionTransformer, "representation", mean_of_all),
    "VIT-NORM-EPSILON": (example, "EPSILON", 1e-5),
    "VIT-MLP-ACTIVATION": (example, "gelu", in_tanh),
    "VIT-TRAIN-GRADIENT": (example, "layer_norm", norm_without_mean_in_its_gradient),
    "VIT-POS-ORIENTATION": (example, "resized", bilinear_swapped),
    "VIT-PURE-INPUT": (example.VisionTransformer, "patch_tokens", None),
}


@pytest.mark.parametrize("requirement", PLANTED)
def test_a_defect_planted_in_the_example_is_found(requirement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(requirement, Candidate(example.NumpyAdapter())).status == "PASSED"
    home, name, replacement = PLANTED[requirement]
    monkeypatch.setattr(home, name, replacement or normalising_in_place(getattr(home, name)))
    assert judged(requirement, Candidate(example.NumpyAdapter())).status == "FAILED"


def normalising_in_place(patch_tokens: Callable[..., Any]) -> Callable[..., Any]:
    def normalising(model: Any, images: Any, slopes: Any) -> Any:
        images -= images.mean()  # in memory that is torch's
        return patch_tokens(model, images, slopes)

    return normalising
