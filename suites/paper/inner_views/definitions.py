"""What the paper's looks inside a model show, each as a function of weights: section 4.5, Figures 6 and 7, appendix D.

Shapes: D width, C channels, P_h x P_w pixels a patch, a grid of rows x columns = N patches, h heads, B images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vitbench.looks import patch_distances


def filter_components(weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first principal components of the patch embedding's filters, and the share of their variance each has.

    The filters are D points in the space of a patch's pixels; the components are directions in it, of length 1 and such
    a sign that the largest entry is positive. A model with fewer dimensions than ``count`` has fewer.

    Shapes: (D, C, P_h, P_w) -> (n, C, P_h, P_w) and (n).
    Source: Figure 7, left: "Filters of the initial linear embedding of RGB values", "the top principal components of the
    learned embedding filters".
    """
    points = weight.flatten(1)
    points = points - points.mean(dim=0)
    _, scales, directions = torch.linalg.svd(points, full_matrices=False)
    count = min(count, int((scales > _NOTHING * scales.max()).sum()))
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    directions = directions * torch.sign(largest)
    shares = scales.square() / scales.square().sum()
    return directions.unflatten(1, weight.shape[1:]), shares[:count]


def position_similarity(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """The cosine similarity of each patch's position embedding with that of every patch; the class token's is left out.

    Shapes: (1, N, D) or (1, N+1, D) -> (rows, columns, rows, columns).
    Source: Figure 7, centre: "Tiles show the cosine similarity between the position embedding of the patch with the
    indicated row and column and the position embeddings of all other patches".
    """
    rows = normalize(table[0, -grid[0] * grid[1] :], dim=1)
    return (rows @ rows.T).reshape(*grid, *grid)


def similarity_by_distance(similarity: Tensor) -> dict[int, float]:
    """By the distance of two patches, rounded to whole patches, the mean similarity of all such pairs.

    Shapes: (rows, columns, rows, columns).
    Source: section 4.5: "closer patches tend to have more similar position embeddings".
    """
    grid = (similarity.shape[0], similarity.shape[1])
    apart = patch_distances(grid, (1, 1))
    between, whole = similarity.reshape(apart.shape), apart.round().long()
    return {int(one): between[(whole == one) & (apart > 0)].mean().item() for one in whole[apart > 0].unique()}


def attention_distances(weights: Tensor, grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """How far each head looks in each image: pixels from query to key, the mean over queries, weighted by attention.

    Of patches alone: the class token has no place, so its rows are left out and the patches' weights for it are shared
    out over the patches.

    Shapes: (B, h, N+1, N+1) -> (B, h).
    Source: Figure 7, right, and appendix D.7: "average distance in the image space across which information is
    integrated, based on the attention weights".
    """
    between = weights[:, :, 1:, 1:].double()
    between = between / between.sum(dim=-1, keepdim=True)
    distances = (between * patch_distances(grid, patch_size)).sum(dim=-1)  # (B, h, N)
    return distances.mean(dim=-1)


def uniform_distance(grid: tuple[int, int], patch_size: tuple[int, int]) -> float:
    """The attention distance of a head that looks everywhere alike, in pixels."""
    return patch_distances(grid, patch_size).mean().item()


def rollout(attention: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """How much of the class token's last value comes from each patch, if attention alone mixed the tokens; sums to 1 or less.

    In each block, heads are averaged, and the residual path counts as much as attention: (A + I) / 2. The product over
    the blocks, last block leftmost, has the class token's row.

    Shapes: L times (B, h, N+1, N+1) -> (B, rows, columns).
    Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020, section 3; Figure 6 and appendix D.8.
    """
    joint = torch.eye(attention[0].shape[-1], dtype=torch.float64)
    for weights in attention:
        mean = weights.double().mean(dim=1)  # (B, N+1, N+1)
        joint = (mean + torch.eye(mean.shape[-1], dtype=torch.float64)) / 2 @ joint
    return joint[:, 0, 1:].unflatten(1, grid)


_NOTHING = 1e-6  # of the largest: what rounding leaves of a direction that the filters do not have
