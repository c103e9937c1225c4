"""Runs foreign code so that whatever it does to torch's global state is seen and undone."""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch.backends import cuda, cudnn


def _set_default_device(device: torch.device) -> None:
    """``None`` for the CPU: set by name, it would cost every later call of torch a look."""
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _autocast() -> tuple[bool, torch.dtype, bool, torch.dtype]:
    return tuple(  # type: ignore[return-value]
        read(kind) for kind in ("cpu", "cuda") for read in (torch.is_autocast_enabled, torch.get_autocast_dtype)
    )


def _set_autocast(state: tuple[bool, torch.dtype, bool, torch.dtype]) -> None:
    for kind, enabled, dtype in (("cpu", *state[:2]), ("cuda", *state[2:])):
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _float32_precision() -> tuple[str | None, ...]:
    """By torch's older name for it, which it gives no longer once the newer ones are used, and by those."""
    older = None
    with suppress(RuntimeError):
        older = torch.get_float32_matmul_precision()
    return (older, *(owner.fp32_precision for owner in _PRECISION_OWNERS))


def _set_float32_precision(state: tuple[str | None, ...]) -> None:
    older, *newer = state
    if older is not None:
        torch.set_float32_matmul_precision(older)  # which sets some of the newer ones
    for owner, precision in zip(_PRECISION_OWNERS, newer, strict=True):
        owner.fp32_precision = precision


_backends: Any = torch.backends  # whose types do not know all that it has
_PRECISION_OWNERS = (_backends, _backends.cuda.matmul, _backends.mkldnn.matmul, _backends.cudnn.conv)


def _flushes_denormals() -> bool:
    """torch tells nobody; arithmetic does, and Python's own is done by the same unit."""
    return _SMALLEST_NORMAL * 0.5 == 0.0


_SMALLEST_NORMAL = sys.float_info.min

_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (torch.get_default_device, _set_default_device),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic mode": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "autocast": (_autocast, _set_autocast),
    "float32 precision": (_float32_precision, _set_float32_precision),
    "cuDNN's benchmark mode": (lambda: cudnn.benchmark, partial(setattr, cudnn, "benchmark")),
    "cuDNN's deterministic mode": (lambda: cudnn.deterministic, partial(setattr, cudnn, "deterministic")),
    "whether flash attention may be used": (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    "whether memory-efficient attention may be used": (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
    "whether plain attention may be used": (cuda.math_sdp_enabled, cuda.enable_math_sdp),
    "whether cuDNN's attention may be used": (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
    "the flushing of denormal numbers": (_flushes_denormals, torch.set_flush_denormal),
}


def settings() -> dict[str, Any]:
    """torch's global settings as they are now, by name."""
    return {name: read() for name, (read, _) in _SETTINGS.items()}


def differing(before: Mapping[str, Any]) -> list[str]:
    """The names of settings that are no longer as they were."""
    now = settings()
    return [name for name, value in before.items() if now[name] != value]


class Isolation:
    """A context in which torch's settings may be changed; afterwards they are as before, and ``changes`` tells.

    The candidate runs without gradients unless ``grad``, as inference does.
    """

    def __init__(self, *, grad: bool = False) -> None:
        self.changes: list[str] = []
        self._grad = grad

    def __enter__(self) -> Self:
        self._outer_grad = torch.is_grad_enabled()
        torch.set_grad_enabled(self._grad)
        self._before = settings()
        self._random_state = torch.get_rng_state()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, (read, restore) in _SETTINGS.items():
            if read() != self._before[name]:
                self.changes.append(name)
                restore(self._before[name])
        if not torch.equal(torch.get_rng_state(), self._random_state):
            self.changes.append("the global random state")  # and left so: a stray dropout shall not repeat itself
        torch.set_grad_enabled(self._outer_grad)


@contextmanager
def repeated_random_numbers(seed: int) -> Iterator[None]:
    """Within this context torch, numpy and Python draw the numbers that follow a seed; the latter two go on as before."""
    host, host_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the global one is what models draw from
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(host)
        np.random.set_state(host_numpy)  # noqa: NPY002


class HostRandomStates:
    """A context that sees whether Python's or numpy's generator was used or seeded.

    To look at them costs more than a forward pass, so not every call does.
    """

    def __init__(self) -> None:
        self.changes: list[str] = []

    def __enter__(self) -> Self:
        random.random(), np.random.random()  # noqa: NPY002, S311  # away from the beginning that a seed would give
        self._before = self._states()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = self._states()
        self.changes = [name for name, state in self._before.items() if state != after[name]]

    @staticmethod
    def _states() -> dict[str, Any]:
        state: Any = np.random.get_state(legacy=False)  # noqa: NPY002  # the global one is what a candidate may change
        words = state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"]
        return {"Python's random state": random.getstate(), "numpy's random state": words}
