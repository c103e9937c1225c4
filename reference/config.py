"""What a Vision Transformer is made of: its sizes, and the choices that the paper leaves open."""

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

Head = Literal["linear", "mlp"]
Pool = Literal["class_token", "mean"]
Stem = Literal["patch", "hybrid"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
HeadActivation = Literal["gelu", "tanh", "relu"]
HeadInit = Literal["zero", "random"]
InvalidSize = Literal["error", "pad"]
PatchEmbedding = Literal["linear", "norm_linear_norm"]
PositionResize = Literal[
    "bilinear",
    "bilinear_antialias",
    "bilinear_corners",
    "bicubic",
    "bicubic_antialias",
    "bicubic_corners",
]


class ConfigurationError(ValueError):
    """A configuration that no Vision Transformer can have."""


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The sizes of one Vision Transformer; paper letters beside the field names.

    Raises:
        ConfigurationError: the sizes contradict each other; the text names the field and a way out.
    Source: sections 3.1 and 4.1, Table 1.
    """

    image_size: tuple[int, int]  # (H, W), pixels
    patch_size: tuple[int, int]  # (P_h, P_w), pixels; of a hybrid, cells of its feature map. The paper has P_h = P_w
    channels: int = 3  # C
    width: int  # D, "hidden size"
    depth: int  # L, "layers"
    num_heads: int  # h
    mlp_dim: int  # "MLP size"
    num_classes: int = 1000  # K
    head: Head = "linear"  # linear at fine-tuning, one hidden layer at pre-training
    pool: Pool = "class_token"
    stem: Stem = "patch"  # "hybrid": patches of a CNN's feature map
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0  # rate of the last block; earlier blocks linearly less

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size"):
            _require_pair(name, getattr(self, name))
        for name in ("channels", "width", "depth", "num_heads", "mlp_dim", "num_classes"):
            _require_positive(name, getattr(self, name))
        for name, choices in (("head", Head), ("pool", Pool), ("stem", Stem)):
            _require_choice(self, name, choices)
        for name in ("dropout", "attention_dropout", "drop_path"):
            rate = getattr(self, name)
            if not (isinstance(rate, float | int) and 0 <= rate < 1):
                raise ConfigurationError(f"{name} must be a rate from 0 to below 1, got {rate!r} (ViTConfig)")
        for image, patch in zip(self.image_size, self.patch_size, strict=True):
            if self.stem == "patch" and image % patch:  # a hybrid's patches must divide its map, not the image
                raise ConfigurationError(
                    f"patch_size {patch} does not divide image_size {image} (ViTConfig); "
                    f"use a divisor such as {_nearest_divisor(image, patch)}"
                )
        if self.width % self.num_heads:
            raise ConfigurationError(
                f"num_heads {self.num_heads} does not divide width {self.width} (ViTConfig); "
                f"use a divisor such as {_nearest_divisor(self.width, self.num_heads)}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along the height and the width: (H / P_h, W / P_w).

        Raises:
            ConfigurationError: of a hybrid, whose grid follows from the feature map that its stem makes.
        """
        if self.stem == "hybrid":
            raise ConfigurationError(
                "a hybrid's patches are counted on its feature map, whose size ViTConfig does not know; "
                "ask the configuration that behind_stem(channels, map_size) returns"
            )
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def num_patches(self) -> int:
        """N = HW / P²."""
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        """N + 1: the patches and the class token."""
        return self.num_patches + 1

    @property
    def head_dim(self) -> int:
        """D_h = D / h."""
        return self.width // self.num_heads

    def behind_stem(self, channels: int, map_size: tuple[int, int]) -> "ViTConfig":
        """The ViT of a hybrid: it takes a feature map of C' channels and (H', W') cells for its image (section 3.1).

        Raises:
            ConfigurationError: the patches do not divide the map.
        """
        return replace(self, stem="patch", channels=channels, image_size=map_size)


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """Legitimate choices that the paper leaves open; the reference is configured to those a candidate declares.

    A choice that is declared is no defect; one that is made and not declared is.
    Raises:
        ConfigurationError: a value that no convention has; the text lists those it has.
    """

    layer_norm_eps: float = 1e-6  # the authors' code; torch's default is 1e-5, transformers' ViT has 1e-12
    activation: Activation = "gelu"  # "gelu" is x·Φ(x) by erf
    qkv_bias: bool = True
    position_resize: PositionResize = "bilinear_corners"  # the authors' code: scipy's zoom of order 1
    head_init: HeadInit = "zero"  # section 3.2: "a zero-initialized D × K feedforward layer"
    head_activation: HeadActivation = "tanh"  # of the pre-training head's hidden layer; the authors' code
    class_token_has_position: bool = True
    patch_embedding: PatchEmbedding = "linear"  # Eq. 1; "norm_linear_norm" puts LayerNorm before and after
    patch_bias: bool = True  # CLIP's image tower has none, of the patches nor of the head
    head_bias: bool = True
    pre_norm: bool = False  # LayerNorm of z_0, before the first block; CLIP's ln_pre
    invalid_size: InvalidSize = "error"  # an image that the patches do not divide

    def __post_init__(self) -> None:
        if not (isinstance(self.layer_norm_eps, float) and 0 < self.layer_norm_eps < 1):
            raise ConfigurationError(
                f"layer_norm_eps must be a small positive float, got {self.layer_norm_eps!r} (Conventions)"
            )
        for name, choices in _CONVENTION_CHOICES.items():
            _require_choice(self, name, choices)

    def declared(self) -> dict[str, object]:
        """Every convention by name, for records and reports."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_CONVENTION_CHOICES = {
    "activation": Activation,
    "position_resize": PositionResize,
    "head_init": HeadInit,
    "head_activation": HeadActivation,
    "patch_embedding": PatchEmbedding,
    "invalid_size": InvalidSize,
}


def _require_pair(name: str, value: object) -> None:
    whole = isinstance(value, tuple) and len(value) == 2 and all(type(n) is int and n > 0 for n in value)  # noqa: PLR2004
    if not whole:
        raise ConfigurationError(
            f"{name} must be a pair of positive whole numbers (height, width), got {value!r} (ViTConfig)"
        )


def _require_positive(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} must be a positive whole number, got {value!r} (ViTConfig)")


def _require_choice(owner: object, name: str, choices: object) -> None:
    value, known = getattr(owner, name), get_args(choices)
    if value not in known:
        raise ConfigurationError(f"{name} must be one of {', '.join(known)}, got {value!r} ({type(owner).__name__})")


def _nearest_divisor(whole: int, near: int) -> int:
    """The closest divisor, the larger of two; 1 where none lies near."""
    for distance in range(min(near, _FARTHEST)):
        for divisor in (near + distance, near - distance):
            if divisor <= whole and whole % divisor == 0:
                return divisor
    return 1


_FARTHEST = 10_000
