"""The roofline: how near a figure comes to the rate that arithmetic or memory allows, whichever is the lower.

Source: Williams, Waterman and Patterson, Roofline: an insightful visual performance model for multicore architectures,
CACM 52(4), 2009. The bytes are the least that must move, so the intensity is the most there can be: a cell that is
called bound by compute may in truth wait for memory that a better program would not touch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from vitbench import units
from vitbench.limits.peaks import Peak

Roof = Literal["compute", "memory"]


class Work(Protocol):
    """What ``vitbench.reference.cost`` counts; named here, so that whoever reads results needs no torch."""

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products."""
        ...

    @property
    def least_bytes(self) -> int:
        """Bytes that must move at least."""
        ...

    @property
    def intensity(self) -> float:
        """FLOPs a byte, at most."""
        ...


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """What a cell's median reached, and what its device's maker states. Units: FLOPs, bytes, FLOP/s, bytes/s."""

    arithmetic: str  # of the matrix products: a dtype, or tf32
    flops: int  # of one sample, closed form: 2 × multiply-accumulates of the matrix products
    least_bytes: int  # of one sample: what must move at least
    flops_per_s: float
    least_bytes_per_s: float
    intensity: float  # FLOPs a byte, at most
    peak_flops_per_s: float | None = None  # dense, of the datasheet; null of a device that is not in the table
    peak_bytes_per_s: float | None = None
    peak_source: str = ""
    share_of_peak: float | None = None  # flops_per_s / peak_flops_per_s: model FLOPs utilisation
    bound: str = ""  # compute or memory, by the datasheet's roofs; empty where they are not known


@dataclass(frozen=True, kw_only=True)
class Product:
    """The rate of a large matrix product."""

    arithmetic: str
    flops_per_s: float | None  # of the median; null where it could not be had
    size: int = 0  # n of the n x n x n product
    reason: str = ""  # why it could not be had
    samples_s: Sequence[float] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The rate of a large copy: bytes read and bytes written, a second."""

    bytes_per_s: float
    buffer_bytes: int
    cache_bytes: int | None = None  # the last level; where it holds both buffers, the rate is the cache's
    samples_s: Sequence[float] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What a device was measured to do, by the same clock and in the same run as the cells set against it."""

    products: Sequence[Product]
    copy: Copy | None

    def flops_per_s(self, arithmetic: str) -> float | None:
        """The product's rate in this dtype; None where it was not measured."""
        return next((p.flops_per_s for p in self.products if p.arithmetic == arithmetic), None)

    @property
    def bytes_per_s(self) -> float | None:
        """The copy's rate."""
        return None if self.copy is None else self.copy.bytes_per_s


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A cell against the lower one of two roofs."""

    share: float  # of the roof's rate
    bound: Roof
    measured: bool  # against ceilings measured in the same run; else against the datasheet

    @property
    def ceiling(self) -> str:
        """What the share is of, in words."""
        kinds: dict[Roof, str] = {"compute": "matrix product", "memory": "copy"}
        stated: dict[Roof, str] = {"compute": "datasheet FLOP/s", "memory": "datasheet bandwidth"}
        return (kinds if self.measured else stated)[self.bound]


def roofline(*, arithmetic: str, work: Work, seconds: float, peak: Peak | None) -> Roofline:
    """What this work reached in so much time, its products computed in this dtype."""
    flops_per_s = work.flops / seconds
    stated = None if peak is None else peak.flops_per_s.get(arithmetic)
    bytes_per_s = None if peak is None else peak.bytes_per_s
    return Roofline(
        arithmetic=arithmetic,
        flops=work.flops,
        least_bytes=work.least_bytes,
        flops_per_s=flops_per_s,
        least_bytes_per_s=work.least_bytes / seconds,
        intensity=work.intensity,
        peak_flops_per_s=stated,
        peak_bytes_per_s=bytes_per_s,
        peak_source="" if peak is None else peak.source,
        share_of_peak=flops_per_s / stated if stated else None,
        bound=_lower_roof(work.intensity, stated, bytes_per_s)[0] if stated and bytes_per_s else "",
    )


def standing(cell: Roofline, ceilings: Ceilings | None) -> Standing | None:
    """The cell against what was measured in its run, else against the datasheet; None where neither is to be had."""
    roofs = [(cell.peak_flops_per_s, cell.peak_bytes_per_s, False)]
    if ceilings is not None:
        roofs.insert(0, (ceilings.flops_per_s(cell.arithmetic), ceilings.bytes_per_s, True))
    for flops_per_s, bytes_per_s, measured in roofs:
        if flops_per_s and bytes_per_s and cell.intensity > 0:
            bound, rate = _lower_roof(cell.intensity, flops_per_s, bytes_per_s)
            return Standing(share=cell.flops_per_s / rate, bound=bound, measured=measured)
    return None


def _lower_roof(intensity: float, flops_per_s: float, bytes_per_s: float) -> tuple[Roof, float]:
    """Which roof bounds work of this intensity, and the FLOP/s that it allows."""
    by_memory = intensity * bytes_per_s
    return ("memory", by_memory) if by_memory < flops_per_s else ("compute", flops_per_s)


def ceilings_text(ceilings: Ceilings) -> str:
    """What a device was measured to do, on one line: the products that it could, and the copy."""
    products = [f"{p.arithmetic} {units.flops_per_s(p.flops_per_s)}" for p in ceilings.products if p.flops_per_s]
    return ", ".join([*products, f"copy {units.bytes_per_s(ceilings.bytes_per_s)}"])
