"""The Vision Transformer of Dosovitskiy et al. (2021), from the image to the logits, in the paper's order.

Read it from top to bottom. Shapes use the paper's letters: B images, C channels, H x W pixels, P_h x P_w pixels a
patch, N = HW / (P_h P_w) patches, D width, L blocks, h heads, D_h = D / h, M MLP width, K classes.
Weights are a flat mapping from canonical names (``parameters.py``) to tensors; the model computes in their dtype.
No fused kernels and no fallbacks: each line is one statement of the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi, sqrt

import torch
from torch import Tensor, nn

from vitbench.reference.config import Activation, Conventions, HeadActivation, Pool, ViTConfig
from vitbench.reference.parameters import Weights, initial_weights, within
from vitbench.reference.positions import resize_position_embedding

Tap = Callable[[str, Tensor], None]


def no_tap(stage: str, value: Tensor) -> None:
    """Look at nothing."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How one forward pass is run: with dropout or without, and who looks at its stages."""

    training: bool = False
    tap: Tap = no_tap


def vision_transformer(
    images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: Mode | None = None
) -> Tensor:
    """The whole model: patches, z_0, L encoder blocks, representation y, head.

    Shapes: (B, C, H, W) -> (B, K).
    Raises:
        ValueError: the images are not of the configured size.
    """
    mode = mode or Mode()
    x_e = patch_tokens(images, weights, config, conventions)  # (B, N, D)
    mode.tap("patch_tokens", x_e)
    z = embed(x_e, weights, config, conventions, mode)  # (B, N+1, D)
    mode.tap("tokens", z)
    z = encoder(z, weights, config, conventions, mode)  # (B, N+1, D)
    y = representation(z, weights, config, conventions)  # (B, D)
    mode.tap("representation", y)
    return head(y, within(weights, "head"), config, conventions)  # (B, K)


# --- Eq. 1: patches and z_0 ----------------------------------------------------------------------------------


def patches(images: Tensor, config: ViTConfig) -> Tensor:
    """x_p: the image cut into patches in raster order, each flattened as (C, P_h, P_w).

    Shapes: (B, C, H, W) -> (B, N, C P_h P_w).
    """
    if tuple(images.shape[1:]) != (config.channels, *config.image_size):
        raise ValueError(
            f"images of shape (C, H, W) = {tuple(images.shape[1:])} for a model of "
            f"{(config.channels, *config.image_size)}; resize the images, or the model's position embeddings"
        )
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    x = images.reshape(-1, config.channels, rows, patch_h, columns, patch_w)
    x = x.permute(0, 2, 4, 1, 3, 5)  # (B, rows, columns, C, P_h, P_w)
    return x.flatten(3).flatten(1, 2)


def patch_tokens(images: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    """x_p E: the trainable linear projection of the flattened patches, with a bias unless the convention has none.

    Shapes: (B, C, H, W) -> (B, N, D).
    """
    x_p = patches(images, config)  # (B, N, C P_h P_w)
    if conventions.patch_embedding == "norm_linear_norm":
        x_p = layer_norm(x_p, within(weights, "patch_embedding.input_norm"), conventions)
    projection = within(weights, "patch_embedding")
    x_e = linear(x_p, {**projection, "weight": projection["weight"].flatten(1)})  # (D, C P_h P_w)
    if conventions.patch_embedding == "norm_linear_norm":
        x_e = layer_norm(x_e, within(weights, "patch_embedding.output_norm"), conventions)
    return x_e


def embed(x_e: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: Mode) -> Tensor:
    """Eq. 1: z_0 = [x_class; x_p E] + E_pos, then dropout (appendix B.1); CLIP's LayerNorm where it is declared.

    Shapes: (B, N, D) -> (B, N+1, D).
    """
    class_token, positions = weights["class_token"], weights["position_embedding"]
    if conventions.class_token_has_position:
        z = add_positions(prepend_class_token(x_e, class_token), positions)
    else:
        z = prepend_class_token(add_positions(x_e, positions), class_token)
    z = dropout(z, config.dropout, mode)
    return layer_norm(z, within(weights, "pre_norm"), conventions) if conventions.pre_norm else z


def prepend_class_token(x_e: Tensor, class_token: Tensor) -> Tensor:
    """[x_class; x_p E]: one learned vector before the patches of every image. (B, N, D) -> (B, N+1, D)."""
    return torch.cat([class_token.expand(x_e.shape[0], -1, -1), x_e], dim=1)


def add_positions(z: Tensor, positions: Tensor) -> Tensor:
    """z + E_pos: learned 1-D position embeddings, one row a token. Shapes kept."""
    return z + positions


# --- Eq. 2 and 3: the encoder --------------------------------------------------------------------------------


def encoder(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: Mode) -> Tensor:
    """L blocks, one after the other. (B, N+1, D) -> (B, N+1, D)."""
    for i in range(config.depth):
        z = encoder_block(z, within(weights, f"blocks.{i}"), _block_config(config, i), conventions, mode)
        mode.tap("block_outputs", z)
    return z


def encoder_block(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: Mode) -> Tensor:
    """Eq. 2 and 3 (pre-norm): z' = MSA(LN(z)) + z;  MLP(LN(z')) + z'. (B, N+1, D) -> (B, N+1, D)."""
    normed = layer_norm(z, within(weights, "norm1"), conventions)
    attended = multi_head_self_attention(normed, within(weights, "attention"), config, mode)
    z = z + drop_path(dropout(attended, config.dropout, mode), config.drop_path, mode)
    normed = layer_norm(z, within(weights, "norm2"), conventions)
    expanded = mlp(normed, within(weights, "mlp"), config, conventions, mode)
    return z + drop_path(dropout(expanded, config.dropout, mode), config.drop_path, mode)


def multi_head_self_attention(z: Tensor, weights: Weights, config: ViTConfig, mode: Mode) -> Tensor:
    """Eq. 5 to 8: h heads side by side, merged by one projection. (B, N+1, D) -> (B, N+1, D)."""
    query, key, value = (
        split_heads(linear(z, within(weights, name)), config.num_heads) for name in ("query", "key", "value")
    )  # (B, h, N+1, D_h) each
    attention = attention_weights(query, key)  # (B, h, N+1, N+1)
    mode.tap("attention", attention)
    attended = dropout(attention, config.attention_dropout, mode) @ value  # (B, h, N+1, D_h)
    return linear(merge_heads(attended), within(weights, "output"))


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """Eq. 6: A = softmax(q k^T / sqrt(D_h)), over the keys. (B, h, N+1, D_h) twice -> (B, h, N+1, N+1)."""
    return torch.softmax(attention_scale(query.shape[-1]) * query @ key.transpose(-2, -1), dim=-1)


def attention_scale(head_dim: int) -> float:
    """1 / sqrt(D_h)."""
    return 1 / sqrt(head_dim)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Head i takes features i D_h to (i + 1) D_h. (B, N+1, D) -> (B, h, N+1, D_h)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[SA_1; ...; SA_h]: the heads' results beside each other. (B, h, N+1, D_h) -> (B, N+1, D)."""
    return x.transpose(1, 2).flatten(2)


def mlp(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions, mode: Mode) -> Tensor:
    """Section 3.1: "two layers with a GELU non-linearity", each followed by dropout. (B, N+1, D) -> (B, N+1, D)."""
    hidden = ACTIVATIONS[conventions.activation](linear(z, within(weights, "fc1")))  # (B, N+1, M)
    return linear(dropout(hidden, config.dropout, mode), within(weights, "fc2"))


# --- Eq. 4 and the heads -------------------------------------------------------------------------------------


def representation(z: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    """Eq. 4: y = LN(z_L^0): every token normalised, then the class token's (or the patches' mean).

    Shapes: (B, N+1, D) -> (B, D).
    """
    return pool(layer_norm(z, within(weights, "norm"), conventions), config.pool)


def pool(z: Tensor, kind: Pool) -> Tensor:
    """The class token alone, or the mean of the patches alone. (B, N+1, D) -> (B, D)."""
    return z[:, 0] if kind == "class_token" else z[:, 1:].mean(dim=1)


def head(y: Tensor, weights: Weights, config: ViTConfig, conventions: Conventions) -> Tensor:
    """Section 3.1: one linear layer at fine-tuning, an MLP with one hidden layer at pre-training. (B, D) -> (B, K)."""
    if config.head == "mlp":
        y = HEAD_ACTIVATIONS[conventions.head_activation](linear(y, within(weights, "hidden")))
    return linear(y, weights)


# --- the pieces ----------------------------------------------------------------------------------------------


def linear(x: Tensor, weights: Weights) -> Tensor:
    """x W^T + b, or without b where the convention has none. (..., in) -> (..., out)."""
    y = x @ weights["weight"].T
    return y + weights["bias"] if "bias" in weights else y


def layer_norm(x: Tensor, weights: Weights, conventions: Conventions) -> Tensor:
    """LayerNorm over the features (Ba et al., 2016), with the biased variance. Shapes kept."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + conventions.layer_norm_eps) * weights["weight"] + weights["bias"]


def gelu(x: Tensor) -> Tensor:
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016)."""
    return x * 0.5 * (1 + torch.erf(x / sqrt(2)))


def gelu_tanh(x: Tensor) -> Tensor:
    """The same authors' approximation by tanh; at most 4.7e-4 from ``gelu``."""
    return x * 0.5 * (1 + torch.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))


def quick_gelu(x: Tensor) -> Tensor:
    """Their approximation by a sigmoid; at most 0.0203 from ``gelu``."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
}
HEAD_ACTIVATIONS: dict[HeadActivation, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


def dropout(x: Tensor, rate: float, mode: Mode) -> Tensor:
    """Each element zero with probability ``rate``, the rest scaled by 1 / (1 - rate); nothing in evaluation."""
    if not mode.training or rate == 0:
        return x
    kept = torch.rand_like(x) >= rate
    return x * kept / (1 - rate)


def drop_path(branch: Tensor, rate: float, mode: Mode) -> Tensor:
    """Stochastic depth (Huang et al., 2016): a whole branch dropped, for each image on its own, and rescaled."""
    if not mode.training or rate == 0:
        return branch
    kept = torch.rand(branch.shape[0], 1, 1, dtype=branch.dtype, device=branch.device) >= rate
    return branch * kept / (1 - rate)


def _block_config(config: ViTConfig, i: int) -> ViTConfig:
    """The configuration as block ``i`` sees it: drop path grows linearly from 0 to the configured rate."""
    if config.drop_path == 0:
        return config
    return replace(config, drop_path=config.drop_path * i / max(config.depth - 1, 1))


# --- the model as a torch module -----------------------------------------------------------------------------


def _owner(path: str, owners: dict[str, nn.Module]) -> nn.Module:
    """The module of this dotted name, made with those above it where it is not among ``owners`` yet."""
    if path not in owners:
        above, _, name = path.rpartition(".")
        owners[path] = nn.Module()
        _owner(above, owners).add_module(name, owners[path])
    return owners[path]


class ViT(nn.Module):
    """The functions above with parameters of their own, under the canonical names: a model to train and to time."""

    def __init__(self, config: ViTConfig, conventions: Conventions | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config, self.conventions = config, conventions or Conventions()
        weights = initial_weights(config, self.conventions, torch.Generator().manual_seed(seed))
        owners: dict[str, nn.Module] = {"": self}
        for name, tensor in weights.items():
            path, _, leaf = name.rpartition(".")
            _owner(path, owners).register_parameter(leaf, nn.Parameter(tensor))

    def forward(self, images: Tensor, tap: Tap = no_tap) -> Tensor:
        """Images to logits, with dropout in train mode. (B, C, H, W) -> (B, K)."""
        mode = Mode(training=self.training, tap=tap)
        return vision_transformer(images, dict(self.named_parameters()), self.config, self.conventions, mode)

    def at_image_size(self, image_size: tuple[int, int]) -> "ViT":
        """The same weights at another resolution, with the positions resized as the conventions say (section 3.2)."""
        resized = ViT(replace(self.config, image_size=image_size), self.conventions)
        state = self.state_dict()
        state["position_embedding"] = resize_position_embedding(
            state["position_embedding"],
            self.config.grid,
            resized.config.grid,
            self.conventions.position_resize,
            class_row=self.conventions.class_token_has_position,
        )
        resized.to(state["position_embedding"])
        resized.load_state_dict(state)
        return resized.train(self.training)
