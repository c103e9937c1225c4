"""How much memory a process on this host may still take without pushing anything out."""

from contextlib import suppress
from pathlib import Path

_KIB = 1024


def available_bytes(root: Path = Path("/")) -> int | None:
    """By the kernel's estimate and the limits of the control groups that this process is in; None where neither tells.

    Source: Linux, Documentation/filesystems/proc.rst (MemAvailable), admin-guide/cgroup-v2.rst (memory.max) and
    cgroup-v1/memory.rst. A group's page cache that was not used lately counts as available.
    """
    left = [_of_host(root / "proc/meminfo"), *_of_groups(root)]
    return min((size for size in left if size is not None), default=None)


def _of_host(meminfo: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * _KIB
    return None


def _of_groups(root: Path) -> list[int | None]:
    """What is left of each limit, from the process's own group up to the root."""
    home = root / "sys/fs/cgroup"
    groups: list[str] = []
    with suppress(OSError):
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    left = list[int | None]()
    for line in groups:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        top = home / "memory" if controllers else home
        own = top / path.lstrip("/")
        left += [_left(group, *names) for group in (own, *own.parents) if group == top or top in group.parents]
    return left


def _left(group: Path, limit: str, used: str) -> int | None:
    with suppress(OSError, ValueError):  # no such group here, or no limit ("max")
        most = int((group / limit).read_text(encoding="ascii"))
        return max(0, most - int((group / used).read_text(encoding="ascii")) + _reclaimable(group))
    return None


def _reclaimable(group: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
            name, size = line.split()[:2]
            if name in {"inactive_file", "total_inactive_file"}:
                return int(size)
    return 0
