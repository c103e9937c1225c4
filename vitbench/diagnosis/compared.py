"""How near two answers are."""

import math

import torch
from torch import Tensor

from vitbench.assertions import FLOAT32_INSIDE_RELATIVE, SEMANTICS_RELATIVE

__all__ = ["FLOAT32_INSIDE_RELATIVE", "SEMANTICS_RELATIVE", "relative_error"]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a part of the largest expected value; infinite between different shapes.

    Elements that are not finite agree with those that are not finite in the same way, and with nothing else.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return math.inf
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(found)):
        return math.inf
    if not torch.allclose(
        found[~finite], expected[~finite], equal_nan=True
    ):  # NaN for an infinity, or one for the other
        return math.inf
    if not finite.any():
        return 0.0
    difference = (found - expected)[finite].abs().max().item()
    scale = expected[finite].abs().max().item()
    return difference / scale if scale else (math.inf if difference else 0.0)
