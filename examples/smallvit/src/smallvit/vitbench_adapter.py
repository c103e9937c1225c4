"""SmallViT behind vitbench's contract: what it is called there, and what it is called here."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from torch import Tensor

from smallvit.model import SmallViT, resized_positions
from vitbench.adapter import Adapter, NotSupported, ViTConfig, collect_inputs, collect_outputs


def _version() -> str:
    try:
        return metadata.version("smallvit")
    except metadata.PackageNotFoundError:  # run from its sources
        return "unreleased"


class SmallViTAdapter(Adapter):
    """The class token and a linear head; no dropout, no hybrid."""

    name = "smallvit"
    version = _version()

    def build(self, config: ViTConfig) -> SmallViT:
        if (config.pool, config.head, config.stem) != ("class_token", "linear", "patch"):
            raise NotSupported("class token, linear head and plain patches only")
        if config.dropout or config.attention_dropout or config.drop_path:
            raise NotSupported("no dropout of any kind")
        return SmallViT(
            config.image_size,
            config.patch_size,
            channels=config.channels,
            classes=config.num_classes,
            width=config.width,
            depth=config.depth,
            heads=config.num_heads,
            mlp_dim=config.mlp_dim,
        )

    def load(self, model: SmallViT, state: Mapping[str, Tensor]) -> None:
        for name, own in _views(model):
            own.data.copy_(state[name])

    def export(self, model: SmallViT) -> dict[str, Tensor]:
        return {name: own.detach().clone() for name, own in _views(model)}

    def patch_tokens(self, model: SmallViT, images: Tensor) -> Tensor:
        (feature_map,) = collect_outputs([model.to_patches], lambda: model(images))
        return feature_map.flatten(2).transpose(1, 2)

    def tokens(self, model: SmallViT, images: Tensor) -> Tensor:
        (tokens,) = collect_inputs([model.blocks], lambda: model(images))
        return tokens

    def block_outputs(self, model: SmallViT, images: Tensor) -> Sequence[Tensor]:
        return collect_outputs(list(model.blocks), lambda: model(images))

    def resize_position_embedding(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        return resized_positions(table, grid, new_grid)

    def representation(self, model: SmallViT, images: Tensor) -> Tensor:
        (representation,) = collect_inputs([model.head], lambda: model(images))
        return representation


def _views(model: SmallViT) -> Iterator[tuple[str, Tensor]]:
    """Each canonical parameter, as the part of the model's own that holds it."""
    yield "class_token", model.class_token
    yield "position_embedding", model.positions
    modules = {"patch_embedding": model.to_patches, "norm": model.norm, "head": model.head}
    for i, block in enumerate(model.blocks):
        modules |= {
            f"blocks.{i}.norm1": block.norm1,
            f"blocks.{i}.attention.output": block.attention.out,
            f"blocks.{i}.norm2": block.norm2,
            f"blocks.{i}.mlp.fc1": block.mlp[0],
            f"blocks.{i}.mlp.fc2": block.mlp[2],
        }
        for kind in ("weight", "bias"):
            parts = getattr(block.attention.qkv, kind).chunk(3)
            for part, own in zip(("query", "key", "value"), parts, strict=True):
                yield f"blocks.{i}.attention.{part}.{kind}", own
    for name, module in modules.items():
        yield f"{name}.weight", module.weight
        yield f"{name}.bias", module.bias


adapter = SmallViTAdapter()
