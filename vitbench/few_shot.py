"""Linear few-shot accuracy: how well a frozen representation tells classes apart, by a regression in closed form.

Source: section 4.1, "Metrics": "Few-shot accuracies are obtained by solving a regularized least-squares regression problem
that maps the (frozen) representation of a subset of training images to {-1, 1}^K target vectors."
"""

import torch
from torch import Tensor

from vitbench.datasets import Labelled
from vitbench.errors import RequirementFailed

RIDGE = 0.1
"""The regularisation: of each standardised feature's own sum of squares, this share is added. The paper leaves it open."""


def few(data: Labelled, shots: int, classes: int, seed: int) -> Labelled:
    """So many images of each class, drawn at random; all of a class that has fewer."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(data.labels.device)
    chosen = [order[data.labels[order] == label][:shots] for label in range(classes)]
    return data.at(torch.cat(chosen))


def linear_accuracy(
    seen: Tensor, seen_labels: Tensor, unseen: Tensor, unseen_labels: Tensor, classes: int, ridge: float = RIDGE
) -> float:
    """The share of unseen representations that the regression on the seen ones tells rightly; in float64.

    Shapes: seen (S, D), unseen (U, D), labels (S) and (U).
    Raises:
        RequirementFailed: a representation is not finite.
    """
    x, unseen = seen.double(), unseen.double()
    if not (torch.isfinite(x).all() and torch.isfinite(unseen).all()):
        raise RequirementFailed("the representation holds NaN or infinity; nothing can be regressed on it")
    mean, scale = x.mean(dim=0), x.std(dim=0, unbiased=False)
    scale = torch.where(scale > 0, scale, 1.0)  # a feature that never changes tells nothing, and divides by nothing
    x, unseen = _with_bias((x - mean) / scale), _with_bias((unseen - mean) / scale)
    targets = torch.full((len(x), classes), -1.0, dtype=torch.float64, device=x.device)
    targets[torch.arange(len(x), device=x.device), seen_labels] = 1.0
    penalty = ridge * len(x) * torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ targets)  # (D + 1, K)
    return float(((unseen @ weights).argmax(dim=1) == unseen_labels).double().mean())


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype, device=x.device)], dim=1)
