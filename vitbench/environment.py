"""What a run ran on: versions, processor, device, commit. No names of hosts or users, and no absolute paths."""

import inspect
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import vitbench
from vitbench import registry


def describe(device: str, threads: int) -> dict[str, Any]:
    """Everything about this machine and its packages that a figure or a verdict may depend on. Imports torch."""
    import torch  # noqa: PLC0415

    cudnn = torch.backends.cudnn.version()
    return {
        "vitbench": vitbench.__version__,
        "python": python_version(),
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": threads,
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else f"{cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}",  # as of cuDNN 9
        "device": device,
        "device_name": device_name(device),
        "gpu": None if device == "cpu" else _gpu(device),
        "flags": torch_flags(),
        "packages": package_versions(),
        **commit_here(),
    }


def python_version() -> str:
    """Of this interpreter, and which one it is."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def commit_here() -> dict[str, Any]:
    """Of the repository that this folder is in, and whether its tracked files are as committed; None where there is none."""
    changes = _git("status", "--porcelain", "-uno")
    return {"git_commit": _git("rev-parse", "HEAD"), "git_clean": None if changes is None else not changes}


def torch_flags() -> dict[str, Any]:
    """torch's settings that decide by which arithmetic and which kernels a model is computed; suites may set their own."""
    import torch  # noqa: PLC0415

    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return {
        "matmul_fp32_precision": cuda.matmul.fp32_precision,
        "conv_fp32_precision": getattr(getattr(cudnn, "conv", None), "fp32_precision", None),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": cudnn.benchmark,
        "cudnn_deterministic": cudnn.deterministic,
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "interop_threads": torch.get_num_interop_threads(),
        "flash_attention": cuda.flash_sdp_enabled(),
        "memory_efficient_attention": cuda.mem_efficient_sdp_enabled(),
        "cudnn_attention": cuda.cudnn_sdp_enabled(),
    }


def source_of(thing: object, *, users: bool) -> dict[str, Any]:
    """Where a candidate's code stands: its commit, and of a user's own, which may not be committed, the file's digest."""
    import hashlib  # noqa: PLC0415  # milliseconds that --help need not wait for

    file = _file_of(thing)
    digest = {"file_sha256": hashlib.sha256(file.read_bytes()).hexdigest()} if users and file and file.is_file() else {}
    return {**(repository_of(thing) or {}), **digest}


def repository_of(thing: object) -> dict[str, Any] | None:
    """Commit of the git repository that tracks the file in which a thing's class is; None where none does.

    What is installed lies in no repository, or, in an environment inside of one, is not tracked by it.
    """
    file = _file_of(thing)
    return None if file is None else repository_at(file)


def repository_at(file: Path) -> dict[str, Any] | None:
    """Commit of the git repository that tracks a file; None where none does."""
    where = ("-C", str(file.parent))
    if _git(*where, "ls-files", "--error-unmatch", "--", file.name) is None:
        return None
    changes = _git(*where, "status", "--porcelain", "-uno")
    return {"git_commit": _git(*where, "rev-parse", "HEAD"), "git_clean": None if changes is None else not changes}


def _file_of(thing: object) -> Path | None:
    """Where a function, a module, a class, or the class of anything else was written; None of what is built in."""
    itself = thing if inspect.isclass(thing) or inspect.ismodule(thing) or inspect.isfunction(thing) else type(thing)
    with suppress(OSError, TypeError):
        return Path(inspect.getfile(itself))
    return None


def device_name(device: str) -> str:
    """What the device calls itself."""
    if device == "cpu":
        return cpu_model()
    import torch  # noqa: PLC0415

    return str(torch.cuda.get_device_name(device))


def cpu_model() -> str:
    """The processor's own name."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine() or "unknown processor"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_versions() -> dict[str, str]:
    """Versions of numpy and of the registered implementations' packages, of those installed."""
    names = ["numpy", *(registration.package for registration in registry.registered().values())]
    versions = {}
    for name in dict.fromkeys(names):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def without_places(text: str) -> str:
    """The text with this machine's paths shortened, so that results can be published.

    Below the working directory they become relative, installed packages start at ``site-packages``, and of any
    other absolute path the last name stays.
    """
    text = text.replace(f"{Path.cwd()}{os.sep}", "")
    text = re.sub(rf"{_FOLDERS}(?:site|dist)-packages/", "site-packages/", text)
    return re.sub(rf"(?<![\w.…/-]){_FOLDERS}(?=[^\s/])", "…/", text)


_FOLDERS = r"/(?:[^\s\"':,|/]+/)+"


def _gpu(device: str) -> Mapping[str, Any]:
    import torch  # noqa: PLC0415

    from vitbench.conditions.nvml import driver_version  # noqa: PLC0415

    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "driver": driver_version(),
    }


def _first_line(path: str) -> str | None:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8").strip().partition("\n")[0] or None
    return None


def _git(*arguments: str) -> str | None:
    """What git says of the working directory; None where there is no git or no repository."""
    with suppress(OSError, subprocess.SubprocessError):
        command = ["git", *arguments]  # of the user's own path, and no shell
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
        return answer.stdout.strip()
    return None
