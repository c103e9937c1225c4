"""The workers of a scaling cell, as one of them sees them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vitbench.suites.scaling import words


@dataclass(frozen=True)
class Team:
    """All workers, as one of them sees it."""

    rank: int
    workers: int
    device: torch.device
    backend: str
    control: Any  # the group of all for what is told, and for waiting
    folder: Path

    @property
    def sizes(self) -> list[int]:
        """Numbers of workers: powers of two, and all there are."""
        return [2**k for k in range(self.workers.bit_length()) if 2**k < self.workers] + [self.workers]

    def at(self, doing: str) -> None:
        """Leave word where this worker is."""
        words.place(self.folder, self.rank, doing)

    def told(self, what: Any) -> list[Any]:
        """What each worker tells, in their order."""
        heard: list[Any] = [None] * self.workers
        dist.all_gather_object(heard, what, group=self.control)
        return heard

    def wait(self) -> None:
        """Until all are here."""
        dist.barrier(group=self.control)
