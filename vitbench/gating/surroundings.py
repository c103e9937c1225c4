"""What else went on while a gate measured, and what of it a duet cannot keep out: told beside the outcome."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vitbench.conditions.host import MOST_OTHERS, MOST_STEAL, Host, HostReading

_GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_TURBO = ("sys/devices/system/cpu/intel_pstate/no_turbo", "sys/devices/system/cpu/cpufreq/boost")


@dataclass(kw_only=True)
class Surroundings:
    """Of the whole time of a gate; what is None could not be read."""

    others_share: float | None = None  # of the usable cores' time, used by processes that the gate did not start
    steal_share: float | None = None  # of it, withheld by the hypervisor
    controlled: list[str] = field(default_factory=list)
    not_controlled: list[str] = field(default_factory=list)

    def control(self, parts: Mapping[str, bool]) -> None:
        """Of each part of the design whether it held throughout."""
        for part, held in parts.items():
            (self.controlled if held else self.not_controlled).append(part)

    @property
    def notes(self) -> list[str]:
        """What makes a gate less certain than it could be."""
        shares = (
            (self.others_share, MOST_OTHERS, "other processes used {:.0%} of the cores' time"),
            (self.steal_share, MOST_STEAL, "the hypervisor withheld {:.1%} of the cores' time"),
        )
        told = [text.format(share) for share, most, text in shares if share is not None and share > most]
        return [f"{', '.join(told)}: that makes the bounds wider, not wrong"] if told else []


@contextmanager
def surroundings(*, host: Host | None = None, root: Path = Path("/")) -> Iterator[Surroundings]:
    """Look before and after; what is handed out is filled in at the end."""
    host, found = host or Host(root), Surroundings()
    before, started_s = host.read(), _children_s()
    try:
        yield found
    finally:
        _fill(found, before, host.read(), _children_s() - started_s, len(host.cores or ()) or os.cpu_count() or 1)
        found.controlled += ["order of blocks drawn at random", "garbage collected before each block, never within one"]
        found.not_controlled += _clock(root)
        found.not_controlled.append("caches and memory bus, which other cores share")


def _children_s() -> float:
    """Time of the processor that ended children took."""
    times = os.times()
    return times.children_user + times.children_system


def _fill(found: Surroundings, before: HostReading, after: HostReading, children_s: float, cores: int) -> None:
    whole_s = (after.at_s - before.at_s) * cores
    if whole_s <= 0:
        return
    if before.busy_s is not None and after.busy_s is not None:
        own_s = after.own_s - before.own_s + children_s
        found.others_share = max(0.0, after.busy_s - before.busy_s - own_s) / whole_s
    if before.steal_s is not None and after.steal_s is not None:
        found.steal_share = (after.steal_s - before.steal_s) / whole_s


def _clock(root: Path) -> list[str]:
    """The processor's clock is not ours to set; what sets it, where that is readable."""
    governor = _read(root / _GOVERNOR)
    told = (
        f"the processor's clock (governor {governor})"
        if governor
        else "the processor's clock (no governor is readable)"
    )
    turbo = [f"{Path(path).name} = {value}" for path in _TURBO if (value := _read(root / path))]
    return [", ".join([told, *turbo])]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
