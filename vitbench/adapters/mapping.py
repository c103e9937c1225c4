"""What the built-in adapters share: canonical parameters as views of a torch module's own.

An adapter says where in the module each canonical parameter lies, as a view in canonical shape. Loading copies into
these views and exporting clones them, so that the two are inverse by construction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.adapter import Adapter, NotSupported, collect_inputs, collect_outputs


class MappedAdapter(Adapter):
    """An adapter of torch modules that hold the canonical parameters under names and in layouts of their own."""

    def views(self, model: Any) -> dict[str, Tensor]:
        """Each canonical parameter as a detached view of the model's storage."""
        raise NotImplementedError

    def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
        copy_into(self.views(model), state)

    def export(self, model: Any) -> dict[str, Tensor]:
        return {name: view.clone(memory_format=torch.contiguous_format) for name, view in self.views(model).items()}

    def inputs_of(self, modules: Sequence[nn.Module], model: Any, images: Tensor) -> list[Tensor]:
        """What each of ``modules`` receives while the model runs."""
        return collect_inputs(modules, lambda: self.logits(model, images))

    def outputs_of(self, modules: Sequence[nn.Module], model: Any, images: Tensor, item: int = 0) -> list[Tensor]:
        """What each of ``modules`` returns while the model runs; ``item`` of a tuple."""
        return collect_outputs(modules, lambda: self.logits(model, images), item)


def require(offered: bool, reason: str) -> None:
    """State one limit of a package. Raises NotSupported with the reason unless it is ``offered``."""
    if not offered:
        raise NotSupported(reason)


def side(pair: tuple[int, int]) -> int | tuple[int, int]:
    """A size as packages usually take it: one number for a square."""
    return pair[0] if pair[0] == pair[1] else pair


def module_views(modules: Mapping[str, nn.Module], prefix: str = "") -> dict[str, Tensor]:
    """The weight and the bias of each module, under the module's canonical name."""
    return {
        f"{prefix}{name}.{leaf}": parameter.detach()
        for name, module in modules.items()
        for leaf, parameter in module.named_parameters(recurse=False)
    }


def qkv_views(prefix: str, **packed: Tensor | None) -> dict[str, Tensor]:
    """Query, key and value out of one projection of all three, given as ``weight=`` and ``bias=``.

    Packed query first, each with its heads in order: (3D, D) and (3D), the layout of every built-in package.
    """
    return {
        f"{prefix}{name}.{leaf}": part
        for leaf, tensor in packed.items()
        if tensor is not None
        for name, part in zip(("query", "key", "value"), tensor.detach().chunk(3), strict=True)
    }


def copy_into(views: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy canonical parameters into a model's storage: all of them, or none.

    Raises:
        ValueError: a name that only one side has, or a shape that differs; ``copy_`` alone would broadcast it.
    """
    for names, complaint in ((views.keys() - state.keys(), "lacks"), (state.keys() - views.keys(), "also has")):
        if names:
            raise ValueError(f"the canonical state {complaint} {', '.join(sorted(names))}; the model's must match it")
    for name, view in views.items():
        if state[name].shape != view.shape:
            raise ValueError(
                f"{name} has shape {tuple(state[name].shape)} in the canonical state, {tuple(view.shape)} in the model"
            )
    with torch.no_grad():
        for name, view in views.items():
            view.copy_(state[name])
