"""CONFIG: the arguments of a model do what they say."""

from dataclasses import replace
from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from vitbench.arrays import as_tensor
from vitbench.assertions import accept, assert_changed, assert_equal
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import Case, random_images, vit_cases
from vitbench.check import given, requirement
from vitbench.errors import NotSupported
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import exercised_weights, parameter_shapes
from vitbench.reference.variants import variant
from vitbench.resolution import assert_as_built, resized_in_each_call
from vitbench.trial import Trial

SMALLEST = ("Ti/16",)
CLASSES = (1000, 21843)
VARIANTS = {
    "quick": st.just(("Ti/16", "B/16")),
    "standard": st.just(("Ti/16", "S/16", "B/32", "B/16", "L/16", "H/14")),
    "full": st.just(("Ti/16", "S/16", "S/32", "B/32", "B/16", "B/8", "B/16@384", "L/32", "L/16", "L/16@384", "H/14")),
}
KEY_BIAS = "attention.key.bias"  # without effect (VIT-ATTN-KEY-BIAS), so a model may do without


@requirement("VIT-CONFIG-PARAMETERS")
@given(case=vit_cases())
def test_a_model_has_the_parameters_that_its_sizes_imply(impl: Candidate, case: Case) -> None:
    config = impl.within_reach(case.config)
    exported = impl.fresh(Case(config, case.batch, case.seed)).export()
    shapes = {name: tuple(tensor.shape) for name, tensor in exported.items()}
    expected = parameter_shapes(config, impl.conventions)
    differing = {name for name in set(shapes) ^ set(expected) if not name.endswith(KEY_BIAS)}
    assert_equal(sorted(differing), [], "parameters that are missing or too many")
    for name in set(expected) & set(shapes):
        assert_equal(shapes[name], expected[name], f"shape of {name}")


@requirement("VIT-CONFIG-IMAGE-SIZE")
@given(case=vit_cases())
def test_images_of_another_size_are_refused_or_positions_resized(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    (rows, columns), (patch_h, patch_w) = trial.config.grid, trial.config.patch_size
    others = {(4 * rows, columns + 1), (max(rows - 1, 1), columns), (rows, max(columns - 1, 1)), (columns, rows)}
    accepted = [
        other
        for grid in sorted(others - {(rows, columns)})
        for other in [replace(trial.config, image_size=(grid[0] * patch_h, grid[1] * patch_w))]
        if not _refused_or_resized(trial, other)
    ]
    for other in accepted[:1]:  # once more with other weights: those of before may have been kept
        later = trial.of(trial.model)
        later.weights = exercised_weights(trial.config, trial.conventions, case.seed + 1)
        impl.call("load", later.model, later.weights)
        _refused_or_resized(later, other)


@requirement("VIT-CONFIG-HEADS")
@given(case=vit_cases(heads=(2, 3, 4)))
def test_the_number_of_heads_has_its_effect(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    width, heads = trial.config.width, trial.config.num_heads
    other = next(n for n in range(2, width + 1) if width % n == 0 and n != heads)
    regrouped = replace(case, config=replace(trial.config, num_heads=other))
    logits = impl.trial(regrouped, trial.weights, exactly=True).logits()
    assert_changed(logits, trial.logits(), f"logits with {other} heads instead of {heads}, for the same weights")


@requirement("VIT-CONFIG-VARIANTS")
@given(names=VARIANTS)
def test_the_published_sizes_have_their_parameters(impl: Candidate, names: tuple[str, ...]) -> None:
    device = "meta" if _builds_without_memory(impl) else "cpu"
    for name in names if device == "meta" else SMALLEST:
        for classes in CLASSES if name in SMALLEST else CLASSES[:1]:  # the head is alike in all
            config = variant(name, num_classes=classes)
            with torch.device(device):
                model = impl.call("build", config)
                exported = impl.call("export", model)
            found = {n: _shape(w, n) for n, w in exported.items() if not n.endswith(KEY_BIAS)}
            expected = {
                n: shape for n, shape in parameter_shapes(config, impl.conventions).items() if not n.endswith(KEY_BIAS)
            }
            counts = [sum(prod(shape) for shape in shapes.values()) for shapes in (found, expected)]
            assert_equal(counts[0], counts[1], f"parameters of {name} with {classes} classes (key bias not counted)")


def _shape(exported: Any, name: str) -> tuple[int, ...]:
    """A foreign array may show its shape only once it is taken over; a tensor on the meta device cannot be."""
    return tuple(exported.shape if hasattr(exported, "shape") else as_tensor(exported, f"export()[{name!r}]").shape)


def _builds_without_memory(impl: Candidate) -> bool:
    """Whether torch's meta device works: nothing else may be asked for the larger sizes."""
    config = impl.within_reach(variant("Ti/16@32"))
    try:
        with torch.device("meta"):
            model = impl.call("build", config)
            impl.call("export", model)
    except CandidateRaised:
        return False
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    return sum(t.numel() for t in tensors if t.is_meta) > sum(t.numel() for t in tensors if not t.is_meta)


def _refused_or_resized(trial: Trial, other: ViTConfig) -> bool:
    """Whether images of this size are refused; where they are not, the model is as one that was built for them."""
    visited = trial.of(trial.model)
    visited.images = random_images((trial.case.batch, other.channels, *other.image_size), trial.case.seed)
    try:
        visited.logits()
    except (CandidateRaised, NotSupported):
        accept("refused, as it must be")
        return True
    (height, width), (own_height, own_width) = other.image_size, trial.config.image_size
    what = (
        f"of {height}×{width} images, accepted by a model of {own_height}×{own_width}, against one built for them, "
        "positions resized"
    )
    assert_as_built(visited, other, resized_in_each_call(trial, other), what)
    return False
