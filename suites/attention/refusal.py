"""What a kernel refuses, told from what it breaks down on."""

import re
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

from vitbench.attention_kernels import AttentionKernel
from vitbench.candidate import CandidateRaised
from vitbench.errors import NotSupported
from vitbench.kernel import DTYPES, Kernel

_WARNINGS_KEPT = 5
_SLIPS = (NameError, AttributeError, ImportError, LookupError, ArithmeticError)
"""Nobody raises these to say that there is no kernel for an input."""
_CHECKS = (AssertionError, ValueError)
"""What a check of the inputs raises, often without a word."""
_SAID = re.compile(
    r"(\bnot|n't|\bonly|\bun)[ -]?(yet |be |currently )*(support|implement)|no (available|viable) (kernel|backend)",
    re.IGNORECASE,
)
"""A refusal in words of torch and of attention packages; Python's own TypeErrors have them too."""
_NAMED = re.compile(
    r"\b(dtype|data type|scalar type)s?\b|\b(b?float|bf|fp)(8|16|32|64)|\bhead.?(dim|size)|\bcpu\b|\bcuda (tensor|device)",
    re.IGNORECASE,
)
"""What a kernel may be without: a dtype, a width of the head, a device."""
_BUG = re.compile(r"same d(type|evice)|CUDA error|unexpected keyword|positional argument", re.IGNORECASE)
"""Words that go with such names all the same: operands that do not fit each other, a call that does not."""

Answer = TypeVar("Answer")


def asked(
    kernel: AttentionKernel, candidate: Kernel, dtype: torch.dtype, ask: Callable[[], Answer], *, grad: bool = False
) -> Answer:
    """The kernel's answer.

    Raises:
        NotSupported: it refuses. What torch and packages raise is a refusal; of a user's kernel, what is one by its
            words or kind, and is raised on the plainest input too.
        CandidateRaised: it broke down.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # torch warns of each reason why a backend cannot be used
        try:
            return ask()
        except CandidateRaised as error:
            if not kernel.may_refuse and not _refused(error.__cause__, candidate, dtype, grad=grad):
                raise
            reasons = dict.fromkeys(" ".join(str(warning.message).split()) for warning in said)
            raise NotSupported("; ".join([str(error), *list(reasons)[:_WARNINGS_KEPT]])) from error


def _refused(raised: BaseException | None, candidate: Kernel, dtype: torch.dtype, *, grad: bool) -> bool:
    """Whether a user's kernel has none for this dtype or for gradients, rather than a bug.

    A check without a word is believed where another dtype is answered: a bug seldom asks for the dtype.
    """
    if isinstance(raised, _SLIPS) or not candidate.refusal(dtype, grad=grad):
        return False
    if _in_words(raised):
        return True
    others = (other for other in DTYPES if other != dtype)
    return isinstance(raised, _CHECKS) and any(not candidate.refusal(other, grad=grad) for other in others)


def _in_words(raised: BaseException | None) -> bool:
    text = str(raised)
    if isinstance(raised, NotImplementedError):
        return True
    said = _SAID.search(text) and not isinstance(raised, TypeError)
    return not _BUG.search(text) and bool(said or _NAMED.search(text))
