"""A training step in a group of workers, by DDP or by FSDP2, and the same step with its communication left out."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from vitbench.scaling import DDP
from vitbench.tracing import Logits
from vitbench.workload import Workload

_functions: Any = dist  # by the names that torch has now, or had before
_all_gather = getattr(_functions, "all_gather_single", None) or _functions.all_gather_into_tensor
_reduce_scatter = getattr(_functions, "reduce_scatter_single", None) or _functions.reduce_scatter_tensor


@dataclass(frozen=True)
class Grouped:
    """A model as a member of a group has it: what there is to train, images to logits, and how to leave communication out."""

    module: nn.Module
    logits: Callable[[Tensor], Any]
    silent: Callable[[], AbstractContextManager[None]]
    note: str = ""  # what a reader must know of how the model was divided


def can_be_silent(strategy: str) -> bool:
    """Whether this torch lets anyone leave the communication of FSDP2 out."""
    return strategy == DDP or hasattr(FSDPModule, "set_custom_all_gather")


def grouped(strategy: str, work: Workload, depth: int, group: Any, device: torch.device, *, unused: bool) -> Grouped:
    """The model within a group. ``unused``: some parameters get no gradient, for which DDP has to look in each step."""
    root = Logits(work.adapter, work.model)
    if strategy == DDP:
        where = [device.index] if device.type == "cuda" else None
        together = DistributedDataParallel(root, device_ids=where, process_group=group, find_unused_parameters=unused)
        return Grouped(root, together, together.no_sync)
    mesh = DeviceMesh.from_group(group, device.type)
    units = units_of(work.model, depth, work.forward)
    for unit in units:
        fully_shard(unit, mesh=mesh)
    fully_shard(root, mesh=mesh)
    silent = Switch(root).silent if can_be_silent(strategy) else nullcontext
    return Grouped(root, root, silent, _divided(len(units)))


def _divided(units: int) -> str:
    if not units:
        return "FSDP2 gathers the whole model at once: it has no blocks that are called as modules"
    return f"FSDP2 gathers {units} modules one after the other, and the rest at once"


def units_of(model: nn.Module, depth: int, run: Callable[[], object]) -> list[nn.Module]:
    """The encoder's blocks, which FSDP2 gathers one after the other; none where the model has no list of so many.

    It does so when a module's forward pass is called. A block that ``run`` does not call is only a place for its parts, and
    these are looked at instead.
    """
    called = set[nn.Module]()
    hooks = [one.register_forward_pre_hook(lambda module, _: called.add(module)) for one in model.modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    lists = [list(one.children()) for one in model.modules() if len(list(one.children())) == depth]
    alike = [blocks for blocks in lists if len({type(block) for block in blocks}) == 1]
    largest = max(alike, key=lambda blocks: sum(map(_weights, blocks)), default=[])
    return [unit for block in largest for unit in _called(block, called) if _weights(unit)]


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _called(module: nn.Module, called: set[nn.Module]) -> Iterator[nn.Module]:
    if module in called:
        yield module
    else:
        for child in module.children():
            yield from _called(child, called)


class Switch:
    """Takes FSDP2's collectives over, to leave them out for a while.

    In silence each worker fills the place of the others' shards with its own, and of the gradients keeps its own part: as many
    bytes are written, the numbers are of the same size (zeros would compute faster), and nothing is sent.
    """

    def __init__(self, root: nn.Module) -> None:
        self.is_silent = False
        for module in root.modules():
            if isinstance(module, FSDPModule):
                shards: Any = module  # the classes that its methods ask for are torch's own business
                shards.set_custom_all_gather(_AllGather(self))
                shards.set_custom_reduce_scatter(_ReduceScatter(self))

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Without communication."""
        self.is_silent = True
        try:
            yield
        finally:
            self.is_silent = False


class _Collective:
    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class _AllGather(_Collective):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        if not self._switch.is_silent:
            return _all_gather(output_tensor, input_tensor, group=group, async_op=async_op)
        parts = output_tensor.view(group.size(), -1)
        for rank, part in enumerate(parts):
            if rank != group.rank():  # its own lies there already
                part.copy_(input_tensor.view(-1))
        return None


class _ReduceScatter(_Collective):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        if not self._switch.is_silent:
            return _reduce_scatter(output_tensor, input_tensor, op=op, group=group, async_op=async_op)
        output_tensor.copy_(input_tensor.view(group.size(), -1)[group.rank()].view_as(output_tensor))
        return None
