"""From the name of an attention kernel to the kernel: those that vitbench knows, entry points, package:function.

Nothing is imported before it is asked for.
"""

import importlib.util
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.errors import AdapterNotFound
from vitbench.registry import Registration, resolve_kernel

if TYPE_CHECKING:
    from vitbench.attention_kernels import AttentionKernel

ENTRY_POINT_GROUP = "vitbench.kernels"

_HOME = "vitbench.attention_kernels"

BUILT_IN = (
    Registration("math", f"{_HOME}:math", "torch"),
    Registration("flash", f"{_HOME}:flash", "torch"),
    Registration("efficient", f"{_HOME}:efficient", "torch"),
    Registration("cudnn", f"{_HOME}:cudnn", "torch"),
    Registration("flex", f"{_HOME}:flex", "torch"),
    Registration("naive", f"{_HOME}:naive", "torch"),
    Registration("flash_attn", f"{_HOME}:flash_attn", "flash_attn"),
    Registration("xformers", f"{_HOME}:xformers", "xformers"),
)
"""torch's backends, each forced; the formula written out; and packages for attention."""


def registered_kernels() -> dict[str, Registration]:
    """Built-in names first, then those of installed packages' entry points."""
    names = {registration.name: registration for registration in BUILT_IN}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        names.setdefault(entry.name, Registration(entry.name, entry.value, entry.value.split(":")[0].split(".")[0]))
    return names


def installed_kernels() -> list[str]:
    """Registered names whose package is importable here: what the attention suite measures without ``--kernel``."""
    return [name for name, registration in registered_kernels().items() if registration.installed]


def package_of(kernel: str) -> str:
    """Whose a kernel is: the package that it comes from, or the file's name."""
    registration = registered_kernels().get(kernel)
    if registration is not None:
        return registration.package
    location = kernel.rpartition(":")[0]
    return Path(location).stem if location.endswith(".py") else location.partition(".")[0]


def plainly_missing(kernel: str) -> bool:
    """Whether ``kernel`` names nothing, as far as can be told without importing it."""
    registration = registered_kernels().get(kernel)
    if registration is not None:
        return not registration.installed
    location, colon, _ = kernel.rpartition(":")
    if not colon:
        return True
    if location.endswith(".py"):
        return not Path(location).is_file()
    try:
        return importlib.util.find_spec(location.partition(".")[0]) is None
    except ValueError:  # an empty name
        return True


def attention_kernel(kernel: str) -> "AttentionKernel":
    """The kernel that ``--kernel`` names: registered, ``package.module:function`` or ``kernel.py:function``.

    Raises:
        AdapterNotFound: nothing of that name; the text lists what was tried.
        AdapterBroken: found, but its import failed, or it cannot be called.
    """
    registration = registered_kernels().get(kernel)
    if registration is not None and not registration.installed:
        raise AdapterNotFound(
            f"kernel {kernel!r} needs the package {registration.package!r}, which is not installed; "
            f"pip install {registration.to_install}"
        )
    if registration is None and ":" not in kernel:
        raise AdapterNotFound(
            f"--kernel {kernel!r}: there is none of that name; registered names: {', '.join(registered_kernels())}. "
            "Other forms: package.module:function, kernel.py:function"
        )
    from vitbench import attention_kernels  # noqa: PLC0415  # torch, needed only now

    if registration in BUILT_IN:
        made: AttentionKernel = getattr(attention_kernels, registration.target.rpartition(":")[2])()
        return made
    return attention_kernels.foreign(kernel, resolve_kernel(registration.target if registration else kernel))
