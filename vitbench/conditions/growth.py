"""Whether a candidate holds more memory after each launch: it is looked at between rounds of samples, at one and the same point.

Much of what grows at first is allocators that find their size. So a leak is what still grows in the last third of the
rounds, as it did in the second.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from vitbench import units
from vitbench.conditions.record import Evidence

LEAST_BYTES = 2**22  # from third to third; allocators round by less
_LEAST_LOOKS = 6  # two in each third
_STEADY = 0.25  # of the growth before

Read = Callable[[], int | None]


class Growth:
    """Counts the bytes held, in the process and on the device, whenever it is told to look."""

    def __init__(self, device: str, reads: dict[str, Read] | None = None, *, beside_bytes: int = 0) -> None:
        """``beside_bytes``: what is held by whoever measures, as copies that it keeps; growth below it is no candidate's."""
        self._least_bytes = max(LEAST_BYTES, beside_bytes)
        self._reads = _reads_of(device) if reads is None else reads
        self._seen: dict[str, list[int]] = {name: [] for name in self._reads}

    def look(self) -> None:
        """Read what is held now."""
        for name, read in self._reads.items():
            held = read()
            if held is not None:
                self._seen[name].append(held)

    def told(self, evidence: Evidence, launches: int) -> Evidence:
        """The evidence of so many launches, with a note of what grew while they went on."""
        grown = {
            name: bytes_ for name, seen in self._seen.items() if (bytes_ := steady_growth(seen, self._least_bytes))
        }
        notes = [
            f"{name} grew by {units.data_size(bytes_)} in {launches} launches, {units.data_size(bytes_ // launches)} each: "
            "it may leak"
            for name, bytes_ in grown.items()
        ]
        known = any(len(seen) >= _LEAST_LOOKS for seen in self._seen.values())
        most = max(grown.values(), default=0) if known else None
        return replace(evidence, notes=[*evidence.notes, *notes], grown_bytes=most)


def steady_growth(held: Sequence[int], least_bytes: int = LEAST_BYTES) -> int:
    """Bytes from the first look to the last, where they grew to the end, by so many from third to third; else 0."""
    third = len(held) // 3
    if len(held) < _LEAST_LOOKS:
        return 0
    first, middle, last = median(held[:third]), median(held[third:-third]), median(held[-third:])
    before, after = middle - first, last - middle
    steady = min(before, after) >= least_bytes and after >= _STEADY * before
    return held[-1] - held[0] if steady else 0


def _reads_of(device: str) -> dict[str, Read]:
    from vitbench.memory import resident  # noqa: PLC0415  # torch, which reading a record does not need

    process: dict[str, Read] = {"its process's memory": resident}
    if device == "cpu":
        return process
    import torch  # noqa: PLC0415

    return process | {"its tensors on the device": partial(torch.cuda.memory_allocated, device)}
