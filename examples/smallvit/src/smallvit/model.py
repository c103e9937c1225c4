"""The Vision Transformer of Dosovitskiy et al. (2021), in as few lines as torch's own parts allow."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention. Shapes: (B, N+1, D) -> (B, N+1, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        q, k, v = self.qkv(z).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and around a residual. Shapes: (B, N+1, D) -> (B, N+1, D)."""

    def __init__(self, width: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, width))

    def forward(self, z: Tensor) -> Tensor:
        z = z + self.attention(self.norm1(z))
        return z + self.mlp(self.norm2(z))


class SmallViT(nn.Module):
    """Images to class scores. Shapes: (B, C, H, W) -> (B, K)."""

    def __init__(
        self,
        image_size: tuple[int, int],
        patch_size: tuple[int, int],
        *,
        channels: int = 3,
        classes: int = 1000,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_dim: int = 768,
    ) -> None:
        super().__init__()
        self.grid = (image_size[0] // patch_size[0], image_size[1] // patch_size[1])
        self.to_patches = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, self.grid[0] * self.grid[1] + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        cells = self.to_patches(images)
        if tuple(cells.shape[2:]) != self.grid:
            raise ValueError(f"images of {tuple(cells.shape[2:])} patches, expected {self.grid}")
        patches = cells.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(images.shape[0], -1, -1), patches], dim=1)
        return self.head(self.norm(self.blocks(tokens + self.positions))[:, 0])


def resized_positions(table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Position embeddings for another grid of patches, the corners kept. Shapes: (1, N+1, D) -> (1, N'+1, D)."""
    class_row, rows = table[:, :1], table[:, 1:]
    plane = rows.unflatten(1, grid).movedim(-1, 1)
    plane = F.interpolate(plane, new_grid, mode="bilinear", align_corners=True)
    return torch.cat([class_row, plane.flatten(2).transpose(1, 2)], dim=1)
