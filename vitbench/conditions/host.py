"""What Linux says of the processor: who else used the cores, what the hypervisor and a quota withheld, the clock.

Only the cores that this process may use are looked at, and this process with all its threads; a process that the
candidate starts counts as another's. What shares a core's cache or memory bus from other cores does not show.
Source: proc(5), /proc/stat; cgroups(7), /proc/self/cgroup; cgroup v2, cpu.stat.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vitbench.conditions.record import Evidence, span, verdict_of
from vitbench.conditions.sampler import now_s
from vitbench.timer import Timing

MOST_OTHERS = 0.05  # of the usable cores' time
MOST_STEAL = 0.01
MOST_QUOTA_S = 0.0
LEAST_WINDOW_S = 0.5  # the kernel counts in steps of 0.01 s
_IDLE = (3, 4)  # columns of /proc/stat: idle, iowait
_STEAL = 7
_USER_AND_SYSTEM = slice(11, 13)  # fields 14 and 15 of /proc/PID/stat, where the third is the first behind the name
_COUNTED = 8  # user … steal; guest time is in user already


@dataclass(frozen=True, kw_only=True)
class HostReading:
    """One look: seconds counted since boot over the usable cores; None: not readable."""

    at_s: float
    busy_s: float | None
    steal_s: float | None
    own_s: float  # of this process, all threads, and of those that do the same work
    quota_throttled_s: Mapping[str, float]  # of this process's control group and each above it, by path
    clock_hz: float | None


class Host:
    """The processor's own account."""

    def __init__(
        self,
        root: Path = Path("/"),
        cores: frozenset[int] | None = None,
        tick_s: float | None = None,
        beside: Sequence[int] = (),
    ) -> None:
        """``beside``: processes that do the same work as this one, whose time is its own."""
        self._root = root
        self.cores = frozenset(os.sched_getaffinity(0)) if cores is None and hasattr(os, "sched_getaffinity") else cores
        self._beside = beside
        self._tick_s = tick_s or (1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01)

    def read(self) -> HostReading:
        """Look at it now."""
        busy_s, steal_s = self._counted()
        return HostReading(
            at_s=now_s(),
            busy_s=busy_s,
            steal_s=steal_s,
            own_s=time.process_time() + sum(map(self._used_s, self._beside)),
            quota_throttled_s=self._quotas(),
            clock_hz=self._clock(),
        )

    def _counted(self) -> tuple[float | None, float | None]:
        busy, steal, found = 0, 0, False
        for line in self._text("proc/stat").splitlines():
            match = re.match(r"cpu(\d+) (.*)", line)
            if match is None or (self.cores is not None and int(match[1]) not in self.cores):
                continue
            ticks = [int(word) for word in match[2].split()][:_COUNTED]
            busy += sum(ticks) - sum(ticks[i] for i in _IDLE) - ticks[_STEAL]
            steal, found = steal + ticks[_STEAL], True
        return (busy * self._tick_s, steal * self._tick_s) if found else (None, None)

    def _used_s(self, pid: int) -> float:
        """Of another process, all threads; 0 of one that has ended."""
        fields = self._text(f"proc/{pid}/stat").rpartition(")")[2].split()
        return sum(map(int, fields[_USER_AND_SYSTEM])) * self._tick_s

    def _quotas(self) -> dict[str, float]:
        """A quota of any group from the process's own up to the root holds it up; each counts what its own one did."""
        own = re.search(r"^0::(/.*)$", self._text("proc/self/cgroup"), re.MULTILINE)
        group = PurePosixPath(own[1] if own else "/")
        found = {}
        for path in map(str, (group, *group.parents)):
            stat = self._text(f"sys/fs/cgroup{path}/cpu.stat")
            if match := re.search(r"^throttled_usec (\d+)$", stat, re.MULTILINE):
                found[path] = int(match[1]) * 1e-6
        return found

    def _clock(self) -> float | None:
        """Mean of the usable cores' clocks by cpufreq; virtual machines have none."""
        clocks = []
        for core in sorted(self.cores or ()):
            with suppress(ValueError):
                clocks.append(int(self._text(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")) * 1e3)
        return sum(clocks) / len(clocks) if clocks else None

    def _text(self, path: str) -> str:
        with suppress(OSError):
            return (self._root / path).read_text(encoding="ascii", errors="replace")
        return ""


def host_evidence(readings: Sequence[HostReading], timing: Timing, cores: int, notes: Sequence[str] = ()) -> Evidence:
    """What the readings around a timing's window say of it."""
    window_s = timing.ended_s - timing.started_s
    first, last = (readings[0], readings[-1]) if readings else (None, None)
    seen_s = 0.0 if first is None or last is None else last.at_s - first.at_s
    others = steal = quota_s = None
    more = list(notes)
    if first is None or last is None or seen_s < LEAST_WINDOW_S:
        more.append(f"watched for {seen_s:.2g} s only: too short to tell who used the cores")
    else:
        steal = _share(first.steal_s, last.steal_s, seen_s * cores)
        busy_s = _difference(first.busy_s, last.busy_s)
        others = None if busy_s is None else max(0.0, busy_s - (last.own_s - first.own_s)) / (seen_s * cores)
        quota_s = _held_up_s(first.quota_throttled_s, last.quota_throttled_s)
        if others is None:
            more.append("/proc/stat cannot be read: who else used the cores is not known")
    reasons = [
        *([f"other processes used {others:.0%} of the cores' time"] if (others or 0) > MOST_OTHERS else []),
        *([f"the hypervisor withheld {steal:.1%} of the cores' time"] if (steal or 0) > MOST_STEAL else []),
        *([f"a CPU quota held its processes up for {quota_s:.2g} s"] if (quota_s or 0) > MOST_QUOTA_S else []),
    ]
    return Evidence(
        verdict=verdict_of(reasons, watched=others is not None),
        reasons=reasons,
        notes=more,
        window_s=window_s,
        readings=len(readings),
        others_share=others,
        steal_share=steal,
        quota_throttled_s=quota_s,
        cpu_clock_hz=span(reading.clock_hz for reading in readings),
    )


def _difference(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else last - first


def _held_up_s(first: Mapping[str, float], last: Mapping[str, float]) -> float | None:
    """By the quota that held up the longest: two at once hold up no longer than the longer one."""
    return max((last[group] - first[group] for group in first if group in last), default=None)


def _share(first: float | None, last: float | None, whole: float) -> float | None:
    difference = _difference(first, last)
    return None if difference is None else difference / whole
