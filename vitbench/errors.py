"""What can go wrong, one class per cause, each with the exit code that the command line gives it.

Exit codes keep pytest's meaning: 1 failed, 2 interrupted or a usage error of the command line, 3 the harness
itself, 4 the adapter is missing or broken; beyond them, 69 for a cluster that is gone, 74 for a disk that is full or gone.
"""

import errno
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import ClassVar


class VitbenchError(Exception):
    """A cause that a user can act on; printed as one line, never as a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(VitbenchError):
    """An option has a value that cannot be used."""

    exit_code = 2


class DeviceUnavailable(UsageError):
    """The device asked for is not on this machine."""


class OutputUnwritable(UsageError):
    """A result or report cannot be written where it was asked for."""


class OutputCut(OutputUnwritable):
    """Writing had begun and cannot go on, as on a full disk; what was written before stays."""

    exit_code = 74  # EX_IOERR of sysexits.h


class ClusterUnusable(UsageError):
    """The cluster that was asked for does not answer, or its nodes cannot run this plan."""


class ClusterLost(VitbenchError):
    """The cluster, or the last node of it that was in use, went away in mid-run; what was recorded before stays."""

    exit_code = 69  # EX_UNAVAILABLE of sysexits.h


class ResultsUnreadable(UsageError):
    """A results file is missing, of another format or cut in mid-line."""


class KnownFailuresUnusable(UsageError):
    """The file of known failures is missing, or holds what cannot be meant."""


class AdapterNotFound(VitbenchError):
    """``--impl`` names nothing that can be loaded."""

    exit_code = 4


class AdapterBroken(VitbenchError):
    """The adapter was found, but cannot build, load or run a model; no requirement can be judged."""

    exit_code = 4


class NotInferred(AdapterBroken):
    """``--impl`` names a class or factory for which no adapter could be inferred; the text says what is missing."""


class NotSupported(VitbenchError):
    """An adapter says that its package cannot do what was asked; the requirement is NOT OFFERED, never a pass.

    Raise it with the reason as a reader of the report should see it:
    ``raise NotSupported("square images only")``.
    """


class RequirementFailed(VitbenchError):
    """The candidate was run and does not meet the requirement."""


class HarnessError(VitbenchError):
    """vitbench itself is at fault: a check that could not have failed, or a broken declaration."""

    exit_code = 3


def is_lack_of_memory(error: BaseException) -> bool:
    """MemoryError, torch.OutOfMemoryError, the system's ENOMEM, or an error of torch that only its text tells apart."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


_NO_MEMORY = (
    "can't allocate memory",  # torch's CPU allocator
    "CUDA error: out of memory",  # the CUDA runtime, beside torch's caching allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def one_line(error: BaseException) -> str:
    """An error's text on one line, cut at a length that a terminal bears, with the innermost place outside of torch."""
    text = " ".join(str(error).split())
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + " …"
    places = [(Path(frame.tb_frame.f_code.co_filename), frame.tb_lineno) for frame in _frames(error.__traceback__)]
    told = [place for place in places if "torch" not in place[0].parts] or places
    return f"{text} ({told[-1][0].name}:{told[-1][1]})" if told else text


def raised_within(error: BaseException, owner: type) -> bool:
    """Whether the innermost place of an error is in a method of a class, or of one that it inherits from.

    A module's own ``__getattr__``, which says that there is no such attribute, is no place of its own.
    """
    codes = [frame.tb_frame.f_code for frame in _frames(error.__traceback__)]
    codes = [code for code in codes if code.co_name != "__getattr__"]
    return bool(codes) and any(
        codes[-1].co_qualname.startswith(f"{kind.__qualname__}.")
        and codes[-1].co_filename == getattr(sys.modules.get(kind.__module__), "__file__", None)
        for kind in owner.__mro__
    )


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


_LONGEST_TEXT = 400
