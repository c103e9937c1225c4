"""How far a kernel's answers are from float64: tier N's own error and bound, as numbers."""

from collections.abc import Sequence

from torch import Tensor

from vitbench.arrays import short
from vitbench.assertions import (
    NUMERICS_FACTOR,
    NUMERICS_GRADIENT_FACTOR,
    assert_tensor,
    numerics_bound,
    numerics_can_tell,
)
from vitbench.errors import HarnessError, NotSupported
from vitbench.kernel_cases import Inputs
from vitbench.kernel_truth import NAMES, Truth
from vitbench.records import Precision

MOST_PAIRS = 2**24
"""Query-key pairs, over heads and images, that are judged: the reference holds a score of each, in float64."""


def of_answers(
    output: Tensor, gradients: Inputs | None, inputs: Inputs, upstream: Tensor | None, device: str
) -> Precision:
    """Judge the answers, every element of as many images as can be afforded, the first and the last among them.

    Raises:
        RequirementFailed: an answer has another shape or dtype, or is not finite.
        NotSupported: nothing can be computed in this dtype but by the kernel, so that no error can be expected of it.
    """
    dtype, shape = inputs[0].dtype, inputs[0].shape
    if dtype.itemsize == 1:
        raise NotSupported(f"torch computes nothing in {short(dtype)}, so that tier N has no bound for it")
    for answer, what in (
        (output, "output"),
        *zip(gradients or (), (f"gradient of the {n}" for n in NAMES), strict=False),
    ):
        assert_tensor(answer, shape, dtype, what)
    images = judged_images(*(int(size) for size in shape[:3]))

    def some(x: Tensor) -> Tensor:
        return x[images].to(device)

    query, key, value = (some(x) for x in inputs)
    truth = Truth((query, key, value), None if upstream is None else some(upstream))
    of_output = _judged(some(output), truth.output, truth.outputs_in_dtype, "output", NUMERICS_FACTOR)
    of_gradients = [] if gradients is None else _gradients([some(x) for x in gradients], truth)
    error, bound, name = max(of_gradients, key=lambda one: one[0] / one[1], default=(None, None, ""))
    return Precision(
        output_error=of_output[0],
        output_bound=of_output[1],
        gradient_error=error,
        gradient_bound=bound,
        gradient_of=name,
        within=all(one[0] <= one[1] for one in (of_output, *of_gradients)),
        images=len(images),
    )


def judged_images(batch: int, heads: int, tokens: int) -> list[int]:
    """Indices of images, spread from the first to the last, so many as there is memory for."""
    count = max(1, min(batch, MOST_PAIRS // (heads * tokens**2)))
    return [0] if count == 1 else [round(i * (batch - 1) / (count - 1)) for i in range(count)]


def _gradients(found: Sequence[Tensor], truth: Truth) -> list[tuple[float, float, str]]:
    judged = []
    for i, name in enumerate(NAMES):
        in_dtype = [gradients[i] for gradients in truth.gradients_in_dtype]
        what = f"gradient of the {name}"
        error, bound, _ = _judged(found[i], truth.gradients[i], in_dtype, what, NUMERICS_GRADIENT_FACTOR)
        judged.append((error, bound, name))
    return judged


def _judged(
    actual: Tensor, exact: Tensor, in_dtype: Sequence[Tensor], what: str, factor: float
) -> tuple[float, float, str]:
    """The largest error and tier N's bound of it, as parts of the largest exact value.

    Raises:
        HarnessError: zeros would be within the bound.
    """
    if not numerics_can_tell(exact, in_dtype, factor):
        raise HarnessError(f"{what}: rounding to {short(actual.dtype)} hides everything; nothing can be judged")
    largest = exact.abs().max().item()
    error = (actual.double() - exact).abs().max().item()
    return error / largest, numerics_bound(exact, in_dtype, what, factor) / largest, what
