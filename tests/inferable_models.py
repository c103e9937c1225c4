"""Vision Transformers as people write them, and what is none: the classes that inference is tried on."""

import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitbench.benign.module import PackageViT, Style
from vitbench.reference.config import Conventions, ViTConfig


class Attention(nn.Module):
    """One projection for query, key and value, whose rows are laid out as ``layout`` says."""

    layout = "khd"

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        sizes = {"k": 3, "h": self.heads, "d": self.head_dim}
        split = self.qkv(x).unflatten(-1, [sizes[axis] for axis in self.layout])  # (B, T, …)
        three, head, feature = (2 + self.layout.index(axis) for axis in "khd")
        q, k, v = split.permute(three, 0, head, 1, feature)  # (B, h, T, D_h) each
        weights = self.weights(q, k)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        return (q @ k.mT * self.head_dim**-0.5).softmax(dim=-1)


class HeadByHead(Attention):
    layout = "hkd"


class FeatureByFeature(Attention):
    layout = "hdk"


class HeadsLast(Attention):
    layout = "dkh"


class ValuesFirst(Attention):
    """Packed in an order of its own, which its name does not deny."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.in_proj = self.qkv
        del self.qkv

    def forward(self, x: Tensor) -> Tensor:
        v, k, q = self.in_proj(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj((self.weights(q, k) @ v).transpose(1, 2).flatten(2))


class Exchanged(Attention):
    """Keys for queries: a defect that no layout may hide."""

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        return super().weights(k, q)


class Unscaled(Attention):
    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        return (q @ k.mT).softmax(dim=-1)


class UnscaledHeadByHead(HeadByHead):
    weights = Unscaled.weights


class Nameless(nn.Module):
    """Four matrices whose names say nothing, and whose order is odd."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.a, self.b, self.c, self.d = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        v, q, k = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.b, self.c, self.d))
        return self.a(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Misnamed(nn.Module):
    """Named matrices, with query and key exchanged: their names are what they are judged by."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ByHand(nn.Module):
    """Bare parameters as (in, out), for x @ W."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for name in "qkvo":
            setattr(self, f"W_{name}", nn.Parameter(torch.randn(dim, dim) / dim**0.5))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(dim)))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            (x @ getattr(self, f"W_{name}") + getattr(self, f"b_{name}"))
            .unflatten(-1, (self.heads, -1))
            .transpose(1, 2)
            for name in "qkv"
        )
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2) @ self.W_o + self.b_o


class PerHead(nn.Module):
    """Weights kept by heads, as in mechanistic interpretability: (h, D, D_h), and (h, D_h, D) for the output."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.scale = (dim // heads) ** -0.5
        for name in "QKV":
            setattr(self, f"W_{name}", nn.Parameter(torch.randn(heads, dim, dim // heads) / dim**0.5))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(heads, dim // heads)))
        self.W_O = nn.Parameter(torch.randn(heads, dim // heads, dim) / dim**0.5)
        self.b_O = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            torch.einsum("btd,hde->bhte", x, getattr(self, f"W_{name}")) + getattr(self, f"b_{name}")[:, None]
            for name in "QKV"
        )
        weights = (q @ k.mT * self.scale).softmax(-1)
        return torch.einsum("bhte,hed->btd", weights @ v, self.W_O) + self.b_O


class Block(nn.Module):
    def __init__(
        self, dim: int, heads: int, mlp_dim: int, attention: type[nn.Module], eps: float, gelu: nn.Module
    ) -> None:
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(dim, eps=eps), attention(dim, heads)
        self.ln2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), gelu, nn.Linear(mlp_dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class ViT(nn.Module):
    """The model, with what its subclasses choose otherwise in class attributes."""

    attention: type[nn.Module] = Attention
    eps = 1e-6
    patch_order = ""  # of a linear projection; empty: a convolution
    class_position = True
    gelu: Any = nn.GELU

    def __init__(
        self,
        img_size: Any,
        patch_size: Any,
        in_chans: int,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
    ) -> None:
        super().__init__()
        self.size, self.patch = _pair(img_size), _pair(patch_size)
        self.grid = [size // patch for size, patch in zip(self.size, self.patch, strict=True)]
        if self.size != tuple(n * patch for n, patch in zip(self.grid, self.patch, strict=True)):
            raise ValueError("the patches must divide the image")
        numbers = in_chans * self.patch[0] * self.patch[1]
        self.embed = (
            nn.Linear(numbers, dim) if self.patch_order else nn.Conv2d(in_chans, dim, self.patch, stride=self.patch)
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        rows = self.grid[0] * self.grid[1] + self.class_position
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, rows, dim))
        self.blocks = nn.ModuleList(
            Block(dim, heads, mlp_dim, self.attention, self.eps, self.gelu()) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim, eps=self.eps), nn.Linear(dim, num_classes)

    def patches(self, images: Tensor) -> Tensor:
        if tuple(images.shape[2:]) != self.size:
            raise ValueError(f"images of {tuple(images.shape[2:])}, expected {self.size}")
        if not self.patch_order:
            return self.embed(images).flatten(2).transpose(1, 2)
        split = images.unflatten(3, (self.grid[1], self.patch[1])).unflatten(2, (self.grid[0], self.patch[0]))
        axes = {"c": 1, "h": 3, "w": 5}
        return self.embed(split.permute(0, 2, 4, *(axes[axis] for axis in self.patch_order)).flatten(3).flatten(1, 2))

    def forward(self, images: Tensor) -> Any:
        x, first = self.patches(images), self.cls_token.expand(len(images), -1, -1)
        x = (
            torch.cat([first, x], 1) + self.pos_embed
            if self.class_position
            else torch.cat([first, x + self.pos_embed], 1)
        )
        for block in self.blocks:
            x = block(x)
        return self.head(self.pooled(self.norm(x)))

    def pooled(self, z: Tensor) -> Tensor:
        return z[:, 0]


def _pair(size: Any) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


class PackedHeadByHead(ViT):
    attention = HeadByHead


class PackedFeatureByFeature(ViT):
    attention = FeatureByFeature


class PackedHeadsLast(ViT):
    attention = HeadsLast


class PackedValuesFirst(ViT):
    attention = ValuesFirst


class WithoutNames(ViT):
    attention = Nameless


class InByOut(ViT):
    attention = ByHand


class HeadsApart(ViT):
    attention = PerHead


class PixelsFirst(ViT):
    patch_order = "hwc"


class ColumnsFirst(ViT):
    patch_order = "whc"


class ChannelsFirst(ViT):
    patch_order = "chw"


class Tanh(ViT):
    eps = 1e-5
    gelu = staticmethod(lambda: nn.GELU(approximate="tanh"))


class Quick(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Clip(ViT):
    eps = 1e-12
    gelu = Quick
    class_position = False


class MeanOfPatches(ViT):
    def pooled(self, z: Tensor) -> Tensor:
        return z[:, 1:].mean(1)


class Masked(Attention):
    """Its mask is a buffer, and all ones."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.register_buffer("mask", torch.ones(1, 1))

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        return super().weights(q, k) * self.mask


class WithMask(ViT):
    attention = Masked


class InAnotherStyle(PackageViT):
    """One of the benign pool's, with its sizes given one by one: folded, so that the class token is one vector."""

    style = Style(folded=True, table_on_grid=True, key_bias=False, pixels_last=True, any_size=True)

    def __init__(
        self,
        image_size: Any,
        patch_size: Any,
        channels: int,
        classes: int,
        width: int,
        depth: int,
        heads: int,
        mlp_dim: int,
    ) -> None:
        config = ViTConfig(
            image_size=image_size,
            patch_size=patch_size,
            channels=channels,
            num_classes=classes,
            width=width,
            depth=depth,
            num_heads=heads,
            mlp_dim=mlp_dim,
        )
        super().__init__(config, Conventions(), self.style)


class SequenceFirst(InAnotherStyle):
    style = Style(folded=True, sequence_first=True, attention="library")


# --- defects, which nothing that is inferred may hide ---


class KeysAsQueries(ViT):
    attention = Exchanged


class NamesExchanged(ViT):
    attention = Misnamed


class WithoutScale(ViT):
    attention = Unscaled


class UnscaledInAnotherLayout(ViT):
    attention = UnscaledHeadByHead


class Relu(ViT):
    gelu = nn.ReLU


class Probabilities(ViT):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).softmax(-1)


class OddEpsilon(ViT):
    eps = 1.05e-6


class LargeEpsilon(ViT):
    eps = 1e-3


class LastToken(ViT):
    def pooled(self, z: Tensor) -> Tensor:
        return z[:, -1]


# --- other ways to be built ---


@dataclass
class Settings:
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    num_labels: int = 1000


class FromConfig(nn.Module):
    """Takes one object with all sizes, and answers with another that holds the logits."""

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.vit = ViT(
            config.image_size,
            config.patch_size,
            config.num_channels,
            config.num_labels,
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
        )

    def forward(self, images: Tensor) -> Any:
        return SimpleNamespace(logits=self.vit(images))


class FourWidths(ViT):
    """A tutorial's: an MLP of four widths, whatever is asked for."""

    def __init__(
        self,
        image_size: Any,
        patch_size: Any,
        n_channels: int,
        n_classes: int,
        hidden_d: int,
        n_blocks: int,
        n_heads: int,
    ) -> None:
        super().__init__(image_size, patch_size, n_channels, n_classes, hidden_d, n_blocks, n_heads, 4 * hidden_d)


def make_vit(size: int = 32, pretrained: bool = False, **sizes: Any) -> nn.Module:
    """A factory that hands on what it does not name."""
    return ViT(**{"img_size": size, "in_chans": 3, **sizes})


# --- what cannot be understood ---


class NeedsMore(ViT):
    def __init__(self, image_size: int, patch_size: int, tokenizer: Any) -> None:
        raise NotImplementedError


class TwoClassTokens(ViT):
    """Two vectors before the patches: which of them is the class token, nothing says."""

    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)
        del self.cls_token
        self.one, self.two = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images)
        x = torch.cat([(self.one * self.two).expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class TwoHeads(ViT):
    """A head beside the head."""

    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)
        self.head_dist = nn.Linear(dim, num_classes)


class Downloads(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)
        with suppress(Exception):  # as who goes on without weights
            socket.create_connection(("weights.example.org", 443), timeout=1)


class DownloadsInSilence(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)
        with suppress(BaseException):  # as a bare except does
            socket.create_connection(("weights.example.org", 443), timeout=1)


class TwoWidths(ViT):
    """One of the two is the MLP's, and no name says which."""

    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, embed_dim: int, dim: int, depth: int, heads: int
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, embed_dim, depth, heads, dim)


class Aborts(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        os.abort()


class StartsAtZero(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)
        nn.init.zeros_(self.head.weight)


class SquaresAndSeveralHeads(ViT):
    """It refuses rectangles and a single head."""

    def __init__(
        self, img_size: Any, patch_size: Any, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        if not isinstance(img_size, int) or not isinstance(patch_size, int) or heads == 1:
            raise ValueError("squares and several heads")
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)


class Branches(Block):
    """It returns what its two branches add, which the model adds to the tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - x


class ResidualOutside(ViT):
    def __init__(
        self, img_size: Any, patch_size: Any, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)
        self.blocks = nn.ModuleList(
            Branches(dim, heads, mlp_dim, self.attention, self.eps, self.gelu()) for _ in range(depth)
        )

    def forward(self, images: Tensor) -> Any:
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), self.patches(images)], 1) + self.pos_embed
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x)[:, 0])


class DropsHidden(ViT):
    """Its rate is of the MLP's hidden units alone."""

    def __init__(
        self,
        img_size: Any,
        patch_size: Any,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)
        for block in self.blocks:
            block.mlp.insert(2, nn.Dropout(dropout))


class BuildsItself(ViT):
    """A method ``build`` of its own, which is none of an adapter's."""

    def build(self) -> None:
        raise NotImplementedError


class Talks(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        sys.stdout.write("Vision Transformer, made with love\n")
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)


made = ViT(8, 4, 3, 2, 8, 1, 2, 8)


class Hangs(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        while True:
            time.sleep(0.05)


class Allocates(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        self.kept = [torch.empty(2**27) for _ in range(16)]  # 8 GiB
        super().__init__(img_size, patch_size, 3, num_classes, dim, depth, heads, mlp_dim)


class Leaves(ViT):
    def __init__(
        self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int, mlp_dim: int
    ) -> None:
        raise SystemExit("no licence")


class Convolutions(nn.Module):
    """No Transformer at all, with arguments that sound like one's."""

    def __init__(self, img_size: int, patch_size: int, num_classes: int, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, patch_size, stride=patch_size)
        self.layers = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for layer in self.layers:
            x = x + layer(x).relu()
        return self.head(x.mean((2, 3)))
