"""An attention kernel under test: a function of query, key and value, called so that it cannot disturb the judgement."""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vitbench.arrays import as_tensor, short
from vitbench.assertions import NUMERICS_FACTOR, NUMERICS_GRADIENT_FACTOR, assert_numerics, assert_semantics
from vitbench.candidate import CandidateRaised, ForeignCode
from vitbench.errors import AdapterBroken, NotSupported, RequirementFailed
from vitbench.evidence import current_evidence
from vitbench.kernel_cases import Inputs, KernelCase
from vitbench.kernel_truth import NAMES, Truth
from vitbench.trial import bends

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""From the most precise one."""

_PLAIN = KernelCase(batch=2, heads=2, tokens=64, head_dim=64, seed=0)


class Kernel(ForeignCode):
    """A function (query, key, value) -> output on (B, h, T, D_h), with a device, as checks see it.

    As for models, whatever it raises becomes a failure that names the place, and it gets copies of the harness's
    tensors. A dtype, or gradients, that it refuses on the plainest input are out of its reach, not its failure.
    """

    def __init__(self, function: Callable[..., Any], name: str, device: str = "cpu") -> None:
        super().__init__(device)
        self.name = name
        self.version = version_of(function)
        self._function = function
        self._called = str(getattr(function, "__name__", "kernel"))
        self._refusals: dict[tuple[torch.dtype, bool], str] = {}

    def output(self, inputs: Inputs) -> Tensor:
        """What the kernel returns, on the CPU. Three times (B, h, T, D_h) -> (B, h, T, D_h).

        Raises:
            NotSupported: it says so.
            RequirementFailed: it raised anything else, or returned no tensor of this shape.
        """
        passed = self._copies(inputs)
        return self._taken(self.watched(self._called, lambda: self._function(*passed), passed), inputs)

    def gradients(self, inputs: Inputs, upstream: Tensor) -> Inputs:
        """Gradients of sum(output * upstream), on the CPU. Shapes: (B, h, T, D_h) each.

        Raises:
            NotSupported: it says so, or its output takes no part in autograd.
            RequirementFailed: it raised anything else, or gives no gradient to some of its inputs.
        """
        leaves = self._copies(inputs)

        def backward() -> tuple[Any, tuple[Tensor | None, ...]]:
            for leaf in leaves:
                leaf.requires_grad_()
            output = self._function(*leaves)
            if not isinstance(output, Tensor) or output.shape != upstream.shape:
                return output, ()
            if not output.requires_grad:
                raise NotSupported("no gradients: the output takes no part in autograd")
            return output, torch.autograd.grad(output, leaves, self._copy(upstream).to(output.dtype), allow_unused=True)

        output, found = self.watched(self._called, backward, leaves, grad=True)
        self._taken(output, inputs)
        if not found:
            raise NotSupported(f"no gradients: the output is a {type(output).__name__}, which torch does not follow")
        missing = [name for name, gradient in zip(NAMES, found, strict=True) if gradient is None]
        if missing:
            raise RequirementFailed(f"{self._called}(): no gradient of the {' and the '.join(missing)}")
        query, key, value = (as_tensor(gradient, "a gradient") for gradient in found)
        return query, key, value

    def trial(self, case: KernelCase, dtype: torch.dtype | None = None, inputs: Inputs | None = None) -> "KernelTrial":
        """The case's inputs with the reference's answers, in the most precise dtype that the kernel offers.

        Raises:
            NotSupported: a dtype was asked for, and the kernel refuses it.
        """
        dtype = dtype or self.dtype
        current_evidence().ran(f"{short(dtype)}, {case}")
        reason = self.refusal(dtype)
        if reason:
            current_evidence().note(f"does without {short(dtype)}: {reason}")
            raise NotSupported(f"{short(dtype)}: {reason}")
        return KernelTrial(self, case, inputs or case.inputs(dtype))

    @cached_property
    def dtype(self) -> torch.dtype:
        """The most precise dtype that it computes in: float64, unless that is refused or rounded to float32 inside.

        Raises:
            NotSupported: it refuses every dtype.
        """
        for dtype in DTYPES:
            if not self.refusal(dtype) and not (dtype == torch.float64 and self._float32_inside()):
                return dtype
        raise NotSupported(self.refusal(torch.float32))

    def refusal(self, dtype: torch.dtype, *, grad: bool = False) -> str:
        """Why the plainest input of a dtype (or its gradients) is refused; empty where it is not. Asked once."""
        if (dtype, grad) not in self._refusals:
            self._refusals[dtype, grad] = self._probed(_PLAIN.inputs(dtype), grad=grad)
        return self._refusals[dtype, grad]

    def _probed(self, inputs: Inputs, *, grad: bool) -> str:
        try:
            if grad:
                self.gradients(inputs, inputs[0])
            else:
                self.output(inputs)
        except (NotSupported, CandidateRaised) as refused:
            return str(refused)
        except RequirementFailed:
            pass  # it answers, and wrongly: not a refusal
        return ""

    def _float32_inside(self) -> bool:
        """Whether float64 is rounded to float32 on the way, as kernels do that compute in float32 whatever they get."""
        query, key, value = _PLAIN.inputs(torch.float64)
        try:
            return bends(lambda step: self.output((query * (1 + step), key, value)))
        except (NotSupported, RequirementFailed):
            return False

    def _copies(self, inputs: Inputs) -> list[Tensor]:
        return [self._copy(x) for x in inputs]

    def _copy(self, x: Tensor) -> Tensor:
        """On the device, in memory of its own, with the same strides and what lies between."""
        memory = x.detach().as_strided((x.untyped_storage().nbytes() // x.element_size(),), (1,), 0)
        return memory.to(self.device, copy=True).as_strided(x.shape, x.stride(), x.storage_offset())

    def _taken(self, answer: Any, inputs: Inputs) -> Tensor:
        tensor = as_tensor(answer, f"{self._called}()")
        shape = tuple(inputs[0].shape)
        if tuple(tensor.shape) != shape:
            raise RequirementFailed(
                f"{self._called}() returned shape {tuple(tensor.shape)}, expected (B, h, T, D_h) = {shape}"
            )
        return tensor


class KernelTrial:
    """Inputs of a kernel, and the reference's answers for the same numbers."""

    def __init__(self, kernel: Kernel, case: KernelCase, inputs: Inputs) -> None:
        self.kernel, self.case, self.inputs = kernel, case, inputs
        self.dtype = inputs[0].dtype

    def output(self, *, may_refuse: bool = False) -> Tensor:
        """(B, h, T, D_h). A kernel that ``may_refuse`` these inputs does so by raising whatever it likes.

        Raises:
            NotSupported: it does.
        """
        try:
            return self.kernel.output(self.inputs)
        except CandidateRaised as refused:
            if not may_refuse:
                raise
            current_evidence().note(f"does without {self.case}: {refused}")
            raise NotSupported(str(refused)) from refused

    def assert_output(self, actual: Tensor, what: str, *, factor: float = NUMERICS_FACTOR) -> None:
        """Tier S in float64; tier N in any other dtype."""
        if self.dtype == torch.float64:
            assert_semantics(actual, self._exact, what)
        else:
            assert_numerics(actual, self._exact, self._truth.outputs_in_dtype, what, factor=factor)

    def assert_same(self, actual: Tensor, other: Tensor, what: str) -> None:
        """Two of the kernel's answers that should agree do so, up to the rounding of both."""
        difference = actual.double() - other.double()
        self.assert_output(self._exact + difference, what, factor=2 * NUMERICS_FACTOR)

    def assert_gradients(self, upstream: Tensor) -> None:
        """Tier S in float64, tier N in any other dtype, for each of the three gradients."""
        reason = self.kernel.refusal(self.dtype, grad=True)
        if reason:
            raise NotSupported(reason)
        found = self.kernel.gradients(self.inputs, upstream)
        truth = Truth(self.inputs, upstream)
        for i, name in enumerate(NAMES):
            what = f"gradient of the {name} in {short(self.dtype)}"
            if self.dtype == torch.float64:
                assert_semantics(found[i], truth.gradients[i], what)
            else:
                in_dtype = [gradients[i] for gradients in truth.gradients_in_dtype]
                assert_numerics(found[i], truth.gradients[i], in_dtype, what, factor=NUMERICS_GRADIENT_FACTOR)

    @property
    def _exact(self) -> Tensor:
        """The reference in float64, on the numbers that the kernel gets."""
        return self._truth.output

    @cached_property
    def _truth(self) -> Truth:
        return Truth(self.inputs)


def smoke_kernel(kernel: Kernel) -> None:
    """One plain call: a kernel that answers in no dtype is not judged.

    Raises:
        AdapterBroken: it raises in every dtype, or returns something else than a tensor of the query's shape.
    """
    if all(kernel.refusal(dtype) for dtype in DTYPES):
        refused = kernel.refusal(torch.float32)
        raise AdapterBroken(f"kernel {kernel.name!r}: {refused} (smoke stage: float32, {_PLAIN}, and in other dtypes)")
    try:
        kernel.output(_PLAIN.inputs(kernel.dtype))
    except RequirementFailed as error:
        where = f"(smoke stage: {short(kernel.dtype)}, {_PLAIN})"
        raise AdapterBroken(f"kernel {kernel.name!r}: {error} {where}") from error


def version_of(function: Any) -> str:
    """Of the package that the function comes from, where that says so."""
    package = str(getattr(function, "__module__", "") or "").partition(".")[0]
    return str(getattr(sys.modules.get(package), "__version__", "unknown"))
