"""The assertions that checks are made of, and the only place where tolerances live.

Tier E is exact. Tier S compares float64 results: max|error| <= 1e-10 max|expected|. Tier N compares results of
another dtype by what that dtype costs the reference. A comparison that could not fail (with something zero, constant
or not finite) never passes: where the reference made it, the harness is at fault, where the candidate did, the candidate.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vitbench.errors import HarnessError, RequirementFailed
from vitbench.evidence import current_evidence
from vitbench.statistics import binomial_p_value

SEMANTICS_RELATIVE = 1e-10
"""Tier S. Rounding of float64 through a few blocks stays near 1e-14; the mildest known defect, the tanh form of
GELU, is near 1e-4. The bound lies between, four orders from either."""

FLOAT32_INSIDE_RELATIVE = 5e-5
"""For a candidate that was seen to round to float32 on the way (a softmax or LayerNorm in float32): its results are
good to about 1e-6 of the largest value, through a few blocks. Among two hundred configurations a check, the worst of a right
one was 1.2e-5: a LayerNorm of small variance, and a gradient through three of them."""

NUMERICS_FACTOR = 2
NUMERICS_GRADIENT_FACTOR = 3
NUMERICS_ULPS = 2
"""Tier N. A correct implementation sums in another order than the reference did, and its error is another draw of the
same size: the factor leaves room for the luck of the draw, and the ulps for a reference that was exact by chance."""

FALSE_ALARM_RATE = 1e-9
"""Of one test of a random mask. A full run makes some ten thousand of them, and so accuses a right implementation once
in a hundred thousand runs; with a few thousand elements a rate that is off by 0.05 is still seen."""

DIFFERENCES_RELATIVE = 1e-5
"""For slopes by finite differences in float64, whose own error is near 1e-8 of the gradient's length: a gradient that
forgets the scale of a mask is off by a tenth of it."""

_FLOAT32_ERROR_FACTOR = 4  # the reference's own error is one draw; a gradient's was 2.1 times that in one of twenty
_FLOAT32_ULPS = 2


def assert_semantics(
    actual: Tensor,
    expected: Tensor,
    what: str,
    *,
    varied: bool = True,
    float32_error: float | None = None,
    witness: Tensor | None = None,
    beside: Tensor | None = None,
) -> None:
    """Tier S: every element of ``actual`` equals the reference's ``expected`` up to float64 rounding.

    Args:
        what: names the quantity in the failure's text.
        varied: whether ``expected`` must not be constant, so that no constant can pass.
        float32_error: the error that computing in float32 costs the reference. Some packages compute a step in
            float32 whatever they are given; a result that lies on the float32 grid is judged by this error, and
            the verdict says so.
        witness: the tensor whose values tell whether float32 was used; ``actual`` unless given.
        beside: a larger quantity that ``expected`` is made of by cancellation; float32 inside leaves the larger one's
            rounding.
    Raises:
        RequirementFailed: it does not.
        HarnessError: ``expected`` is zero, constant or not finite, so that the comparison could not fail.
    """
    flaw = _flaw(expected, varied=varied)
    if flaw:
        raise HarnessError(f"{what}: the reference is {flaw}; nothing can be compared with it")
    _compare(actual, expected, what, float32_error, witness, beside)


def assert_consistent(
    actual: Tensor, expected: Tensor, what: str, *, float32_error: float | None = None, witness: Tensor | None = None
) -> None:
    """Tier S between two answers of the candidate, or one and what the reference makes of another.

    Here an ``expected`` that is zero, constant or not finite is the candidate's failure: its answers say nothing.
    """
    flaw = _flaw(expected)
    if flaw:
        raise RequirementFailed(f"{what}: the candidate's own answers are {flaw}, whatever the images and weights")
    _compare(actual, expected, what, float32_error, witness)


def assert_slope(actual: float, expected: float, scale: float, what: str) -> None:
    """A directional derivative equals the finite differences of the function itself.

    Args:
        scale: the length of the gradient, which a derivative along a random direction is of the order of.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise RequirementFailed(f"{what}: the gradient is {'zero' if scale == 0 else 'not finite'}")
    found, right = (torch.tensor([number], dtype=torch.float64) for number in (actual, expected))
    _judge(found, right, what, DIFFERENCES_RELATIVE * scale, "1e-5 of the gradient's length")


def _compare(
    actual: Tensor,
    expected: Tensor,
    what: str,
    float32_error: float | None,
    witness: Tensor | None,
    beside: Tensor | None = None,
) -> None:
    assert_tensor(actual, expected.shape, expected.dtype, what)
    scale = expected.abs().max().item()
    bound, rule = SEMANTICS_RELATIVE * scale, "1e-10 of the largest expected value"
    if current_evidence().float32_inside:
        larger = scale if beside is None else max(scale, beside.abs().max().item())
        bound, rule = (
            FLOAT32_INSIDE_RELATIVE * larger,
            f"{FLOAT32_INSIDE_RELATIVE:.0e} of the largest expected value, for float32 inside the model",
        )
        current_evidence().note("computes in float32 inside, whatever it is given; judged by float32's error")
    if float32_error is not None and _on_float32_grid(actual if witness is None else witness):
        allowed = _FLOAT32_ERROR_FACTOR * float32_error + _FLOAT32_ULPS * torch.finfo(torch.float32).eps * scale
        if allowed > bound:
            bound, rule = allowed, f"{_FLOAT32_ERROR_FACTOR} times the reference's own error in float32"
        current_evidence().note(f"{what}: computed in float32 for float64 input; judged by float32's error")
    _judge(actual, expected, what, bound, rule)


def moved(after: Tensor, before: Tensor) -> Tensor:
    """Which rows of an answer differ from those of another by more than its rounding. (..., n, D) -> (..., n) of bool."""
    relative = FLOAT32_INSIDE_RELATIVE if current_evidence().float32_inside else SEMANTICS_RELATIVE
    return (after - before).abs().amax(dim=-1) > relative * before.abs().max()


def assert_numerics(
    actual: Tensor,
    expected: Tensor,
    in_dtype: Sequence[Tensor],
    what: str,
    *,
    factor: float = NUMERICS_FACTOR,
    varied: bool = True,
) -> None:
    """Tier N: every element of ``actual`` is as near the truth as its dtype allows.

    max|actual - expected| <= factor x the worst error of ``in_dtype`` + 2 ulp of max|expected|. The dtype of
    ``actual`` is another requirement's matter.

    Args:
        expected: the reference in float64, on the very numbers that the candidate got.
        in_dtype: the reference's results in the candidate's dtype, by several orders of evaluation.
        what: names the quantity in the failure's text.
        factor: ``NUMERICS_GRADIENT_FACTOR`` for gradients.
        varied: whether ``expected`` must not be constant, so that no constant can pass.
    Raises:
        RequirementFailed: some element is farther from the truth, or not finite.
        HarnessError: zeros or a constant would pass: ``expected`` is that, or the error allowed is as large as it.
    """
    flaw, bound = _flaw(expected, varied=varied), math.inf
    if not flaw:
        bound = numerics_bound(expected, in_dtype, what, factor)
        flaw = _blunt(bound, expected, varied=varied)
    if flaw:
        raise HarnessError(f"{what}: the reference is {flaw}; nothing can be compared with it")
    if not actual.is_floating_point():
        raise RequirementFailed(f"{what}: dtype {_short(actual.dtype)}, expected a floating one")
    assert_tensor(actual, expected.shape, actual.dtype, what)
    rule = f"{factor:g} times the reference's own error in {_short(in_dtype[0].dtype)}, plus {NUMERICS_ULPS} ulp"
    _judge(actual.double(), expected, what, bound, rule)


def numerics_can_tell(expected: Tensor, in_dtype: Sequence[Tensor], factor: float = NUMERICS_FACTOR) -> bool:
    """Whether tier N would tell a right answer from zeros and constants; rounding alone can make it hopeless."""
    return not _flaw(expected) and not _blunt(numerics_bound(expected, in_dtype, "", factor), expected)


def numerics_bound(expected: Tensor, in_dtype: Sequence[Tensor], what: str, factor: float) -> float:
    """The error that tier N allows; infinite where the reference itself is not finite in the dtype."""
    if not in_dtype or expected.dtype != torch.float64:
        raise HarnessError(f"{what}: tier N needs the reference in float64, and at least once in the candidate's dtype")
    kinds = {(tuple(x.shape), x.dtype) for x in in_dtype}
    if len(kinds) > 1 or in_dtype[0].shape != expected.shape or in_dtype[0].dtype == torch.float64:
        raise HarnessError(f"{what}: the reference's results differ in shape or dtype, or are in float64: {kinds}")
    errors = torch.stack([x.double() - expected for x in in_dtype]).abs()
    worst = errors.max().item() if torch.isfinite(errors).all() else math.inf
    return factor * worst + NUMERICS_ULPS * torch.finfo(in_dtype[0].dtype).eps * expected.abs().max().item()


def _blunt(bound: float, expected: Tensor, *, varied: bool = True) -> str:
    """Why no error within the bound would be seen: zeros, or the best of all constants, would pass too."""
    least = expected.abs().max().item()
    if varied and expected.numel() > 1:
        least = min(least, (expected.max() - expected.min()).item() / 2)
    return f"too near zeros or a constant for the error allowed, {bound:.3g}" if not bound < least else ""


def _judge(actual: Tensor, expected: Tensor, what: str, bound: float, rule: str) -> None:
    """Every element within the bound, or a failure that shows the worst one."""
    difference = (actual - expected).abs()
    error = difference.max().item()
    current_evidence().compared(error / bound)
    if not error <= bound:
        place = tuple(int(i) for i in torch.unravel_index(difference.argmax(), difference.shape))
        raise RequirementFailed(
            f"{what}: {actual[place].item():.10g} where {expected[place].item():.10g} is right, at index {place} of "
            f"shape {tuple(actual.shape)}; largest error {error:.3g}, allowed {bound:.3g} ({rule}); "
            f"{(difference > bound).sum().item()} of {difference.numel()} elements are wrong"
        )


def assert_rate(count: int, trials: int, rate: float, what: str) -> None:
    """Of independent trials so many hit as a probability of ``rate`` lets expect: an exact binomial test.

    Raises:
        RequirementFailed: chance alone does so less often than ``FALSE_ALARM_RATE``.
        HarnessError: there are so few trials that none or all of them could pass.
    """
    if not can_tell_rate(trials, rate):
        raise HarnessError(f"{what}: {trials} trials are too few to tell a rate of {rate:.3g} from none or all")
    assert_holds(
        binomial_p_value(count, trials, rate) >= FALSE_ALARM_RATE,
        f"{what}: {count} of {trials}, a rate of {count / trials:.3f} where {rate:.3f} is right (chance alone does so "
        f"less than once in {1 / FALSE_ALARM_RATE:.0e} times)",
    )


def can_tell_rate(trials: int, rate: float) -> bool:
    """Whether so many trials tell a rate from none and from all."""
    return max(binomial_p_value(0, trials, rate), binomial_p_value(trials, trials, rate)) <= FALSE_ALARM_RATE


def assert_bernoulli(hits: Tensor, rate: float, what: str) -> None:
    """Every element of a random mask is hit with probability ``rate``, each by itself. Shapes: any, bool.

    Beside the number of hits, along each axis that is long enough, the number of neighbours that differ: a mask that is
    shared along an axis is the same there.
    """
    assert_rate(int(hits.sum().item()), hits.numel(), rate, what)
    differing = 2 * rate * (1 - rate)
    for axis, length in enumerate(hits.shape):
        pairs = hits.narrow(axis, 0, length // 2 * 2).unflatten(axis, (-1, 2))
        first, second = pairs.select(axis + 1, 0), pairs.select(axis + 1, 1)
        if first.numel() and binomial_p_value(0, first.numel(), differing) <= FALSE_ALARM_RATE:
            count = int((first != second).sum().item())
            assert_rate(count, first.numel(), differing, f"{what}: neighbours along axis {axis} that differ")


def assert_tensor(actual: Tensor, shape: Sequence[int], dtype: torch.dtype, what: str) -> None:
    """Tier E: shape, dtype and finiteness of a tensor that a candidate returned."""
    current_evidence().compared()
    if tuple(actual.shape) != tuple(shape):
        raise RequirementFailed(f"{what}: shape {tuple(actual.shape)}, expected {tuple(shape)}")
    if actual.dtype != dtype:
        raise RequirementFailed(f"{what}: dtype {_short(actual.dtype)}, expected {_short(dtype)}")
    if not torch.isfinite(actual).all():
        count = (~torch.isfinite(actual)).sum().item()
        raise RequirementFailed(f"{what}: {count} of {actual.numel()} elements are NaN or infinite")


def assert_equal(actual: object, expected: object, what: str) -> None:
    """Tier E: two plain values are the same."""
    current_evidence().compared()
    if actual != expected:
        raise RequirementFailed(f"{what}: {actual}, expected {expected}")


def assert_same_bits(actual: Tensor, expected: Tensor, what: str) -> None:
    """Tier E: two tensors agree in every bit of their values."""
    current_evidence().compared()
    assert_tensor(actual, expected.shape, expected.dtype, what)
    if not torch.equal(actual, expected):
        error = (actual - expected).abs().max().item()
        raise RequirementFailed(f"{what}: not the same bits; largest difference {error:.3g}")


def assert_changed(after: Tensor, before: Tensor, what: str) -> None:
    """The opposite of ``assert_consistent``: something that matters was changed, and the candidate's answer shows it."""
    current_evidence().compared()
    flaw = _flaw(before)
    if flaw:
        raise RequirementFailed(f"{what}: the candidate's own answers are {flaw}, whatever the images and weights")
    bound = SEMANTICS_RELATIVE * before.abs().max().item()
    if not (after - before).abs().max().item() > bound:
        raise RequirementFailed(f"{what}: the result does not change (by less than {bound:.3g})")


def accept(_why: str) -> None:
    """An outcome that a requirement allows was seen; nothing is left to compare."""
    current_evidence().compared()


def assert_holds(condition: bool, failure: str) -> None:
    """Tier E: a plain fact; ``failure`` says what was found, what was expected and where."""
    current_evidence().compared()
    if not condition:
        raise RequirementFailed(failure)


def _flaw(expected: Tensor, *, varied: bool = True) -> str:
    """Why a comparison with this could not fail: zeros, a constant or NaN would meet it. Empty where it could."""
    if expected.numel() == 0 or not torch.isfinite(expected).all():
        return "empty or not finite"
    bound = SEMANTICS_RELATIVE * expected.abs().max().item()
    if not bound > 0:
        return "zero"
    constant = expected.numel() > 1 and (expected - expected.mean()).abs().max().item() <= bound
    return "constant" if varied and constant else ""


def _on_float32_grid(x: Tensor) -> bool:
    return x.dtype == torch.float64 and torch.equal(x, x.float().double())


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def margin_text(margin: float | None) -> str:
    """A margin for people: how much of the allowed error was used."""
    if margin is None:
        return "exact"
    return "not finite" if not math.isfinite(margin) else f"{margin:.2g} times the allowed error"
