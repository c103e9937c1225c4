"""What the suite says of the real packages, each failure looked up in the package's source (docs/findings).

tox pins the packages that these verdicts speak of. A failure that goes away in a newer version is good news for the
package, and a change to be made here.
"""

from importlib.metadata import version

import pytest
from looked_up import RESIZE, SQUARES_ONLY, judged

from vitbench.benign import RECORDED

# verdict, MUSTs that are not offered; what failed at any level is in vitbench.benign.RECORDED
EXPECTED = {
    "reference": ("CONFORMS", set()),
    "timm": ("DOES NOT CONFORM", set()),
    "torchvision": ("INCOMPLETE", SQUARES_ONLY),
    "transformers": ("DOES NOT CONFORM", set()),
    "vit_pytorch": ("DOES NOT CONFORM", {"VIT-PATCH-LINEAR", "VIT-PATCH-IMPULSE", *RESIZE}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_verdict_is_the_one_that_was_looked_up(pytester: pytest.Pytester, name: str) -> None:
    verdict, failed, not_offered, exit_code = judged(pytester, name)
    assert failed == RECORDED.get(name, frozenset()), f"{name} {verdict.version}"
    assert (verdict.verdict, not_offered) == EXPECTED[name], f"{name} {verdict.version}"
    assert exit_code == verdict.verdict.exit_code


def test_transformers_crops_an_indivisible_image_when_it_interpolates() -> None:
    """By hand, without the suite: two images that differ in their last row and column only."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    model = ViTForImageClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight)
    image = torch.rand(1, 3, 36, 39)
    altered = image.clone()
    altered[:, :, 32:], altered[:, :, :, 32:] = 9, 9
    with torch.no_grad():
        logits = [model(pixels, interpolate_pos_encoding=True).logits for pixels in (image, altered)]
    assert torch.equal(*logits), version("transformers")


def test_timm_crops_an_indivisible_image_of_its_own_size() -> None:
    """By hand, without the suite."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.models.VisionTransformer(img_size=(36, 39), patch_size=8, embed_dim=16, depth=1, num_heads=2).eval()
    torch.nn.init.normal_(model.head.weight)
    image = torch.rand(1, 3, 36, 39)
    altered = image.clone()
    altered[:, :, 32:], altered[:, :, :, 32:] = 9, 9
    with torch.no_grad():
        assert torch.equal(model(image), model(altered)), version("timm")


def test_vit_pytorch_gives_a_smaller_image_the_first_positions() -> None:
    """By hand, without the suite: a 16 x 32 image in a model of 32 x 32 gets the table's first rows, whatever their place."""
    import torch
    from vit_pytorch import ViT

    torch.manual_seed(0)
    model = ViT(image_size=32, patch_size=8, num_classes=3, dim=16, depth=1, heads=2, mlp_dim=32, dim_head=8).eval()
    tall = torch.rand(1, 3, 32, 16)  # 4 x 2 patches, whose second row lies at rows 4 and 5 of the table's raster
    with torch.no_grad():
        before = model(tall)
        model.pos_embedding[9:] += 5  # every row of the table below the first nine
        after = model(tall)
    assert torch.equal(before, after), version("vit-pytorch")
