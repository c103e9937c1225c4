"""A Vision Transformer as packages write it: torch's own layers, and parameters stored in one of many right ways."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitbench.reference.config import Conventions, ViTConfig


@dataclass(frozen=True, kw_only=True)
class Style:
    """How the same model is laid out; every combination computes the same."""

    attention: Literal["separate", "packed", "library", "library-block"] = "separate"
    sequence_first: bool = False  # blocks take (N+1, B, D)
    key_bias: bool = True
    folded: bool = False  # class token and its position kept as their sum
    pixels_last: bool = False  # a patch flattened as (P_h, P_w, C)
    table_on_grid: bool = False  # the patches' positions kept as (D, rows, columns), the class token's apart
    any_size: bool = False  # positions resized in each call, in float32
    prescaled: bool = False  # 1 / sqrt(D_h) kept within the query's weights


class PatchEmbedding(nn.Module):
    """A strided convolution, or a linear layer on patches flattened with their channels last. -> (B, N, D)."""

    def __init__(self, config: ViTConfig, style: Style) -> None:
        super().__init__()
        (patch_h, patch_w), self.config, self.any_size = config.patch_size, config, style.any_size
        self.proj: nn.Module = (
            nn.Linear(patch_h * patch_w * config.channels, config.width)
            if style.pixels_last
            else nn.Conv2d(config.channels, config.width, config.patch_size, stride=config.patch_size)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, D)."""
        c = self.config
        fits = not any(size % patch for size, patch in zip(images.shape[2:], c.patch_size, strict=True))
        if tuple(images.shape[2:]) != c.image_size and not (self.any_size and fits):
            raise ValueError(f"images of {tuple(images.shape[2:])}, expected {c.image_size}")
        if images.shape[1] != c.channels:
            raise ValueError(f"images of {images.shape[1]} channels, expected {c.channels}")
        if isinstance(self.proj, nn.Conv2d):
            return self.proj(images).flatten(2).transpose(1, 2)
        (rows, columns), (patch_h, patch_w) = c.grid, c.patch_size
        x = images.reshape(-1, c.channels, rows, patch_h, columns, patch_w).permute(0, 2, 4, 3, 5, 1)
        return self.proj(x.flatten(3).flatten(1, 2))


class SeparateAttention(nn.Module):
    """Three projections, and a softmax that can be watched."""

    def __init__(self, config: ViTConfig, style: Style) -> None:
        super().__init__()
        self.num_heads, width = config.num_heads, config.width
        self.scale = 1.0 if style.prescaled else config.head_dim**-0.5
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=style.key_bias)
        self.softmax, self.drop = nn.Softmax(dim=-1), nn.Dropout(config.attention_dropout)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N+1, D) -> (B, N+1, D)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = self.softmax(query @ key.mT * self.scale)
        return self.output((self.drop(weights) @ value).transpose(1, 2).flatten(2))


class PackedAttention(nn.Module):
    """One projection for all three, and torch's fused kernel."""

    def __init__(self, config: ViTConfig, _style: Style) -> None:
        super().__init__()
        self.num_heads, self.rate = config.num_heads, config.attention_dropout
        self.qkv, self.output = nn.Linear(config.width, 3 * config.width), nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N+1, D) -> (B, N+1, D)."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        return self.output(attended.transpose(1, 2).flatten(2))


class LibraryAttention(nn.MultiheadAttention):
    """torch's own module."""

    def __init__(self, config: ViTConfig, style: Style) -> None:
        batch_first = not style.sequence_first
        super().__init__(config.width, config.num_heads, config.attention_dropout, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N+1, D) -> (B, N+1, D), or sequence first in and out."""
        attended: Tensor = super().forward(x, x, x, need_weights=False)[0]
        return attended


_ATTENTION: dict[str, Any] = {"separate": SeparateAttention, "packed": PackedAttention, "library": LibraryAttention}


class Block(nn.Module):
    """The pre-norm encoder block."""

    def __init__(self, config: ViTConfig, conventions: Conventions, style: Style) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=conventions.layer_norm_eps)
        self.attention: Any = _ATTENTION[style.attention](config, style)
        self.norm2 = nn.LayerNorm(config.width, eps=conventions.layer_norm_eps)
        self.linear1, self.linear2 = nn.Linear(config.width, config.mlp_dim), nn.Linear(config.mlp_dim, config.width)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes kept."""
        x = x + self.drop(self.attention(self.norm1(x)))
        hidden = self.drop(functional.gelu(self.linear1(self.norm2(x))))
        return x + self.drop(self.linear2(hidden))


def block(config: ViTConfig, conventions: Conventions, style: Style) -> nn.Module:
    """A block of our own, or torch's."""
    if style.attention != "library-block":
        return Block(config, conventions, style)
    return nn.TransformerEncoderLayer(
        config.width,
        config.num_heads,
        config.mlp_dim,
        config.dropout,
        activation="gelu",
        layer_norm_eps=conventions.layer_norm_eps,
        batch_first=not style.sequence_first,
        norm_first=True,
    )


class PackageViT(nn.Module):
    """The whole model."""

    def __init__(self, config: ViTConfig, conventions: Conventions, style: Style) -> None:
        super().__init__()
        self.config, self.style, width = config, style, config.width
        self.patch_embedding = PatchEmbedding(config, style)
        self.first = nn.Parameter(torch.randn(1, 1, width))  # the class token, with its position where folded
        if not style.folded:
            self.first_position = nn.Parameter(torch.randn(1, 1, width))
        shape = (width, *config.grid) if style.table_on_grid else (1, config.num_patches, width)
        self.positions, self.drop = nn.Parameter(torch.randn(shape)), nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(block(config, conventions, style) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=conventions.layer_norm_eps)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.Tanh()) if config.head == "mlp" else nn.Identity()
        self.head = nn.Linear(width, config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        table = self.positions.flatten(1).T[None] if self.style.table_on_grid else self.positions
        x_e = self.patch_embedding(images)
        x_e = x_e + (table if tuple(images.shape[2:]) == self.config.image_size else self._resized(table, images))
        first = self.first if self.style.folded else self.first + self.first_position
        z = self.drop(torch.cat([first.expand(x_e.shape[0], -1, -1), x_e], dim=1))
        turn = self.style.sequence_first
        z = z.transpose(0, 1) if turn else z
        for layer in self.blocks:
            z = layer(z)
        z = self.norm(z.transpose(0, 1) if turn else z)
        return self.head(self.hidden(z[:, 0] if self.config.pool == "class_token" else z[:, 1:].mean(dim=1)))

    def _resized(self, table: Tensor, images: Tensor) -> Tensor:
        """The patches' positions for images of another size. (1, N, D) -> (1, N', D)."""
        grid = [size // patch for size, patch in zip(images.shape[2:], self.config.patch_size, strict=True)]
        maps = table.unflatten(1, self.config.grid).permute(0, 3, 1, 2).float()
        return functional.interpolate(maps, grid, mode="bilinear", align_corners=True).flatten(2).mT.to(table.dtype)
