"""The hybrid of section 3.1: a Vision Transformer whose patches are taken from a CNN's feature map.

"In this hybrid model, the patch embedding projection E (Eq. 1) is applied to patches extracted from a CNN feature map."
So everything behind the feature map is ``vit.py``, and its sizes follow from the map: N = H'W' / (P_h P_w).
Shapes: B images, C channels, H x W pixels; a feature map of C' channels and H' x W' cells; P_h x P_w cells a patch.
"""

from dataclasses import replace

from torch import Tensor, nn

from vitbench.reference.config import Conventions, ViTConfig
from vitbench.reference.resnet import R50_STAGE_3, FeatureExtractor, ResNetConfig
from vitbench.reference.vit import Tap, ViT, no_tap


def hybrid(images: Tensor, stem: nn.Module, vit: ViT, tap: Tap) -> Tensor:
    """The paper's model on the stem's feature map instead of on the pixels. (B, C, H, W) -> (B, K)."""
    feature_map = stem(images)  # (B, C', H', W')
    tap("feature_map", feature_map)
    return vit(feature_map, tap)


class Hybrid(nn.Module):
    """A ResNet as stem and a ViT behind it; the ViT's weights have the canonical names, the stem's are its own.

    Raises:
        ConfigurationError: the patches do not divide the feature map.
    """

    def __init__(
        self,
        config: ViTConfig,
        conventions: Conventions | None = None,
        resnet: ResNetConfig = R50_STAGE_3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.resnet = config, replace(resnet, channels=config.channels)
        self.stem = FeatureExtractor(self.resnet, seed)
        map_size = self.resnet.feature_map_size(config.image_size)
        self.vit = ViT(config.behind_stem(self.resnet.num_features, map_size), conventions, seed)

    def forward(self, images: Tensor, tap: Tap = no_tap) -> Tensor:
        """Images to logits. (B, C, H, W) -> (B, K)."""
        return hybrid(images, self.stem, self.vit, tap)

    def at_image_size(self, image_size: tuple[int, int]) -> "Hybrid":
        """The same weights at another resolution, the positions resized from one map's grid to the other's."""
        resized = Hybrid(replace(self.config, image_size=image_size), self.vit.conventions, self.resnet)
        resized.vit = self.vit.at_image_size(self.resnet.feature_map_size(image_size))
        resized.stem.to(resized.vit.get_parameter("position_embedding"))
        resized.stem.load_state_dict(self.stem.state_dict())
        return resized.train(self.training)
