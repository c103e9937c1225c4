"""The ResNet that the paper compares with, and whose feature maps its hybrids read: "ResNet (BiT)".

Section 4.1: ResNet (He et al., 2016) with group normalisation (Wu and He, 2018) for batch normalisation, and
standardised convolutions (Qiao et al., 2019), after Kolesnikov et al., "Big Transfer (BiT)", 2020. Read it from top to
bottom: the root makes H/4 x W/4 cells of the image, each stage but the first halves them again.
Shapes: B images, C channels, H x W pixels or cells; an inner width of c channels, 4c between the blocks.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, pad, relu
from torch.nn.utils import skip_init

Padding = Literal["fixed", "same"]


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """The sizes of one ResNet, R50x1 unless told; and the choices in which the authors' two codes differ."""

    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of each stage
    width: int = 64  # c of the root and the first stage; doubles with every stage
    channels: int = 3  # C of the image
    num_groups: int = 32  # of every group normalisation
    pre_activation: bool = True  # ResNetV2, as BiT; without, each norm follows its convolution
    padding: Padding = "fixed"  # "same": as many zeros as H/2 needs, an odd one below and to the right
    group_norm_eps: float = 1e-5
    weight_eps: float = 1e-10  # added to the variance of a filter

    @property
    def downsampling(self) -> int:
        """Pixels of the image, along either side, per cell of the last feature map."""
        return 4 * 2 ** (len(self.depths) - 1)

    @property
    def num_features(self) -> int:
        """C': channels of the last feature map."""
        return self.width * 4 * 2 ** (len(self.depths) - 1)

    def feature_map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(H', W'), cells; a side that the downsampling does not divide is rounded up."""
        height, width = image_size
        return ceil(height / self.downsampling), ceil(width / self.downsampling)


R50 = ResNetConfig()
# Section 4.1 on hybrids: "(ii) remove stage 4, place the same number of layers in stage 3 (keeping the total number of
# layers), and take the output of this extended stage 3", the stem of R50+ViT-B/16. The norms' places, the padding and
# epsilon are those of the authors' code for hybrids, which differs from BiT's in them.
R50_STAGE_3 = ResNetConfig(depths=(3, 4, 9), pre_activation=False, padding="same", group_norm_eps=1e-6)
MINIATURE = ResNetConfig(depths=(1, 1), width=2, num_groups=1, pre_activation=False, padding="same")  # H/8, C' = 16
RESNETS = {  # as the paper names them, R<layers>x<width>: R50x1 of Table 6, and smaller ones for small images
    "R8x1/8": ResNetConfig(depths=(1, 1), width=8, num_groups=4),
    "R8x1/4": ResNetConfig(depths=(1, 1), width=16, num_groups=8),
    "R14x1/4": ResNetConfig(depths=(2, 2), width=16, num_groups=8),
    "R14x1/2": ResNetConfig(depths=(1, 1, 1, 1), width=32),
    "R26x1": ResNetConfig(depths=(2, 2, 2, 2)),
    "R50x1": R50,
}


# --- the pieces ----------------------------------------------------------------------------------------------


def standardized(weight: Tensor, eps: float) -> Tensor:
    """Each filter with mean 0 and variance 1 over its inputs (Qiao et al., 2019). (c_out, c_in, k, k), kept."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
    return (weight - mean) / torch.sqrt(variance + eps)


def padded(x: Tensor, kernel: int, stride: int, padding: Padding) -> Tensor:
    """Zeros around x, so that a window of ``kernel`` at every ``stride`` sees all of it, and H becomes H / stride."""
    sides = []
    for length in (x.shape[3], x.shape[2]):  # torch pads the last axis first
        if padding == "fixed":
            before = after = (kernel - 1) // 2
        else:
            total = max((ceil(length / stride) - 1) * stride + kernel - length, 0)
            before, after = total // 2, total - total // 2
        sides += [before, after]
    return pad(x, sides)


class StandardizedConv(nn.Module):
    """A convolution without bias, its filters standardised each time. (B, c_in, H, W) -> (B, c_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, config: ResNetConfig) -> None:
        super().__init__()
        self.stride, self.config = stride, config
        self.weight = nn.Parameter(torch.empty(c_out, c_in, kernel, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """Pad, standardise, convolve."""
        x = padded(x, self.weight.shape[-1], self.stride, self.config.padding)
        return conv2d(x, standardized(self.weight, self.config.weight_eps), stride=self.stride)


def group_norm(width: int, config: ResNetConfig) -> nn.GroupNorm:
    """The normalisation of ``width`` channels in groups (Wu and He, 2018)."""
    return nn.GroupNorm(config.num_groups, width, eps=config.group_norm_eps)


class Bottleneck(nn.Module):
    """A residual block of three convolutions: 1 x 1 to c channels, 3 x 3 with the stride, 1 x 1 to 4c.

    Shapes: (B, c_in, H, W) -> (B, 4c, H/s, W/s).
    """

    def __init__(self, c_in: int, c: int, stride: int, config: ResNetConfig) -> None:
        super().__init__()
        self.pre_activation = config.pre_activation
        normed = (c_in, c, c) if config.pre_activation else (c, c, 4 * c)
        self.norm1, self.norm2, self.norm3 = (group_norm(width, config) for width in normed)
        self.conv1 = StandardizedConv(c_in, c, 1, 1, config)
        self.conv2 = StandardizedConv(c, c, 3, stride, config)
        self.conv3 = StandardizedConv(c, 4 * c, 1, 1, config)
        projects = stride != 1 or c_in != 4 * c
        self.shortcut = StandardizedConv(c_in, 4 * c, 1, stride, config) if projects else None
        self.shortcut_norm = group_norm(4 * c, config) if projects and not config.pre_activation else None

    def forward(self, x: Tensor) -> Tensor:
        """Before each convolution its norm and ReLU (He et al., 2016b); or each norm after, and ReLU after the sum."""
        if self.pre_activation:
            active = relu(self.norm1(x))
            branch = self.conv2(relu(self.norm2(self.conv1(active))))
            branch = self.conv3(relu(self.norm3(branch)))
            return branch + (x if self.shortcut is None else self.shortcut(active))
        branch = relu(self.norm2(self.conv2(relu(self.norm1(self.conv1(x))))))
        branch = self.norm3(self.conv3(branch))
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return relu(branch + x)


class Root(nn.Module):
    """A 7 x 7 convolution and a 3 x 3 maximum, each of stride 2. (B, C, H, W) -> (B, c, H/4, W/4)."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = StandardizedConv(config.channels, config.width, 7, 2, config)
        self.norm = None if config.pre_activation else group_norm(config.width, config)

    def forward(self, images: Tensor) -> Tensor:
        """As BiT does, the maximum is taken over the padding's zeros too."""
        x = self.conv(images)
        if self.norm is not None:
            x = relu(self.norm(x))
        return max_pool2d(padded(x, 3, 2, self.config.padding), 3, stride=2)


# --- the model -----------------------------------------------------------------------------------------------


class FeatureExtractor(nn.Module):
    """Root and stages: from the image to the last feature map. (B, C, H, W) -> (B, C', H', W')."""

    def __init__(self, config: ResNetConfig, seed: int = 0) -> None:
        super().__init__()
        self.root, self.stages = Root(config), nn.Sequential()
        c_in, c = config.width, config.width
        for i, depth in enumerate(config.depths):
            stage = nn.Sequential()
            for j in range(depth):
                stage.append(Bottleneck(c_in, c, 2 if i > 0 and j == 0 else 1, config))
                c_in = 4 * c
            self.stages.append(stage)
            c = 2 * c
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, StandardizedConv):
                nn.init.kaiming_normal_(module.weight, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """One stage after the other."""
        features: Tensor = self.stages(self.root(images))
        return features


class ResNet(nn.Module):
    """The comparison model: features, the mean of their cells, a linear head that starts at zero.

    Shapes: (B, C, H, W) -> (B, K).
    """

    def __init__(self, config: ResNetConfig, num_classes: int = 1000, seed: int = 0) -> None:
        super().__init__()
        self.features = FeatureExtractor(config, seed)
        self.norm = group_norm(config.num_features, config) if config.pre_activation else None
        self.head = skip_init(nn.Linear, config.num_features, num_classes)  # it would draw from torch's own generator
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def representation(self, images: Tensor) -> Tensor:
        """The mean of the last cells; before it, the norm and ReLU that the last block of a ResNetV2 leaves undone.

        Shapes: (B, C, H, W) -> (B, C').
        """
        x = self.features(images)  # (B, C', H', W')
        if self.norm is not None:
            x = relu(self.norm(x))
        return x.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Images to logits. (B, C, H, W) -> (B, K)."""
        logits: Tensor = self.head(self.representation(images))
        return logits
