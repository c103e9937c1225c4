"""The published sizes. Source: Table 1 (B, L, H); DeiT, Touvron et al. 2021, Table 1 (Ti, S)."""

import re

from vitbench.reference.config import ConfigurationError, ViTConfig

#          D   depth  mlp_dim  heads
VARIANTS: dict[str, tuple[int, int, int, int]] = {
    "Ti": (192, 12, 768, 3),
    "S": (384, 12, 1536, 6),
    "B": (768, 12, 3072, 12),
    "L": (1024, 24, 4096, 16),
    "H": (1280, 32, 5120, 16),
}

_NAME = re.compile(r"(?P<variant>[A-Za-z]+)/(?P<patch>\d+)(@(?P<image>\d+))?")


def variant(name: str, *, num_classes: int = 1000, channels: int = 3) -> ViTConfig:
    """The configuration that the paper writes as ``B/16``: variant and patch size, here with ``@`` image size.

    Raises:
        ConfigurationError: no such variant, or a patch size that does not divide the image (224 by default).
    """
    match = _NAME.fullmatch(name)
    if match is None or match["variant"] not in VARIANTS:
        raise ConfigurationError(
            f"{name!r} is no variant; write VARIANT/PATCH or VARIANT/PATCH@IMAGE such as B/16@224, "
            f"with a variant of {', '.join(VARIANTS)}"
        )
    width, depth, mlp_dim, num_heads = VARIANTS[match["variant"]]
    patch, image = int(match["patch"]), int(match["image"] or 224)
    return ViTConfig(
        image_size=(image, image),
        patch_size=(patch, patch),
        channels=channels,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        num_classes=num_classes,
    )
