"""The timed callables of the attention suite, and the conditions under which they are timed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vitbench.errors import NotSupported, is_lack_of_memory, one_line
from vitbench.kernel_cases import Inputs
from vitbench.layout import MemoryLayout
from vitbench.plan import Cell
from vitbench.suites.attention.suite import COLD, REPLAY
from vitbench.timer import Clock, CpuClock, CudaClock, Effort, ReplayClock, Timing, sample

_REPLAYED = 20  # launches in a graph


class Calls:
    """One launch is one forward pass, or one with its gradients; what it works on can be moved in between."""

    def __init__(self, function: Callable[..., Any], inputs: Inputs, upstream: Tensor | None, device: str) -> None:
        self.tensors = [x.to(device) for x in (*inputs, *([] if upstream is None else [upstream]))]
        self._function = function
        self._backward = upstream is not None
        self.moved()

    def moved(self) -> None:
        """Take notice of other tensors in ``tensors``."""
        self._leaves = [x.detach().requires_grad_(self._backward) for x in self.tensors[:3]]

    def launch(self) -> object:
        """The work."""
        if not self._backward:
            with torch.no_grad():
                return self._function(*self._leaves)
        return torch.autograd.grad(self._function(*self._leaves), self._leaves, self.tensors[3])


def sampled(calls: Calls, cell: Cell, effort: Effort, look: Callable[[], None] | None = None) -> Timing:
    """Time the calls as the cell's mode has it; ``look`` between rounds."""
    launch, clock = conditions(calls, cell)
    renew = None
    if cell.device == "cpu":
        layout = MemoryLayout(None, calls.tensors, cell.seed)

        def renew() -> None:
            layout.draw()
            calls.moved()

    return sample(launch, clock, effort, renew, look)


def conditions(calls: Calls, cell: Cell, cuda: Any = None) -> tuple[Callable[[], object], Clock]:
    """What is launched, and the clock that times it."""
    if cell.mode == COLD:
        cache_bytes = (cuda or torch.cuda).get_device_properties(cell.device).L2_cache_size
        wiped = torch.empty(2 * cache_bytes, dtype=torch.uint8, device="cpu" if cuda else cell.device)
        return calls.launch, CudaClock(cell.device, cuda, before=wiped.zero_)
    if cell.mode == REPLAY:
        graph = captured(calls.launch, cuda or torch.cuda)
        return graph.replay, ReplayClock(cell.device, _REPLAYED, cuda)
    return calls.launch, CpuClock()


def captured(launch: Callable[[], object], cuda: Any) -> Any:
    """A CUDA graph of several launches.

    Raises:
        NotSupported: the kernel cannot be captured, as one that waits for the device.
    """
    beside = cuda.Stream()
    beside.wait_stream(cuda.current_stream())
    with cuda.stream(beside):  # as torch asks for: what is made at a first call is not for the graph
        for _ in range(3):
            launch()
    cuda.current_stream().wait_stream(beside)
    graph = cuda.CUDAGraph()
    try:
        with cuda.graph(graph):
            for _ in range(_REPLAYED):
                launch()
    except RuntimeError as error:
        if is_lack_of_memory(error):
            raise
        raise NotSupported(f"cannot be captured in a CUDA graph: {one_line(error)}") from error
    return graph
