"""HYBRID: patches taken from a CNN's feature map (section 3.1)."""

from vitbench.assertions import assert_changed, assert_equal, assert_semantics, assert_tensor
from vitbench.candidate import Candidate
from vitbench.cases import SEVERAL_CELLS, Case, hybrid_cases
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported
from vitbench.reference.config import ViTConfig
from vitbench.reference.parameters import parameter_shapes

SMALL = ViTConfig(
    image_size=(64, 128),
    patch_size=(1, 1),
    width=8,
    depth=1,
    num_heads=2,
    mlp_dim=12,
    num_classes=3,
    stem="hybrid",
)
CLEARLY = 1e-3
"""Of the largest gradient: a parameter without effect, as a filter of two numbers that is standardised, has rounding."""


@requirement("VIT-HYBRID-COUNT")
@given(case=hybrid_cases(), examples=FEW)
def test_patches_are_counted_on_the_feature_map(impl: Candidate, case: Case) -> None:
    hybrid = impl.hybrid(case, loaded=False)
    (height, width), (patch_h, patch_w) = hybrid.map.shape[2:], hybrid.config.patch_size
    patches = height * width // (patch_h * patch_w)  # N = H'W' / P²
    expected = (case.batch, patches, hybrid.config.width)
    assert_tensor(hybrid.patch_tokens(), expected, hybrid.images.dtype, "patch tokens of a feature map")


@requirement("VIT-HYBRID-PATCH-SIZE")
@given(case=hybrid_cases(patches=SEVERAL_CELLS), examples=FEW)
def test_the_patch_size_is_that_of_the_projection(impl: Candidate, case: Case) -> None:
    hybrid = impl.hybrid(case, loaded=False)
    shapes = {name: tuple(weight.shape) for name, weight in hybrid.export().items()}
    name, expected = "patch_embedding.weight", parameter_shapes(hybrid.config, impl.conventions)
    assert_equal(shapes.get(name), expected[name], f"shape of {name}, (D, C', P_h, P_w)")


@requirement("VIT-HYBRID-PROJECTION")
@given(case=hybrid_cases(), examples=FEW)
def test_patch_tokens_are_the_projected_patches_of_the_feature_map(impl: Candidate, case: Case) -> None:
    hybrid = impl.hybrid(case)
    assert_changed(hybrid.map[1], hybrid.map[0], "feature map of another image")
    assert_semantics(hybrid.patch_tokens(), hybrid.reference.patch_tokens, "patch tokens of a feature map")


@requirement("VIT-HYBRID-LOGITS")
@given(case=hybrid_cases(), examples=FEW)
def test_the_logits_are_the_papers_on_the_feature_map(impl: Candidate, case: Case) -> None:
    hybrid = impl.hybrid(case)
    assert_semantics(hybrid.logits(), hybrid.reference.logits, "logits of a hybrid, from its own feature map")


@requirement("VIT-HYBRID-TRAINABLE")
def test_gradients_of_the_logits_reach_the_stem(impl: Candidate) -> None:
    hybrid = impl.hybrid(Case(SMALL, batch=2, seed=0))
    of_map, of_logits = hybrid.gradient_sizes("feature_map"), hybrid.gradient_sizes("logits")
    clear = CLEARLY * max(of_map.values(), default=0.0)
    stem = {name for name, size in of_map.items() if size > clear}
    if not stem:
        raise NotSupported("its feature map is made without gradients: a fixed stem")
    missing = sorted(name for name in stem if not of_logits.get(name, 0.0) > 0)
    assert_equal(missing, [], "parameters of the stem that get no gradient from the logits")
