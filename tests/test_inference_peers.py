"""The real packages without their adapters: what is inferred of them is what their adapters declare.

docs/findings/inferred.md has the whole verdicts; here are conventions, parity, and the requirement that tells against each.
"""

import importlib
import importlib.util
from dataclasses import replace
from types import ModuleType

import pytest

from vitbench.candidate import Candidate
from vitbench.check import collect, configured, judge
from vitbench.errors import NotInferred
from vitbench.reference.config import Conventions
from vitbench.registry import resolve

# the adapter's name, the class, and the MUST that it fails
PEERS = {
    "timm": ("timm.models.vision_transformer:VisionTransformer", "VIT-PATCH-INDIVISIBLE"),
    "torchvision": ("torchvision.models.vision_transformer:VisionTransformer", None),
    "transformers": ("transformers:ViTForImageClassification", "VIT-PATCH-INDIVISIBLE"),
    "vit_pytorch": ("vit_pytorch:ViT", "VIT-CONFIG-IMAGE-SIZE"),
    "vformer": ("vformer.models.classification:VanillaViT", "VIT-CONFIG-IMAGE-SIZE"),
    "open_clip": ("open_clip.transformer:VisionTransformer", "VIT-CONFIG-IMAGE-SIZE"),
}


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    return importlib.import_module("vitbench.suites.conformance")


@pytest.mark.parametrize("name", PEERS)
def test_a_package_without_its_adapter_is_judged_as_with_it(name: str, suite: ModuleType) -> None:
    impl, must = PEERS[name]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    by_hand, inferred = resolve(name), resolve(impl)
    expected = by_hand.conventions
    if "at_image_size" not in vars(type(inferred)):  # then no kernel shows
        expected = replace(expected, position_resize=Conventions().position_resize)
    assert inferred.conventions == expected
    assert not [line for line in inferred.inferred if line.startswith("no reading of its weights agrees")]
    candidate, checks = Candidate(inferred), collect(suite)
    for id_ in {"VIT-HEAD-LOGITS", must} - {None}:
        status = judge(configured(checks[str(id_)], "quick", 0, shrink=False), candidate).status
        assert status == ("FAILED" if id_ == must else "PASSED"), id_


@pytest.mark.parametrize(
    ("impl", "why"),
    [
        ("torchvision.models.resnet:ResNet", "what to give for block"),
        ("torchvision.models:resnet18", "unexpected keyword argument"),
        ("timm.models.swin_transformer:SwinTransformer", "which argument is depth"),
        ("transformers:SwinForImageClassification", "which argument is depth"),
        ("timm.models.deit:VisionTransformerDistilled", "dist_token (1, 1, 40)"),
        ("vit_pytorch.simple_vit:SimpleViT", "where it has position_embedding, class_token"),
        ("vit_pytorch.deepvit:DeepViT", "reattn_weights (4, 4)"),
    ],
)
def test_what_is_no_vision_transformer_of_the_papers_is_refused_by_name(impl: str, why: str) -> None:
    with pytest.raises(NotInferred) as caught:
        resolve(impl)
    assert f"{impl} is no adapter, and none could be inferred for it" in str(caught.value)
    assert why in str(caught.value)
