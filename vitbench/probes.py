"""Images, weights and tables altered in one telling way."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear

from vitbench.reference.config import Activation, Conventions, PositionResize, ViTConfig
from vitbench.reference.parameters import Weights
from vitbench.reference.positions import resize_position_embedding


def one_patch_changed_each(image: Tensor, config: ViTConfig) -> Tensor:
    """N copies of an image, the n-th with its n-th patch in raster order changed. (C, H, W) -> (N, C, H, W)."""
    (_, columns), (patch_h, patch_w) = config.grid, config.patch_size
    copies = image.repeat(config.num_patches, 1, 1, 1)
    for n in range(config.num_patches):
        row, column = n // columns, n % columns
        place = (
            n,
            slice(None),
            slice(row * patch_h, (row + 1) * patch_h),
            slice(column * patch_w, (column + 1) * patch_w),
        )
        copies[place] = roughened(copies[place])
    return copies


def roughened(pixels: Tensor) -> Tensor:
    """Every pixel changed by more than itself, neighbours in opposite directions. (…, C, H, W), shape kept.

    A LayerNorm over a patch's pixels hides what scales or shifts them all alike.
    """
    places = torch.meshgrid(*(torch.arange(size) for size in pixels.shape[-3:]), indexing="ij")
    signs = 1 - 2 * (sum(places) % 2)
    return pixels + signs * (1 + pixels.abs())


def of_odd_brightness(images: Tensor, config: ViTConfig) -> Tensor:
    """Images as they come too: the last a hundred times as bright, each with a patch that is black. Shapes kept.

    Whoever rescales or clamps bright images, or takes black patches for padding, computes another function.
    """
    patch_h, patch_w = config.patch_size
    odd = images.clone()
    odd[-1] *= 100
    odd[:, :, :patch_h, -patch_w:] = 0
    return odd


def permute_patches(images: Tensor, config: ViTConfig, order: Sequence[int]) -> Tensor:
    """Images whose n-th patch is the ``order[n]``-th of the given ones. Shapes kept."""
    (rows, columns), (patch_h, patch_w) = config.grid, config.patch_size
    patches = images.unfold(2, patch_h, patch_h).unfold(3, patch_w, patch_w)  # (B, C, rows, columns, P_h, P_w)
    moved = patches.flatten(2, 3)[:, :, list(order)].unflatten(2, (rows, columns))
    return moved.permute(0, 1, 2, 4, 3, 5).reshape(images.shape)


def rotation(length: int) -> list[int]:
    """The order that moves every patch by one place."""
    return [*range(1, length), 0]


def reorder_features(weights: Weights, order: Sequence[int]) -> dict[str, Tensor]:
    """Attention weights whose D features, laid out head by head, are taken in another order in all four projections."""
    index = list(order)
    changed = {}
    for name, weight in weights.items():
        if ".attention.output.weight" in name:
            changed[name] = weight[:, index]
        elif ".attention." in name and ".output." not in name:
            changed[name] = weight[index]
    return changed


def reorder_channels(weights: Weights, channels: int, order: Sequence[int]) -> dict[str, Tensor]:
    """Patch embedding weights for images whose channels come in another order."""
    index = list(order)
    changed = {"patch_embedding.weight": weights["patch_embedding.weight"][:, index]}
    for name in ("patch_embedding.input_norm.weight", "patch_embedding.input_norm.bias"):
        if name in weights:
            changed[name] = weights[name].unflatten(0, (channels, -1))[index].flatten()
    return changed


def head_order(config: ViTConfig) -> list[int]:
    """Features with the heads rotated by one."""
    return [head * config.head_dim + d for head in rotation(config.num_heads) for d in range(config.head_dim)]


def crossed_order(config: ViTConfig) -> list[int]:
    """Features with the first of head 0 and the first of head 1 exchanged."""
    order = list(range(config.width))
    order[0], order[config.head_dim] = order[config.head_dim], order[0]
    return order


def position_table(grid: tuple[int, int], width: int, seed: int, *, class_row: bool) -> Tensor:
    """A random position table. Shapes: (1, N+1, D), or (1, N, D) without a class row."""
    rows = grid[0] * grid[1] + int(class_row)
    return torch.randn(1, rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_grid(table: Tensor, grid: tuple[int, int], *, class_row: bool) -> Tensor:
    """The patches' rows laid out as the grid they stand for. (1, N+1, D) -> (rows, columns, D)."""
    return table[0, int(class_row) :].unflatten(0, grid)


def off_grid(grid_rows: Tensor, table: Tensor, *, class_row: bool) -> Tensor:
    """The inverse of ``on_grid``, with the class row of ``table``. (rows, columns, D) -> (1, N+1, D)."""
    return torch.cat([table[:, : int(class_row)], grid_rows.flatten(0, 1)[None]], dim=1)


def float32_resize_error(
    table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], kind: PositionResize, *, class_row: bool
) -> float:
    """What it costs the reference to resize a table in float32: largest error, in the table's unit."""
    exact = resize_position_embedding(table, grid, new_grid, kind, class_row=class_row)
    single = resize_position_embedding(table.float(), grid, new_grid, kind, class_row=class_row)
    return (single.double() - exact).abs().max().item()


BRANCH_OUTPUTS = ("attention.output.weight", "attention.output.bias", "mlp.fc2.weight", "mlp.fc2.bias")
"""The last parameters of both branches: with them zero, a block adds nothing."""


def silent_stream(weights: Weights) -> dict[str, Tensor]:
    """Parameters with which z_0 is zero, whatever the image, and no branch adds anything."""
    embedding = ("patch_embedding.output_norm.", "patch_embedding.weight", "patch_embedding.bias")
    silenced = (*embedding, "class_token", "position_embedding", "pre_norm.")
    return {n: torch.zeros_like(w) for n, w in weights.items() if n.startswith(silenced) or n.endswith(BRANCH_OUTPUTS)}


ATTENTION_FEATURES, MLP_FEATURES = slice(0, None, 2), slice(1, None, 2)
"""Which features of the stream each branch of ``apart`` adds to."""


def apart(weights: Weights, config: ViTConfig, *, by_values: bool) -> dict[str, Tensor]:
    """Parameters with which every block's attention adds to even features of a silent stream, and its MLP to odd ones.

    What each adds is the same for every token of every image. With ``by_values`` the attention's is a mean of equal
    values under any weights that sum to one, so that a weight that was dropped shows; else it is a bias, which hides it.
    """
    changed = silent_stream(weights)
    numbers = torch.linspace(1, 2, config.width, dtype=weights["class_token"].dtype)
    even, odd = torch.zeros_like(numbers), torch.zeros_like(numbers)
    even[ATTENTION_FEATURES], odd[MLP_FEATURES] = numbers[ATTENTION_FEATURES], numbers[MLP_FEATURES]
    for i in range(config.depth):
        changed[f"blocks.{i}.mlp.fc2.bias"] = odd
        if by_values:
            changed |= equal_values(weights, i, even)
        else:
            changed[f"blocks.{i}.attention.output.bias"] = even
    return changed


def together(weights: Weights, config: ViTConfig) -> dict[str, Tensor]:
    """Parameters with which every block's attention adds 1 to each feature of a silent stream, and its MLP 2."""
    changed = silent_stream(weights)
    for i in range(config.depth):
        for name, number in ((f"blocks.{i}.attention.output.bias", 1.0), (f"blocks.{i}.mlp.fc2.bias", 2.0)):
            changed[name] = torch.full_like(weights[name], number)
    return changed


def equal_values(weights: Weights, i: int, value: Tensor) -> dict[str, Tensor]:
    """Parameters with which every token of block ``i`` has this value, whatever the stream, and passes it on as it is."""
    attention, norm = f"blocks.{i}.attention", f"blocks.{i}.norm1"
    zero = {n: torch.zeros_like(w) for n, w in weights.items() if n.startswith(f"{norm}.weight")}
    zero |= {
        n: torch.zeros_like(w)
        for n, w in weights.items()
        if n in {f"{attention}.value.bias", f"{attention}.output.bias"}
    }
    identity = torch.eye(value.numel(), dtype=value.dtype)
    return zero | {f"{norm}.bias": value, f"{attention}.value.weight": identity, f"{attention}.output.weight": identity}


def hidden_read_out(weights: Weights, config: ViTConfig) -> dict[str, Tensor]:
    """Parameters with which every block adds its MLP's hidden unit d to feature d of a silent stream, for M >= D.

    Each unit is alike.
    """
    changed = silent_stream(weights)
    numbers = 1 + torch.arange(config.width, dtype=weights["class_token"].dtype)
    read = torch.eye(config.width, config.mlp_dim, dtype=numbers.dtype) * numbers[:, None]
    for fc1, fc2 in ((f"blocks.{i}.mlp.fc1", f"blocks.{i}.mlp.fc2") for i in range(config.depth)):
        changed |= {
            f"{fc1}.weight": torch.zeros_like(weights[f"{fc1}.weight"]),
            f"{fc1}.bias": torch.ones_like(weights[f"{fc1}.bias"]),
            f"{fc2}.weight": read,
        }
    return changed


def uniform_attention(weights: Weights, config: ViTConfig) -> dict[str, Tensor]:
    """Parameters with which every block's attention alone adds to a silent stream: weights 1 / (N+1), all values alike."""
    changed = silent_stream(weights)
    numbers = torch.linspace(1, 2, config.width, dtype=weights["class_token"].dtype)
    for i in range(config.depth):
        scores = tuple(f"blocks.{i}.attention.{layer}." for layer in ("query", "key"))
        changed |= {n: torch.zeros_like(w) for n, w in weights.items() if n.startswith(scores)}
        changed |= equal_values(weights, i, numbers)
    return changed


def equal_tokens(weights: Weights, scale: float = 1.0, *, class_row: bool = True) -> dict[str, Tensor]:
    """Weights with which every token is one and the same vector, from z_0 to z_L and whatever the image.

    Only the final norm, the pooling's weights and the head are left to matter: how patches, positions, attention and
    MLP are computed cannot show. A model that has no bias before its blocks gets the vector as its positions;
    ``class_row`` says whether the class token has one of them.
    """
    width = weights["class_token"].shape[-1]
    generator = torch.Generator().manual_seed(width)
    token = scale * torch.randn(width, generator=generator, dtype=weights["class_token"].dtype)
    changed = {name: torch.zeros_like(w) for name, w in weights.items() if name.endswith(BRANCH_OUTPUTS)}
    changed["position_embedding"] = torch.zeros_like(weights["position_embedding"])
    if "pre_norm.bias" in weights:  # the last step before the blocks: it returns its bias, whatever comes in
        return changed | {"pre_norm.weight": torch.zeros_like(token), "pre_norm.bias": token}
    last = "patch_embedding.output_norm" if "patch_embedding.output_norm.bias" in weights else "patch_embedding"
    changed[f"{last}.weight"] = torch.zeros_like(weights[f"{last}.weight"])
    class_token = token.expand(1, 1, -1).clone()
    if f"{last}.bias" in weights:
        return changed | {f"{last}.bias": token, "class_token": class_token}
    everywhere = token.expand_as(weights["position_embedding"]).clone()
    return changed | {"position_embedding": everywhere, "class_token": (0 if class_row else 1) * class_token}


def flat_tokens(weights: Weights, value: float) -> dict[str, Tensor]:
    """Weights with which all features of a token are one number, another for each token, whatever the image.

    The numbers lie from 0 to 2 x ``value``.
    """
    table = weights["position_embedding"]
    generator = torch.Generator().manual_seed(table.numel())
    rows = 2 * value * torch.rand(1, table.shape[1], 1, generator=generator, dtype=table.dtype)
    patches = {n: torch.zeros_like(w) for n, w in weights.items() if n.startswith("patch_embedding.")}
    class_token = torch.full_like(weights["class_token"], value / 3)
    return patches | {"position_embedding": rows.expand_as(table).clone(), "class_token": class_token}


def scaled(weights: Weights, prefix: str, factor: float) -> dict[str, Tensor]:
    """The weights and biases below ``prefix`` times ``factor``."""
    return {name: factor * weight for name, weight in weights.items() if name.startswith(f"{prefix}.")}


def transposed_config(config: ViTConfig) -> ViTConfig:
    """The sizes of the same model for images lying on their side."""
    (height, width), (patch_h, patch_w) = config.image_size, config.patch_size
    return replace(config, image_size=(width, height), patch_size=(patch_w, patch_h))


def transposed_weights(weights: Weights, config: ViTConfig, *, class_row: bool) -> dict[str, Tensor]:
    """The weights with which a model of ``transposed_config`` treats images on their side as these treat them upright."""
    table = weights["position_embedding"]
    turned = on_grid(table, config.grid, class_row=class_row).transpose(0, 1)
    changed = {
        "position_embedding": off_grid(turned, table, class_row=class_row),
        "patch_embedding.weight": weights["patch_embedding.weight"].transpose(2, 3).contiguous(),
    }
    for name in ("patch_embedding.input_norm.weight", "patch_embedding.input_norm.bias"):
        if name in weights:
            pixels = weights[name].reshape(config.channels, *config.patch_size)
            changed[name] = pixels.transpose(1, 2).flatten()
    return {**weights, **changed}


def attention_read_out(weights: Weights) -> dict[str, Tensor]:
    """Weights with which block 0's attention adds a linear function of its first norm, for tokens that are all equal.

    Equal tokens attend to equal values, whatever the scale or the heads; no bias is left.
    """
    prefix = "blocks.0.attention"
    kept = {name: weights[name] for name in (f"{prefix}.value.weight", f"{prefix}.output.weight")}
    silent = [f"{prefix}.{name}.bias" for name in ("value", "output")]
    return kept | {name: torch.zeros_like(weights[name]) for name in silent if name in weights}


def mlp_read_out(weights: Weights) -> dict[str, Tensor]:
    """Weights with which block 0's MLP adds a linear function of its second norm, whichever GELU it has.

    Two hidden units receive x and -x, and are subtracted: x Phi(x) - (-x) Phi(-x) = x, as in its other forms.
    """
    fc1, fc2 = "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"
    changed = {
        f"{fc}.{leaf}": torch.zeros_like(weights[f"{fc}.{leaf}"]) for fc in (fc1, fc2) for leaf in ("weight", "bias")
    }
    changed[f"{fc1}.weight"][:2] = torch.stack([weights[f"{fc1}.weight"][0], -weights[f"{fc1}.weight"][0]])
    changed[f"{fc2}.weight"][:, :2] = torch.stack(
        [weights[f"{fc2}.weight"][:, 0], -weights[f"{fc2}.weight"][:, 0]], dim=1
    )
    return changed


def read_out_matrix(weights: Weights, norm: str) -> Tensor:
    """The linear function that ``attention_read_out`` (norm1) or ``mlp_read_out`` (norm2) leaves of block 0. (D, D)."""
    if norm == "norm1":
        return weights["blocks.0.attention.output.weight"] @ weights["blocks.0.attention.value.weight"]
    return torch.outer(weights["blocks.0.mlp.fc2.weight"][:, 0], weights["blocks.0.mlp.fc1.weight"][0])


def block_norm(z: Tensor, weights: Weights, norm: str, epsilon: float) -> Tensor:
    """A LayerNorm of block 0, by torch's own function. Shapes kept."""
    gain, bias = (weights[f"blocks.0.{norm}.{leaf}"] for leaf in ("weight", "bias"))
    return layer_norm(z, z.shape[-1:], gain, bias, epsilon)


def constant_values(weights: Weights) -> dict[str, Tensor]:
    """Weights with which block 0's values are the same for every token, while queries and keys differ as before.

    The first feature behind the norm is one for every token, and the values are made of it alone.
    """
    gain, bias = (weights[f"blocks.0.norm1.{leaf}"].clone() for leaf in ("weight", "bias"))
    gain[0], bias[0] = 0, 1
    value = torch.zeros_like(weights["blocks.0.attention.value.weight"])
    value[:, 0] = weights["blocks.0.attention.value.weight"][:, 0]
    return {"blocks.0.norm1.weight": gain, "blocks.0.norm1.bias": bias, "blocks.0.attention.value.weight": value}


def projections(z: Tensor, weights: Weights, num_heads: int, conventions: Conventions) -> list[Tensor]:
    """Query, key and value of block 0 by torch's own functions. (B, N+1, D) -> three times (B, h, N+1, D_h)."""
    normed = block_norm(z, weights, "norm1", conventions.layer_norm_eps)
    return [
        linear(normed, weights[f"{prefix}.weight"], weights.get(f"{prefix}.bias"))
        .unflatten(-1, (num_heads, -1))
        .transpose(1, 2)
        for prefix in (f"blocks.0.attention.{name}" for name in ("query", "key", "value"))
    ]


def attention_output(merged: Tensor, weights: Weights) -> Tensor:
    """Block 0's output projection, by torch's own function. (..., D) -> (..., D)."""
    prefix = "blocks.0.attention.output"
    return linear(merged, weights[f"{prefix}.weight"], weights[f"{prefix}.bias"])


def closed_form_gelu(x: Tensor, activation: Activation) -> Tensor:
    """The declared form of GELU by torch's own functions. Shapes kept."""
    if activation == "quick_gelu":
        return x * torch.sigmoid(1.702 * x)
    return gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")
