"""VFormer's VanillaViT behind the contract."""

from importlib import metadata
from typing import Any

from torch import Tensor
from vformer.models.classification import VanillaViT

from vitbench.adapter import Conventions, ViTConfig, collect_outputs
from vitbench.adapters.mapping import MappedAdapter, module_views, qkv_views, require


class VFormerAdapter(MappedAdapter):
    """``vformer.models.classification.VanillaViT``: no bias of query, key and value; its decoder begins with the norm."""

    name = "vformer"
    version = metadata.version("vformer")
    conventions = Conventions(layer_norm_eps=1e-5, qkv_bias=False, head_init="random")

    def build(self, config: ViTConfig) -> Any:
        require(config.stem == "patch", "no hybrid stem")
        require(config.head == "linear", "linear head only; a decoder of several layers has norms and no activation")
        require(config.num_heads > 1, "two heads or more; with one it leaves out the output projection")
        require(config.attention_dropout == 0, "no dropout of attention weights")
        require(config.drop_path == 0, "no drop path; its encoder's is not among the model's arguments")
        return VanillaViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            n_classes=config.num_classes,
            embedding_dim=config.width,
            head_dim=config.head_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            encoder_mlp_dim=config.mlp_dim,
            in_channels=config.channels,
            pool="cls" if config.pool == "class_token" else "mean",
            p_dropout_encoder=config.dropout,
            p_dropout_embedding=config.dropout,
        )

    def views(self, model: Any) -> dict[str, Tensor]:
        projection, (norm, head) = model.patch_embedding.patch_embedding[1], model.decoder.decoder
        patch = (model.patch_height, model.patch_width)
        views = {
            # the package flattens a patch as (P_h, P_w, C)
            "patch_embedding.weight": projection.weight.detach().unflatten(1, (*patch, -1)).movedim(-1, 1),
            "patch_embedding.bias": projection.bias.detach(),
            "class_token": model.cls_token.detach(),
            "position_embedding": model.pos_embedding.pos_embed.detach(),
        }
        views |= module_views({"norm": norm, "head": head})
        for i, (attention, feed_forward) in enumerate(model.encoder.encoder):
            views |= qkv_views(f"blocks.{i}.attention.", weight=attention.fn.to_qkv.weight)
            modules = {
                "norm1": attention.norm,
                "attention.output": attention.fn.to_out[0],
                "norm2": feed_forward.norm,
                "mlp.fc1": feed_forward.fn.net[0],
                "mlp.fc2": feed_forward.fn.net[3],
            }
            views |= module_views(modules, f"blocks.{i}.")
        return views

    def patch_tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.outputs_of([model.patch_embedding], model, images)[0]

    def tokens(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.encoder], model, images)[0]

    def block_outputs(self, model: Any, images: Tensor) -> list[Tensor]:
        # The residual sums happen between modules: what a block returns is what the next one receives, or the encoder.
        followers = [attention for attention, _ in model.encoder.encoder][1:]
        received: list[Tensor] = []  # in the same pass, since another one would draw other dropout

        def run() -> None:
            received.extend(self.inputs_of(followers, model, images))

        returned = collect_outputs([model.encoder], run)
        return [*received, *returned]

    def attention(self, model: Any, images: Tensor) -> list[Tensor]:
        return self.outputs_of([attention.fn.attend for attention, _ in model.encoder.encoder], model, images)

    def representation(self, model: Any, images: Tensor) -> Tensor:
        return self.inputs_of([model.decoder.decoder[1]], model, images)[0]
