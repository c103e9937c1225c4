"""What the suite says of the packages of the extra ``wild``, each failure looked up in the package's source.

docs/findings/ has a page for each; what a page calls a defect is repeated here by hand, without the suite. The versions are
those that ``tox -e wild`` pins; a package that is not installed is skipped.
"""

import copy
import importlib.util
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
import torch
from looked_up import RESIZE, SQUARES_ONLY, judged
from torch import Tensor, nn

from vitbench.registry import registered

CROPS = {"VIT-PATCH-INDIVISIBLE", "VIT-CONFIG-IMAGE-SIZE"}
RESIZES_SQUARES = {*SQUARES_ONLY, "VIT-POS-HALF", "VIT-POS-MODEL"}

# what failed, of any level, and which MUSTs are not offered; each of these packages DOES NOT CONFORM
EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    "open_clip": (CROPS | RESIZES_SQUARES, set()),
    "labml_nn": (CROPS | {"VIT-TRAIN-DROPOUT-TOKENS"}, RESIZE),
    "vformer": ({"VIT-CONFIG-IMAGE-SIZE", "VIT-HEAD-MEAN", "VIT-TRAIN-DROPOUT-BRANCHES"}, RESIZE),
    "pytorch_pretrained_vit": (
        {
            *CROPS,
            *RESIZES_SQUARES,
            "VIT-HEAD-HIDDEN",
            "VIT-POS-GRADIENT",
            "VIT-STATE-DEEPCOPY",
            "VIT-TRAIN-DROPOUT-ATTENTION",
            "VIT-TRAIN-DROPOUT-BRANCHES",
            "VIT-TRAIN-DROPOUT-HIDDEN",
            "VIT-TRAIN-DROPOUT-TOKENS",
        },
        set(),
    ),
    "vision_transformer_pytorch": (CROPS | {"VIT-TRAIN-DROPOUT-ATTENTION"}, RESIZE),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_verdict_is_the_one_that_was_looked_up(pytester: pytest.Pytester, name: str) -> None:
    if not registered()[name].installed:
        pytest.skip(f"{name} is not installed; tox -e wild has it")
    verdict, failed, not_offered, exit_code = judged(pytester, name)
    assert (failed, not_offered) == EXPECTED[name], f"{name} {verdict.version}"
    assert (verdict.verdict, exit_code) == ("DOES NOT CONFORM", 1)


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed; tox -e wild has it")


def unaltered_by_the_last_row(model: Callable[[Tensor], Tensor]) -> bool:
    """Whether an image of 33 x 32 pixels is taken, and its last row of pixels is without effect."""
    image = torch.rand(1, 3, 33, 32)
    altered = image.clone()
    altered[:, :, 32] = 9
    with torch.no_grad():
        return torch.equal(model(image), model(altered))


def blind_to_shape(model: Callable[[Tensor], Tensor], table: Tensor) -> bool:
    """Whether a model of 32 x 16 pixels takes 16 x 32, with the rows of its position table as they are.

    The patches of both images are all alike, so that nothing but the positions could tell the two apart.
    """
    assert (table[0] != table[-1]).any()
    with torch.no_grad():
        return torch.equal(model(torch.ones(1, 3, 32, 16)), model(torch.ones(1, 3, 16, 32)))


# --- open_clip ---


def open_clip_tower(image_size: Any) -> Any:
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    return VisionTransformer(image_size, 8, 16, 1, 2, 2.0, output_dim=3).eval()


@needs("open_clip")
def test_open_clip_crops_an_indivisible_image() -> None:
    assert unaltered_by_the_last_row(open_clip_tower(32)), metadata.version("open-clip-torch")


@needs("open_clip")
def test_open_clip_takes_a_wide_image_for_a_tall_one() -> None:
    tower = open_clip_tower((32, 16))
    assert blind_to_shape(tower, tower.positional_embedding)


@needs("open_clip")
def test_open_clip_keeps_a_table_of_equal_count_and_another_shape() -> None:
    from open_clip.model import resize_pos_embed

    tower = nn.Module()
    tower.visual = open_clip_tower((32, 32))  # 4 x 4 patches
    table = torch.randn(1 + 2 * 8, 16)
    state = {"visual.positional_embedding": table}
    resize_pos_embed(state, tower)
    assert state["visual.positional_embedding"] is table


# --- labml-nn ---


def labml_vit() -> Any:
    from labml_nn.transformers import MultiHeadAttention, TransformerLayer
    from labml_nn.transformers.feed_forward import FeedForward
    from labml_nn.transformers.vit import (
        ClassificationHead,
        LearnedPositionalEmbeddings,
        PatchEmbeddings,
        VisionTransformer,
    )

    torch.manual_seed(0)
    layer = TransformerLayer(
        d_model=16, self_attn=MultiHeadAttention(2, 16), feed_forward=FeedForward(16, 32), dropout_prob=0.1
    )
    return VisionTransformer(
        layer, 1, PatchEmbeddings(16, 8, 3), LearnedPositionalEmbeddings(16), ClassificationHead(16, 16, 3)
    ).eval()


@needs("labml_nn")
def test_labml_crops_an_indivisible_image() -> None:
    assert unaltered_by_the_last_row(labml_vit()), metadata.version("labml-nn")


@needs("labml_nn")
def test_labml_has_positions_for_images_of_any_size_that_stand_for_no_place() -> None:
    model = labml_vit()
    assert model.pos_emb.positional_encodings.shape == (5000, 1, 16)
    nn.init.normal_(model.pos_emb.positional_encodings)
    assert blind_to_shape(model, model.pos_emb.positional_encodings)


@needs("labml_nn")
def test_labml_gives_its_class_token_a_position_now() -> None:
    """Its issue 221, of a class token put before the patches after the positions were added, is mended."""
    model, seen = labml_vit(), []
    model.pos_emb.register_forward_hook(lambda _module, inputs, output: seen.extend((inputs[0], output)))
    torch.nn.init.normal_(model.pos_emb.positional_encodings)
    with torch.no_grad():
        model(torch.rand(2, 3, 32, 32))
    received, returned = seen
    assert torch.equal(received[0], model.cls_token_emb[0].expand(2, 16))
    assert torch.equal(returned, received + model.pos_emb.positional_encodings[:17])


# --- vformer ---


@needs("vformer")
def test_vformers_mean_counts_the_class_token() -> None:
    from vformer.models.classification import VanillaViT

    torch.manual_seed(0)
    model = VanillaViT(32, 8, 3, embedding_dim=16, head_dim=8, depth=1, num_heads=2, encoder_mlp_dim=32, pool="mean")
    seen: list[Tensor] = []
    model.decoder.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    model.encoder.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        model(torch.rand(2, 3, 32, 32))
    z, pooled = seen
    assert z.shape == (2, 17, 16)
    assert torch.equal(pooled, z.mean(dim=1)), metadata.version("vformer")
    assert not torch.allclose(pooled, z[:, 1:].mean(dim=1))


@needs("vformer")
def test_vformer_takes_a_wide_image_for_a_tall_one() -> None:
    from vformer.models.classification import VanillaViT

    model = VanillaViT((32, 16), 8, 3, embedding_dim=16, head_dim=8, depth=1, num_heads=2, encoder_mlp_dim=32)
    assert blind_to_shape(model, model.pos_embedding.pos_embed[0])


# --- pytorch-pretrained-vit ---


def pretrained_vit(**sizes: Any) -> Any:
    from unittest.mock import patch

    from pytorch_pretrained_vit.configs import PRETRAINED_MODELS, get_b16_config
    from pytorch_pretrained_vit.model import ViT

    torch.manual_seed(0)
    small = {**get_b16_config(), "patches": 8, "dim": 16, "ff_dim": 32, "num_heads": 2, "num_layers": 1, **sizes}
    with patch.dict(PRETRAINED_MODELS, small={"config": small}):
        model = ViT("small", image_size=sizes.pop("image_size", 32), num_classes=3, load_repr_layer=True).eval()
    nn.init.normal_(model.fc.weight)
    return model


@needs("pytorch_pretrained_vit")
def test_pytorch_pretrained_vit_cannot_be_built_without_a_name() -> None:
    from pytorch_pretrained_vit import ViT

    with pytest.raises(NameError, match="resize_positional_embedding"):
        ViT(dim=16, ff_dim=32, num_heads=2, num_layers=1, image_size=32)


@needs("pytorch_pretrained_vit")
def test_pytorch_pretrained_vit_normalises_behind_its_pre_logits() -> None:
    model, order = pretrained_vit(representation_size=16), []
    model.norm.register_forward_hook(lambda *_: order.append("norm"))
    model.pre_logits.register_forward_hook(lambda *_: order.append("pre-logits"))
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    assert order == ["pre-logits", "norm"], metadata.version("pytorch-pretrained-vit")


@needs("pytorch_pretrained_vit")
def test_pytorch_pretrained_vit_cannot_be_copied_after_a_training_step() -> None:
    model = pretrained_vit(representation_size=None)
    copy.deepcopy(model)
    model(torch.rand(1, 3, 32, 32)).sum().backward()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)


@needs("pytorch_pretrained_vit")
def test_pytorch_pretrained_vit_crops_an_indivisible_image() -> None:
    assert unaltered_by_the_last_row(pretrained_vit(representation_size=None))


@needs("pytorch_pretrained_vit")
def test_pytorch_pretrained_vit_takes_a_wide_image_for_a_tall_one() -> None:
    model = pretrained_vit(representation_size=None, image_size=(32, 16))
    assert blind_to_shape(model, model.positional_embedding.pos_embedding[0])


@needs("pytorch_pretrained_vit")
def test_pytorch_pretrained_vit_drops_attention_weights_at_the_rate_of_everything_else() -> None:
    model = pretrained_vit(attention_dropout_rate=0.0, dropout_rate=0.5)
    assert model.transformer.blocks[0].attn.drop.p == 0.5
    model = pretrained_vit(attention_dropout_rate=0.5, dropout_rate=0.0)
    assert model.transformer.blocks[0].attn.drop.p == 0.0


# --- vision-transformer-pytorch ---


def transformer_pytorch(**sizes: Any) -> Any:
    from vision_transformer_pytorch import VisionTransformer

    torch.manual_seed(0)
    small = {"image_size": 32, "patch_size": 8, "emb_dim": 16, "mlp_dim": 32, "num_heads": 2, "num_layers": 1}
    return VisionTransformer.from_name("ViT-B_16", num_classes=3, **{**small, **sizes})


@needs("vision_transformer_pytorch")
def test_vision_transformer_pytorch_cannot_run_without_dropout() -> None:
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        transformer_pytorch(dropout_rate=0.0)(torch.rand(1, 3, 32, 32))


@needs("vision_transformer_pytorch")
def test_vision_transformer_pytorch_never_drops_attention_weights() -> None:
    model = transformer_pytorch(attn_dropout_rate=0.9, dropout_rate=1e-12)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.train()(images), model.train()(images)), metadata.version("vision-transformer-pytorch")


@needs("vision_transformer_pytorch")
def test_vision_transformer_pytorch_crops_an_indivisible_image() -> None:
    assert unaltered_by_the_last_row(transformer_pytorch().eval())


@needs("vision_transformer_pytorch")
def test_vision_transformer_pytorch_takes_a_wide_image_for_a_tall_one() -> None:
    model = transformer_pytorch(image_size=(32, 16)).eval()
    assert blind_to_shape(model, model.transformer.pos_embedding.pos_embedding[0])


@needs("vision_transformer_pytorch")
def test_vision_transformer_pytorchs_hybrid_takes_three_channels_only() -> None:
    from functools import partial

    from vision_transformer_pytorch import VisionTransformer
    from vision_transformer_pytorch.resnet import ResNetV2

    small = {"emb_dim": 16, "num_heads": 2, "num_layers": 1, "resnet": partial(ResNetV2, (1, 1, 1), 0.5)}
    assert hasattr(VisionTransformer.from_name("R50+ViT-B_16", **small), "resnet")
    with pytest.raises(TypeError):
        VisionTransformer.from_name("R50+ViT-B_16", in_channels=1, **small)


@needs("vision_transformer_pytorch")
def test_vision_transformer_pytorchs_hybrid_standardises_over_the_wrong_axes() -> None:
    """Weight standardisation gives each filter mean zero; here it is each column of the kernels, over all filters."""
    from vision_transformer_pytorch.resnet import weight_standardize

    torch.manual_seed(0)
    weight = weight_standardize(torch.randn(8, 4, 3, 3), [0, 1, 2], 1e-5)  # as StdConv2d calls it; (out, in, H, W)
    assert weight.mean(dim=(0, 1, 2)).abs().max() < 1e-6
    assert weight.mean(dim=(1, 2, 3)).abs().max() > 0.05
