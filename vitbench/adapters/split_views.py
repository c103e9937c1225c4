"""For models that keep a canonical parameter in pieces or in another order: views of more axes than the parameter has."""

import re
from collections.abc import Mapping
from math import inf, isqrt, nextafter
from typing import Any

from torch import Tensor

from vitbench.adapters.mapping import MappedAdapter, copy_into


class SplitViewsAdapter(MappedAdapter):
    """An adapter whose ``views`` may split an axis into several, in canonical order.

    A projection that is packed head by head, say, shows its queries as (h, D_h, D), for which there is no view (D, D).
    """

    absent: tuple[str, ...] = ()
    """Canonical parameters that the model does not have, those of its blocks without ``blocks.{i}.``: they stay unused."""

    def load(self, model: Any, state: Mapping[str, Tensor]) -> None:
        views = self.views(model)
        state = {name: tensor for name, tensor in state.items() if _BLOCK.sub("", name) not in self.absent}
        fitting = {
            name: tensor.reshape(views[name].shape)
            if name in views and tensor.shape == canonical_shape(name, views[name])
            else tensor
            for name, tensor in state.items()
        }
        copy_into(views, fitting)

    def export(self, model: Any) -> dict[str, Tensor]:
        return {name: view.reshape(canonical_shape(name, view)).clone() for name, view in self.views(model).items()}


_BLOCK = re.compile(r"^blocks\.\d+\.")


def canonical_shape(name: str, view: Tensor) -> tuple[int, ...]:
    """The shape that a canonical parameter has, out of that of a view whose axes are split."""
    if name.endswith((".bias", "norm.weight", "norm1.weight", "norm2.weight")):
        return (view.numel(),)
    if ".attention." in name:
        return (isqrt(view.numel()),) * 2
    return tuple(view.shape)


def packed_views(
    prefix: str, layout: str, heads: int, *, order: str = "qkv", **packed: Tensor | None
) -> dict[str, Tensor]:
    """Query, key and value out of one projection of all three, given as ``weight=`` and ``bias=``.

    ``layout`` names the axes of its rows from the slowest to the fastest: ``k`` of the three, ``h`` of the heads and ``d``
    of a head's features. ``khd`` has all queries first; ``hkd`` one head after the other; ``hdk`` a feature's query, key and
    value beside each other. ``order`` is that of the three.
    """
    names = {"q": "query", "k": "key", "v": "value"}
    return {
        f"{prefix}{name}.{leaf}": _rows(tensor.detach(), layout, heads).select(0, place)
        for leaf, tensor in packed.items()
        if tensor is not None
        for place, name in enumerate(names[one] for one in order)
    }


def _rows(tensor: Tensor, layout: str, heads: int) -> Tensor:
    """(3D, …) -> (3, h, D_h, …)."""
    sizes = {"k": 3, "h": heads, "d": tensor.shape[0] // (3 * heads)}
    split = tensor.unflatten(0, [sizes[axis] for axis in layout])
    return split.permute(*(layout.index(axis) for axis in "khd"), *range(3, split.ndim))


def patch_view(weight: Tensor, layout: str, sizes: tuple[int, int, int]) -> Tensor:
    """The patch projection's weight, or a norm's over a patch, as (…, C, P_h, P_w): a view.

    ``layout`` names the axes in which a patch is flattened: ``c`` channels, ``h`` rows, ``w`` columns.
    ``sizes`` is (C, P_h, P_w).
    """
    of = dict(zip("chw", sizes, strict=True))
    split = weight.detach().unflatten(-1, [of[axis] for axis in layout])
    first = split.ndim - 3
    return split.permute(*range(first), *(first + layout.index(axis) for axis in "chw"))


def ratio(mlp_dim: int, width: int) -> float:
    """A float that gives ``mlp_dim`` as ``int(width * ratio)``, which plain division misses by one for some sizes."""
    found = mlp_dim / width
    return found if int(width * found) == mlp_dim else nextafter(found, inf)
