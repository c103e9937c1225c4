"""Every package that has a built-in adapter, and what each adapter says that its package has not."""

from adapter_models import CONFIGS

PEERS = {
    "timm": "timm",
    "torchvision": "torchvision",
    "transformers": "transformers",
    "vit_pytorch": "vit-pytorch",
}
"""By the adapter's name, what to install for it."""

WILD = {
    "open_clip": "open-clip-torch",
    "labml_nn": "labml-nn",
    "vformer": "vformer",
    "pytorch_pretrained_vit": "pytorch-pretrained-vit",
    "vision_transformer_pytorch": "vision-transformer-pytorch",
}
"""The same of the extra ``wild``."""

DISTRIBUTIONS = {**PEERS, **WILD}

REFUSED = {
    "timm": {
        "mlp_head": "linear head only; no pre-training MLP head",
    },
    "torchvision": {
        "rectangular_image": "square images only",
        "rectangular_patches": "square patches only",
        "rectangular_all": "three channels only",
        "one_channel": "three channels only",
        "four_channels": "three channels only",
        "mean_pool": "class token only; no mean pooling",
        "hybrid_stem": "no hybrid stem; its convolutional stem is another (arXiv:2106.14881)",
        "drop_path": "no drop path",
    },
    "transformers": {
        "mean_pool": "class token only; no mean pooling",
        "mlp_head": "linear head only; its pooler is part of the model without a classifier",
        "hybrid_stem": "no hybrid stem",
        "drop_path": "no drop path",
    },
    "vit_pytorch": {
        "one_head": "two heads or more; with one it leaves out the output projection",
        "mean_pool": "class token only; with mean pooling it has no class token at all",
        "mlp_head": "linear head only; no pre-training MLP head",
        "hybrid_stem": "no hybrid stem",
        "dropout": "one rate for dropout and attention dropout",
        "attention_dropout": "one rate for dropout and attention dropout",
        "drop_path": "no drop path",
    },
    "open_clip": {
        "rectangular_all": "three channels only",
        "one_channel": "three channels only",
        "four_channels": "three channels only",
        "mlp_head": "linear projection only; no pre-training MLP head",
        "hybrid_stem": "no hybrid stem; its ResNet tower has no Transformer",
        "dropout": "no dropout",
        "attention_dropout": "no dropout",
        "both_dropouts": "no dropout",
        "drop_path": "no drop path",
    },
    "labml_nn": {
        "mean_pool": "class token only; no mean pooling",
        "hybrid_stem": "no hybrid stem",
        "drop_path": "no drop path",
    },
    "vformer": {
        "one_head": "two heads or more; with one it leaves out the output projection",
        "mlp_head": "linear head only; a decoder of several layers has norms and no activation",
        "hybrid_stem": "no hybrid stem",
        "attention_dropout": "no dropout of attention weights",
        "both_dropouts": "no dropout of attention weights",
        "drop_path": "no drop path; its encoder's is not among the model's arguments",
    },
    "pytorch_pretrained_vit": {
        "mean_pool": "class token only; without one its initialisation fails",
        "hybrid_stem": "no hybrid stem",
        "drop_path": "no drop path",
    },
    "vision_transformer_pytorch": {
        "mean_pool": "class token only; no mean pooling",
        "mlp_head": "linear head only; no pre-training MLP head",
        "hybrid_stem": "hybrids of one cell a patch only; its projection sees no more",
        "drop_path": "no drop path",
    },
}
WRONG = {("vformer", "mean_pool"), ("pytorch_pretrained_vit", "mlp_head")}  # docs/findings/ says why

# A hybrid's weights have shapes that follow from its stem: tests/test_adapters_hybrid.py.
OFFERED = [(name, case) for name in DISTRIBUTIONS for case in CONFIGS if case not in {*REFUSED[name], "hybrid_stem"}]
RIGHT = [pair for pair in OFFERED if pair not in WRONG]
